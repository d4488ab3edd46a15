import { EventEmitter } from 'node:events'
import type { RunEvent } from '@fabrique/schema'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { EventStream } from './event-streams.ts'
import { createRunFeeds } from './run-feeds.ts'

const RUN = 'run'

/** A record and its news in memory; an answer of `heads` can be held back. */
function setup() {
  const events: RunEvent[] = []
  const listeners = new EventEmitter()
  let answer = Promise.resolve()
  const reads: number[] = []
  const feeds = createRunFeeds({
    reader: {
      async events(organizationId, runId, after, limit) {
        reads.push(after)
        if (organizationId !== 'mine' || runId !== RUN) return null
        return { status: 'running', events: events.filter(({ seq }) => seq > after).slice(0, limit) }
      },
    },
    eventLog: {
      async heads(organizations, runs) {
        const seq = events.length
        const ended = events.at(-1)?.kind === 'workflow.run.completed'
        const before = answer
        answer = Promise.resolve()
        await before
        return new Map(organizations.includes('mine') && runs.includes(RUN) ? [[RUN, { seq, ended }]] : [])
      },
    },
    news: {
      subscribe(_runId, listener) {
        listeners.on('news', listener)
        return () => listeners.off('news', listener)
      },
      async listening() {},
    },
  })
  return {
    feeds,
    reads,
    listeners,
    /** Commits events; who listens hears of those that `heard` lets through. */
    commit(
      count: number,
      heard: (seq: number) => boolean = () => true,
      kind: RunEvent['kind'] = 'workflow.node.progress',
    ) {
      const fresh = Array.from({ length: count }, (): RunEvent => {
        const seq = events.length + 1
        const event: RunEvent = { id: `e${seq}`, seq, kind, run_id: RUN, root_run_id: RUN, timestamp: '', payload: {} }
        events.push(event)
        return event
      })
      const told = fresh.filter(({ seq }) => heard(seq))
      if (told.length > 0) listeners.emit('news', told)
    },
    /** Holds the next answer back until the returned function is called. */
    hold(): () => void {
      const held = Promise.withResolvers<void>()
      answer = held.promise
      return held.resolve
    },
    /** A follower behind `after`, and the numbers that it saw. */
    async follow(after: number) {
      const seen: number[] = []
      let isClosed = false
      const { promise: over, resolve: markOver } = Promise.withResolvers<void>()
      const closing: (() => void)[] = []
      const close = () => {
        isClosed = true
        markOver()
        for (const listener of closing.splice(0)) listener()
      }
      const stream: EventStream = {
        get closed() {
          return isClosed
        },
        write: (frames) => seen.push(...[...frames.toString().matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))),
        drained: async () => {},
        onClose: (listener) => closing.push(listener),
        end: close,
      }
      const outcome = await feeds.follow('mine', RUN, after, () => stream)
      return { seen, close, over, outcome }
    },
  }
}

const from = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index)

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

describe('the feed of a run', () => {
  it('begins after the last event of each follower, with one reader and one subscription for all', async () => {
    const { commit, follow, reads, listeners } = setup()
    commit(3)
    const followers = [await follow(0), await follow(2), await follow(3)]
    commit(2)
    await vi.advanceTimersByTimeAsync(0)
    expect(followers.map(({ seen }) => seen)).toEqual([from(1, 5), from(3, 5), from(4, 5)])
    expect([reads.length, listeners.listenerCount('news')]).toEqual([1, 1])
    for (const { close } of followers) close()
    await vi.advanceTimersByTimeAsync(0)
    expect([listeners.listenerCount('news'), vi.getTimerCount()]).toEqual([0, 0])
  })

  it('ignores news until it knows where the log begins, however long that takes', async () => {
    const { commit, follow, hold } = setup()
    const other = await follow(0)
    other.close()
    await vi.advanceTimersByTimeAsync(0)
    commit(2)
    const release = hold()
    const slow = follow(2)
    await vi.advanceTimersByTimeAsync(10_000)
    release()
    const { seen } = await slow
    commit(1)
    await vi.advanceTimersByTimeAsync(0)
    expect(seen).toEqual([3])
  })

  it('reads events whose news was lost: at once when later news shows a gap, else at the next look', async () => {
    const { commit, follow } = setup()
    const { seen } = await follow(0)
    commit(3, (seq) => seq !== 2)
    await vi.advanceTimersByTimeAsync(0)
    expect(seen).toEqual([1, 2, 3])
    commit(2, () => false)
    await vi.advanceTimersByTimeAsync(0)
    expect(seen).toEqual([1, 2, 3])
    await vi.advanceTimersByTimeAsync(2_000)
    expect(seen).toEqual(from(1, 5))
  })

  it('gives a whole long log to a follower that begins far behind what is kept', async () => {
    const { commit, follow } = setup()
    commit(1_700)
    const ahead = await follow(1_700)
    const behind = await follow(0)
    commit(1, () => true, 'workflow.run.completed')
    await Promise.all([ahead.over, behind.over])
    expect([ahead.seen, behind.seen]).toEqual([[1_701], from(1, 1_701)])
    expect((await follow(1_701)).outcome).toBe('over')
  })

  it('gives no event to another organization', async () => {
    const { commit, feeds } = setup()
    commit(1)
    const open = vi.fn<() => EventStream>()
    const outcomes = [await feeds.follow('others', RUN, 0, open), await feeds.follow('mine', 'unknown', 0, open)]
    expect([outcomes, open.mock.calls]).toEqual([[null, null], []])
    expect(vi.getTimerCount()).toBe(0)
  })
})
