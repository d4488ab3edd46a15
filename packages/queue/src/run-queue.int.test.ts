import { randomBytes } from 'node:crypto'
import type { Delivery, Log } from '@fabrique/engine'
import { runQueueContract } from '@fabrique/engine/testing'
import type { RunEvent } from '@fabrique/schema'
import { Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Consumer, createConsumer } from './consumer.ts'
import { createNews } from './news.ts'
import { type BullRunQueue, createRunQueue, LANES, queueNames } from './run-queue.ts'

const log: Log = { debug() {}, info() {}, warn() {}, error() {} }

function redisUrl(): string {
  return process.env.TEST_REDIS_URL ?? ''
}

/** A queue under a prefix of its own, whose keys are removed afterwards. */
async function open() {
  const prefix = `test-${randomBytes(6).toString('hex')}`
  const names = queueNames(prefix)
  const redis = new Redis(redisUrl(), { maxRetriesPerRequest: null })
  const queue = createRunQueue({ redisUrl: redisUrl(), prefix, log })
  await Promise.all(queue.queues.map((each) => each.waitUntilReady()))
  const workers = LANES.map(
    (lane) => new Worker(names.lane(lane), null, { connection: redis, prefix: names.prefix, autorun: false }),
  )
  return {
    queue,
    prefix,
    names,
    redis,
    async take(): Promise<string | null> {
      for (const worker of workers) {
        const job = await worker.getNextJob('test', { block: false })
        if (job === undefined) continue
        await job.moveToCompleted(null, 'test', false)
        return (job.data as { run_id: string }).run_id
      }
      return null
    },
    async dispose() {
      await Promise.all(workers.map((worker) => worker.close(true)))
      await queue.close()
      const keys = await redis.keys(`${names.prefix}:*`)
      if (keys.length > 0) await redis.del(keys)
      redis.disconnect()
    },
  }
}

runQueueContract('the queue on Redis', async () => {
  const opened = await open()
  const news = createNews({ redisUrl: redisUrl(), prefix: opened.prefix, log })
  return {
    ...opened,
    async watch(runId) {
      const first = new Promise<RunEvent[]>((resolve) => void news.subscribe(runId, resolve))
      const channel = opened.names.runChannel(runId)
      while ((await opened.redis.pubsub('NUMSUB', channel))[1] !== 1);
      return { first }
    },
    dispose: async () => {
      await news.close()
      await opened.dispose()
    },
  }
})

function aDelivery(runId: string, priority = 50): Delivery {
  return {
    runId,
    // One of its own: turns and shares are what other tests are about.
    organizationId: `of ${runId}`,
    epoch: 0,
    workflow: 'test/example',
    priority,
    lane: priority >= 75 ? 'interactive' : 'batch',
  }
}

/** Deliveries of one organization, in their order. */
function deliveriesOf(organizationId: string, count: number, priority = 50): Delivery[] {
  return Array.from({ length: count }, (_, n) => ({
    ...aDelivery(`${organizationId}-${String(n).padStart(4, '0')}`, priority),
    organizationId,
  }))
}

describe('the queue on Redis', () => {
  async function setup() {
    const opened = await open()
    onTestFinished(() => opened.dispose())
    return opened
  }

  it('keeps ids only in a job', async () => {
    const { queue } = await setup()
    await queue.enqueue([aDelivery('r1')])
    const [job] = (await Promise.all(queue.queues.map((each) => each.getJobs()))).flat()
    expect(job?.data).toEqual({ run_id: 'r1', organization_id: 'of r1' })
    expect(job?.id).toBe('r1-0')
    expect(job?.name).toBe('test/example')
  })

  it('holds one job however often a delivery is handed over', async () => {
    const { queue } = await setup()
    for (let n = 0; n < 5; n += 1) await queue.enqueue([aDelivery('r1')])
    expect((await queue.stats())['runs-batch']?.backlog).toBe(1)
  })

  it('says so when it came back empty', async () => {
    const { queue, redis, names } = await setup()
    await queue.cameBackEmpty()
    const keys = await redis.keys(`${names.prefix}:*`)
    await redis.del(keys)
    expect(await queue.cameBackEmpty()).toBe(true)
    expect(await queue.cameBackEmpty()).toBe(false)
  })

  it('moves a waiting job behind those of its new priority', async () => {
    const { queue, take } = await setup()
    for (const [id, priority] of [
      ['r1', 50],
      ['r2', 60],
      ['r3', 10],
    ] as const)
      await queue.enqueue([aDelivery(id, priority)])
    await queue.reprioritise([{ ...aDelivery('r3', 60), formerLane: 'batch' }])
    expect([await take(), await take(), await take()]).toEqual(['r2', 'r3', 'r1'])
  })

  it('moves a waiting job to the lane of its new priority', async () => {
    const { queue, take } = await setup()
    await queue.enqueue([aDelivery('r1'), aDelivery('r2')])
    await queue.reprioritise([{ ...aDelivery('r2', 90), formerLane: 'batch' }])
    const { 'runs-batch': batch, 'runs-interactive': interactive } = await queue.stats()
    expect([batch?.backlog, interactive?.backlog]).toEqual([1, 1])
    expect([await take(), await take(), await take()]).toEqual(['r2', 'r1', null])
  })

  it('hands over a job that was lost when its priority changes', async () => {
    const { queue, take } = await setup()
    await queue.reprioritise([{ ...aDelivery('r1', 60), formerLane: 'batch' }])
    expect(await take()).toBe('r1')
  })

  it('discards the jobs of runs that have ended, and no others', async () => {
    const { queue, take } = await setup()
    await queue.enqueue(['r1', 'r2', 'r3'].map((id) => aDelivery(id)))
    await queue.discard([aDelivery('r1'), aDelivery('r3'), aDelivery('unknown')])
    expect([await take(), await take()]).toEqual(['r2', null])
  })

  describe('with several organizations', () => {
    async function taken(take: () => Promise<string | null>, count: number): Promise<string[]> {
      const ids: string[] = []
      for (let n = 0; n < count; n += 1) ids.push((await take()) ?? 'none')
      return ids
    }
    const runsOf = (ids: string[], organization: string) => ids.filter((id) => id.startsWith(`${organization}-`))

    it('names the organization in a job, by its id', async () => {
      const { queue } = await setup()
      await queue.enqueue(deliveriesOf('a', 1))
      const [job] = (await Promise.all(queue.queues.map((each) => each.getJobs()))).flat()
      expect(job?.data).toEqual({ run_id: 'a-0000', organization_id: 'a' })
    })

    it('lets them take turns, however long one has queued, and keeps each one’s own order', async () => {
      const { queue, take } = await setup()
      const [a, b, c] = [deliveriesOf('a', 500), deliveriesOf('b', 10), deliveriesOf('c', 100)]
      await queue.enqueue(a)
      await taken(take, 100)
      await queue.enqueue(b)
      await queue.enqueue(c)
      await queue.stats()
      const first = await taken(take, 31)
      expect(runsOf(first, 'b')).toEqual(b.map(({ runId }) => runId))
      for (const organization of ['a', 'c']) {
        const own = runsOf(first, organization)
        expect(own.length).toBeGreaterThanOrEqual(9)
        expect(own).toEqual([...own].sort())
      }
    })

    it('gives nobody credit for a time in which it had nothing to do', async () => {
      const { queue, take } = await setup()
      await queue.enqueue(deliveriesOf('a', 300))
      await taken(take, 200)
      await queue.enqueue(deliveriesOf('late', 100))
      await queue.stats()
      const next = await taken(take, 40)
      expect(runsOf(next, 'late').length).toBeLessThanOrEqual(21)
    })

    it('lets a higher priority of one go before a lower one of the other', async () => {
      const { queue, take } = await setup()
      await queue.enqueue(deliveriesOf('a', 20, 60))
      await queue.enqueue(deliveriesOf('b', 5, 50))
      await queue.stats()
      expect(runsOf(await taken(take, 20), 'a')).toHaveLength(20)
    })

    it('keeps a moved job’s turn that of its organization', async () => {
      const { queue, take } = await setup()
      await queue.enqueue(deliveriesOf('a', 50, 60))
      const moved = deliveriesOf('b', 3, 10)
      await queue.enqueue(moved)
      await queue.reprioritise(moved.map(({ runId }) => ({ ...aDelivery(runId, 60), formerLane: 'batch' })))
      expect(runsOf(await taken(take, 8), 'b')).toHaveLength(3)
    })
  })

  it('tells the age of the oldest job, whatever its priority, and zeros where there is none', async () => {
    const { queue, redis, names } = await setup()
    expect(await queue.stats()).toEqual({
      'runs-interactive': { backlog: 0, active: 0, oldest_age_s: 0 },
      'runs-batch': { backlog: 0, active: 0, oldest_age_s: 0 },
    })
    await queue.enqueue([aDelivery('old', 0), aDelivery('new', 74)])
    const key = `${names.prefix}:${names.lane('batch')}:old-0`
    await redis.hset(key, 'timestamp', Date.now() - 60_000)
    const { 'runs-batch': batch } = await queue.stats()
    expect(batch).toMatchObject({ backlog: 2, oldest_age_s: expect.any(Number) })
    expect(batch?.oldest_age_s).toBeGreaterThanOrEqual(60)
  })

  it('gives up within a second when Redis is away, and asks for nothing to be repeated', async () => {
    const queue = createRunQueue({ redisUrl: 'redis://127.0.0.1:1', prefix: 'away', log })
    onTestFinished(() => queue.close())
    const began = performance.now()
    await queue.enqueue([aDelivery('r1')])
    expect(await queue.missing([aDelivery('r1')])).toEqual([])
    expect(await queue.cameBackEmpty()).toBeNull()
    await expect(queue.ask()).rejects.toThrow()
    queue.publish([])
    queue.publishCancel('r1')
    expect(performance.now() - began).toBeLessThan(1_000)
  })
})

describe('the queue without Redis', () => {
  it.each<[string, (queue: BullRunQueue) => Promise<unknown>]>([
    ['a change of priority', (queue) => queue.reprioritise([{ ...aDelivery('r1'), formerLane: 'interactive' }])],
    ['a removal', (queue) => queue.discard([aDelivery('r1')])],
    ['figures', (queue) => expect(queue.stats()).rejects.toMatchObject({ code: 'unavailable' })],
  ])('gives up on %s within a second', async (_, ask) => {
    const queue = createRunQueue({ redisUrl: 'redis://127.0.0.1:1', prefix: 'away', log })
    onTestFinished(() => queue.close())
    const began = performance.now()
    await ask(queue)
    expect(performance.now() - began).toBeLessThan(1_000)
  })
})

describe('a consumer', () => {
  /** A consumer whose runs last until the test ends them. */
  async function setup(options: { concurrency: number; reserved: number; organizationMax?: number }) {
    const { queue, prefix, dispose } = await open()
    const active = new Map<string, () => void>()
    let changed: (() => void) | undefined
    const cancelled: string[] = []
    const handled: string[] = []
    const consumers: Consumer[] = []
    const another = (size: typeof options) => {
      const consumer = createConsumer({
        redisUrl: redisUrl(),
        prefix,
        log,
        ...size,
        handle: (runId) =>
          new Promise((resolve) => {
            handled.push(runId)
            active.set(runId, () => {
              active.delete(runId)
              resolve(null)
            })
            changed?.()
          }),
        onCancel(rootRunId) {
          cancelled.push(rootRunId)
          changed?.()
        },
      })
      consumers.push(consumer)
      return consumer
    }
    const consumer = another(options)
    onTestFinished(async () => {
      for (const end of active.values()) end()
      await Promise.all(consumers.map((each) => each.close()))
      await dispose()
    })
    async function until(condition: () => boolean): Promise<void> {
      while (!condition()) {
        await new Promise<void>((resolve) => {
          changed = resolve
        })
      }
    }
    return { queue, consumer, another, active, handled, cancelled, until }
  }

  it('leaves the reserved permits to the interactive lane', async () => {
    const { queue, consumer, active, until } = await setup({ concurrency: 4, reserved: 2 })
    await queue.enqueue(Array.from({ length: 6 }, (_, n) => aDelivery(`batch-${n}`)))
    consumer.start()
    await until(() => active.size === 2)
    await queue.enqueue([aDelivery('i-1', 90), aDelivery('i-2', 90)])
    await until(() => active.has('i-1') && active.has('i-2'))
    expect([...active.keys()].filter((id) => id.startsWith('batch'))).toHaveLength(2)
  })

  it('lets a burst of interactive runs overflow into free permits, and never takes more than it has', async () => {
    const { queue, consumer, active, until } = await setup({ concurrency: 4, reserved: 2 })
    await queue.enqueue([aDelivery('batch-1')])
    consumer.start()
    await until(() => active.size === 1)
    await queue.enqueue(Array.from({ length: 6 }, (_, n) => aDelivery(`i-${n}`, 90)))
    await until(() => active.size === 4)
    active.get('batch-1')?.()
    await until(() => active.size === 4 && !active.has('batch-1'))
    expect([...active.keys()].every((id) => id.startsWith('i-'))).toBe(true)
  })

  it('gives the batch lane its permits back after a burst, while a long batch run goes on', async () => {
    const { queue, consumer, active, until } = await setup({ concurrency: 4, reserved: 1 })
    consumer.start()
    await queue.enqueue([aDelivery('long')])
    await until(() => active.has('long'))
    await queue.enqueue(['i-1', 'i-2', 'i-3'].map((id) => aDelivery(id, 90)))
    await until(() => active.size === 4)
    await queue.enqueue([aDelivery('b-1'), aDelivery('b-2')])
    for (const id of ['i-1', 'i-2', 'i-3']) active.get(id)?.()
    await until(() => active.has('b-1') && active.has('b-2'))
    expect(active.has('long')).toBe(true)
  })

  it('leaves permits to other organizations while one floods it with long runs', async () => {
    const { queue, consumer, active, until } = await setup({ concurrency: 10, reserved: 0 })
    await queue.enqueue(deliveriesOf('a', 500))
    consumer.start()
    await until(() => active.size === 9)
    await queue.enqueue(deliveriesOf('b', 3))
    await until(() => active.has('b-0000'))
    active.get('b-0000')?.()
    await until(() => active.has('b-0001'))
    expect([...active.keys()].filter((id) => id.startsWith('a-'))).toEqual(
      deliveriesOf('a', 9).map(({ runId }) => runId),
    )
  })

  it('finds another organization’s run behind those of a higher priority that have no room', async () => {
    const { queue, consumer, active, until } = await setup({ concurrency: 4, reserved: 0, organizationMax: 2 })
    await queue.enqueue(deliveriesOf('a', 200, 60))
    consumer.start()
    await until(() => active.size === 2)
    await queue.enqueue(deliveriesOf('b', 1, 10))
    await until(() => active.has('b-0000'))
  })

  it('runs every run of a flood once, in its order', async () => {
    const { queue, consumer, active, handled, until } = await setup({
      concurrency: 10,
      reserved: 0,
      organizationMax: 1,
    })
    const flood = deliveriesOf('a', 30)
    await queue.enqueue(flood)
    consumer.start()
    for (const { runId } of flood) {
      await until(() => active.size > 0)
      expect([...active.keys()]).toEqual([runId])
      active.get(runId)?.()
    }
    expect(handled).toHaveLength(30)
  })

  it('lets another worker have what it has no room for', async () => {
    const size = { concurrency: 2, reserved: 0, organizationMax: 1 }
    const { queue, consumer, another, active, until } = await setup(size)
    await queue.enqueue(deliveriesOf('a', 2))
    consumer.start()
    await until(() => active.has('a-0000'))
    another(size).start()
    await until(() => active.has('a-0001'))
    expect(active.has('a-0000')).toBe(true)
  })

  it('hands back what waits in hand when it drains', async () => {
    const { queue, consumer, active, handled, until } = await setup({ concurrency: 3, reserved: 0, organizationMax: 1 })
    await queue.enqueue(deliveriesOf('a', 3))
    consumer.start()
    await until(() => active.size === 1)
    const drained = consumer.drain()
    active.get('a-0000')?.()
    await drained
    expect(handled).toEqual(['a-0000'])
    expect((await queue.stats())['runs-batch']).toMatchObject({ backlog: 2, active: 0 })
  })

  it('takes nothing more once it drains, and returns when the last run has', async () => {
    const { queue, consumer, active, handled, until } = await setup({ concurrency: 2, reserved: 1 })
    consumer.start()
    await queue.enqueue([aDelivery('r1')])
    await until(() => active.size === 1)
    const drained = consumer.drain()
    await queue.enqueue([aDelivery('r2')])
    active.get('r1')?.()
    await drained
    expect(handled).toEqual(['r1'])
  })

  it('hears of cancels', async () => {
    const { queue, consumer, cancelled, until } = await setup({ concurrency: 1, reserved: 0 })
    consumer.start()
    const repeated = setInterval(() => queue.publishCancel('r1'), 20)
    await until(() => cancelled.length > 0).finally(() => clearInterval(repeated))
    expect(cancelled[0]).toBe('r1')
  })
})
