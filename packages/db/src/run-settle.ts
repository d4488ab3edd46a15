// Ending runs that nobody executes: cancelled while queued or parked, or given up after too many crashes.
// Hides how their terminal event is put together from the record, since no execution is there to do it.
import type { Ids } from '@fabrique/engine'
import { endEvent, type RunError, type RunEvent } from '@fabrique/schema'
import { type Selectable, sql, type Transaction } from 'kysely'
import type { Db } from './client.ts'
import { artifactResource } from './artifact-reader.ts'
import type { Tables } from './tables.ts'

type RunRow = Selectable<Tables['runs']>

interface Settling {
  runIds: string[]
  expectExpired?: boolean
  outcome: (run: RunRow) => { status: 'cancelled' | 'failed'; error: RunError | null }
}

/**
 * Settles these runs in one transaction, those that still stand as expected: parked or pending, or, with
 * `expectExpired`, running past their lease. Answers the terminal events; the rest is left alone.
 */
export async function settleRuns(db: Db, ids: Ids, request: Settling): Promise<RunEvent[]> {
  if (request.runIds.length === 0) return []
  return await db.kysely.transaction().execute((trx) => settleRunsIn(trx, ids, request))
}

/** `settleRuns` as a part of the caller's transaction. */
export async function settleRunsIn(trx: Transaction<Tables>, ids: Ids, request: Settling): Promise<RunEvent[]> {
  if (request.runIds.length === 0) return []
  let locked = trx.selectFrom('runs').selectAll().where('id', 'in', request.runIds).orderBy('id').forUpdate()
  locked = request.expectExpired
    ? locked.where('status', '=', 'running').where('due_at', '<', sql<Date>`now()`)
    : locked.where('status', 'in', ['pending', 'waiting'])
  const events: RunEvent[] = []
  for (const run of await locked.execute()) {
    const { status, error } = request.outcome(run)
    // Nobody will ask for these any more: they may have been charged, and count as spent.
    await trx
      .updateTable('provider_calls')
      .set({ outcome: 'unknown', actual_usd: sql`estimated_usd` })
      .where('run_id', '=', run.id)
      .where('outcome', '=', 'pending')
      .execute()
    const calls = await trx
      .selectFrom('provider_calls')
      .select(({ fn }) => [fn.sum('estimated_usd').as('estimated'), fn.sum('actual_usd').as('actual')])
      .where('run_id', '=', run.id)
      .executeTakeFirst()
    const artifacts = await trx
      .selectFrom('artifacts')
      .selectAll()
      .where('run_id', '=', run.id)
      .where('status', '!=', 'draft')
      .execute()
    const spec = await trx
      .selectFrom('specifications')
      .select(sql<string>`definition ->> 'pricingVersion'`.as('pricing'))
      .where('hash', '=', run.definition_hash)
      .executeTakeFirstOrThrow()
    const { finished_at: at, last_seq: seq } = await trx
      .updateTable('runs')
      .set({
        status,
        error: JSON.stringify(error),
        fence: sql`fence + 1`,
        due_at: null,
        cancel_requested_at:
          status === 'cancelled' ? sql`coalesce(cancel_requested_at, now())` : run.cancel_requested_at,
        finished_at: sql`now()`,
        last_seq: run.last_seq + 1,
      })
      .where('id', '=', run.id)
      .returning(['finished_at', 'last_seq'])
      .executeTakeFirstOrThrow()
    const { kind, payload } = endEvent(
      run,
      {
        status,
        index: run.slot_index ?? 0,
        output: null,
        artifacts: artifacts.map((row) => artifactResource(row, run)),
        error,
      },
      {
        estimated: Number(calls?.estimated ?? 0),
        actual: Number(calls?.actual ?? 0),
        pricing_version: spec.pricing,
      },
    )
    const event: RunEvent = {
      id: ids.next(),
      seq,
      kind,
      run_id: run.id,
      root_run_id: run.root_run_id,
      timestamp: (at ?? new Date()).toISOString(),
      payload,
    }
    await trx
      .insertInto('events')
      .values({
        run_id: run.id,
        seq,
        id: event.id,
        kind: event.kind,
        node_key: null,
        payload: JSON.stringify(payload),
        timestamp: event.timestamp,
      })
      .execute()
    events.push(event)
  }
  return events
}
