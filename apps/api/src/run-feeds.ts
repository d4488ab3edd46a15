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

interface FeedDeps {
  reader: Pick<RunReader, 'events'>
  eventLog: Pick<EventLog, 'heads'>
  news: Pick<News, 'subscribe' | 'listening'>
}

export interface RunFeeds {
  /**
   * Writes the events after number `after` to the stream that it opens, past and future ones, until the terminal one or
   * until the stream is closed. Resolves once it is open. `over`: the run has ended and no event follows, so it opens
   * none. Null where the organization has no such run.
   */
  follow(organizationId: string, runId: string, after: number, open: () => EventStream): Promise<'open' | 'over' | null>
}

/** The feeds of a process. */
export function createRunFeeds(deps: FeedDeps): RunFeeds {
  const feeds = new Map<string, ReturnType<typeof createFeed>>()
  let timer: NodeJS.Timeout | undefined
  let isPolling = false

  /** Redis may have lost events: fetches what PostgreSQL has more of. */
  async function poll(): Promise<void> {
    if (isPolling) return
    isPolling = true
    try {
      const live = [...feeds.values()].filter((feed) => feed.state === 'live')
      for (let at = 0; at < live.length; at += RUNS_PER_STATEMENT) {
        const part = live.slice(at, at + RUNS_PER_STATEMENT)
        const organizations = [...new Set(part.map(({ organizationId }) => organizationId))]
        const runs = part.map(({ runId }) => runId)
        const heads = await deps.eventLog.heads(organizations, runs)
        const behind = part.filter((feed) => (heads.get(feed.runId)?.seq ?? 0) > feed.head)
        await Promise.all(behind.map((feed) => feed.catchUp()))
      }
    } catch {
      // PostgreSQL is away: the next poll finds the same events.
    } finally {
      isPolling = false
    }
  }

  return {
    async follow(organizationId, runId, after, open) {
      const key = `${organizationId} ${runId}`
      const feed = feeds.get(key) ?? createFeed(deps, organizationId, runId, after)
      feeds.set(key, feed)
      feed.followers += 1
      timer ??= setInterval(() => void poll(), LOOK_EVERY_MS)

      function leave(): void {
        feed.followers -= 1
        if (feed.followers > 0) return
        feeds.delete(key)
        feed.stop()
        if (feeds.size > 0) return
        clearInterval(timer)
        timer = undefined
      }

      let stream: EventStream | undefined
      try {
        if (!(await feed.ready)) return null
        if (feed.state === 'ended' && after >= feed.head) return 'over'
        stream = open()
      } finally {
        if (stream === undefined) leave()
      }
      const end = () => {
        leave()
        stream.end()
      }
      // Rejects where PostgreSQL is away: the client reconnects with its last id, and misses nothing.
      feed.follow(after, stream).then(end, end)
      return 'open'
    },
  }
}

/** The events of one run from about number `after` on, until `stop`. */
function createFeed({ reader, eventLog, news }: FeedDeps, organizationId: string, runId: string, after: number) {
  /** The kept events, and the number of the last one before them. */
  const frames: Buffer[] = []
  let base = 0
  let bytes = 0
  /** Called when there are more events: by followers that have written every kept one. */
  const wakes = new Set<() => void>()
  let reading: Promise<void> | null = null
  let mustReadAgain = false

  const feed = {
    organizationId,
    runId,
    followers: 0,
    /** `beginning` until `base` is known: before that no event may be appended. */
    state: 'beginning' as 'beginning' | 'live' | 'ended',
    /** Resolves false where there is no such run. */
    ready: begin(),
    get head() {
      return base + frames.length
    },
    catchUp,
    follow,
    stop() {},
  }
  return feed

  async function begin(): Promise<boolean> {
    const found = (await eventLog.heads([organizationId], [runId])).get(runId)
    if (found === undefined) return false
    base = Math.max(Math.min(after, found.seq), found.seq - KEPT_EVENTS)
    feed.state = found.ended && found.seq === base ? 'ended' : 'live'
    if (!found.ended) {
      feed.stop = news.subscribe(runId, (events) => {
        const inOrder = events.length === 1 ? events : events.toSorted((a, b) => a.seq - b.seq)
        if (!append(inOrder)) catchUp().catch(() => {})
      })
      // Events published before the subscription was active are committed by now, so the read finds them.
      await news.listening(runId)
    }
    await catchUp()
    return true
  }

  /** Appends the events that continue the feed. False where one before them is missing. */
  function append(events: RunEvent[]): boolean {
    const before = feed.head
    for (const event of events) {
      if (event.seq !== feed.head + 1) continue
      const frame = frameOf(event.seq, event)
      frames.push(frame)
      bytes += frame.length
      if (isTerminalKind(event.kind)) feed.state = 'ended'
    }
    const isWhole = events.every(({ seq }) => seq <= feed.head)
    if (feed.head > before) {
      for (const wake of wakes) wake()
      wakes.clear()
    }
    while (frames.length > KEPT_EVENTS || bytes > KEPT_BYTES) {
      bytes -= frames.shift()?.length ?? 0
      base += 1
    }
    return isWhole
  }

  /** Reads what the feed lacks from PostgreSQL. A call while it reads makes it read once more. */
  function catchUp(): Promise<void> {
    mustReadAgain = true
    reading ??= (async () => {
      while (mustReadAgain) {
        mustReadAgain = false
        const page = await reader.events(organizationId, runId, feed.head, PAGE)
        append(page?.events ?? [])
        if (page?.events.length === PAGE) mustReadAgain = true
      }
    })().finally(() => {
      reading = null
    })
    return reading
  }

  async function follow(behind: number, stream: EventStream): Promise<void> {
    let cursor = behind
    let close = () => {}
    stream.onClose(() => close())
    while (!stream.closed) {
      if (cursor < base) {
        const events = (await reader.events(organizationId, runId, cursor, PAGE))?.events ?? []
        const last = events.at(-1)
        if (last === undefined) return
        stream.write(Buffer.concat(events.map((event) => frameOf(event.seq, event))))
        cursor = last.seq
        if (isTerminalKind(last.kind)) return
      } else if (cursor < feed.head) {
        const fresh = frames.slice(cursor - base)
        cursor = feed.head
        stream.write(fresh.length === 1 ? (fresh[0] as Buffer) : Buffer.concat(fresh))
      } else if (feed.state === 'ended') {
        return
      } else {
        const { promise, resolve } = Promise.withResolvers<void>()
        close = resolve
        wakes.add(resolve)
        await promise
        wakes.delete(resolve)
      }
      await stream.drained()
    }
  }
}
