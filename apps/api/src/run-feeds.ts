// The events of runs for all who listen to them in this process: each run is heard, read and serialised once.
// Hides how the record and the news join without gap or duplicate: news counts only where it continues what is there.
import type { EventLog, RunReader } from '@fabrique/db'
import type { News } from '@fabrique/queue'
import { isTerminalKind, type RunEvent } from '@fabrique/schema'
import { type EventStream, frameOf } from './event-streams.ts'
import { LOOK_EVERY_MS } from './wait-for-end.ts'

const PAGE = 500
/** What a feed keeps for those who come or come back; who is further behind reads the record for itself. */
const KEPT_EVENTS = 500
const KEPT_BYTES = 524_288
/** Runs asked after in one statement. */
const ASKED_AT_ONCE = 5_000

export interface RunFollower {
  /** True where the run has ended and has no events behind the follower's place. */
  readonly isOver: boolean
  /** Writes what there is and what comes, until the terminal event or until the stream is closed. */
  follow(stream: EventStream): Promise<void>
  /** For a follower that does not follow; `follow` leaves by itself. */
  leave(): void
}

export interface RunFeeds {
  /** Joins behind event `after`; null where the organization has no such run. */
  join(organizationId: string, runId: string, after: number): Promise<RunFollower | null>
}

interface Feed {
  organizationId: string
  runId: string
  /** The number of the event before the first that is kept. */
  base: number
  frames: Buffer[]
  bytes: number
  /** False until `base` is known: before that nothing may be taken in. */
  begun: boolean
  ended: boolean
  followers: number
  /** Wakes the followers that have all there is. */
  wakes: Set<() => void>
  /** Resolves false where there is no such run. */
  ready: Promise<boolean>
  reading: Promise<void> | null
  isBehind: boolean
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
  let isLooking = false

  /** Takes what continues the feed. False where an event is missing in between. */
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

  /** Brings the feed up to the record; who asks meanwhile makes it look once more. */
  function catchUp(feed: Feed): Promise<void> {
    feed.isBehind = true
    feed.reading ??= (async () => {
      while (feed.isBehind) {
        feed.isBehind = false
        const page = await reader.events(feed.organizationId, feed.runId, headOf(feed), PAGE)
        append(feed, page?.events ?? [])
        if (page?.events.length === PAGE) feed.isBehind = true
      }
    })().finally(() => {
      feed.reading = null
    })
    return feed.reading
  }

  /** News may be lost: what the record has more of is fetched. */
  async function look(): Promise<void> {
    if (isLooking) return
    isLooking = true
    try {
      const listening = [...feeds.values()].filter(({ begun, ended }) => begun && !ended)
      for (let at = 0; at < listening.length; at += ASKED_AT_ONCE) {
        const part = listening.slice(at, at + ASKED_AT_ONCE)
        const organizations = [...new Set(part.map(({ organizationId }) => organizationId))]
        const runs = part.map(({ runId }) => runId)
        const heads = await eventLog.heads(organizations, runs)
        const late = part.filter((feed) => (heads.get(feed.runId)?.seq ?? 0) > headOf(feed))
        await Promise.all(late.map(catchUp))
      }
    } catch {
      // The record is away: the next look is as good, and nothing is missed.
    } finally {
      isLooking = false
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
    // What is published before the subscription stands is in the record by then.
    await news.listening(runId)
    await catchUp(feed)
    return true
  }

  function enter(organizationId: string, runId: string, after: number): Feed {
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
        isBehind: false,
        stop() {},
      }
      made.ready = begin(made, after)
      feeds.set(key, made)
      timer ??= setInterval(() => void look(), LOOK_EVERY_MS)
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
      const feed = enter(organizationId, runId, after)
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
            // The record is away: the reader comes back with its last id and misses nothing.
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
