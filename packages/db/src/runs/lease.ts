// Who may execute a run: claims, renewals, hand-backs, and what time alone makes due.
// Hides the rule that only PostgreSQL's clock counts, and that a lease lost three times without progress ends a run.
import type { ClaimedRun, Delivery, Ids, Instance, RunStore } from '@fabrique/engine'
import type { JsonObject, Lane, RunEvent } from '@fabrique/schema'
import { createBatcher } from '../batcher.ts'
import type { Db } from '../client.ts'
import { inTransaction, settleRuns, tellIn } from './settle.ts'

const LOST_LEASES_MAX = 3
/** A pending run is looked for in the queue again this long after the last look. */
const RECHECK_S = 30

const CLAIM = `
with t as (select * from unnest($1::text[], $2::text[]) as t(id, event_id)), u as (
  update runs r set status = 'running', fence = r.fence + 1, worker = $3, due_at = now() + $4::int * interval '1 ms',
    started_at = coalesce(r.started_at, now()),
    last_seq = r.last_seq + (case when r.started_at is null then 1 else 0 end)
  from t where r.id = t.id and r.status = 'pending' and r.cancel_requested_at is null and r.slots is null
  returning r.*, t.event_id, (r.started_at = now()) as first
), e as (
  insert into events (run_id, seq, id, kind, payload, timestamp)
  select id, last_seq, event_id, 'workflow.run.started', json_build_object('status', 'running'), now() from u where first
)
select id, organization_id, root_run_id, workflow, fence, fail_fast, definition_hash, instance, metadata, state, created_at,
  estimated_usd, priority, lane, awaited_by, slot_index, first, last_seq, event_id, now() as at from u`

const RENEW = `
with t as (select * from unnest($1::text[], $2::int[]) as t(id, fence)), u as (
  update runs r set due_at = now() + $3::int * interval '1 ms' from t
  where r.id = t.id and r.fence = t.fence and r.status = 'running'
  returning r.id, r.cancel_requested_at is not null as cancelled
)
select id, cancelled from u`

const DELIVERY = `id as "runId", organization_id as "organizationId", epoch, workflow, priority, lane`

const RELEASE = `
update runs set status = 'pending', fence = fence + 1, epoch = epoch + 1, worker = null,
  due_at = now() + interval '1 second'
where id = $1 and fence = $2 and status = 'running' and cancel_requested_at is null returning ${DELIVERY}`

const EXPIRED = `
update runs set status = 'pending', fence = fence + 1, epoch = epoch + 1, lost_leases = lost_leases + 1, worker = null,
  due_at = now()
where id in (select id from runs where status = 'running' and worker is not null and due_at < now()
  and cancel_requested_at is null and lost_leases < ${LOST_LEASES_MAX - 1} order by due_at limit $1 for update skip locked)`

const HOPELESS = `
select id from runs where status = 'running' and worker is not null and due_at < now()
  and (cancel_requested_at is not null or lost_leases >= ${LOST_LEASES_MAX - 1}) order by due_at limit $1`

// At rest: a gate that decides itself, or a run that was called, may have become due without anybody telling.
const RESTED = `
update runs set status = 'pending', epoch = epoch + 1, due_at = now()
where id in (select id from runs where status in ('running', 'waiting') and worker is null and due_at < now()
  and slots is null and cancel_requested_at is null order by due_at limit $1 for update skip locked)`

const WAKE = `
update runs set status = 'pending', epoch = epoch + 1, due_at = now() + interval '5 seconds'
where id = any($1::text[]) and slots is null and (status = 'waiting' or (status = 'running' and worker is null))
  and cancel_requested_at is null returning ${DELIVERY}`

// Runs of slots are told when a slot begins, rests or ends; this finds those whose news was lost on the way.
const BEHIND = `
update runs r set due_at = now() + interval '${RECHECK_S} seconds'
where id in (select id from runs where slots is not null and due_at < now() order by due_at limit $1 for update skip locked)
returning id`

const OVERDUE = `
update runs set due_at = now() + interval '${RECHECK_S} seconds'
where id in (select id from runs where status = 'pending' and slots is null and due_at < now() order by due_at limit $1 for update skip locked)
returning ${DELIVERY}`

const ALL_PENDING_DUE = `update runs set due_at = now() where status = 'pending' and slots is null`

interface ClaimRow {
  id: string
  organization_id: string
  root_run_id: string
  workflow: string
  fence: number
  fail_fast: boolean
  definition_hash: string
  instance: Instance
  metadata: JsonObject
  state: JsonObject | null
  created_at: Date
  estimated_usd: string
  priority: number
  lane: Lane
  awaited_by: string | null
  slot_index: number | null
  first: boolean
  last_seq: number
  event_id: string
  at: Date
}

type Leases = Pick<RunStore, 'tell' | 'claim' | 'renew' | 'release' | 'recover' | 'recheckPending'>

/** The leasing half of the run store; `publish` hears of the started events that claims write. */
export function createLeases(db: Db, ids: Ids, publish: (events: RunEvent[]) => void): Leases {
  async function flush(items: { runId: string; worker: string; leaseMs: number }[]): Promise<(ClaimedRun | null)[]> {
    const [first] = items
    if (first === undefined) return []
    const rows = await db.query<ClaimRow>('runs.claim', CLAIM, [
      items.map(({ runId }) => runId),
      items.map(() => ids.next()),
      first.worker,
      first.leaseMs,
    ])
    const begun = rows.filter((row) => row.first)
    publish(begun.map(startedEvent))
    tellRoots(begun.flatMap((row) => (row.slot_index === null ? [] : [row.root_run_id])))
    const claimed = new Map(rows.map((row) => [row.id, row]))
    return items.map(({ runId }) => {
      const row = claimed.get(runId)
      return row === undefined ? null : claimedRun(row)
    })
  }

  /** A run of slots begins with the first of them; nobody waits for that to be written. */
  function tellRoots(roots: string[]): void {
    if (roots.length === 0) return
    const told = inTransaction(db, (trx) => tellIn(trx, ids, [...new Set(roots)], true))
    // What is lost here is said when the slot ends, or by the reconciler.
    told.then(({ events }) => publish(events)).catch(() => {})
  }

  const claims = createBatcher(flush, ({ runId }: { runId: string; worker: string; leaseMs: number }) => runId)

  return {
    claim: (runId, worker, leaseMs) => claims.write({ runId, worker, leaseMs }),
    async renew(held, leaseMs) {
      const rows = await db.query<{ id: string; cancelled: boolean }>('runs.renew', RENEW, [
        held.map(({ runId }) => runId),
        held.map(({ fence }) => fence),
        leaseMs,
      ])
      const kept = new Set(rows.map(({ id }) => id))
      return {
        lost: held.map(({ runId }) => runId).filter((runId) => !kept.has(runId)),
        cancelled: rows.filter(({ cancelled }) => cancelled).map(({ id }) => id),
      }
    },
    async release(runId, fence) {
      const [delivery] = await db.query<Delivery & { lane: Lane }>('runs.release', RELEASE, [runId, fence])
      return delivery ?? null
    },
    async recover(limit) {
      await db.query('runs.expired', EXPIRED, [limit])
      await db.query('runs.rested', RESTED, [limit])
      const hopeless = await db.query<{ id: string }>('runs.hopeless', HOPELESS, [limit])
      const given = await settleRuns(db, ids, {
        runIds: hopeless.map(({ id }) => id),
        expectExpired: true,
        outcome: (run) =>
          run.cancel_requested_at !== null
            ? { status: 'cancelled', error: null }
            : {
                status: 'failed',
                error: {
                  code: 'worker-crash-limit',
                  message: `The run lost its worker ${LOST_LEASES_MAX} times in a row without finishing a step.`,
                },
              },
      })
      const behind = await db.query<{ id: string }>('runs.behind', BEHIND, [limit])
      const told = await inTransaction(db, (trx) =>
        tellIn(
          trx,
          ids,
          behind.map(({ id }) => id),
        ),
      )
      const overdue = await db.query<Delivery & { lane: Lane }>('runs.overdue', OVERDUE, [limit])
      return {
        overdue,
        events: [...given.events, ...told.events],
        cancelled: [...given.cancelled, ...told.cancelled],
      }
    },
    async tell(runIds) {
      const deliveries = await db.query<Delivery & { lane: Lane }>('runs.wake', WAKE, [runIds])
      const told = await inTransaction(db, (trx) => tellIn(trx, ids, runIds))
      return { deliveries, ...told }
    },
    async recheckPending() {
      await db.query('runs.recheck', ALL_PENDING_DUE, [])
    },
  }
}

function claimedRun(row: ClaimRow): ClaimedRun {
  return {
    id: row.id,
    rootRunId: row.root_run_id,
    organizationId: row.organization_id,
    workflow: row.workflow,
    fence: row.fence,
    failFast: row.fail_fast,
    definitionHash: row.definition_hash,
    instance: row.instance,
    metadata: row.metadata,
    state: row.state,
    createdAt: row.created_at.toISOString(),
    estimatedUsd: Number(row.estimated_usd),
    priority: row.priority,
    lane: row.lane,
    awaitedBy: row.awaited_by,
    slotIndex: row.slot_index,
    resumed: !row.first,
  }
}

function startedEvent(row: ClaimRow): RunEvent {
  return {
    id: row.event_id,
    seq: row.last_seq,
    kind: 'workflow.run.started',
    run_id: row.id,
    root_run_id: row.root_run_id,
    timestamp: row.at.toISOString(),
    payload: { status: 'running' },
  }
}
