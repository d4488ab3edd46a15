// Ending runs that no worker executes: cancelled while queued, waiting or suspended, given up after too many crashes, or a
// bundle whose last slot has ended. Hides how terminal events are put together from the record, and whom an end concerns.
import {
  bundleTurns,
  type Ids,
  joinSlots,
  type NewEvent,
  type Phase,
  type SlotState,
  type FollowUp,
} from '@fabrique/engine'
import {
  endEvent,
  isTerminal,
  type RunError,
  type RunEvent,
  type RunStatus,
  runCost,
  waitingEvent,
} from '@fabrique/schema'
import { type RawBuilder, type Selectable, sql, type Transaction } from 'kysely'
import { queryIn } from '../client.ts'
import type { Tables } from '../tables.ts'
import { pricingVersionsOf } from './definitions.ts'
import { outputsOf } from './outputs.ts'
import { changesOf, mayMove } from './phase.ts'
import { eventFields, eventsOf, insertInto, type Statement, unnest } from './rows.ts'
import { costsOf, openGatesOf, slotsOf, treesOf } from './tree.ts'

type RunRow = Selectable<Tables['runs']>
type Trx = Transaction<Tables>
/** What follows, apart from deliveries: those are the reconciler's or the caller's. */
type News = Omit<FollowUp, 'deliveries'>

interface Settling {
  runIds: string[]
  move: 'settle' | 'giveUp'
  outcome: (run: RunRow) => { status: 'cancelled' | 'failed'; error: RunError | null }
}

interface End {
  run: RunRow
  status: 'completed' | 'cancelled' | 'failed'
  partial: boolean
  error: RunError | null
}

/**
 * Ends those of these runs that may make the move; the others are left alone. Bundles are not: their last slot ends them.
 * A run ends after all that it has called, whose cost its end tells: while any of it is executed that is cancelled, and the
 * run ends with the notification that it is over.
 */
export async function settleRuns(trx: Trx, ids: Ids, request: Settling): Promise<News> {
  const { events, held } = await settle(trx, ids, request)
  const below = await cancelBelow(trx, ids, [...events.map(({ run_id }) => run_id), ...held])
  const awaiting = await awaitingOf(trx, events)
  const notified = await notifyIn(trx, ids, awaiting)
  return {
    events: [...events, ...below.events, ...notified.events],
    cancelled: [...below.cancelled, ...notified.cancelled],
  }
}

/**
 * Requests a cancel of every run that fits and has not ended: a run that is marked can neither be claimed nor end
 * otherwise, so the same transaction has to settle those that no worker executes.
 */
export async function requestCancel(
  trx: Trx,
  which: RawBuilder<unknown>,
): Promise<{ executing: string[]; idle: string[] }> {
  const { rows } = await sql<{ id: string; phase: Phase }>`
    update runs set cancel_requested_at = coalesce(cancel_requested_at, now())
    where (${which}) and phase <> 'ended' returning id, phase`.execute(trx)
  const idsOf = (fits: (phase: Phase) => boolean) => rows.filter(({ phase }) => fits(phase)).map(({ id }) => id)
  return {
    executing: idsOf((phase) => phase === 'executing'),
    idle: idsOf((phase) => phase !== 'executing' && phase !== 'joining'),
  }
}

/** Cancels what runs have called that end or have ended. */
async function cancelBelow(trx: Trx, ids: Ids, ending: string[]): Promise<News> {
  if (ending.length === 0) return { events: [], cancelled: [] }
  const below = sql`id in (${treesOf(ending)} select id from tree) and id <> all(${ending}::text[])`
  const { executing, idle } = await requestCancel(trx, below)
  const { events } = await settle(trx, ids, cancelled(idle))
  return { events, cancelled: executing }
}

/** Ends these runs as cancelled. */
export const cancelled = (runIds: string[]): Settling => ({
  runIds,
  move: 'settle',
  outcome: () => ({ status: 'cancelled', error: null }),
})

/**
 * Notifies runs that one which they wait for has changed: callers become due for the reconciler, or end where they are
 * cancelled; bundles are joined.
 * `onlyBegun`: a slot has begun, nothing more; what else the bundle needs is left to a caller that can reach the workers.
 */
export async function notifyIn(trx: Trx, ids: Ids, runIds: string[], onlyBegun = false): Promise<News> {
  const news: News = { events: [], cancelled: [] }
  if (runIds.length === 0) return news
  await sql`update runs set ${sql.raw(changesOf('wake', { dueInMs: '0' }))}
    where id = any(${runIds}::text[]) and ${sql.raw(mayMove('wake'))}`.execute(trx)
  // Cancelled, and what it had called may be over by now.
  const stopped = await sql<{ id: string }>`select id from runs
    where id = any(${runIds}::text[]) and cancel_requested_at is not null and ${sql.raw(mayMove('settle'))}`.execute(
    trx,
  )
  if (stopped.rows.length > 0) {
    const ended = await settleRuns(trx, ids, cancelled(stopped.rows.map(({ id }) => id)))
    news.events.push(...ended.events)
    news.cancelled.push(...ended.cancelled)
  }
  const roots = await trx
    .selectFrom('runs')
    .selectAll()
    .where('id', 'in', runIds)
    .where(sql<boolean>`${sql.raw(mayMove('join'))}`)
    .orderBy('id')
    .forUpdate()
    .execute()
  for (const root of roots) {
    const joined = await join(trx, ids, root, onlyBegun)
    news.events.push(...joined.events)
    news.cancelled.push(...joined.cancelled)
  }
  return news
}

/** Brings a bundle, whose row is locked, up to what its slots are. */
async function join(trx: Trx, ids: Ids, root: RunRow, onlyBegun: boolean): Promise<News> {
  const news: News = { events: [], cancelled: [] }
  const logged = new Set(
    (
      await trx
        .selectFrom('events')
        .select(['kind', 'node_key'])
        .where('run_id', '=', root.id)
        .where('node_key', 'is not', null)
        .execute()
    ).map(({ kind, node_key }) => `${kind} ${node_key}`),
  )
  const run = { status: root.status, failFast: root.fail_fast, cancelRequested: root.cancel_requested_at !== null }
  let rows = await slotsOf(trx, [root.id])
  const owed = joinSlots(run, rows.map(slotState), logged)
  if (onlyBegun && (owed.stop || isTerminal(owed.status))) return news
  if (owed.stop) {
    const { executing, idle } = await requestCancel(trx, sql`root_run_id = ${root.id} and id <> ${root.id}`)
    news.events.push(...(await settle(trx, ids, cancelled(idle))).events)
    if (executing.length > 0) news.cancelled.push(root.id)
    rows = await slotsOf(trx, [root.id])
  }
  const joined = joinSlots(run, rows.map(slotState), logged)
  const { begins, waits } = bundleTurns({ status: root.status, started: root.started_at !== null }, joined)
  const notes: NewEvent[] = [
    ...(begins ? [{ kind: 'workflow.run.started' as const, payload: { status: 'running' } }] : []),
    ...joined.events,
    ...(waits ? [waitingEvent(await gatesToDecide(trx, rows))] : []),
  ]
  const isEnd = isTerminal(joined.status)
  if (notes.length > 0 || joined.status !== root.status) {
    news.events.push(...(await append(trx, ids, root, notes, isEnd ? root.status : joined.status)))
  }
  if (isEnd) {
    const { status, partial, error } = joined
    const end = { run: root, status: status as End['status'], partial, error }
    news.events.push(...(await endAll(trx, ids, 'join', [end])))
  }
  return news
}

function slotState(row: RunRow): SlotState {
  return {
    index: row.slot_index ?? 0,
    runId: row.id,
    workflow: row.workflow,
    status: row.status,
    started: row.started_at !== null,
    error: row.error,
    finishedAt: row.finished_at?.toISOString() ?? null,
  }
}

async function gatesToDecide(trx: Trx, slots: RunRow[]): Promise<{ id: string; name: string; run_id: string }[]> {
  const waiting = slots.filter(({ status }) => status === 'waiting').map(({ id }) => id)
  return (await openGatesOf(trx, waiting)).map(({ id, name, run_id }) => ({ id, name, run_id }))
}

/** Adds to the log of a bundle, whose row is locked. */
async function append(trx: Trx, ids: Ids, root: RunRow, notes: NewEvent[], status: RunStatus): Promise<RunEvent[]> {
  const begun = status === 'pending' ? sql`` : sql`, started_at = coalesce(started_at, now())`
  const { rows } = await sql<{ last_seq: number; at: Date }>`
    update runs set ${sql.raw(changesOf('follow', { status: `'${status}'` }))}, last_seq = last_seq + ${notes.length} ${begun}
    where id = ${root.id} returning last_seq, now() as at`.execute(trx)
  const { last_seq: seq, at } = rows[0] as { last_seq: number; at: Date }
  return await insertEvents(trx, ids, [{ run: root, base: seq - notes.length, at, events: notes }])
}

/** Ends these runs; those are `held` of which something below is executed. */
async function settle(
  trx: Trx,
  ids: Ids,
  { runIds, move, outcome }: Settling,
): Promise<{ events: RunEvent[]; held: string[] }> {
  if (runIds.length === 0) return { events: [], held: [] }
  const locked = await trx
    .selectFrom('runs')
    .selectAll()
    .where('id', 'in', runIds)
    .where(sql<boolean>`${sql.raw(mayMove(move))}`)
    .orderBy('id')
    .forUpdate()
    .execute()
  const above = await sql<{ id: string }>`${treesOf(locked.map(({ id }) => id))}
    select distinct top as id from tree join runs r using (id) where tree.id <> top and r.phase = 'executing'`.execute(
    trx,
  )
  const held = above.rows.map(({ id }) => id)
  if (held.length > 0) {
    await sql`update runs set ${sql.raw(changesOf('watch'))} where id = any(${held}::text[]) and ${sql.raw(mayMove('watch'))}`.execute(
      trx,
    )
  }
  const found = locked.filter(({ id }) => !held.includes(id))
  // The rule of `asUnknown`: no execution will ask for these answers.
  const foundIds = found.map(({ id }) => id)
  await sql`update provider_calls set outcome = 'unknown', actual_usd = estimated_usd
    where run_id = any(${foundIds}::text[]) and outcome = 'pending'`.execute(trx)
  await sql`update gates set status = 'closed', changed_at = now()
    where run_id = any(${foundIds}::text[]) and status = 'open'`.execute(trx)
  const ends = found.map((run) => ({ run, partial: false, ...outcome(run) }))
  return { events: await endAll(trx, ids, move, ends), held }
}

/** Writes these ends, with one terminal event each. The rows are locked. */
async function endAll(trx: Trx, ids: Ids, move: Settling['move'] | 'join', ends: End[]): Promise<RunEvent[]> {
  if (ends.length === 0) return []
  const runs = ends.map(({ run }) => run)
  const runIds = runs.map(({ id }) => id)
  const costOf = await costsOf(trx, runIds)
  const pricingVersionOf = await pricingVersionsOf(trx, runs)
  const ended = ends.map(({ run, status, error }) => ({ ...run, status, error }))
  const outputs = await outputsOf(trx, ended)
  const { rows: written } = await sql<{ id: string; last_seq: number; at: Date }>`
    update runs r set ${sql.raw(changesOf(move, { status: 't.status' }, 'r'))}, partial = t.partial, error = t.error,
      cancel_requested_at = case when t.status = 'cancelled' then coalesce(cancel_requested_at, now()) else cancel_requested_at end,
      finished_at = now(), last_seq = last_seq + 1
    from unnest(${runIds}::text[], ${ends.map(({ status }) => status)}::text[], ${ends.map(({ partial }) => partial)}::bool[],
      ${ends.map(({ error }) => (error === null ? null : JSON.stringify(error)))}::json[]) as t(id, status, partial, error)
    where r.id = t.id returning r.id, r.last_seq, now() as at`.execute(trx)
  const logs = ends.map(({ run, status, partial, error }, index): NewEntries => {
    const row = written.find(({ id }) => id === run.id)
    const end = endEvent(
      run,
      { status, partial, outputs: outputs(ended[index] as RunRow), error },
      runCost(costOf(run.id).spent, {
        estimated: Number(run.estimated_usd),
        pricing_version: pricingVersionOf(run),
      }),
    )
    return { run, base: (row?.last_seq ?? run.last_seq + 1) - 1, at: row?.at ?? new Date(), events: [end] }
  })
  return await insertEvents(trx, ids, logs)
}

/** What is added to the log of one run. */
interface NewEntries {
  run: RunRow
  base: number
  at: Date
  events: NewEvent[]
}

async function insertEvents(trx: Trx, ids: Ids, logs: NewEntries[]): Promise<RunEvent[]> {
  const entries = logs.map((log) => ({ ...log, ids: log.events.map(() => ids.next()) }))
  const rows = entries.flatMap(({ run, base, events, ids: own }) =>
    eventFields(run.id, events, own).map((row) => ({ ...row, seq: base + Number(row.seq) })),
  )
  if (rows.length === 0) return []
  const statement: Statement = { name: 'events.insert', text: '', values: [] }
  statement.text = insertInto('events', unnest(statement, 'events', rows), { seq: 'x.seq' })
  await queryIn(trx)(statement.name, statement.text, statement.values)
  return entries.flatMap((entry) =>
    eventsOf({ id: entry.run.id, rootRunId: entry.run.root_run_id }, entry.events, entry),
  )
}

/** The runs that wait for those that these events end. */
async function awaitingOf(trx: Trx, events: RunEvent[]): Promise<string[]> {
  if (events.length === 0) return []
  const { rows } = await sql<{ id: string }>`select distinct awaited_by as id from runs
    where id = any(${events.map(({ run_id }) => run_id)}::text[]) and awaited_by is not null order by 1`.execute(trx)
  return rows.map(({ id }) => id)
}
