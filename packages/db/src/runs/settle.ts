// Ending runs that nobody executes: cancelled while queued or parked, given up after too many crashes, or run of slots
// whose last slot has ended. Hides how terminal events are put together from the record, and who has to hear of an end.
import { type Ids, joinSlots, type NewEvent, type SlotState, type Told } from '@fabrique/engine'
import { endEvent, isTerminal, type RunError, type RunEvent, type RunStatus } from '@fabrique/schema'
import { type Selectable, sql, type Transaction } from 'kysely'
import type { Db } from '../client.ts'
import { outputsOf } from './outputs.ts'
import { treesOf } from './tree.ts'
import type { Tables } from '../tables.ts'

type RunRow = Selectable<Tables['runs']>
type Trx = Transaction<Tables>
/** What has to be told to whom, apart from deliveries: those are the reconciler's or the caller's. */
type News = Omit<Told, 'deliveries'>

interface Settling {
  runIds: string[]
  expectExpired?: boolean
  outcome: (run: RunRow) => { status: 'cancelled' | 'failed'; error: RunError | null }
}

interface End {
  run: RunRow
  status: 'completed' | 'cancelled' | 'failed'
  partial: boolean
  error: RunError | null
}

/**
 * Settles these runs in one transaction, those that still stand as expected: parked or pending, or, with
 * `expectExpired`, running past their lease. Answers the events of it; the rest is left alone.
 */
export async function settleRuns(db: Db, ids: Ids, request: Settling): Promise<News> {
  if (request.runIds.length === 0) return { events: [], cancelled: [] }
  return await inTransaction(db, (trx) => settleRunsIn(trx, ids, request))
}

/** `settleRuns` as a part of the caller's transaction. Runs of slots are not settled so: their last slot ends them. */
export async function settleRunsIn(trx: Trx, ids: Ids, request: Settling): Promise<News> {
  const events = await settle(trx, ids, request)
  const below = await cancelBelow(
    trx,
    ids,
    events.map(({ run_id }) => run_id),
  )
  const awaiting = await awaitingOf(trx, events)
  const told = await tellIn(trx, ids, awaiting)
  return {
    events: [...events, ...below.events, ...told.events],
    cancelled: [...below.cancelled, ...told.cancelled],
  }
}

/** Cancels what runs that have ended had called: nobody waits for it any more. */
async function cancelBelow(trx: Trx, ids: Ids, ended: string[]): Promise<News> {
  if (ended.length === 0) return { events: [], cancelled: [] }
  const { rows } = await sql<{ id: string; executed: boolean }>`${treesOf(ended)}
    update runs set cancel_requested_at = coalesce(cancel_requested_at, now())
    where id in (select id from tree) and id <> all(${ended}::text[]) and status in ('pending', 'running', 'waiting')
    returning id, status = 'running' and worker is not null as executed`.execute(trx)
  const idle = rows.filter(({ executed }) => !executed).map(({ id }) => id)
  return {
    events: await settle(trx, ids, { runIds: idle, outcome: () => ({ status: 'cancelled', error: null }) }),
    cancelled: rows.filter(({ executed }) => executed).map(({ id }) => id),
  }
}

/**
 * Tells runs that one which they wait for has changed; callers become pending, and are delivered by the reconciler.
 * `onlyBegun`: a slot has begun, nothing more; what else is owed to a run of slots is left to who can tell the workers.
 */
export async function tellIn(trx: Trx, ids: Ids, runIds: string[], onlyBegun = false): Promise<News> {
  const told: News = { events: [], cancelled: [] }
  if (runIds.length === 0) return told
  await sql`update runs set status = 'pending', epoch = epoch + 1, due_at = now()
    where id = any(${runIds}::text[]) and slots is null and cancel_requested_at is null
      and (status = 'waiting' or (status = 'running' and worker is null))`.execute(trx)
  const roots = await trx
    .selectFrom('runs')
    .selectAll()
    .where('id', 'in', runIds)
    .where('slots', 'is not', null)
    .where('status', 'not in', ['completed', 'failed', 'cancelled'])
    .orderBy('id')
    .forUpdate()
    .execute()
  for (const root of roots) {
    const joined = await join(trx, ids, root, onlyBegun)
    told.events.push(...joined.events)
    told.cancelled.push(...joined.cancelled)
  }
  return told
}

/** Brings a run of slots, whose row is locked, up to what its slots are. */
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
  let rows = await slotsOf(trx, root.id)
  const owed = joinSlots(run, rows.map(slotState), logged)
  if (onlyBegun && (owed.stop || isTerminal(owed.status))) return news
  if (owed.stop) {
    const { rows: stopped } = await sql<{ id: string; executed: boolean }>`
      update runs set cancel_requested_at = coalesce(cancel_requested_at, now())
      where root_run_id = ${root.id} and id <> ${root.id} and status in ('pending', 'running', 'waiting')
      returning id, status = 'running' and worker is not null as executed`.execute(trx)
    const idle = stopped.filter(({ executed }) => !executed).map(({ id }) => id)
    news.events.push(
      ...(await settle(trx, ids, { runIds: idle, outcome: () => ({ status: 'cancelled', error: null }) })),
    )
    if (idle.length < stopped.length) news.cancelled.push(root.id)
    rows = await slotsOf(trx, root.id)
  }
  const joined = joinSlots(run, rows.map(slotState), logged)
  const begins = root.started_at === null && joined.events.some(({ kind }) => kind === 'workflow.node.started')
  const waits = joined.status === 'waiting' && root.status !== 'waiting'
  const notes: NewEvent[] = [
    ...(begins ? [{ kind: 'workflow.run.started' as const, payload: { status: 'running' } }] : []),
    ...joined.events,
    ...(waits ? [await waitingEvent(trx, rows)] : []),
  ]
  const isEnd = isTerminal(joined.status)
  if (notes.length > 0 || joined.status !== root.status) {
    news.events.push(...(await append(trx, ids, root, notes, isEnd ? root.status : joined.status)))
  }
  if (isEnd) {
    const { status, partial, error } = joined
    const end = { run: root, status: status as End['status'], partial, error }
    news.events.push(...(await endAll(trx, ids, [end])))
  }
  return news
}

async function slotsOf(trx: Trx, rootId: string): Promise<RunRow[]> {
  return await trx
    .selectFrom('runs')
    .selectAll()
    .where('awaited_by', '=', rootId)
    .where('slot_index', 'is not', null)
    .orderBy('slot_index')
    .execute()
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

async function waitingEvent(trx: Trx, slots: RunRow[]): Promise<NewEvent> {
  const waiting = slots.filter(({ status }) => status === 'waiting').map(({ id }) => id)
  const { rows } = await sql<{ id: string; name: string; run_id: string }>`${treesOf(waiting)}
    select g.id, g.name, g.run_id from gates g join tree on tree.id = g.run_id where g.status = 'open'
    order by g.run_id, g.id`.execute(trx)
  const detail = `Waiting for a decision: ${rows.map(({ name }) => name).join(', ')}.`
  return { kind: 'workflow.run.waiting', payload: { status: 'waiting', gates: rows, detail } }
}

/** Adds to the log of a run of slots, whose row is locked. */
async function append(trx: Trx, ids: Ids, root: RunRow, notes: NewEvent[], status: RunStatus): Promise<RunEvent[]> {
  const { last_seq: seq, at } = await trx
    .updateTable('runs')
    .set({
      status,
      last_seq: sql`last_seq + ${notes.length}`,
      started_at: status === 'pending' ? root.started_at : sql`coalesce(started_at, now())`,
    })
    .where('id', '=', root.id)
    .returning(['last_seq', sql<Date>`now()`.as('at')])
    .executeTakeFirstOrThrow()
  const events = notes.map(
    ({ kind, nodeKey, payload }, index): RunEvent => ({
      id: ids.next(),
      seq: seq - notes.length + index + 1,
      kind,
      run_id: root.id,
      root_run_id: root.root_run_id,
      ...(nodeKey === undefined ? {} : { node_key: nodeKey }),
      timestamp: at.toISOString(),
      payload,
    }),
  )
  await insertEvents(trx, events)
  return events
}

async function settle(trx: Trx, ids: Ids, request: Settling): Promise<RunEvent[]> {
  if (request.runIds.length === 0) return []
  const locked = trx
    .selectFrom('runs')
    .selectAll()
    .where('id', 'in', request.runIds)
    .where('slots', 'is', null)
    .orderBy('id')
    .forUpdate()
  const found = await (request.expectExpired
    ? locked.where('status', '=', 'running').where('worker', 'is not', null).where('due_at', '<', sql<Date>`now()`)
    : locked.where((either) =>
        either.or([
          either('status', 'in', ['pending', 'waiting']),
          either.and([either('status', '=', 'running'), either('worker', 'is', null)]),
        ]),
      )
  ).execute()
  // Nobody will ask for these any more: they may have been charged, and count as spent.
  const foundIds = found.map(({ id }) => id)
  await sql`update provider_calls set outcome = 'unknown', actual_usd = estimated_usd
    where run_id = any(${foundIds}::text[]) and outcome = 'pending'`.execute(trx)
  return await endAll(
    trx,
    ids,
    found.map((run) => ({ run, partial: false, ...request.outcome(run) })),
  )
}

/** Writes these ends, with one terminal event each. The rows are locked. */
async function endAll(trx: Trx, ids: Ids, ends: End[]): Promise<RunEvent[]> {
  if (ends.length === 0) return []
  const runs = ends.map(({ run }) => run)
  const runIds = runs.map(({ id }) => id)
  const { rows: costs } = await sql<{ top: string; actual: string | null }>`${treesOf(runIds)}
    select top, sum(coalesce(actual_usd, estimated_usd)) as actual
    from provider_calls c join tree on tree.id = c.run_id group by top`.execute(trx)
  const { rows: pricing } = await sql<{ hash: string; version: string }>`
    select hash, definition ->> 'pricingVersion' as version from specifications
    where hash = any(${runs.map(({ definition_hash }) => definition_hash)}::text[])`.execute(trx)
  const { rows: written } = await sql<{ id: string; last_seq: number; at: Date }>`
    update runs r set status = t.status, partial = t.partial, error = t.error, fence = fence + 1, worker = null, due_at = null,
      cancel_requested_at = case when t.status = 'cancelled' then coalesce(cancel_requested_at, now()) else cancel_requested_at end,
      finished_at = now(), last_seq = last_seq + 1
    from unnest(${runIds}::text[], ${ends.map(({ status }) => status)}::text[], ${ends.map(({ partial }) => partial)}::bool[],
      ${ends.map(({ error }) => (error === null ? null : JSON.stringify(error)))}::json[]) as t(id, status, partial, error)
    where r.id = t.id returning r.id, r.last_seq, now() as at`.execute(trx)
  const events: RunEvent[] = []
  for (const { run, status, partial, error } of ends) {
    const row = written.find(({ id }) => id === run.id)
    const cost = costs.find(({ top }) => top === run.id)
    const own = run.slots === null ? [{ ...run, status, error }] : await slotsOf(trx, run.id)
    const { kind, payload } = endEvent(
      run,
      { status, partial, outputs: await outputsOf(trx, own), error },
      {
        estimated: Number(run.estimated_usd),
        actual: Number(cost?.actual ?? 0),
        pricing_version: pricing.find(({ hash }) => hash === run.definition_hash)?.version ?? '',
      },
    )
    events.push({
      id: ids.next(),
      seq: row?.last_seq ?? run.last_seq + 1,
      kind,
      run_id: run.id,
      root_run_id: run.root_run_id,
      timestamp: (row?.at ?? new Date()).toISOString(),
      payload,
    })
  }
  await insertEvents(trx, events)
  return events
}

async function insertEvents(trx: Trx, events: RunEvent[]): Promise<void> {
  if (events.length === 0) return
  await trx
    .insertInto('events')
    .values(
      events.map((event) => ({
        run_id: event.run_id,
        seq: event.seq,
        id: event.id,
        kind: event.kind,
        node_key: event.node_key ?? null,
        payload: JSON.stringify(event.payload),
        timestamp: event.timestamp,
      })),
    )
    .execute()
}

/** Who waits for the runs that these events end. */
async function awaitingOf(trx: Trx, events: RunEvent[]): Promise<string[]> {
  if (events.length === 0) return []
  const { rows } = await sql<{ id: string }>`select distinct awaited_by as id from runs
    where id = any(${events.map(({ run_id }) => run_id)}::text[]) and awaited_by is not null order by 1`.execute(trx)
  return rows.map(({ id }) => id)
}

const DEADLOCK = '40P01'
const TRIES = 4

/** A transaction over many runs; one that met another in the wrong order is begun again. */
export async function inTransaction<Result>(db: Db, work: (trx: Trx) => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await db.kysely.transaction().execute(work)
    } catch (error) {
      if ((error as { code?: string }).code !== DEADLOCK || tries === TRIES) throw error
    }
  }
}
