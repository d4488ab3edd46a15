// Who may execute a run: claims, renewals, releases, and what time alone makes due.
// Hides that only PostgreSQL's clock counts, and that a lease lost three times without progress ends a run.
import {
  type ClaimedRun,
  CRASHED,
  type Delivery,
  type Ids,
  type NewEvent,
  type Phase,
  type RunStore,
} from '@fabrique/engine'
import type { Lane, RunEvent } from '@fabrique/schema'
import type { Selectable } from 'kysely'
import { createBatcher } from '../batcher.ts'
import { type Db, inTransaction, queryIn } from '../client.ts'
import { camelCased, type Snake } from '../row-shape.ts'
import type { Tables } from '../tables.ts'
import { createNotices } from './notices.ts'
import { changesOf, DELIVERY, dueAt, mayMove } from './phase.ts'
import { eventsOf, insertInto } from './rows.ts'
import { notifyIn, settleRuns } from './settle.ts'

const CLAIM = `
with t as (select * from unnest($1::text[], $2::text[]) as t(id, event_id)), u as (
  update runs r set ${changesOf('claim', { worker: '$3', dueInMs: '$4::int' }, 'r')},
    commits = 0, claimed_at = now(),
    started_at = coalesce(r.started_at, now()),
    last_seq = r.last_seq + (case when r.started_at is null then 1 else 0 end)
  from t where r.id = t.id and ${mayMove('claim', {}, 'r')}
    -- Those of one statement do not see each other.
    and (r.lost_leases = 0 or r.id = (select max(s.id) from runs s join t one on one.id = s.id where s.lost_leases > 0))
  returning r.*, t.event_id, (r.started_at = now()) as first
), e as (
  ${insertInto('events', 'u where first', {
    run_id: 'id',
    seq: 'last_seq',
    id: 'event_id',
    kind: "'workflow.run.started'",
    node_key: 'null',
    payload: `json_build_object('status', 'running')`,
  })}
)
select id, organization_id, root_run_id, workflow, fence, fail_fast, definition_hash, instance, metadata, state, created_at,
  estimated_usd, priority, lane, awaited_by, slot_index, first, last_seq, event_id, now() as at from u`

const RENEW = `
with t as (select * from unnest($1::text[], $2::int[]) as t(id, fence)), u as (
  update runs r set ${changesOf('renew', { dueInMs: '$3::int' }, 'r')} from t
  where r.id = t.id and ${mayMove('renew', { fence: 't.fence' }, 'r')}
  returning r.id, r.cancel_requested_at is not null as cancelled
)
select id, cancelled from u`

const RELEASE = `
update runs set ${changesOf('release')} where id = $1 and ${mayMove('release', { fence: '$2' })} returning ${DELIVERY}`

/** The runs that have been due for the longest time, at most `$1`, and which no other reconciler has at hand. */
const oldest = (where: string) =>
  `id in (select id from runs where ${where} order by due_at limit $1 for update skip locked)`

/** Adds the time of an outage to the leases that ran out in it, or soon would. */
const OUTLAST = `
update runs set ${changesOf('outlast', { dueLaterMs: '$1::int8' })}
where ${mayMove('outlast')} and due_at < ${dueAt('$1::int8')}`

const EXPIRED = `update runs set ${changesOf('expire')} where ${oldest(mayMove('expire'))}`

const LAST_PASS = `select extract(epoch from now() - at) * 1000 as ms from last_pass for update`
const THIS_PASS = `update last_pass set at = greatest(at, now())`

const GIVEN_UP = `select id from runs where ${mayMove('giveUp')} order by due_at limit $1`

const ALARM = `update runs set ${changesOf('alarm')} where ${oldest(mayMove('alarm'))}`

/** Cancelled runs that wait for the end of what they have called, in case its notification is lost. */
const STOPPED = `
select id from runs where cancel_requested_at is not null and due_at < now() and ${mayMove('settle')} order by due_at limit $1`

/** Of the runs that lost a worker only the one that was claimed last is delivered, when it is its turn. */
const TURN = `(lost_leases = 0 or (${mayMove('claim')} and id = (select id from runs
  where lost_leases > 0 and phase = 'queued' order by claimed_at desc, id desc limit 1)))`

const RECHECK = `
update runs set ${changesOf('recheck')} where ${oldest(`${mayMove('recheck')} and ${TURN}`)} returning phase, ${DELIVERY}`

/** Not all at once: of many runs that takes longer than a statement may. */
const REQUEUED_MAX = 10_000
const REQUEUE = `
update runs set ${changesOf('requeue')}
where id in (select id from runs where ${mayMove('requeue')} and due_at > now() limit ${REQUEUED_MAX}) returning id`

type ClaimRow = Pick<Selectable<Tables['runs']>, Snake<Exclude<keyof ClaimedRun, 'resumed' | 'claimedAt'>>> & {
  first: boolean
  last_seq: number
  event_id: string
  at: Date
}

type Leases = Pick<RunStore, 'notify' | 'claim' | 'renew' | 'release' | 'recover' | 'requeueAll'>

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
    publish(begun.flatMap(startedEvent))
    // A bundle begins with the first of its slots; the claim does not wait for that to be written. What is lost here is
    // written when the slot ends, or by the reconciler.
    for (const root of new Set(begun.flatMap((row) => (row.slot_index === null ? [] : [row.root_run_id]))))
      notices.begun(root).then(publish, () => {})
    const claimed = new Map(rows.map((row) => [row.id, row]))
    return items.map(({ runId }) => {
      const row = claimed.get(runId)
      return row === undefined ? null : claimedRun(row)
    })
  }

  /**
   * Takes the runs whose lease ran out from their workers. In one transaction, whose `now()` is its begin: if the record
   * goes away in the middle, as behind a locked table, no lease runs out for that, and the next pass finds the silence.
   */
  async function judgeLeases(limit: number, silenceMs = Infinity) {
    return await inTransaction(db, async (trx) => {
      const run = queryIn(trx)
      const [last] = await run<{ ms: string }>('pass.last', LAST_PASS, [])
      const silentMs = Math.round(Number(last?.ms))
      if (silentMs > silenceMs) await run('runs.outlast', OUTLAST, [silentMs])
      await run('pass.begin', THIS_PASS, [])
      await run('runs.expired', EXPIRED, [limit])
      const given = await run<{ id: string }>('runs.givenUp', GIVEN_UP, [limit])
      return await settleRuns(trx, ids, {
        move: 'giveUp',
        runIds: given.map(({ id }) => id),
        outcome: (run) =>
          run.cancel_requested_at === null
            ? { status: 'failed', error: CRASHED }
            : { status: 'cancelled', error: null },
      })
    })
  }

  const notices = createNotices(db, ids)
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
    async recover(limit, silenceMs) {
      const settled = await judgeLeases(limit, silenceMs)
      await db.query('runs.alarm', ALARM, [limit])
      const rows = await db.query<Delivery & { phase: Phase }>('runs.recheck', RECHECK, [limit])
      const rechecked = rows.map(({ phase, ...delivery }) => ({ phase, delivery }))
      const due = (phase: Phase) => rechecked.filter((one) => one.phase === phase).map(({ delivery }) => delivery)
      const bundles = due('joining').map(({ runId }) => runId)
      const stopped = (await db.query<{ id: string }>('runs.stopped', STOPPED, [limit])).map(({ id }) => id)
      const notified = await inTransaction(db, (trx) => notifyIn(trx, ids, [...bundles, ...stopped]))
      return {
        overdue: due('queued'),
        events: [...settled.events, ...notified.events],
        cancelled: [...settled.cancelled, ...notified.cancelled],
      }
    },
    async notify(runIds) {
      const heard = await Promise.all(runIds.map(notices.changed))
      return {
        deliveries: heard.flatMap(({ deliveries }) => deliveries),
        events: heard.flatMap(({ events }) => events),
        cancelled: heard.flatMap(({ cancelled }) => cancelled),
      }
    },
    async requeueAll() {
      while ((await db.query('runs.requeue', REQUEUE, [])).length === REQUEUED_MAX);
    },
  }
}

function claimedRun(claim: ClaimRow): ClaimedRun {
  const { first, last_seq: _, event_id: __, at, ...row } = claim
  return {
    ...camelCased(row),
    createdAt: row.created_at.toISOString(),
    // Rounded up: the record counts in microseconds, and nothing of the run began before it.
    claimedAt: new Date(at.getTime() + 1).toISOString(),
    estimatedUsd: Number(row.estimated_usd),
    resumed: !first,
  }
}

function startedEvent({ id, root_run_id: rootRunId, event_id, last_seq, at }: ClaimRow): RunEvent[] {
  const started: NewEvent = { kind: 'workflow.run.started', payload: { status: 'running' } }
  return eventsOf({ id, rootRunId }, [started], { ids: [event_id], base: last_seq - 1, at })
}
