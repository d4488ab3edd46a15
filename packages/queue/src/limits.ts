// Limits on live provider calls over all workers: calls at once, starts per window, pauses that a provider asked for.
// Hides Redis: while it is away each process keeps the same limits for itself, and no call waits for Redis.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { type Limits, type Log, StepFailure } from '@fabrique/engine'
import type { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { type Circuit, createCircuit } from './circuit.ts'
import { connectForCommands } from './redis.ts'
import { queueNames } from './run-queue.ts'

/** The limits of a provider or of one model; what is absent is not limited. */
export interface LimitRule {
  /** `openai`, or `openai/gpt-image-2`. A call is under the rule of its model and that of its provider. */
  scope: string
  /** Calls at once, each of which holds a permit. */
  atOnce?: number
  /** Calls that may start in a window; a window opens with its first call. */
  rate?: { starts: number; perSeconds: number }
}

export interface LimitsOptions {
  rules: readonly LimitRule[]
  log: Log
  /** The Redis in which all processes keep the limits together. Absent: this process keeps its own. */
  shared?: { redisUrl: string; prefix: string }
  /** A permit that is not renewed for so long belongs to a dead worker and is free; default 30,000. */
  leaseMs?: number
}

export interface ClosableLimits extends Limits {
  /** Call it when no call is under way; permits that are still held expire. */
  close(): Promise<void>
}

const LEASE_MS = 30_000
/** A longer pause fails the call: the run suspends, or goes on with another model. */
const PAUSE_WAITED_MAX_MS = 60_000
/** After a failure Redis is not asked for so long: otherwise each call would wait for it to fail again. */
const AWAY_MS = 2_000
const FIRST_CONNECTION_MS = 500
const POLL_MIN_MS = 50
const POLL_MAX_MS = 250

/**
 * Answers 0 with a permit under every rule, -1 where a rule has none left, or how many milliseconds the model pauses.
 * `KEYS`: the pause, then each rule's set of holders, scored by expiry on Redis' clock. `ARGV`: the permits' lease, the
 * holder, then the limit of each set.
 */
const ACQUIRE = `
local paused = redis.call('PTTL', KEYS[1])
if paused > 0 then return paused end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[i + 1]) then return -1 end
end
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], now + ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[i], ARGV[1])
end
return 0`

/** Also adds holders that Redis has lost, because their calls are under way. */
const RENEW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])`

/** A pause is never made shorter by a later, smaller answer. */
const PAUSE = `
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end`

interface Scripts {
  acquirePermit(keys: number, ...keysAndArguments: (string | number)[]): Promise<number>
  renewPermits(keys: number, ...keysAndArguments: (string | number)[]): Promise<void>
  lengthenPause(keys: number, ...keysAndArguments: (string | number)[]): Promise<void>
}

interface Rule {
  scope: string
  atOnce: number
  /** The Redis key of the set of holders. */
  key: string
  /** Permits that this process holds: never more than `atOnce`, so that without Redis the limit still holds here. */
  running: number
  rate: { shared: RateLimiterRedis | null; own: RateLimiterMemory; fullUntilMs: number } | null
}

/** The calls of one model in this process. Only the first in line asks Redis for a permit, the others wait behind it. */
interface Line {
  model: string
  rules: Rule[]
  circuit: Circuit
  pauseKey: string
  pausedUntilMs: number
  /** Resolves when the last call in line has begun or given up. */
  last: Promise<void>
}

type Acquisition = { acquired: true } | { acquired: false; why: 'full' | 'paused'; waitMs: number }

/** The limits of this process' calls, shared with all processes that use the same Redis and prefix. */
export function createLimits({ rules: given, log, shared, leaseMs = LEASE_MS }: LimitsOptions): ClosableLimits {
  const root = `${queueNames(shared?.prefix ?? '').prefix}:limits`
  const redis = shared === undefined ? null : connectWithScripts(shared.redisUrl, log)
  const rules = new Map(given.map((rule) => [rule.scope, createRule(rule, root, redis)]))
  const lines = new Map<string, Line>()
  const held = new Map<string, Line>()
  const sleepers = new Set<AbortController>()
  let awayUntilMs = 0

  const isAway = () => redis?.status !== 'ready' || Date.now() < awayUntilMs

  /** The answer of Redis; undefined while it is away. */
  async function ask<T>(command: (redis: Redis & Scripts) => Promise<T>): Promise<T | undefined> {
    if (redis === null || isAway()) return undefined
    try {
      return await command(redis)
    } catch (err) {
      if (Date.now() >= awayUntilMs)
        log.warn({ err }, 'Redis does not keep the provider limits; this process keeps its own')
      awayUntilMs = Date.now() + AWAY_MS
      return undefined
    }
  }

  function lineOf(provider: string, model: string): Line {
    const known = lines.get(model)
    if (known !== undefined) return known
    const line: Line = {
      model,
      rules: [rules.get(provider), rules.get(model)].filter((rule) => rule !== undefined),
      circuit: createCircuit(model, log),
      pauseKey: `${root}:pause:${model}`,
      pausedUntilMs: 0,
      last: Promise.resolve(),
    }
    lines.set(model, line)
    return line
  }

  const holderSets = (line: Line) => line.rules.filter(({ atOnce }) => atOnce < Infinity)

  /** Acquires a permit under every rule of the line, or none at all. */
  async function acquire(line: Line, holder: string): Promise<Acquisition> {
    const pausedMs = line.pausedUntilMs - Date.now()
    if (pausedMs > 0) return { acquired: false, why: 'paused', waitMs: pausedMs }
    if (line.rules.some(({ running, atOnce }) => running >= atOnce)) return full()
    const fullMs = Math.max(0, ...line.rules.map(({ rate }) => (rate?.fullUntilMs ?? 0) - Date.now()))
    if (fullMs > 0) return full(fullMs)

    // Counted before Redis answers, because lines of other models are under the same provider's rule.
    for (const rule of line.rules) rule.running += 1
    const sets = holderSets(line)
    const keys = [line.pauseKey, ...sets.map(({ key }) => key)]
    const limits = sets.map(({ atOnce }) => atOnce)
    const answer = (await ask((it) => it.acquirePermit(keys.length, ...keys, leaseMs, holder, ...limits))) ?? 0
    if (answer !== 0) {
      for (const rule of line.rules) rule.running -= 1
      if (answer < 0) return full()
      line.pausedUntilMs = Date.now() + answer
      return { acquired: false, why: 'paused', waitMs: answer }
    }
    held.set(holder, line)
    // After the permit, not before: a start that is counted must happen now, not once a permit is free.
    for (const { scope, rate } of line.rules) {
      const waitMs = rate === null ? 0 : await countStart(scope, rate, isAway())
      if (waitMs === 0) continue
      release(holder)
      return full(waitMs)
    }
    return { acquired: true }
  }

  function release(holder: string): void {
    const line = held.get(holder)
    if (line === undefined) return
    held.delete(holder)
    for (const rule of line.rules) rule.running -= 1
    const sets = holderSets(line)
    if (sets.length > 0) void ask((it) => Promise.all(sets.map(({ key }) => it.zrem(key, holder))))
    for (const sleeper of sleepers) sleeper.abort()
  }

  /** Sleeps for the time, or until this process releases a permit. Rejects with the signal's reason. */
  async function sleep(ms: number, signal: AbortSignal): Promise<void> {
    const sleeper = new AbortController()
    sleepers.add(sleeper)
    await delay(ms, undefined, { signal: AbortSignal.any([signal, sleeper.signal]) }).catch(() => {})
    sleepers.delete(sleeper)
    signal.throwIfAborted()
  }

  /** Begins the call at the head of the line as soon as it has a permit; answers how to report its outcome. */
  async function begin(line: Line, signal: AbortSignal): Promise<(failure: Error | null) => void> {
    const holder = randomUUID()
    for (;;) {
      line.circuit.check()
      const outcome = await acquire(line, holder)
      if (outcome.acquired) {
        try {
          signal.throwIfAborted()
          const report = line.circuit.begin(signal)
          return (failure) => end(line, holder, report, failure)
        } catch (error) {
          release(holder)
          throw error
        }
      }
      if (outcome.why === 'paused' && outcome.waitMs > PAUSE_WAITED_MAX_MS) {
        const seconds = Math.ceil(outcome.waitMs / 1_000)
        throw new StepFailure(
          'rate_limit',
          `The provider of "${line.model}" asked for a pause; the model is called again in ${seconds} s.`,
          { retryAfterMs: outcome.waitMs },
        )
      }
      await sleep(outcome.waitMs, signal)
    }
  }

  function end(line: Line, holder: string, report: (failure: Error | null) => void, failure: Error | null): void {
    if (!held.has(holder)) return
    report(failure)
    const pauseMs = pauseAskedBy(failure)
    if (pauseMs > 0) {
      line.pausedUntilMs = Math.max(line.pausedUntilMs, Date.now() + pauseMs)
      void ask((it) => it.lengthenPause(1, line.pauseKey, pauseMs))
    }
    release(holder)
  }

  function renew(): void {
    const holders = new Map<Rule, string[]>()
    for (const [holder, line] of held) {
      for (const rule of holderSets(line)) holders.set(rule, [...(holders.get(rule) ?? []), holder])
    }
    for (const [{ key }, names] of holders) void ask((it) => it.renewPermits(1, key, leaseMs, ...names))
  }
  const renewing = redis === null ? undefined : setInterval(renew, leaseMs / 3).unref()

  const opened = redis === null ? Promise.resolve() : firstConnection(redis)
  return {
    async enter({ provider, name }, signal) {
      signal.throwIfAborted()
      const line = lineOf(provider, name)
      const before = line.last
      const { promise, resolve: leaveLine } = Promise.withResolvers<void>()
      line.last = promise
      try {
        await orAborted(
          before.then(() => opened),
          signal,
        )
        return await begin(line, signal)
      } finally {
        // A call that gives up early must not let the next one overtake those before it.
        void before.then(leaveLine)
      }
    },
    async close() {
      clearInterval(renewing)
      await redis?.quit().catch(() => {})
      redis?.disconnect()
    },
  }
}

function connectWithScripts(redisUrl: string, log: Log): Redis & Scripts {
  const redis = connectForCommands(redisUrl, log)
  redis.defineCommand('acquirePermit', { lua: ACQUIRE })
  redis.defineCommand('renewPermits', { lua: RENEW })
  redis.defineCommand('lengthenPause', { lua: PAUSE })
  return redis as Redis & Scripts
}

/** Resolves when Redis is connected, refuses, or is slow: a process that has just started does not count it as away. */
async function firstConnection(redis: Redis): Promise<void> {
  const slow = delay(FIRST_CONNECTION_MS, undefined, { ref: false })
  await Promise.race([once(redis, 'ready'), once(redis, 'close'), slow]).catch(() => {})
}

function createRule({ scope, atOnce = Infinity, rate }: LimitRule, root: string, redis: Redis | null): Rule {
  const rule: Rule = { scope, atOnce, key: `${root}:held:${scope}`, running: 0, rate: null }
  if (rate === undefined) return rule
  const limit = { keyPrefix: `${root}:rate`, points: rate.starts, duration: rate.perSeconds }
  const own = new RateLimiterMemory(limit)
  const shared =
    redis === null
      ? null
      : new RateLimiterRedis({ ...limit, storeClient: redis, rejectIfRedisNotReady: true, insuranceLimiter: own })
  return { ...rule, rate: { shared, own, fullUntilMs: 0 } }
}

/** Counts a start. Answers 0, or where the window is full how long it stays so. */
async function countStart(scope: string, rate: NonNullable<Rule['rate']>, isAway: boolean): Promise<number> {
  try {
    await (isAway ? rate.own : (rate.shared ?? rate.own)).consume(scope)
    return 0
  } catch (error) {
    if (!(error instanceof RateLimiterRes)) throw error
    const waitMs = Math.max(error.msBeforeNext, 1)
    rate.fullUntilMs = Date.now() + waitMs
    return waitMs
  }
}

/** With jitter, so that processes do not all ask at the same moment. */
function full(waitMs = 0): Acquisition {
  return { acquired: false, why: 'full', waitMs: waitMs + POLL_MIN_MS + Math.random() * (POLL_MAX_MS - POLL_MIN_MS) }
}

function pauseAskedBy(failure: Error | null): number {
  if (!StepFailure.is(failure) || failure.failureClass !== 'rate_limit') return 0
  return Math.ceil(failure.retryAfterMs ?? 0)
}

/** As the promise, or a rejection with the signal's reason as soon as it is aborted. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
