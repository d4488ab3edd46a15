// Write coalescing: concurrent writes meet here and go out as one multi-row statement.
// Hides when: whatever waits is collected while at most two flushes are in flight, so an idle system pays no delay.
import { FabriqueError } from '@fabrique/schema'

export interface Batcher<Item, Result> {
  /** The result of this item alone; rejects if its own row could not be written. */
  write(item: Item): Promise<Result>
}

interface Waiting<Item, Result> {
  item: Item
  resolve: (result: Result) => void
  reject: (error: unknown) => void
}

/** 100 rows a statement are the knee of the curve; beyond, only latency grows. */
const ITEMS_MAX = 100
const FLUSHES_MAX = 2

/**
 * A batcher over `flush`, which answers one result per item, in order.
 * Two items of one key are never in flight together, and keep their order. A failed statement is repeated item by
 * item, so that one bad row fails alone; a lost connection fails them all.
 */
export function createBatcher<Item, Result>(
  flush: (items: Item[]) => Promise<Result[]>,
  keyOf: (item: Item) => string,
): Batcher<Item, Result> {
  let waiting: Waiting<Item, Result>[] = []
  const keysInFlight = new Set<string>()
  let flushes = 0

  function take(): Waiting<Item, Result>[] {
    const taken: Waiting<Item, Result>[] = []
    const left: Waiting<Item, Result>[] = []
    const seen = new Set<string>()
    for (const entry of waiting) {
      const key = keyOf(entry.item)
      const free = taken.length < ITEMS_MAX && !keysInFlight.has(key) && !seen.has(key)
      seen.add(key)
      ;(free ? taken : left).push(entry)
    }
    waiting = left
    for (const { item } of taken) keysInFlight.add(keyOf(item))
    return taken
  }

  async function run(entries: Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await flush(entries.map(({ item }) => item))
      entries.forEach((entry, index) => {
        entry.resolve(results[index] as Result)
      })
    } catch (error) {
      if (entries.length === 1 || FabriqueError.is(error, 'unavailable')) {
        for (const entry of entries) entry.reject(error)
        return
      }
      for (const entry of entries) await run([entry])
    }
  }

  function pump(): void {
    while (flushes < FLUSHES_MAX && waiting.length > 0) {
      const entries = take()
      if (entries.length === 0) return
      flushes += 1
      void run(entries).finally(() => {
        flushes -= 1
        for (const { item } of entries) keysInFlight.delete(keyOf(item))
        pump()
      })
    }
  }

  let scheduled = false
  return {
    write: (item) =>
      new Promise((resolve, reject) => {
        waiting.push({ item, resolve, reject })
        if (scheduled) return
        scheduled = true
        // One turn of the event loop: what arrives in the same turn shares the first statement already.
        setImmediate(() => {
          scheduled = false
          pump()
        })
      }),
  }
}
