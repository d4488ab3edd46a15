// All organizations' events in one order that never changes: that of the transactions which wrote them.
// Hides how the order is kept while several transactions write at once, and how far it is already certain.
import type { RunEvent } from '@fabrique/schema'
import type { Selectable } from 'kysely'
import type { Db } from './client.ts'
import { runEvent } from './runs/rows.ts'
import type { Tables } from './tables.ts'

/** Where a reader is: everything up to this event has been read. `low` bounds what the next read looks at. */
export interface LogPlace {
  low: bigint
  pos: bigint
  runId: string
  seq: number
}

export interface LogEntry {
  organizationId: string
  event: RunEvent
  place: LogPlace
}

export interface LogPage {
  /** In order; all of a run's events in the order of their numbers. */
  entries: LogEntry[]
  next: LogPlace
  /** True where more is written already than these entries: read again in a moment. */
  more: boolean
}

/** A transaction that writes for longer no longer holds the others' events back; its own come when it ends. */
const SLOW_MS = 1_000
const SEARCHED = 250_000
/** How many transactions may have begun while another wrote, for a reader that starts in the midst of them. */
const OVERLAP = 200n

/*
 * A transaction has its number from its first write, and takes the row lock of a run perhaps later than a transaction with
 * a higher number: run Y's event 5 may be of transaction 11 and its event 6 of transaction 10. An event therefore stands
 * where the highest number among its run's events up to it says ("pos"): both at 11, in the order of their own numbers.
 * A place is certain once every transaction before it has ended: below the lowest one that still runs.
 * Numbers from a restored dump may lie ahead of the server's; nothing from there is read.
 */
const READ = `
with now_seen as materialized (select pg_current_snapshot() as snap),
recent as (
  select e.*, max(e.xact) over (partition by e.run_id order by e.seq) as pos from events e
  where e.xact >= $1::bigint and e.xact < (select pg_snapshot_xmax(snap)::text::bigint from now_seen)
), found as (
  select e.*, r.organization_id, r.root_run_id from recent e join runs r on r.id = e.run_id
  where r.organization_id = any($5::text[]) and e.timestamp > now() - interval '1 hour'
    and (e.pos, e.run_id, e.seq) > ($2::bigint, $3::text, $4::int)
  order by e.pos, e.run_id, e.seq limit $6
)
select snap::text as snapshot, found.* from now_seen left join found on true order by pos, run_id, seq`

const OVERTAKEN = `
select e.*, e.xact as pos, r.organization_id, r.root_run_id from events e join runs r on r.id = e.run_id
where e.xact = any($1::bigint[]) and r.organization_id = any($2::text[]) order by e.run_id, e.seq`

const FIND = `
with newest as (
  select id, xact, run_id, seq, timestamp from events where xact is not null order by xact desc limit ${SEARCHED}
), candidate as materialized (
  -- An id is unique: the search ends where it is found, whosever it is.
  select run_id, seq, timestamp from newest where id = $2 limit 1
), it as materialized (
  select c.run_id, c.seq, (select max(p.xact) from events p where p.run_id = c.run_id and p.seq <= c.seq) as pos
  from candidate c join runs r on r.id = c.run_id
  where r.organization_id = $1 and c.timestamp > now() - interval '1 hour'
)
select it.*, (select count(*) from (
  select from events e
  where e.xact > it.pos and (select organization_id from runs r where r.id = e.run_id) = $1
  order by e.xact limit $3::int + 1
) as behind)::int as behind from it`

const HEADS = `
select id, last_seq as seq, status in ('completed', 'failed', 'cancelled') as ended from runs
where id = any($2::text[]) and organization_id = any($1::text[])`

type Row = Selectable<Tables['events']> & { root_run_id: string; organization_id: string; xact: string; pos: string }

const LAST = { runId: '~', seq: 2_147_483_647 }

/** Whether `a` lies behind `b` in the log. */
export function isBehind(a: LogPlace, b: LogPlace): boolean {
  if (a.pos !== b.pos) return a.pos > b.pos
  return a.runId === b.runId ? a.seq > b.seq : a.runId > b.runId
}

/** The same place, for a reader that was not there to see what is held back. */
export function widened(place: LogPlace): LogPlace {
  const low = place.pos - OVERLAP
  return low < place.low ? { ...place, low } : place
}

export type EventLog = ReturnType<typeof createEventLog>

/** The log of this record. One per process: it remembers which transactions take long. */
export function createEventLog(db: Db) {
  const runningSince = new Map<bigint, number>()
  const passedBy = new Set<bigint>()
  let ended: bigint[] = []

  /** The first transaction of a snapshot whose events are not certain. */
  function horizonOf(snapshot: string): bigint {
    const [, end = '', list = ''] = snapshot.split(':')
    const running = new Set(list === '' ? [] : list.split(',').map(BigInt))
    const nowMs = performance.now()
    for (const id of runningSince.keys()) {
      if (running.has(id)) continue
      runningSince.delete(id)
      if (passedBy.delete(id)) ended.push(id)
    }
    let horizon = BigInt(end)
    for (const id of running) {
      const sinceMs = runningSince.get(id) ?? nowMs
      runningSince.set(id, sinceMs)
      if (nowMs - sinceMs > SLOW_MS) passedBy.add(id)
      else if (id < horizon) horizon = id
    }
    return horizon
  }

  return {
    /** What follows `after` and is certain, at most `limit` entries. A place where nothing is certain yet stays. */
    async read(organizationIds: string[], after: LogPlace, limit: number): Promise<LogPage> {
      const rows = await db.query<Row & { snapshot: string }>('events.read', READ, [
        String(after.low),
        String(after.pos),
        after.runId,
        after.seq,
        organizationIds,
        limit,
      ])
      const horizon = horizonOf(rows[0]?.snapshot ?? '::')
      // An empty answer is one row without an event.
      const found = rows.filter(({ id }) => id !== null)
      const certain = found.filter(({ pos }) => BigInt(pos) < horizon)
      const rest = found.slice(certain.length)
      const entries = certain.map(entryOf)
      const last = entries.at(-1)?.place
      if (found.length === limit) return { entries, next: { ...(last ?? after), low: after.low }, more: true }
      const held = rest.map(({ xact }) => BigInt(xact)).filter((xact) => xact < horizon)
      const low = held.reduce((least, xact) => (xact < least ? xact : least), horizon)
      const end = { pos: horizon - 1n, ...LAST, low }
      // Another connection may have seen a later moment.
      return { entries, next: isBehind(after, end) ? after : end, more: rest.length > 0 }
    },
    /** Entries that `read` has passed by, because their transaction took too long; each is given once per process. */
    async overtaken(organizationIds: string[]): Promise<LogEntry[]> {
      if (ended.length === 0) return []
      const ids = ended
      ended = []
      return (await db.query<Row>('events.overtaken', OVERTAKEN, [ids.map(String), organizationIds])).map(entryOf)
    },
    /** The end of what is certain. */
    async end(): Promise<LogPlace> {
      const [row] = await db.query<{ snapshot: string }>(
        'events.end',
        'select pg_current_snapshot()::text as snapshot',
        [],
      )
      const horizon = horizonOf(row?.snapshot ?? '::')
      return { pos: horizon - 1n, ...LAST, low: horizon - OVERLAP }
    },
    /**
     * Where an event stands; null where the organization has none of that id in the last hour, or more than `behindMax`
     * of its events stand behind it. Looks among the newest 250,000 of all organizations.
     */
    async find(organizationId: string, eventId: string, behindMax: number): Promise<LogPlace | null> {
      const [row] = await db.query<Pick<Row, 'pos' | 'run_id' | 'seq'> & { behind: number }>('events.find', FIND, [
        organizationId,
        eventId,
        behindMax,
      ])
      if (row === undefined || row.behind > behindMax) return null
      const pos = BigInt(row.pos)
      return { pos, runId: row.run_id, seq: row.seq, low: pos - OVERLAP }
    },
    /** The number of the last event of each of these runs, and whether it is terminal. */
    async heads(organizationIds: string[], runIds: string[]): Promise<Map<string, { seq: number; ended: boolean }>> {
      const rows = await db.query<{ id: string; seq: number; ended: boolean }>('events.heads', HEADS, [
        organizationIds,
        runIds,
      ])
      return new Map(rows.map(({ id, ...head }) => [id, head]))
    },
  }
}

function entryOf(row: Row): LogEntry {
  return {
    organizationId: row.organization_id,
    place: { pos: BigInt(row.pos), runId: row.run_id, seq: row.seq, low: 0n },
    event: runEvent(row, row.root_run_id),
  }
}
