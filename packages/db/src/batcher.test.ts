import { FabriqueError } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { createBatcher } from './batcher.ts'

interface Item {
  key: string
  n: number
}

/** A batcher whose flushes the test ends one by one, and what they were given. */
function setup() {
  const flushes: { items: Item[]; end: (error?: Error) => void }[] = []
  let arrived: (() => void) | undefined
  const batcher = createBatcher<Item, number>(
    (items) =>
      new Promise((resolve, reject) => {
        flushes.push({ items, end: (error) => (error ? reject(error) : resolve(items.map(({ n }) => n * 10))) })
        arrived?.()
      }),
    ({ key }) => key,
  )
  /** Resolves when the `count`th flush has begun. */
  async function begun(count: number): Promise<void> {
    while (flushes.length < count) {
      await new Promise<void>((resolve) => {
        arrived = resolve
      })
    }
  }
  return { write: batcher.write, flushes, begun }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** A batcher over a flush that is done after one turn of the event loop. */
function counting(flush: (items: Item[]) => Promise<number[]> = async (items) => items.map(({ n }) => n * 10)) {
  const sizes: number[] = []
  const { write } = createBatcher<Item, number>(
    async (items) => {
      sizes.push(items.length)
      await turn()
      return await flush(items)
    },
    ({ key }) => key,
  )
  return { write, sizes }
}

describe('the batcher', () => {
  it.each([1, 99, 100, 101, 1_000])(
    'writes %i concurrent items in few statements, each to its own result',
    async (n) => {
      const { write, sizes } = counting()
      const results = await Promise.all(Array.from({ length: n }, (_, i) => write({ key: `k${i}`, n: i })))
      expect(results).toEqual(Array.from({ length: n }, (_, i) => i * 10))
      expect(sizes.length).toBeLessThanOrEqual(Math.ceil(n / 100) + 2)
      expect(Math.max(...sizes)).toBeLessThanOrEqual(100)
    },
  )

  it('has at most two statements in flight, and collects what arrives meanwhile', async () => {
    const { write, flushes, begun } = setup()
    const first = write({ key: 'a', n: 1 })
    await begun(1)
    const second = write({ key: 'b', n: 2 })
    await begun(2)
    const rest = Promise.all(Array.from({ length: 40 }, (_, i) => write({ key: `c${i}`, n: i })))
    await turn()
    await turn()
    expect(flushes).toHaveLength(2)
    flushes[0]?.end()
    expect(await first).toBe(10)
    await begun(3)
    expect(flushes[2]?.items).toHaveLength(40)
    flushes[1]?.end()
    flushes[2]?.end()
    expect(await second).toBe(20)
    expect(await rest).toEqual(Array.from({ length: 40 }, (_, i) => i * 10))
  })

  it('never has two items of one key in flight, and keeps their order', async () => {
    const inFlight = new Set<string>()
    const order: number[] = []
    const { write } = counting(async (items) => {
      for (const { key } of items) {
        expect(inFlight.has(key)).toBe(false)
        inFlight.add(key)
      }
      await turn()
      order.push(...items.filter(({ key }) => key === 'same').map(({ n }) => n))
      for (const { key } of items) inFlight.delete(key)
      return items.map(({ n }) => n)
    })
    await Promise.all(Array.from({ length: 60 }, (_, n) => write({ key: n % 2 === 0 ? 'same' : `k${n % 7}`, n })))
    expect(order).toEqual(Array.from({ length: 30 }, (_, n) => n * 2))
  })

  it('does not let one busy key hold up the others', async () => {
    const { write, flushes, begun } = setup()
    const busy = write({ key: 'a', n: 1 })
    await begun(1)
    const next = write({ key: 'a', n: 2 })
    const other = write({ key: 'b', n: 3 })
    await begun(2)
    expect(flushes[1]?.items.map(({ n }) => n)).toEqual([3])
    flushes[1]?.end()
    expect(await other).toBe(30)
    flushes[0]?.end()
    await begun(3)
    expect(flushes[2]?.items.map(({ n }) => n)).toEqual([2])
    flushes[2]?.end()
    expect([await busy, await next]).toEqual([10, 20])
  })

  it('fails a bad item alone', async () => {
    const { write } = counting(async (items) => {
      if (items.some(({ n }) => n === 3)) throw new Error('item 3 is bad')
      return items.map(({ n }) => n)
    })
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => write({ key: `k${n}`, n })))
    expect(outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : 'failed'))).toEqual([
      0,
      1,
      2,
      'failed',
      4,
      5,
      6,
      7,
    ])
  })

  it('fails all of a statement whose connection was lost, without trying them one by one', async () => {
    const { write, sizes } = counting(async () => {
      throw new FabriqueError('unavailable', 'The database is away.')
    })
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => write({ key: `k${n}`, n })))
    expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true)
    expect(sizes).toEqual([8])
  })

  it('writes what comes after a failed statement', async () => {
    let failed = false
    const { write } = counting(async (items) => {
      if (!failed) {
        failed = true
        throw new FabriqueError('unavailable', 'The database is away.')
      }
      return items.map(({ n }) => n)
    })
    await expect(write({ key: 'a', n: 1 })).rejects.toThrow('away')
    expect(await write({ key: 'a', n: 2 })).toBe(2)
  })
})
