// The events of whole organizations for all their listeners in this process, by one common reader of the event log.
// Hides how a listener that resumes catches up while the log grows. A message from Redis only says that it is time to read.
import type { EventLog, LogEntry, LogPlace } from '@fabrique/db'
import { isBehind, widened } from '@fabrique/db'
import type { News } from '@fabrique/queue'
import { type EventStream, frameOf } from './event-streams.ts'
import { LOOK_EVERY_MS } from './wait-for-end.ts'

const PAGE = 500
/** How many events a listener may have missed and still resume. */
const BEHIND_MAX = 10_000
/** The pause between two reads: time for open transactions, after whose events the log cannot be read yet, to end. */
const PAUSE_MS = 5
const LIVE = ': what happens from now on\n\n'
const TOO_FAR = ': the given id is unknown or too far back; what happens from now on\n\n'
/** How many events are queued for a listener that catches up; with more it reads the log a second time instead. */
const QUEUED_MAX = 1_000

export interface OrganizationFeeds {
  /**
   * Writes new events until the stream is closed; with `after` first those since that event, where it is among the
   * last 10,000. Never rejects.
   */
  follow(organizationId: string, after: string | null, stream: EventStream): Promise<void>
}

interface Listener {
  stream: EventStream
  /** What the common reader found since the listener began to catch up; null once it has. Late events have no place. */
  queue: { place: LogPlace | null; frame: Buffer }[] | null
  /** How far the listener read by itself; null once the common reader has come as far. */
  reached: LogPlace | null
}

/** The organizations' feeds of a process. */
export function createOrganizationFeeds(deps: {
  eventLog: Pick<EventLog, 'read' | 'overtaken' | 'end' | 'find'>
  news: Pick<News, 'subscribeToAny'>
}): OrganizationFeeds {
  const { eventLog, news } = deps
  const listeners = new Map<string, Set<Listener>>()
  /** Called before the first read that includes their organizations. */
  let newcomers: (() => void)[] = []
  let place: LogPlace | null = null
  let isReading = false
  let mustReadAgain = false
  let pause: NodeJS.Timeout | undefined
  let stopPolling: (() => void) | undefined

  /** Reads the log to its end. A call while it reads makes it read again. */
  async function poll(): Promise<void> {
    mustReadAgain = true
    if (isReading || pause !== undefined) return
    isReading = true
    mustReadAgain = false
    let more = false
    try {
      place ??= await eventLog.end()
      for (;;) {
        if (newcomers.length > 0) {
          place = widened(place)
          for (const begin of newcomers) begin()
          newcomers = []
        }
        const organizations = [...listeners.keys()]
        deliver(await eventLog.overtaken(organizations), true)
        const page = await eventLog.read(organizations, place, PAGE)
        place = page.next
        more = page.more
        deliver(page.entries, false)
        if (page.entries.length < PAGE) break
      }
    } catch {
      // PostgreSQL is away: the next poll begins where this one stopped.
    } finally {
      isReading = false
      if (listeners.size === 0) place = null
      else if (more || mustReadAgain) {
        pause = setTimeout(() => {
          pause = undefined
          void poll()
        }, PAUSE_MS)
      }
    }
  }

  function deliver(entries: LogEntry[], isLate: boolean): void {
    for (const [organizationId, own] of Map.groupBy(entries, (entry) => entry.organizationId)) {
      const frames = own.map(({ event, place: at }) => ({ place: isLate ? null : at, frame: frameOf(event.id, event) }))
      const together = Buffer.concat(frames.map(({ frame }) => frame))
      for (const listener of listeners.get(organizationId) ?? []) {
        const { stream, queue, reached } = listener
        if (queue !== null) {
          if (queue.length <= QUEUED_MAX) queue.push(...frames)
        } else if (reached === null) {
          stream.write(together)
        } else {
          const fresh = frames.filter(({ place: at }) => at === null || isBehind(at, reached))
          stream.write(Buffer.concat(fresh.map(({ frame }) => frame)))
          if (!isLate && fresh.length === frames.length) listener.reached = null
        }
      }
    }
  }

  function add(organizationId: string, listener: Listener): void {
    const own = listeners.get(organizationId) ?? new Set()
    listeners.set(organizationId, own.add(listener))
    if (stopPolling !== undefined) return
    const unsubscribe = news.subscribeToAny(() => void poll())
    const timer = setInterval(() => void poll(), LOOK_EVERY_MS)
    stopPolling = () => {
      unsubscribe()
      clearInterval(timer)
    }
  }

  function remove(organizationId: string, listener: Listener): void {
    const own = listeners.get(organizationId)
    own?.delete(listener)
    if (own?.size === 0) listeners.delete(organizationId)
    if (listeners.size > 0) return
    stopPolling?.()
    stopPolling = undefined
    if (!isReading) place = null
  }

  /** Resolves when a read begins that delivers all later events to every listener of now. */
  async function nextRead(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    newcomers.push(resolve)
    void poll()
    await promise
  }

  /** Writes the events after a place up to the end of the log; answers the place there. */
  async function replay(organizationId: string, from: LogPlace, stream: EventStream): Promise<LogPlace> {
    let at = from
    while (!stream.closed) {
      const page = await eventLog.read([organizationId], at, PAGE)
      at = page.next
      if (page.entries.length > 0)
        stream.write(Buffer.concat(page.entries.map(({ event }) => frameOf(event.id, event))))
      if (page.entries.length < PAGE) break
      await stream.drained()
    }
    return at
  }

  async function resume(organizationId: string, from: LogPlace, listener: Listener): Promise<void> {
    const { stream } = listener
    let reached = from
    while (!stream.closed) {
      const queue: NonNullable<Listener['queue']> = []
      listener.queue = queue
      await nextRead()
      reached = await replay(organizationId, reached, stream)
      if (queue.length > QUEUED_MAX) continue
      const fresh = queue.filter(({ place: at }) => at === null || isBehind(at, reached))
      if (fresh.length > 0) stream.write(Buffer.concat(fresh.map(({ frame }) => frame)))
      break
    }
    listener.reached = reached
    listener.queue = null
  }

  return {
    async follow(organizationId, after, stream) {
      const closed = new Promise<void>((resolve) => stream.onClose(resolve))
      const listener: Listener = { stream, queue: [], reached: null }
      add(organizationId, listener)
      try {
        const from = after === null ? null : await eventLog.find(organizationId, after, BEHIND_MAX)
        if (from === null) {
          listener.queue = null
          await Promise.race([nextRead(), closed])
          stream.write(Buffer.from(after === null ? LIVE : TOO_FAR))
        } else {
          await resume(organizationId, from, listener)
        }
        await closed
      } catch {
        // PostgreSQL is away: the client reconnects with its last id, and misses nothing.
      } finally {
        remove(organizationId, listener)
        stream.end()
      }
    },
  }
}
