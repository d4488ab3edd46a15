// What executions write: transitions of many runs in one statement, each row only while its fence is the run's.
// Hides the order of sequence numbers: the row lock of the run makes its log gapless.
import type { CommitOutcome, DayCap, Ids, Transition } from '@fabrique/engine'
import { roundUsd, type RunEvent } from '@fabrique/schema'
import { sql, type Transaction } from 'kysely'
import { createBatcher } from '../batcher.ts'
import { type Db, queryIn } from '../client.ts'
import type { Tables } from '../tables.ts'

// A cancel that stands lets bookkeeping through, but nothing that spends, parks or finishes otherwise ("guarded").
const HEAD = `
with t as (
  select * from unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::json[], $6::json[], $7::bool[], $8::bool[], $9::bool[],
    $10::int8[])
  as t(id, fence, events, status, output, error, simulated, progressed, guarded, wake_ms)
), u as (
  update runs r set
    last_seq = r.last_seq + t.events,
    status = coalesce(t.status, r.status),
    output = coalesce(t.output, r.output),
    error = coalesce(t.error, r.error),
    simulated = r.simulated or t.simulated,
    lost_leases = case when t.progressed then 0 else r.lost_leases end,
    worker = case when t.status in ('running', 'waiting') then null else r.worker end,
    due_at = case when t.status is null then r.due_at else now() + t.wake_ms * interval '1 ms' end,
    finished_at = case when t.status in ('completed', 'failed', 'cancelled') then now() end
  from t
  where r.id = t.id and r.fence = t.fence and r.status = 'running'
    and not (t.guarded and r.cancel_requested_at is not null)
  returning r.id, r.organization_id, r.root_run_id, r.definition_hash, r.last_seq - t.events as base
), e as (
  insert into events (run_id, seq, id, kind, node_key, payload, timestamp)
  select u.id, u.base + x.ord, x.id, x.kind, x.node_key, x.payload, now()
  from unnest($11::text[], $12::int[], $13::text[], $14::text[], $15::text[], $16::json[])
    as x(run_id, ord, id, kind, node_key, payload) join u on u.id = x.run_id
)`
const TAIL = `
select u.id, u.root_run_id, u.base, now() as at from u`

/** Rows that only some transitions have: each kind adds its columns to the statement as arrays. */
interface Part {
  name: 'checkpoints' | 'calls' | 'artifacts' | 'gates' | 'children'
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
    fields: {
      id: 'text',
      name: 'text',
      type: 'text',
      status: 'text',
      detail: 'text',
      expiresInMs: 'int8',
      onExpiry: 'text',
    },
    sql: (rows) => `, g as (
  insert into gates (run_id, id, name, type, status, detail, expires_at, on_expiry)
  select u.id, x.id, x.name, x.type, x.status, x.detail, now() + x."expiresInMs" * interval '1 ms', x."onExpiry"
  from ${rows} join u on u.id = x."runId"
  on conflict (run_id, id) do update set status = excluded.status, detail = excluded.detail, changed_at = now()
)`,
  },
  {
    name: 'children',
    fields: {
      id: 'text',
      callerKey: 'text',
      workflow: 'text',
      workflowVersion: 'text',
      definitionHash: 'text',
      definition: 'json',
      instance: 'json',
      input: 'json',
      simulated: 'bool',
      estimatedUsd: 'numeric',
      createdEvent: 'text',
      queuedEvent: 'text',
    },
    sql: (rows) => `, n as (
  select x.*, u.id as caller, p.organization_id, p.root_run_id, p.metadata, p.priority, p.lane, p.fail_fast
  from ${rows} join u on u.id = x."runId" join runs p on p.id = u.id
), ns as (
  insert into specifications (hash, definition) select "definitionHash", definition from n on conflict do nothing
), nr as (
  insert into runs (id, organization_id, root_run_id, workflow, workflow_version, definition_hash, instance, input, metadata,
    priority, lane, fail_fast, caller_run_id, caller_step_id, awaited_by, simulated, estimated_usd, warnings, last_seq, due_at)
  select id, organization_id, root_run_id, workflow, "workflowVersion", "definitionHash", instance, input, metadata,
    priority, lane, fail_fast, caller, "callerKey", caller, simulated, "estimatedUsd", '[]', 2, now() + interval '10 seconds'
  from n
), ne as (
  insert into events (run_id, seq, id, kind, payload, timestamp)
  select n.id, y.seq, y.event_id, y.kind,
    json_build_object('status', 'pending', 'workflow', n.workflow, 'priority', n.priority, 'caller_run_id', n.caller), now()
  from n cross join lateral (values
    (1, n."createdEvent", 'workflow.run.created'), (2, n."queuedEvent", 'workflow.run.queued')) as y(seq, event_id, kind)
)`,
  },
]

/** What calls cost counts against the caps of the day on which they were begun. */
const spend = (rows: string) => `, cs as (
  update capped_calls k set usd = coalesce(x."actualUsd", x."estimatedUsd")
  from ${rows} join u on u.id = x."runId" where k.call_id = x.id
)`

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
  async function flush(items: Item[], run: Db['query'] = db.query): Promise<CommitOutcome[]> {
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
      // Resting for a called run is "running" to the outside: without a worker, nobody's lease runs out.
      transitions.map(({ end }) => (end?.status === 'parked' ? 'running' : (end?.status ?? null))),
      transitions.map(({ end }) => (end?.status === 'completed' ? JSON.stringify(end.output) : null)),
      transitions.map(({ end }) => (end?.status === 'failed' ? JSON.stringify(end.error) : null)),
      transitions.map(({ end }) => (end !== undefined && 'simulated' in end ? end.simulated : false)),
      transitions.map(({ checkpoints, end }) => checkpoints.length > 0 || end !== undefined),
      transitions.map(isGuarded),
      transitions.map(({ end }) => (end !== undefined && 'wakeInMs' in end ? end.wakeInMs : null)),
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
      const rows = transitions.flatMap((transition) => rowsOf(part.name, transition, ids))
      if (rows.length === 0) continue
      const columns = columnsOf(part, rows, values.length + 1)
      values.push(...columns.values)
      text += part.sql(columns.source)
      name += `.${part.name}`
      if (part.name !== 'calls' || !transitions.some(({ dayCaps }) => dayCaps !== undefined)) continue
      text += spend(columns.source)
      name += '.capped'
    }
    const rows = await run<{ id: string; root_run_id: string; base: number; at: Date }>(name, text + TAIL, values)
    const applied = new Map(rows.map((row) => [row.id, row]))
    const refused = transitions.filter(({ runId }) => !applied.has(runId))
    const standing =
      refused.length === 0
        ? new Map()
        : await whereTheyStand(
            run,
            refused.map(({ runId }) => runId),
          )
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

  async function whereTheyStand(run: Db['query'], runIds: string[]) {
    const rows = await run<{ id: string; fence: number; status: string; cancelled: boolean }>('runs.stand', STANDS, [
      runIds,
    ])
    return new Map(rows.map((row) => [row.id, row]))
  }

  /**
   * One transition that begins calls under caps of the day: who begins one under the same cap waits meanwhile, so that
   * all that is reserved is seen. The reservation is the call's own row.
   */
  async function commitUnderCaps(item: Item, caps: DayCap[]): Promise<CommitOutcome> {
    const begun = item.transition.calls.filter(isBegun)
    const wanted = begun.reduce((sum, { estimatedUsd }) => sum + estimatedUsd, 0)
    return await db.kysely.transaction().execute(async (trx) => {
      const run = queryIn(trx)
      const owner = await trx
        .selectFrom('runs')
        .select('organization_id')
        .where('id', '=', item.transition.runId)
        .executeTakeFirst()
      if (owner === undefined) return { outcome: 'lost' }
      const inOrder = caps.toSorted((a, b) => (a.workflow < b.workflow ? -1 : 1))
      for (const cap of inOrder) {
        await sql`select pg_advisory_xact_lock(hashtextextended(${`${owner.organization_id} ${cap.workflow}`}, 0))`.execute(
          trx,
        )
        const spentUsd = await spentOn(trx, owner.organization_id, cap.workflow)
        if (roundUsd(spentUsd + wanted) > cap.maxUsd) return { outcome: 'over-budget', cap, spentUsd }
      }
      const [outcome = { outcome: 'lost' as const }] = await flush([item], run)
      // Nothing is reserved for what was refused; and what stands under the call's id then is its holder's.
      if (outcome.outcome !== 'committed') return outcome
      for (const cap of inOrder) {
        for (const { id, estimatedUsd } of begun) {
          await sql`insert into capped_calls (organization_id, workflow, day, call_id, usd) values
            (${owner.organization_id}, ${cap.workflow}, (now() at time zone 'utc')::date, ${id}, ${estimatedUsd})
            on conflict do nothing`.execute(trx)
        }
      }
      return outcome
    })
  }

  const batcher = createBatcher(
    (items: Item[]) => flush(items),
    ({ transition }) => transition.runId,
  )
  return async (transition) => {
    const item = { transition, eventIds: transition.events.map(() => ids.next()) }
    const { dayCaps } = transition
    if (dayCaps === undefined || !transition.calls.some(isBegun)) return await batcher.write(item)
    return await commitUnderCaps(item, dayCaps)
  }
}

/** What calls of the workflow cost that were begun today (UTC), in the organization; those under way at their estimate. */
export async function spentOn(
  db: Transaction<Tables> | Db['kysely'],
  organizationId: string,
  workflow: string,
): Promise<number> {
  const { rows } = await sql<{ usd: string }>`select coalesce(sum(usd), 0) as usd from capped_calls
    where organization_id = ${organizationId} and workflow = ${workflow} and day = (now() at time zone 'utc')::date`.execute(
    db,
  )
  return Number(rows[0]?.usd ?? 0)
}

/** A call whose intent is recorded with this transition. */
function isBegun({ outcome, requestId }: Transition['calls'][number]): boolean {
  return outcome === 'pending' && requestId === null
}

/** The rows of a part as its columns name them. */
function rowsOf(
  name: Part['name'],
  { runId, gates, children = [], ...rest }: Transition,
  ids: Ids,
): { runId: string }[] {
  switch (name) {
    case 'gates':
      return gates.map(({ expiry, ...gate }) => ({
        ...gate,
        runId,
        expiresInMs: expiry?.inMs ?? null,
        onExpiry: expiry === undefined ? null : expiry.approve ? 'approve' : 'reject',
      }))
    case 'children':
      return children.map((child) => ({ ...child, runId, createdEvent: ids.next(), queuedEvent: ids.next() }))
    default:
      return rest[name].map((row) => ({ ...row, runId }))
  }
}

function isGuarded({ end, calls, children }: Transition): boolean {
  const finishesOrParks = end !== undefined && end.status !== 'cancelled'
  return finishesOrParks || calls.some(isBegun) || children !== undefined
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
