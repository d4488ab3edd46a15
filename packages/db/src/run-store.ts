// The record of runs for those who execute and steer them; the outside view is `run-reader.ts`.
// Hides how the halves share one table: accept and commit are coalesced, decisions are transactions.
import type { Definition, Ids, RunStore } from '@fabrique/engine'
import type { Lane, RunEvent } from '@fabrique/schema'
import { sql } from 'kysely'
import type { Db } from './client.ts'
import { createAccept } from './run-accept.ts'
import { createCommit } from './run-commit.ts'
import { createLeases } from './run-lease.ts'
import { settleRunsIn } from './run-settle.ts'

/** The PostgreSQL run store. `publish` hears of events that claims write on their own. */
export function createRunStore(db: Db, ids: Ids, publish: (events: RunEvent[]) => void = () => {}): RunStore {
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
      const [checkpoints, calls, artifacts, gates] = await Promise.all([
        db.kysely.selectFrom('checkpoints').selectAll().where('run_id', '=', runId).execute(),
        db.kysely
          .selectFrom('provider_calls')
          .selectAll()
          .where('run_id', '=', runId)
          .orderBy('created_at')
          .orderBy('id')
          .execute(),
        db.kysely.selectFrom('artifacts').selectAll().where('run_id', '=', runId).execute(),
        db.kysely.selectFrom('gates').selectAll().where('run_id', '=', runId).execute(),
      ])
      return {
        checkpoints: checkpoints.map((row) => ({
          key: row.key,
          stepId: row.step_id,
          status: row.status,
          attempt: row.attempt,
          output: row.output,
          error: row.error,
          simulated: row.simulated,
          startedAt: row.started_at.toISOString(),
          finishedAt: row.finished_at.toISOString(),
        })),
        calls: calls.map((row) => ({
          id: row.id,
          stepKey: row.step_key,
          stepId: row.step_id,
          attempt: row.attempt,
          provider: row.provider,
          operation: row.operation,
          model: row.model,
          outcome: row.outcome,
          status: row.status,
          requestId: row.request_id,
          quantity: row.quantity === null ? null : Number(row.quantity),
          unit: row.unit as never,
          unitPriceUsd: row.unit_price_usd === null ? null : Number(row.unit_price_usd),
          estimatedUsd: Number(row.estimated_usd),
          actualUsd: row.actual_usd === null ? null : Number(row.actual_usd),
          simulated: row.simulated,
        })),
        artifacts: artifacts.map((row) => ({
          id: row.id,
          stepKey: row.step_key,
          role: row.role,
          status: row.status,
          mimeType: row.mime_type,
          bytes: Number(row.bytes),
          sha256: row.sha256,
          width: row.width,
          height: row.height,
          durationMs: row.duration_ms,
          storageKey: row.storage_key,
          simulated: row.simulated,
        })),
        gates: gates.map(({ id, name, type, status, detail }) => ({ id, name, type, status, detail })),
      }
    },

    async requestCancel(rootRunId) {
      // One transaction: a run that is marked but not settled could neither be claimed nor end.
      return await db.kysely.transaction().execute(async (trx) => {
        const { rows } = await sql<{ id: string; status: string }>`
            update runs set cancel_requested_at = coalesce(cancel_requested_at, now())
            where (root_run_id = ${rootRunId} or id = ${rootRunId}) and status in ('pending', 'running', 'waiting')
            returning id, status`.execute(trx)
        const idle = rows.filter(({ status }) => status !== 'running').map(({ id }) => id)
        const outcome = () => ({ status: 'cancelled', error: null }) as const
        const settled = await settleRunsIn(trx, ids, { runIds: idle, outcome })
        return { settled, active: rows.filter(({ status }) => status === 'running').map(({ id }) => id) }
      })
    },

    async decide(runId, { approve, gateId, comment, by }) {
      return await db.kysely.transaction().execute(async (trx) => {
        const run = await trx
          .selectFrom('runs')
          .select(['id', 'status'])
          .where('id', '=', runId)
          .forUpdate()
          .executeTakeFirst()
        if (run?.status !== 'waiting') return null
        let open = trx
          .selectFrom('gates')
          .select('id')
          .where('run_id', '=', runId)
          .where('status', '=', 'open')
          .orderBy('id')
        if (gateId !== undefined) open = open.where('id', '=', gateId)
        const gate = await open.executeTakeFirst()
        if (gate === undefined) return null
        await trx
          .updateTable('gates')
          .set({
            status: approve ? 'approved' : 'rejected',
            detail: comment ?? null,
            decided_by: by,
            changed_at: sql`now()`,
          })
          .where('run_id', '=', runId)
          .where('id', '=', gate.id)
          .execute()
        const row = await trx
          .updateTable('runs')
          .set({ status: 'pending', epoch: sql`epoch + 1`, due_at: sql`now() + interval '5 seconds'` })
          .where('id', '=', runId)
          .returning(['id', 'epoch', 'workflow', 'priority', 'lane'])
          .executeTakeFirstOrThrow()
        return {
          runId: row.id,
          epoch: row.epoch,
          workflow: row.workflow,
          priority: row.priority,
          lane: row.lane as Lane,
        }
      })
    },
  }
}
