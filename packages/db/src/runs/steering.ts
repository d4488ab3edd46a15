// Steering many runs, or one that has not begun: what a bulk cancel is about, and changes of priority.
// Hides keysets and locks; ending a run is `settle.ts`, for one as for many.
import type { Delivery } from '@fabrique/engine'
import { isTerminal, type Lane, laneOf, RUN_STATUSES, type RunStatus } from '@fabrique/schema'
import { sql } from 'kysely'
import type { Db } from '../client.ts'
import { type RunFilter, runsMatching } from './filter.ts'

/** What can still be cancelled. */
const UNFINISHED = RUN_STATUSES.filter((status) => !isTerminal(status))

/** A delivery as it stands in the queue. */
export type QueuedRun = Delivery & { status: RunStatus }

export type RunSteering = ReturnType<typeof createRunSteering>

/** Steering over the record. */
export function createRunSteering(db: Db) {
  return {
    /** How many runs fit, how many of them have finished, and the newest of the others. */
    async count(organizationId: string, filter: RunFilter) {
      const row = await runsMatching(db, organizationId, filter)
        .select(({ fn }) => [
          fn.countAll<string>().as('matched'),
          fn.count<string>('finished_at').as('finished'),
          sql<string | null>`max(id) filter (where finished_at is null)`.as('newest'),
        ])
        .executeTakeFirstOrThrow()
      return { matched: Number(row.matched), finished: Number(row.finished), newest: row.newest }
    },
    /** Unfinished runs that fit, newest first, from `newest` on or behind `before`. */
    async unfinishedRuns(
      organizationId: string,
      filter: RunFilter,
      { newest, before, limit }: { newest: string; before: string | null; limit: number },
    ): Promise<QueuedRun[]> {
      let query = runsMatching(db, organizationId, filter)
        .select(['id as runId', 'organization_id as organizationId', 'epoch', 'workflow', 'priority', 'lane', 'status'])
        .where('status', 'in', UNFINISHED)
        .where('id', '<=', newest)
        .orderBy('id', 'desc')
        .limit(limit)
      if (before !== null) query = query.where('id', '<', before)
      return await query.execute()
    },
    /**
     * Gives a pending run and its pending descendants another priority. Null where the organization has no such run;
     * its status where it is pending no more, and nothing was changed. `formerLane` says where each job is.
     */
    async reprioritise(
      organizationId: string,
      runId: string,
      priority: number,
    ): Promise<{ status: RunStatus; changed: (Delivery & { formerLane: Lane })[] } | null> {
      return await db.kysely.transaction().execute(async (trx) => {
        const run = await trx
          .selectFrom('runs')
          .select(['status', 'root_run_id'])
          .where((eb) => eb.and({ organization_id: organizationId, id: runId }))
          .forUpdate()
          .executeTakeFirst()
        if (run === undefined) return null
        if (run.status !== 'pending') return { status: run.status, changed: [] }
        const family = await trx
          .selectFrom('runs')
          .select(['id', 'lane'])
          .where('status', '=', 'pending')
          .where((either) =>
            either.or([
              either('id', '=', runId),
              either.and([
                either('root_run_id', '=', runId),
                either.or([either('slot_index', 'is not', null), either('caller_run_id', 'is not', null)]),
              ]),
            ]),
          )
          .orderBy('id')
          .forUpdate()
          .execute()
        const formerLanes = new Map(family.map(({ id, lane }) => [id, lane]))
        const rows = await trx
          .updateTable('runs')
          .set({ priority, lane: laneOf(priority) })
          .where('id', 'in', [...formerLanes.keys()])
          .returning(['id as runId', 'organization_id as organizationId', 'epoch', 'workflow', 'priority', 'lane'])
          .execute()
        const changed = rows.map((row) => ({ ...row, formerLane: formerLanes.get(row.runId) ?? row.lane }))
        return { status: run.status, changed }
      })
    },
  }
}
