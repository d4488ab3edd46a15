// The record of runs for those who execute and steer them; the outside view is `run-reader.ts`.
// Hides how the parts share one table: accept and commit are coalesced, decisions are transactions.
import {
  type ChildRecord,
  type Definition,
  type Delivery,
  type Ids,
  type RunStore,
  WOKEN_GRACE_MS,
} from '@fabrique/engine'
import { DECISION_GATE, type RunEvent } from '@fabrique/schema'
import { type RawBuilder, sql } from 'kysely'
import { type Db, inTransaction } from '../client.ts'
import { createAccept } from './accept.ts'
import { createCommit, spentOn } from './commit.ts'
import { finishedPartsOf } from './earlier-run.ts'
import { createLeases } from './lease.ts'
import { changesOf, DELIVERY, mayMove } from './phase.ts'
import { costsOf, openGatesOf, treeOf } from './tree.ts'
import { artifactRecord, callRecord } from './rows.ts'
import { cancelled, requestCancel, settleRuns } from './settle.ts'

/** The PostgreSQL run store. `publish` hears of events that claims write on their own. */
export function createRunStore(db: Db, ids: Ids, publish: (events: RunEvent[]) => void = () => {}): RunStore {
  /** Requests a cancel of what fits and has not ended, and settles at once what no worker executes. */
  async function cancel(runId: string, which: RawBuilder<unknown>) {
    return await inTransaction(db, async (trx) => {
      // The top first, as whoever joins slots does: of many cancels at once each waits for the one before.
      await sql`select id from runs where id = ${runId} for update`.execute(trx)
      const { executing, idle } = await requestCancel(trx, which)
      const { events } = await settleRuns(trx, ids, cancelled(idle.map(({ id }) => id)))
      return { settled: events, active: executing.map(({ id }) => id) }
    })
  }

  async function childrenOf(runId: string): Promise<ChildRecord[]> {
    const called = await db.kysely
      .selectFrom('runs')
      .select(['id', 'caller_step_id', 'workflow', 'status', 'output', 'error', 'simulated', 'instance'])
      .where('awaited_by', '=', runId)
      .where('caller_run_id', '=', runId)
      .execute()
    if (called.length === 0) return []
    const calledIds = called.map(({ id }) => id)
    const [artifacts, gates, costOf] = await Promise.all([
      db.kysely.selectFrom('artifacts').selectAll().where('run_id', 'in', calledIds).execute(),
      openGatesOf(db.kysely, calledIds),
      costsOf(db.kysely, calledIds),
    ])
    return called.map(({ caller_step_id: callerKey, instance, ...run }) => ({
      ...run,
      callerKey: callerKey ?? '',
      artifacts: artifacts.filter(({ run_id }) => run_id === run.id).map(artifactRecord),
      openGates: gates.filter(({ top }) => top === run.id).map(({ id, name, run_id }) => ({ id, name, runId: run_id })),
      spent: costOf(run.id).spent,
      capUsd: instance.capUsd ?? 0,
    }))
  }

  return {
    ...createAccept(db, ids),
    commit: createCommit(db, ids),
    ...createLeases(db, ids, publish),

    async definition(hash) {
      const [row] = await db.query<{ definition: Definition }>(
        'specifications.get',
        'select definition from specifications where hash = $1',
        [hash],
      )
      return row?.definition ?? null
    },

    async history(runId) {
      const [finished, calls, gates, children] = await Promise.all([
        finishedPartsOf(db.kysely, runId),
        db.kysely
          .selectFrom('provider_calls')
          .selectAll()
          .where('run_id', '=', runId)
          .orderBy('created_at')
          .orderBy('id')
          .execute(),
        db.kysely
          .selectFrom('gates')
          .select(['id', 'name', 'type', 'status', 'detail', 'on_expiry'])
          .select(sql<string | null>`extract(epoch from expires_at - now()) * 1000`.as('in_ms'))
          .where('run_id', '=', runId)
          .execute(),
        childrenOf(runId),
      ])
      return {
        ...finished,
        calls: calls.map(callRecord),
        gates: gates.map(({ on_expiry, in_ms, ...gate }) => ({
          ...gate,
          ...(on_expiry === null || in_ms === null
            ? {}
            : { expiry: { inMs: Math.ceil(Number(in_ms)), approve: on_expiry === 'approve' } }),
        })),
        children,
      }
    },
    async find(runId) {
      const row = await db.kysely
        .selectFrom('runs')
        .select(['status', 'instance'])
        .where('id', '=', runId)
        .executeTakeFirst()
      return row ?? null
    },
    children: childrenOf,
    spentToday: (organizationId, workflow) => spentOn(db.kysely, organizationId, workflow),

    requestCancel: (runId) => cancel(runId, sql`id in (${treeOf(runId)} select id from tree)`),
    cancelChildren: (runId) => cancel(runId, sql`id <> ${runId} and id in (${treeOf(runId)} select id from tree)`),

    async decide(runId, { approve, gateId, comment, by }) {
      return await inTransaction(db, async (trx) => {
        // Its own gate, else the nearest of a run that it waits for.
        const { rows } = await sql<{ run_id: string; id: string }>`
          ${treeOf(runId)}
          select g.run_id, g.id from gates g join tree on tree.id = g.run_id join runs r on r.id = g.run_id
          where g.status = 'open' and r.status = 'waiting' and (g.expires_at is null or g.expires_at > now())
            and ${gateId === undefined ? sql`g.type <> ${DECISION_GATE}` : sql`g.id = ${gateId}`}
          order by depth, g.run_id, g.id limit 1 for update of r`.execute(trx)
        const [gate] = rows
        if (gate === undefined) return null
        await trx
          .updateTable('gates')
          .set({
            status: approve ? 'approved' : 'rejected',
            detail: comment ?? null,
            decided_by: by,
            changed_at: sql`now()`,
          })
          .where('run_id', '=', gate.run_id)
          .where('id', '=', gate.id)
          .where('status', '=', 'open')
          .execute()
        const woken = await sql<Delivery>`
          update runs set ${sql.raw(changesOf('wake', { dueInMs: String(WOKEN_GRACE_MS) }))}
          where id = ${gate.run_id} and ${sql.raw(mayMove('wake'))} returning ${sql.raw(DELIVERY)}`.execute(trx)
        // Its end may be told to no ancestor: the worker that runs it can die in between.
        await sql`with recursive up as (
            select awaited_by as id from runs where id = ${gate.run_id}
            union all select r.awaited_by from runs r join up on r.id = up.id
          )
          update runs set ${sql.raw(changesOf('watch'))}
          where id in (select id from up) and ${sql.raw(mayMove('watch'))}`.execute(trx)
        return woken.rows[0] ?? null
      })
    },
  }
}
