// The events of single runs for all their followers in this process: each event is received, read and serialised once.
// Hides how PostgreSQL and Redis are joined without gap or duplicate: an event from Redis is appended only if its number
// follows the last one; otherwise the missing ones are read from PostgreSQL.
import type { EventLog, RunReader } from '@fabrique/db'
import type { News } from '@fabrique/queue'
import { isTerminalKind, type RunEvent } from '@fabrique/schema'
import { type EventStream, frameOf } from './event-streams.ts'
import { LOOK_EVERY_MS } from './wait-for-end.ts'

const PAGE = 500
/** What a feed keeps for followers that join or reconnect; one that needs older events reads them from PostgreSQL. */
const KEPT_EVENTS = 500
const KEPT_BYTES = 524_288
/** How many runs one statement asks for. */
const RUNS_PER_STATEMENT = 5_000

export interface RunFollower {
  /** True where the run has ended and the follower has seen all its events. */
  readonly isOver: boolean
  /** Writes past and future events, until the terminal one or until the stream is closed; then leaves by itself. */
  follow(stream: EventStream): Promise<void>
  /** Gives the follower up where `follow` is not called. */
  leave(): void
}

export interface RunFeeds {
  /** A follower of the events after number `after`; null where the organization has no such run. */
  join(organizationId: string, runId: string, after: number): Promise<RunFollower | null>
}

interface Feed {
  organizationId: string
  runId: string
  /** The number of the last event before the kept ones. */
  base: number
  frames: Buffer[]
  bytes: number
  /** False until `base` is known: before that no event may be appended. */
  begun: boolean
  ended: boolean
  followers: number
  /** Wakes the followers that have written every kept event. */
  wakes: Set<() => void>
  /** Resolves false where there is no such run. */
  ready: Promise<boolean>
  reading: Promise<void> | null
  mustReadAgain: boolean
  stop(): void
}

const headOf = ({ base, frames }: Feed): number => base + frames.length

/** The feeds of a process. */
export function createRunFeeds(deps: {
  reader: Pick<RunReader, 'events'>
  eventLog: Pick<EventLog, 'heads'>
  news: Pick<News, 'subscribe' | 'listening'>
}): RunFeeds {
  const { reader, eventLog, news } = deps
  const feeds = new Map<string, Feed>()
  let timer: NodeJS.Timeout | undefined
  let isPolling = false

  /** Appends the events that continue the feed. False where one before them is missing. */
  function append(feed: Feed, events: RunEvent[]): boolean {
    const before = headOf(feed)
    for (const event of events) {
      if (event.seq !== headOf(feed) + 1) continue
      const frame = frameOf(event.seq, event)
      feed.frames.push(frame)
      feed.bytes += frame.length
      if (isTerminalKind(event.kind)) feed.ended = true
    }
    const isWhole = events.every(({ seq }) => seq <= headOf(feed))
    if (headOf(feed) > before) wake(feed)
    while (feed.frames.length > KEPT_EVENTS || feed.bytes > KEPT_BYTES) {
      feed.bytes -= feed.frames.shift()?.length ?? 0
      feed.base += 1
    }
    return isWhole
  }

  function wake({ wakes }: Feed): void {
    const woken = [...wakes]
    wakes.clear()
    for (const each of woken) each()
  }

  /** Reads what the feed lacks from PostgreSQL. A call while it reads makes it read once more. */
  function catchUp(feed: Feed): Promise<void> {
    feed.mustReadAgain = true
    feed.reading ??= (async () => {
      while (feed.mustReadAgain) {
        feed.mustReadAgain = false
        const page = await reader.events(feed.organizationId, feed.runId, headOf(feed), PAGE)
        append(feed, page?.events ?? [])
        if (page?.events.length === PAGE) feed.mustReadAgain = true
      }
    })().finally(() => {
      feed.reading = null
    })
    return feed.reading
  }

  /** Redis may have lost events: fetches what PostgreSQL has more of. */
  async function poll(): Promise<void> {
    if (isPolling) return
    isPolling = true
    try {
      const running = [...feeds.values()].filter(({ begun, ended }) => begun && !ended)
      for (let at = 0; at < running.length; at += RUNS_PER_STATEMENT) {
        const part = running.slice(at, at + RUNS_PER_STATEMENT)
        const organizations = [...new Set(part.map(({ organizationId }) => organizationId))]
        const runs = part.map(({ runId }) => runId)
        const heads = await eventLog.heads(organizations, runs)
        const behind = part.filter((feed) => (heads.get(feed.runId)?.seq ?? 0) > headOf(feed))
        await Promise.all(behind.map(catchUp))
      }
    } catch {
      // PostgreSQL is away: the next poll finds the same events.
    } finally {
      isPolling = false
    }
  }

  async function begin(feed: Feed, after: number): Promise<boolean> {
    const { organizationId, runId } = feed
    const head = (await eventLog.heads([organizationId], [runId])).get(runId)
    if (head === undefined) return false
    feed.base = Math.max(Math.min(after, head.seq), head.seq - KEPT_EVENTS)
    feed.begun = true
    if (head.ended) {
      feed.ended = head.seq === feed.base
      await catchUp(feed)
      return true
    }
    feed.stop = news.subscribe(runId, (events) => {
      const inOrder = events.length === 1 ? events : events.toSorted((a, b) => a.seq - b.seq)
      if (!append(feed, inOrder)) catchUp(feed).catch(() => {})
    })
    // Events published before the subscription was active are committed by now, so this read finds them.
    await news.listening(runId)
    await catchUp(feed)
    return true
  }

  function join(organizationId: string, runId: string, after: number): Feed {
    const key = `${organizationId} ${runId}`
    let feed = feeds.get(key)
    if (feed === undefined) {
      const made: Feed = {
        organizationId,
        runId,
        base: 0,
        frames: [],
        bytes: 0,
        begun: false,
        ended: false,
        followers: 0,
        wakes: new Set(),
        ready: Promise.resolve(false),
        reading: null,
        mustReadAgain: false,
        stop() {},
      }
      made.ready = begin(made, after)
      feeds.set(key, made)
      timer ??= setInterval(() => void poll(), LOOK_EVERY_MS)
      feed = made
    }
    feed.followers += 1
    return feed
  }

  function leave(feed: Feed): void {
    feed.followers -= 1
    if (feed.followers > 0) return
    feeds.delete(`${feed.organizationId} ${feed.runId}`)
    feed.stop()
    if (feeds.size > 0) return
    clearInterval(timer)
    timer = undefined
  }

  async function follow(feed: Feed, after: number, stream: EventStream): Promise<void> {
    let cursor = after
    let close = () => {}
    stream.onClose(() => close())
    while (!stream.closed) {
      if (cursor < feed.base) {
        const events = (await reader.events(feed.organizationId, feed.runId, cursor, PAGE))?.events ?? []
        const last = events.at(-1)
        if (last === undefined) return
        stream.write(Buffer.concat(events.map((event) => frameOf(event.seq, event))))
        cursor = last.seq
        if (isTerminalKind(last.kind)) return
      } else if (cursor < headOf(feed)) {
        const fresh = feed.frames.slice(cursor - feed.base)
        cursor = headOf(feed)
        stream.write(fresh.length === 1 ? (fresh[0] as Buffer) : Buffer.concat(fresh))
      } else if (feed.ended) {
        return
      } else {
        const { promise, resolve } = Promise.withResolvers<void>()
        close = resolve
        feed.wakes.add(resolve)
        await promise
        feed.wakes.delete(resolve)
      }
      await stream.drained()
    }
  }

  return {
    async join(organizationId, runId, after) {
      const feed = join(organizationId, runId, after)
      let isReady = false
      try {
        isReady = await feed.ready
      } finally {
        if (!isReady) leave(feed)
      }
      if (!isReady) return null
      return {
        isOver: feed.ended && after >= headOf(feed),
        async follow(stream) {
          try {
            await follow(feed, after, stream)
          } catch {
            // PostgreSQL is away: the client reconnects with its last id, and misses nothing.
          } finally {
            leave(feed)
            stream.end()
          }
        },
        leave: () => leave(feed),
      }
    },
  }
}
