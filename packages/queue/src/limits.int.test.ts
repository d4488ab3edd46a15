import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { type Limits, type Log, StepFailure } from '@fabrique/engine'
import { limitsContract } from '@fabrique/engine/testing'
import { Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createLimits, type LimitRule, type LimitsOptions } from './limits.ts'

const log: Log = { debug() {}, info() {}, warn() {}, error() {} }
const MODEL = { provider: 'acme', name: 'acme/one' }
const RULES: LimitRule[] = [
  { scope: 'acme', atOnce: 3 },
  { scope: 'acme/small', atOnce: 1 },
]
const never = new AbortController().signal
const redisUrl = () => process.env.TEST_REDIS_URL ?? ''

/** A deployment of its own on the suite's Redis; its keys are removed afterwards. */
function deployment() {
  const prefix = `test-${randomBytes(6).toString('hex')}`
  const redis = new Redis(redisUrl())
  const opened: { close(): Promise<void> }[] = []
  return {
    prefix,
    redis,
    worker(options: Partial<LimitsOptions> & { rules: readonly LimitRule[] }) {
      const limits = createLimits({ log, shared: { redisUrl: redisUrl(), prefix }, ...options })
      opened.push(limits)
      return limits
    },
    async dispose() {
      await Promise.all(opened.map((each) => each.close()))
      const keys = await redis.keys(`{${prefix}}:*`)
      if (keys.length > 0) await redis.del(keys)
      redis.disconnect()
    },
  }
}

function setup() {
  const opened = deployment()
  onTestFinished(() => opened.dispose())
  return opened
}

/**
 * Enters `calls` times, spread over the workers; the most that were under way at once, over all of them. The first
 * calls last until three are under way.
 */
async function mostAtOnce(workers: Limits[], calls: number): Promise<number> {
  const three = Promise.withResolvers<void>()
  let running = 0
  let most = 0
  await Promise.all(
    Array.from({ length: calls }, async (_, index) => {
      const leave = await (workers[index % workers.length] as Limits).enter(MODEL, never)
      running += 1
      most = Math.max(most, running)
      if (running === 3) three.resolve()
      await three.promise
      await aWhile()
      running -= 1
      leave(null)
    }),
  )
  return most
}

/** How long a call takes: enough for Redis to let in too many. */
const aWhile = () => new Promise((resolve) => setTimeout(resolve, 5))

limitsContract('the limits on Redis', async () => {
  const opened = deployment()
  return { limits: opened.worker({ rules: RULES }), dispose: opened.dispose }
})

describe('two workers on one Redis', () => {
  it('never have more calls under way than the limit of both', async () => {
    const { worker } = setup()
    expect(await mostAtOnce([worker({ rules: RULES }), worker({ rules: RULES })], 50)).toBe(3)
  })

  it('release every permit', async () => {
    const { worker, redis, prefix } = setup()
    await mostAtOnce([worker({ rules: RULES }), worker({ rules: RULES })], 20)
    await expect.poll(() => redis.zcard(`{${prefix}}:limits:held:acme`)).toBe(0)
  })

  it('begin no more calls in a window than the limit of both, and hold no permit for the others', async () => {
    const { worker, redis, prefix } = setup()
    const rules = [{ scope: 'acme', atOnce: 20, rate: { starts: 5, perSeconds: 600 } }]
    const stop = new AbortController()
    const calls = [worker({ rules }), worker({ rules })].flatMap((limits) =>
      Array.from({ length: 10 }, () => limits.enter(MODEL, stop.signal)),
    )
    // Five that begin, and one that learns for its worker that the window is full.
    await expect.poll(() => redis.get(`{${prefix}}:limits:rate:acme`)).toBe('7')
    await expect.poll(() => redis.zcard(`{${prefix}}:limits:held:acme`)).toBe(5)
    stop.abort('enough')
    const outcomes = await Promise.allSettled(calls)
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(5)
  })

  it('begin the rest when the next window opens', async () => {
    const { worker } = setup()
    const rules = [{ scope: 'acme', rate: { starts: 2, perSeconds: 1 } }]
    const [a, b] = [worker({ rules }), worker({ rules })]
    const began = performance.now()
    for (const limits of [a, b, a, b, a]) (await limits.enter(MODEL, never))(null)
    expect(performance.now() - began).toBeGreaterThan(1_900)
  })

  it('both keep a pause that one of them was asked for, and a shorter one does not end it', async () => {
    const { worker } = setup()
    const [a, b] = [worker({ rules: RULES }), worker({ rules: RULES })]
    const [first, second] = await Promise.all([a.enter(MODEL, never), a.enter(MODEL, never)])
    first(new StepFailure('rate_limit', 'slow down', { retryAfterMs: 90_000 }))
    second(new StepFailure('rate_limit', 'slow down', { retryAfterMs: 10 }))
    // What a gave back, b can only take once a's pause is known.
    const refused = await b.enter(MODEL, never, { patient: false }).catch((error: unknown) => error)
    expect(refused).toMatchObject({ failureClass: 'rate_limit' })
    expect((refused as StepFailure).retryAfterMs).toBeGreaterThan(60_000)
    ;(await b.enter({ provider: 'acme', name: 'acme/two' }, never))(null)
  })

  it('begin again after a pause', async () => {
    const { worker } = setup()
    const [a, b] = [worker({ rules: RULES }), worker({ rules: RULES })]
    const leave = await a.enter(MODEL, never)
    const began = performance.now()
    leave(new StepFailure('rate_limit', 'slow down', { retryAfterMs: 400 }))
    ;(await b.enter(MODEL, never))(null)
    // The second worker's pause begins when Redis hears of it.
    expect(performance.now() - began).toBeGreaterThanOrEqual(390)
  })

  it('keep a pause although Redis lost it', async () => {
    const { worker, redis, prefix } = setup()
    const [a, b] = [worker({ rules: [] }), worker({ rules: [] })]
    for (const limits of [a, a, b]) (await limits.enter(MODEL, never))(null)
    const key = `{${prefix}}:limits:pace:acme/one`
    const pause = new StepFailure('rate_limit', 'slow down', { retryAfterMs: 90_000 })
    const [first, second] = await Promise.all([a.enter(MODEL, never), a.enter(MODEL, never)])
    first(pause)
    await expect.poll(() => redis.get(key)).toContain('"fresh":0')
    await redis.del(key)
    second(pause)
    await expect.poll(() => redis.exists(key)).toBe(1)
    const refused = b.enter(MODEL, never, { patient: false })
    await expect(refused).rejects.toMatchObject({ failureClass: 'rate_limit' })
  })

  it('take over the permits of one that was killed', async () => {
    const { worker, prefix, redis } = setup()
    const key = `{${prefix}}:limits:held:acme`
    const alive = worker({ rules: RULES, leaseMs: 600 })
    const own = await alive.enter(MODEL, never)
    const holder = holdInProcess({ rules: RULES, prefix, leaseMs: 600 })
    await once(holder.stdout ?? holder, 'data')
    holder.kill('SIGKILL')
    await once(holder, 'exit')
    expect(await redis.zcard(key)).toBe(3)
    const held = await Promise.all([alive.enter(MODEL, never), alive.enter(MODEL, never)])
    expect(await redis.zcard(key)).toBe(3)
    for (const leave of [own, ...held]) leave(null)
  })

  it('keep a permit for as long as the call takes', async () => {
    const { worker, prefix, redis } = setup()
    const limits = worker({ rules: RULES, leaseMs: 300 })
    const leave = await limits.enter(MODEL, never)
    const heldUntil = async () => Number((await redis.zrange(`{${prefix}}:limits:held:acme`, 0, 0, 'WITHSCORES'))[1])
    const first = await heldUntil()
    // Renewed to beyond twice its first end, it has outlived that end.
    await expect.poll(heldUntil).toBeGreaterThan(first + 300)
    expect(await redis.zcard(`{${prefix}}:limits:held:acme`)).toBe(1)
    leave(null)
  })

  it('enter the calls under way again after Redis came back empty', async () => {
    const { worker, prefix, redis } = setup()
    const key = `{${prefix}}:limits:held:acme`
    const leave = await worker({ rules: RULES, leaseMs: 300 }).enter(MODEL, never)
    await redis.del(key)
    await expect.poll(() => redis.zcard(key)).toBe(1)
    leave(null)
    await expect.poll(() => redis.zcard(key)).toBe(0)
  })
})

/** A process that holds two permits and says so; it is killed when the test ends at the latest. */
function holdInProcess(options: { rules: LimitRule[]; prefix: string; leaseMs: number }): ChildProcess {
  const source = `
    import { createLimits } from ${JSON.stringify(new URL('limits.ts', import.meta.url).href)}
    const { rules, prefix, leaseMs, redisUrl } = JSON.parse(process.env.HOLDER)
    const log = { debug() {}, info() {}, warn() {}, error() {} }
    const limits = createLimits({ rules, leaseMs, shared: { redisUrl, prefix }, log })
    const signal = new AbortController().signal
    for (let n = 0; n < 2; n += 1) await limits.enter({ provider: 'acme', name: 'acme/one' }, signal)
    console.log('held')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, HOLDER: JSON.stringify({ ...options, redisUrl: redisUrl() }) },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

describe('while Redis is away', () => {
  it('calls go on at once, under the limit of the process', async () => {
    const limits = createLimits({ rules: RULES, log, shared: { redisUrl: 'redis://127.0.0.1:1', prefix: 'away' } })
    onTestFinished(() => limits.close())
    const began = performance.now()
    expect(await mostAtOnce([limits], 20)).toBe(3)
    expect(performance.now() - began).toBeLessThan(1_000)
  })

  it('starts are counted by the process', async () => {
    const rules = [{ scope: 'acme', rate: { starts: 2, perSeconds: 600 } }]
    const limits = createLimits({ rules, log, shared: { redisUrl: 'redis://127.0.0.1:1', prefix: 'away' } })
    onTestFinished(() => limits.close())
    const stop = new AbortController()
    for (let n = 0; n < 2; n += 1) (await limits.enter(MODEL, never))(null)
    const third = limits.enter(MODEL, stop.signal)
    expect(await Promise.race([third.then(() => 'in'), new Promise((resolve) => setImmediate(resolve, 'waits'))])).toBe(
      'waits',
    )
    stop.abort('enough')
    await expect(third).rejects.toBe('enough')
  })

  it('a Redis that hangs costs a moment once, not once per call, and is asked again afterwards', async () => {
    const { worker, prefix, redis } = setup()
    const proxy = await openProxy()
    const limits = worker({ rules: RULES, shared: { redisUrl: proxy.url, prefix }, leaseMs: 900 })
    ;(await limits.enter(MODEL, never))(null)
    proxy.freeze()
    const began = performance.now()
    expect(await mostAtOnce([limits], 20)).toBe(3)
    expect(performance.now() - began).toBeLessThan(1_500)
    proxy.thaw()
    const permits = await Promise.all(Array.from({ length: 3 }, () => limits.enter(MODEL, never)))
    // Those of the calls that Redis heard of too late are over soon.
    const held = () => redis.zcount(`{${prefix}}:limits:held:acme`, Date.now(), '+inf')
    await expect.poll(held, { timeout: 10_000 }).toBe(3)
    for (const leave of permits) leave(null)
  })
})

/** A way to the suite's Redis that can be made to hang without closing. */
async function openProxy() {
  const target = new URL(redisUrl())
  const pairs: Socket[] = []
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    client.pipe(upstream).pipe(client)
    for (const socket of [client, upstream]) pairs.push(socket.on('error', () => {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of pairs) socket.destroy()
    server.close()
  })
  const url = new URL(target)
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port)
  return {
    url: url.href,
    freeze() {
      for (const socket of pairs) socket.unpipe()
    },
    thaw() {
      for (let at = 0; at < pairs.length; at += 2) {
        const [client, upstream] = pairs.slice(at, at + 2) as [Socket, Socket]
        client.pipe(upstream).pipe(client)
      }
    },
  }
}

/** A provider on loopback: every call is answered as `answer` says, after a moment. */
async function openProvider(answer: () => { status: number; headers?: Record<string, string> }) {
  const server = createHttpServer((_request, response) => {
    const { status, headers } = answer()
    setTimeout(() => response.writeHead(status, headers).end(), 5)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return async (): Promise<StepFailure | null> => {
    const { status, headers } = await fetch(url, { method: 'POST' })
    const asked = headers.get('retry-after')
    if (status === 429)
      return new StepFailure('rate_limit', 'slow down', asked === null ? {} : { retryAfterMs: Number(asked) * 1_000 })
    return status === 200 ? null : new StepFailure('server', 'no answer')
  }
}

// The 1.3 times that we promise are measured in virtual time; these processes share two cores with others.
describe('many calls of two workers', () => {
  /** Makes every call until it gets through, as the engine does with the last model of a binding; the time that takes. */
  async function makeAll(workers: Limits[], calls: number, call: () => Promise<StepFailure | null>, pauseMs = 0) {
    const began = performance.now()
    await Promise.all(
      Array.from({ length: calls }, async (_, index) => {
        for (;;) {
          const leave = await (workers[index % workers.length] as Limits).enter(MODEL, never, { patient: true })
          const failure = await call()
          leave(failure)
          if (failure === null) return
          if (failure.failureClass === 'server') await new Promise((resolve) => setTimeout(resolve, pauseMs))
        }
      }),
    )
    return performance.now() - began
  }

  it.each([
    ['says for how long', { 'retry-after': '1' }],
    ['does not say for how long', {}],
  ])('all get through a limit with few refusals, where the provider %s', async (_how, headers) => {
    const { worker } = setup()
    let [openedAt, used, refused] = [-Infinity, 0, 0]
    const call = await openProvider(() => {
      const now = performance.now()
      if (now - openedAt > 1_000) [openedAt, used] = [now, 0]
      used += 1
      if (used > 10) refused += 1
      return used <= 10 ? { status: 200 } : { status: 429, headers }
    })
    await makeAll([worker({ rules: [] }), worker({ rules: [] })], 80, call)
    // A herd after each pause would be refused some 280 times. How fast they get through is held in virtual time.
    expect(refused).toBeLessThan(80)
  })

  it('get through soon after an outage of 1.5 s', async () => {
    const { worker } = setup()
    const began = performance.now()
    const call = await openProvider(() => ({ status: performance.now() - began < 1_500 ? 500 : 200 }))
    expect(await makeAll([worker({ rules: [] }), worker({ rules: [] })], 30, call, 1_000)).toBeLessThan(20_000)
  })
})
