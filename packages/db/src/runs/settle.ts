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
import { costsOf, openGatesOf, treesOf } from './tree.ts'

type RunRow = Selectable<Tables['runs']>
type Trx = Transaction<Tables>
/** What follows, apart from deliveries: those are the reconciler's or the caller's. */
type News = Omit<FollowUp, 'deliveries'>

interface Settling {
  runIds: string[]
  move: 'settle' | 'giveUp'
  outcome: (run: RunRow) => { status: 'cancelled' | 'failed'; error: RunError | null }
}

/** What is added to the log of one run, whose row is locked, and the status that it gets. */
interface Growth {
  run: RunRow
  notes: NewEvent[]
  /** It is the first that happens in the run. */
  begins: boolean
  status: RunStatus
}

interface End extends Growth {
  status: 'completed' | 'cancelled' | 'failed'
  partial: boolean
  error: RunError | null
}

/** What each growth `t` (events, begins) changes of its run `r`. */
const GROWS = sql.raw(`last_seq = r.last_seq + t.events,
      started_at = case when t.begins then coalesce(r.started_at, now()) else r.started_at end`)

/** A run's row after it has grown. */
type Written = Pick<RunRow, 'id' | 'last_seq'> & { at: Date }

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
): Promise<Record<'executing' | 'idle', { id: string; root_run_id: string }[]>> {
  const { rows } = await sql<{ id: string; root_run_id: string; phase: Phase }>`
    update runs set cancel_requested_at = coalesce(cancel_requested_at, now())
    where (${which}) and phase <> 'ended' returning id, root_run_id, phase`.execute(trx)
  return {
    executing: rows.filter(({ phase }) => phase === 'executing'),
    idle: rows.filter(({ phase }) => phase !== 'executing' && phase !== 'joining'),
  }
}

/** Cancels what runs have called that end or have ended. */
async function cancelBelow(trx: Trx, ids: Ids, ending: string[]): Promise<News> {
  if (ending.length === 0) return { events: [], cancelled: [] }
  const below = sql`id in (${treesOf(ending)} select id from tree) and id <> all(${ending}::text[])`
  const { executing, idle } = await requestCancel(trx, below)
  const { events } = await settle(trx, ids, cancelled(idle.map(({ id }) => id)))
  return { events, cancelled: executing.map(({ id }) => id) }
}

/** Ends these runs as cancelled. */
export const cancelled = (runIds: string[]): Settling => ({
  runIds,
  move: 'settle',
  outcome: () => ({ status: 'cancelled', error: null }),
})

/**
 * Notifies runs that one which they wait for has changed: callers become due for the reconciler, or end where they are
 * cancelled; bundles are joined. Of those that are `begun` a slot has begun, nothing more: what else such a bundle needs is
 * left to a caller that can reach the workers.
 */
export async function notifyIn(trx: Trx, ids: Ids, changed: string[], begun: string[] = []): Promise<News> {
  const stopped = await notifyCallers(trx, ids, changed)
  const joined = await joinBundles(trx, ids, [...changed, ...begun], new Set(begun))
  return {
    events: [...stopped.events, ...joined.events],
    cancelled: [...stopped.cancelled, ...joined.cancelled],
  }
}

async function notifyCallers(trx: Trx, ids: Ids, runIds: string[]): Promise<News> {
  if (runIds.length === 0) return { events: [], cancelled: [] }
  await sql`update runs set ${sql.raw(changesOf('wake', { dueInMs: '0' }))}
    where id = any(${runIds}::text[]) and ${sql.raw(mayMove('wake'))}`.execute(trx)
  // Cancelled, and what it had called may be over by now.
  const stopped = await sql<{ id: string }>`select id from runs
    where id = any(${runIds}::text[]) and cancel_requested_at is not null and ${sql.raw(mayMove('settle'))}`.execute(
    trx,
  )
  if (stopped.rows.length === 0) return { events: [], cancelled: [] }
  return await settleRuns(trx, ids, cancelled(stopped.rows.map(({ id }) => id)))
}

/** Brings those of these runs that are bundles up to what their slots are, all of them in the same statements. */
async function joinBundles(trx: Trx, ids: Ids, runIds: string[], begun: ReadonlySet<string>): Promise<News> {
  const locked = await lock(trx, runIds, 'join')
  if (locked.length === 0) return { events: [], cancelled: [] }
  const logged = await trx
    .selectFrom('events')
    .select(['run_id', 'kind', 'node_key'])
    .where(
      'run_id',
      'in',
      locked.map(({ id }) => id),
    )
    .where('node_key', 'is not', null)
    .execute()
  const loggedBy = Map.groupBy(logged, ({ run_id }) => run_id)
  const entriesOf = (rootId: string) =>
    new Set(loggedBy.get(rootId)?.map(({ kind, node_key }) => `${kind} ${node_key}`))
  const joinAll = async (roots: RunRow[]) => {
    const slotsOf = await slotStatesOf(trx, roots)
    return roots.map((root) => {
      const { status, fail_fast: failFast, started_at, cancel_requested_at } = root
      const slots = slotsOf(root.id)
      const run = { status, failFast, cancelRequested: cancel_requested_at !== null }
      const joined = joinSlots(run, slots, entriesOf(root.id))
      return { root, slots, joined, turns: bundleTurns({ status, started: started_at !== null }, joined) }
    })
  }

  const before = (await joinAll(locked)).filter(
    ({ root, joined }) => !(begun.has(root.id) && (joined.stop || isTerminal(joined.status))),
  )
  const stopping = before.filter(({ joined }) => joined.stop).map(({ root }) => root.id)
  const stopped = await stopSlots(trx, ids, stopping)
  const bundles = stopping.length === 0 ? before : await joinAll(before.map(({ root }) => root))
  const gatesOf = await gatesToDecide(
    trx,
    bundles.flatMap(({ turns, slots }) => (turns.waits ? slots : [])),
  )
  const grown: Growth[] = []
  const ends: End[] = []
  for (const { root, slots, joined, turns } of bundles) {
    const { status, partial, error } = joined
    const { begins, waits } = turns
    const notes: NewEvent[] = [
      ...(begins ? [{ kind: 'workflow.run.started' as const, payload: { status: 'running' } }] : []),
      ...joined.events,
      ...(waits ? [waitingEvent(gatesOf(slots))] : []),
    ]
    if (isTerminal(status)) ends.push({ run: root, notes, begins, status: status as End['status'], partial, error })
    else if (notes.length > 0 || status !== root.status) grown.push({ run: root, notes, begins, status })
  }
  const events = [...stopped.events, ...(await append(trx, ids, grown)), ...(await endAll(trx, ids, 'join', ends))]
  return { events, cancelled: stopped.cancelled }
}

/** Cancels every slot of these bundles that has not ended, with all that it has called. */
async function stopSlots(trx: Trx, ids: Ids, rootIds: string[]): Promise<News> {
  if (rootIds.length === 0) return { events: [], cancelled: [] }
  const below = sql`root_run_id = any(${rootIds}::text[]) and id <> root_run_id`
  const { executing, idle } = await requestCancel(trx, below)
  const { events } = await settle(trx, ids, cancelled(idle.map(({ id }) => id)))
  return { events, cancelled: [...new Set(executing.map(({ root_run_id }) => root_run_id))] }
}

/** Looks up what joining has to know of the slots of these bundles, in their order. */
async function slotStatesOf(trx: Trx, roots: RunRow[]): Promise<(rootId: string) => SlotState[]> {
  const rootIds = roots.map(({ id }) => id)
  const rows = await trx
    .selectFrom('runs')
    .select(['awaited_by', 'slot_index', 'id', 'workflow', 'status', 'started_at', 'error', 'finished_at'])
    .where('awaited_by', 'in', rootIds)
    .where('slot_index', 'is not', null)
    .orderBy('slot_index')
    .execute()
  const rowsOf = Map.groupBy(rows, ({ awaited_by }) => awaited_by)
  return (rootId) =>
    (rowsOf.get(rootId) ?? []).map(({ slot_index, id, workflow, status, started_at, error, finished_at }) => ({
      index: slot_index ?? 0,
      runId: id,
      workflow,
      status,
      started: started_at !== null,
      error,
      finishedAt: finished_at?.toISOString() ?? null,
    }))
}

/** Looks up the open gates of these slots that wait, and of all that they have called. */
async function gatesToDecide(trx: Trx, slots: SlotState[]) {
  const waiting = slots.filter(({ status }) => status === 'waiting').map(({ runId }) => runId)
  const gates = Map.groupBy(waiting.length === 0 ? [] : await openGatesOf(trx, waiting), ({ top }) => top)
  return (some: SlotState[]) =>
    some.flatMap(({ runId }) => (gates.get(runId) ?? []).map(({ id, name, run_id }) => ({ id, name, run_id })))
}

/** Adds to the logs of bundles, whose rows are locked. */
async function append(trx: Trx, ids: Ids, grown: Growth[]): Promise<RunEvent[]> {
  if (grown.length === 0) return []
  const { rows } = await sql<Written>`
    update runs r set ${sql.raw(changesOf('follow', { status: 't.status' }, 'r'))}, ${GROWS}
    from unnest(${grown.map(({ run }) => run.id)}::text[], ${grown.map(({ status }) => status)}::text[],
      ${grown.map(({ notes }) => notes.length)}::int[], ${grown.map(({ begins }) => begins)}::bool[]) as t(id, status, events, begins)
    where r.id = t.id returning r.id, r.last_seq, now() as at`.execute(trx)
  return await insertEvents(trx, ids, grown, rows)
}

/** Ends these runs; those are `held` of which something below is executed. */
async function settle(
  trx: Trx,
  ids: Ids,
  { runIds, move, outcome }: Settling,
): Promise<{ events: RunEvent[]; held: string[] }> {
  if (runIds.length === 0) return { events: [], held: [] }
  const locked = await lock(trx, runIds, move)
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
  const ends = found.map((run) => ({ run, notes: [], begins: false, partial: false, ...outcome(run) }))
  return { events: await endAll(trx, ids, move, ends), held }
}

/** Those of these runs that may make the move, locked in the order of their ids. */
async function lock(trx: Trx, runIds: string[], move: Settling['move'] | 'join'): Promise<RunRow[]> {
  if (runIds.length === 0) return []
  const runs = trx.selectFrom('runs').selectAll().where('id', 'in', runIds)
  return await runs
    .where(sql<boolean>`${sql.raw(mayMove(move))}`)
    .orderBy('id')
    .forUpdate()
    .execute()
}

/** Writes these ends, with one terminal event each behind what else is noted. The rows are locked. */
async function endAll(trx: Trx, ids: Ids, move: Settling['move'] | 'join', ends: End[]): Promise<RunEvent[]> {
  if (ends.length === 0) return []
  const runs = ends.map(({ run }) => run)
  const runIds = runs.map(({ id }) => id)
  const costOf = await costsOf(trx, runIds)
  const pricingVersionOf = await pricingVersionsOf(trx, runs)
  const ended = ends.map(({ run, status, error }) => ({ ...run, status, error }))
  const outputs = await outputsOf(trx, ended)
  const { rows: written } = await sql<Written>`
    update runs r set ${sql.raw(changesOf(move, { status: 't.status' }, 'r'))}, partial = t.partial, error = t.error,
      cancel_requested_at = case when t.status = 'cancelled' then coalesce(cancel_requested_at, now()) else cancel_requested_at end,
      finished_at = now(), ${GROWS}
    from unnest(${runIds}::text[], ${ends.map(({ status }) => status)}::text[], ${ends.map(({ partial }) => partial)}::bool[],
      ${ends.map(({ error }) => (error === null ? null : JSON.stringify(error)))}::json[],
      ${ends.map(({ notes }) => notes.length + 1)}::int[], ${ends.map(({ begins }) => begins)}::bool[])
      as t(id, status, partial, error, events, begins)
    where r.id = t.id returning r.id, r.last_seq, now() as at`.execute(trx)
  const logs = ends.map(({ run, status, partial, error, notes }, index) => {
    const end = endEvent(
      run,
      { status, partial, outputs: outputs(ended[index] as RunRow), error },
      runCost(costOf(run.id).spent, {
        estimated: Number(run.estimated_usd),
        pricing_version: pricingVersionOf(run),
      }),
    )
    return { run, notes: [...notes, end] }
  })
  return await insertEvents(trx, ids, logs, written)
}

/** Inserts the last entries of these runs' logs, whose rows have grown by them already. */
async function insertEvents(
  trx: Trx,
  ids: Ids,
  logs: Pick<Growth, 'run' | 'notes'>[],
  written: Written[],
): Promise<RunEvent[]> {
  const rowOf = new Map(written.map((row) => [row.id, row]))
  const entries = logs.map(({ run, notes }) => {
    const { last_seq, at } = rowOf.get(run.id) as Written
    return { run, notes, at, base: last_seq - notes.length, ids: notes.map(() => ids.next()) }
  })
  const rows = entries.flatMap(({ run, base, notes, ids: own }) =>
    eventFields(run.id, notes, own).map((row) => ({ ...row, seq: base + Number(row.seq) })),
  )
  if (rows.length === 0) return []
  const statement: Statement = { name: 'events.insert', text: '', values: [] }
  statement.text = insertInto('events', unnest(statement, 'events', rows), { seq: 'x.seq' })
  await queryIn(trx)(statement.name, statement.text, statement.values)
  return entries.flatMap((entry) =>
    eventsOf({ id: entry.run.id, rootRunId: entry.run.root_run_id }, entry.notes, entry),
  )
}

/** The runs that wait for those that these events end. */
async function awaitingOf(trx: Trx, events: RunEvent[]): Promise<string[]> {
  if (events.length === 0) return []
  const { rows } = await sql<{ id: string }>`select distinct awaited_by as id from runs
    where id = any(${events.map(({ run_id }) => run_id)}::text[]) and awaited_by is not null order by 1`.execute(trx)
  return rows.map(({ id }) => id)
}
