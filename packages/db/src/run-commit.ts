// What executions write: transitions of many runs in one statement, each row only while its fence is the run's.
// Hides the order of sequence numbers: the row lock of the run makes its log gapless.
import type { CommitOutcome, Ids, Transition } from '@fabrique/engine'
import type { RunEvent } from '@fabrique/schema'
import { createBatcher } from './batcher.ts'
import type { Db } from './client.ts'

// A cancel that stands lets bookkeeping through, but nothing that spends, parks or finishes otherwise ("guarded").
const HEAD = `
with t as (
  select * from unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::json[], $6::json[], $7::bool[], $8::bool[], $9::bool[])
  as t(id, fence, events, status, output, error, simulated, progressed, guarded)
), u as (
  update runs r set
    last_seq = r.last_seq + t.events,
    status = coalesce(t.status, r.status),
    output = coalesce(t.output, r.output),
    error = coalesce(t.error, r.error),
    simulated = r.simulated or t.simulated,
    lost_leases = case when t.progressed then 0 else r.lost_leases end,
    due_at = case when t.status is null then r.due_at end,
    finished_at = case when t.status in ('completed', 'failed', 'cancelled') then now() end
  from t
  where r.id = t.id and r.fence = t.fence and r.status = 'running'
    and not (t.guarded and r.cancel_requested_at is not null)
  returning r.id, r.organization_id, r.root_run_id, r.definition_hash, r.last_seq - t.events as base
), e as (
  insert into events (run_id, seq, id, kind, node_key, payload, timestamp)
  select u.id, u.base + x.ord, x.id, x.kind, x.node_key, x.payload, now()
  from unnest($10::text[], $11::int[], $12::text[], $13::text[], $14::text[], $15::json[])
    as x(run_id, ord, id, kind, node_key, payload) join u on u.id = x.run_id
)`
const TAIL = `
select u.id, u.root_run_id, u.base, now() as at from u`

/** Rows that only some transitions have: each kind adds its columns to the statement as arrays. */
interface Part {
  name: 'checkpoints' | 'calls' | 'artifacts' | 'gates'
  /** Field by SQL type, in the order of the parameters; `json` fields travel as their text. */
  fields: Record<string, string>
  sql: (rows: string) => string
}

const PARTS: Part[] = [
  {
    name: 'checkpoints',
    fields: {
      key: 'text',
      stepId: 'text',
      status: 'text',
      attempt: 'int',
      output: 'json',
      error: 'json',
      simulated: 'bool',
      startedAt: 'timestamptz',
      finishedAt: 'timestamptz',
    },
    sql: (rows) => `, c as (
  insert into checkpoints (run_id, key, step_id, status, attempt, output, error, simulated, started_at, finished_at)
  select u.id, x.key, x."stepId", x.status, x.attempt, coalesce(x.output, 'null'), x.error, x.simulated, x."startedAt",
    x."finishedAt"
  from ${rows} join u on u.id = x."runId"
  on conflict (run_id, key) do nothing
)`,
  },
  {
    name: 'calls',
    fields: {
      id: 'text',
      stepKey: 'text',
      stepId: 'text',
      attempt: 'int',
      provider: 'text',
      operation: 'text',
      model: 'text',
      outcome: 'text',
      status: 'text',
      requestId: 'text',
      quantity: 'numeric',
      unit: 'text',
      unitPriceUsd: 'numeric',
      estimatedUsd: 'numeric',
      actualUsd: 'numeric',
      simulated: 'bool',
    },
    sql: (rows) => `, l as (
  insert into provider_calls (id, run_id, step_key, step_id, attempt, provider, operation, model, outcome, status, request_id,
    quantity, unit, unit_price_usd, estimated_usd, actual_usd, simulated, pricing_version)
  select x.id, u.id, x."stepKey", x."stepId", x.attempt, x.provider, x.operation, x.model, x.outcome, x.status,
    x."requestId", x.quantity, x.unit, x."unitPriceUsd", x."estimatedUsd", x."actualUsd", x.simulated,
    s.definition ->> 'pricingVersion'
  from ${rows} join u on u.id = x."runId" join specifications s on s.hash = u.definition_hash
  on conflict (id) do update set outcome = excluded.outcome, status = excluded.status, request_id = excluded.request_id,
    quantity = excluded.quantity, unit = excluded.unit, unit_price_usd = excluded.unit_price_usd,
    actual_usd = excluded.actual_usd
)`,
  },
  {
    name: 'artifacts',
    fields: {
      id: 'text',
      stepKey: 'text',
      role: 'text',
      status: 'text',
      mimeType: 'text',
      bytes: 'bigint',
      sha256: 'text',
      width: 'int',
      height: 'int',
      durationMs: 'int',
      storageKey: 'text',
      simulated: 'bool',
    },
    sql: (rows) => `, a as (
  insert into artifacts (id, organization_id, run_id, step_key, role, status, mime_type, bytes, sha256, width, height,
    duration_ms, storage_key, simulated)
  select x.id, u.organization_id, u.id, x."stepKey", x.role, x.status, x."mimeType", x.bytes, x.sha256, x.width, x.height,
    x."durationMs", x."storageKey", x.simulated
  from ${rows} join u on u.id = x."runId"
  on conflict (id) do update set role = excluded.role, status = excluded.status
)`,
  },
  {
    name: 'gates',
    fields: { id: 'text', name: 'text', type: 'text', status: 'text', detail: 'text' },
    sql: (rows) => `, g as (
  insert into gates (run_id, id, name, type, status, detail)
  select u.id, x.id, x.name, x.type, x.status, x.detail from ${rows} join u on u.id = x."runId"
  on conflict (run_id, id) do update set status = excluded.status, detail = excluded.detail, changed_at = now()
)`,
  },
]

/** A part's rows as columns, and the expression that reads them back: arrays parse ten times faster than JSON records. */
function columnsOf({ fields }: Part, rows: { runId: string }[], firstParameter: number) {
  const names = Object.keys(fields)
  const types = ['text', ...Object.values(fields)]
  const values = names.map((name) =>
    rows.map((row) => {
      const value = (row as Record<string, unknown>)[name] ?? null
      return fields[name] === 'json' && value !== null ? JSON.stringify(value) : value
    }),
  )
  const parameters = types.map((type, index) => `$${firstParameter + index}::${type}[]`)
  const columns = ['runId', ...names].map((name) => `"${name}"`)
  return {
    values: [rows.map(({ runId }) => runId), ...values],
    source: `unnest(${parameters.join(', ')}) as x(${columns.join(', ')})`,
  }
}

const STANDS = `select id, fence, status, cancel_requested_at is not null as cancelled from runs where id = any($1::text[])`

interface Item {
  transition: Transition
  eventIds: string[]
}

/** The committing half of the run store. */
export function createCommit(db: Db, ids: Ids): (transition: Transition) => Promise<CommitOutcome> {
  async function flush(items: Item[]): Promise<CommitOutcome[]> {
    const transitions = items.map(({ transition }) => transition)
    const events = items.flatMap(({ transition, eventIds }) =>
      transition.events.map((event, index) => ({
        event,
        runId: transition.runId,
        ord: index + 1,
        id: eventIds[index],
      })),
    )
    const values: unknown[] = [
      transitions.map(({ runId }) => runId),
      transitions.map(({ fence }) => fence),
      transitions.map((transition) => transition.events.length),
      transitions.map(({ end }) => end?.status ?? null),
      transitions.map(({ end }) => (end?.status === 'completed' ? JSON.stringify(end.output) : null)),
      transitions.map(({ end }) => (end?.status === 'failed' ? JSON.stringify(end.error) : null)),
      transitions.map(({ end }) => (end !== undefined && 'simulated' in end ? end.simulated : false)),
      transitions.map(({ checkpoints, end }) => checkpoints.length > 0 || end !== undefined),
      transitions.map(isGuarded),
      events.map(({ runId }) => runId),
      events.map(({ ord }) => ord),
      events.map(({ id }) => id),
      events.map(({ event }) => event.kind),
      events.map(({ event }) => event.nodeKey ?? null),
      events.map(({ event }) => JSON.stringify(event.payload)),
    ]
    let text = HEAD
    let name = 'runs.commit'
    for (const part of PARTS) {
      const rows = transitions.flatMap((transition) =>
        transition[part.name].map((row) => ({ ...row, runId: transition.runId })),
      )
      if (rows.length === 0) continue
      const columns = columnsOf(part, rows, values.length + 1)
      values.push(...columns.values)
      text += part.sql(columns.source)
      name += `.${part.name}`
    }
    const rows = await db.query<{ id: string; root_run_id: string; base: number; at: Date }>(name, text + TAIL, values)
    const applied = new Map(rows.map((row) => [row.id, row]))
    const refused = transitions.filter(({ runId }) => !applied.has(runId))
    const standing = refused.length === 0 ? new Map() : await whereTheyStand(refused.map(({ runId }) => runId))
    return items.map(({ transition, eventIds }): CommitOutcome => {
      const row = applied.get(transition.runId)
      if (row !== undefined) {
        return { outcome: 'committed', events: publicEvents(transition, eventIds, row.root_run_id, row.base, row.at) }
      }
      const now = standing.get(transition.runId)
      const ours = now?.fence === transition.fence && now.status === 'running'
      return { outcome: ours && now.cancelled ? 'cancelled' : 'lost' }
    })
  }

  async function whereTheyStand(runIds: string[]) {
    const rows = await db.query<{ id: string; fence: number; status: string; cancelled: boolean }>(
      'runs.stand',
      STANDS,
      [runIds],
    )
    return new Map(rows.map((row) => [row.id, row]))
  }

  const batcher = createBatcher(flush, ({ transition }) => transition.runId)
  return (transition) => batcher.write({ transition, eventIds: transition.events.map(() => ids.next()) })
}

function isGuarded({ end, calls }: Transition): boolean {
  const finishesOrParks = end !== undefined && end.status !== 'cancelled'
  return finishesOrParks || calls.some((call) => call.outcome === 'pending' && call.requestId === null)
}

function publicEvents(transition: Transition, ids: string[], rootRunId: string, base: number, at: Date): RunEvent[] {
  return transition.events.map((event, index) => ({
    id: ids[index] as string,
    seq: base + index + 1,
    kind: event.kind,
    run_id: transition.runId,
    root_run_id: rootRunId,
    ...(event.nodeKey === undefined ? {} : { node_key: event.nodeKey }),
    timestamp: at.toISOString(),
    payload: event.payload,
  }))
}
