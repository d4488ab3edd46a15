// Steering many runs, or one that has not begun: what a bulk cancel is about, and changes of priority.
// Hides keysets and locks; ending a run is `settle.ts`, for one as for many.
import type { Delivery } from '@fabrique/engine'
import { type Lane, laneOf, type RunStatus } from '@fabrique/schema'
import { sql } from 'kysely'
import type { Db } from '../client.ts'
import { type RunFilter, runsMatching, unfinished } from './filter.ts'

/** A delivery as it stands in the queue. */
export type QueuedRun = Delivery & { status: RunStatus }

export interface RunSteering {
  /** How many runs fit, how many of them have finished, and the newest of the others. */
  count(
    organizationId: string,
    filter: RunFilter,
  ): Promise<{ matched: number; finished: number; newest: string | null }>
  /** Unfinished runs that fit, newest first, from `newest` on or behind `before`. */
  unfinishedRuns(
    organizationId: string,
    filter: RunFilter,
    page: { newest: string; before: string | null; limit: number },
  ): Promise<QueuedRun[]>
  /**
   * Gives a pending run and its pending descendants another priority. Null where the organization has no such run;
   * its status where it is pending no more, and nothing was changed. `formerLane` says where each job is.
   */
  reprioritise(
    organizationId: string,
    runId: string,
    priority: number,
  ): Promise<{ status: RunStatus; changed: (Delivery & { formerLane: Lane })[] } | null>
}

/** Steering over the record. */
export function createRunSteering(db: Db): RunSteering {
  return {
    async count(organizationId, filter) {
      const row = await runsMatching(db, organizationId, filter)
        .select(({ fn }) => [
          fn.countAll<string>().as('matched'),
          fn.count<string>('finished_at').as('finished'),
          sql<string | null>`max(id) filter (where finished_at is null)`.as('newest'),
        ])
        .executeTakeFirstOrThrow()
      return { matched: Number(row.matched), finished: Number(row.finished), newest: row.newest }
    },
    async unfinishedRuns(organizationId, filter, { newest, before, limit }) {
      let query = unfinished(runsMatching(db, organizationId, filter))
        .select(['id as runId', 'organization_id as organizationId', 'epoch', 'workflow', 'priority', 'lane', 'status'])
        .where('id', '<=', newest)
        .orderBy('id', 'desc')
        .limit(limit)
      if (before !== null) query = query.where('id', '<', before)
      return await query.execute()
    },
    async reprioritise(organizationId, runId, priority) {
      return await db.kysely.transaction().execute(async (trx) => {
        const run = await trx
          .selectFrom('runs')
          .select(['status', 'root_run_id'])
          .where('organization_id', '=', organizationId)
          .where('id', '=', runId)
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
          .returning(['id', 'organization_id', 'epoch', 'workflow', 'priority', 'lane'])
          .execute()
        const changed = rows.map(({ id, organization_id, ...row }) => ({
          ...row,
          runId: id,
          organizationId: organization_id,
          formerLane: formerLanes.get(id) ?? row.lane,
        }))
        return { status: run.status, changed }
      })
    },
  }
}
