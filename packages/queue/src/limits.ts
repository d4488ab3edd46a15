// Limits on live provider calls over all workers: places at once, starts per time, pauses that a provider asked for.
// Hides Redis and its absence: without it every process keeps the same limits for itself, and no call waits for it.
import { randomUUID } from 'node:crypto'
import { type Limits, type Log, StepFailure } from '@fabrique/engine'
import type { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { type Circuit, createCircuit } from './circuit.ts'
import { connectForCommands } from './redis.ts'
import { queueNames } from './run-queue.ts'

/** What a provider, or one model, may be asked; what is absent is not limited. */
export interface LimitRule {
  /** `openai`, or `openai/gpt-image-2`. A call is under the rule of its model and that of its provider. */
  scope: string
  /** Calls under way. */
  atOnce?: number
  /** Calls begun in a window, which opens with its first call. */
  rate?: { starts: number; perSeconds: number }
}

export interface LimitsOptions {
  rules: readonly LimitRule[]
  log: Log
  /** Where the limits are kept in common. Absent: they are this process' own. */
  shared?: { redisUrl: string; prefix: string }
  /** A place that is not renewed for so long belongs to a dead worker and is free; default 30,000. */
  holdMs?: number
}

export interface ClosableLimits extends Limits {
  /** Call it when no call is under way; places that are still held free themselves. */
  close(): Promise<void>
}

const HOLD_MS = 30_000
/** A longer pause is the run's business: it gives up its slot, or goes on with another model. */
const PAUSE_WAITED_MAX_MS = 60_000
/** Redis that failed is left alone for so long: otherwise each call would wait for it to fail again. */
const AWAY_MS = 2_000
const FIRST_CONNECTION_MS = 500
const POLL_MIN_MS = 50
const POLL_MAX_MS = 250

/** `KEYS`: the pause, then a set of holders per rule. `ARGV`: hold, holder, then a limit per set. By Redis' clock. */
const TAKE = `
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

/** Also enters holders that Redis has forgotten: their calls are under way, whatever it knows. */
const RENEW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])`

/** A pause is never made shorter by a later, smaller answer. */
const PAUSE = `
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end`

interface Scripts {
  takePlace(keys: number, ...keysAndArguments: (string | number)[]): Promise<number>
  renewPlaces(keys: number, ...keysAndArguments: (string | number)[]): Promise<void>
  lengthenPause(keys: number, ...keysAndArguments: (string | number)[]): Promise<void>
}

interface Rule {
  scope: string
  atOnce: number
  /** The key of its holders in Redis. */
  key: string
  /** Of this process. Never more than `atOnce`, so that the limit holds here even without Redis. */
  running: number
  rate: { shared: RateLimiterRedis | null; own: RateLimiterMemory; fullUntilMs: number } | null
}

/** The calls of one model wait in line: the first asks for a place, so that Redis is asked once per model and process. */
interface Line {
  model: string
  rules: Rule[]
  circuit: Circuit
  pauseKey: string
  pausedUntilMs: number
  /** Resolves when whoever came last has been let in or has gone. */
  last: Promise<void>
}

type Answer = { in: true } | { in: false; why: 'full' | 'paused'; waitMs: number }

/** The limits of this process' calls, in common with every process that shares the same Redis and prefix. */
export function createLimits({ rules: given, log, shared, holdMs = HOLD_MS }: LimitsOptions): ClosableLimits {
  const root = `${queueNames(shared?.prefix ?? '').prefix}:limits`
  const redis = shared === undefined ? null : connectWithScripts(shared.redisUrl, log)
  const rules = new Map(given.map((rule) => [rule.scope, createRule(rule, root, redis)]))
  const lines = new Map<string, Line>()
  const held = new Map<string, Line>()
  const waiting = new Set<() => void>()
  let awayUntilMs = 0

  const isAway = () => redis?.status !== 'ready' || Date.now() < awayUntilMs

  /** What Redis says, or undefined where it does not. */
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

  /** Takes a place under every rule of the line, or none. */
  async function take(line: Line, holder: string): Promise<Answer> {
    const pausedMs = line.pausedUntilMs - Date.now()
    if (pausedMs > 0) return { in: false, why: 'paused', waitMs: pausedMs }
    if (line.rules.some(({ running, atOnce }) => running >= atOnce)) return full()
    const fullMs = Math.max(0, ...line.rules.map(({ rate }) => (rate?.fullUntilMs ?? 0) - Date.now()))
    if (fullMs > 0) return full(fullMs)

    // Counted before Redis answers: other lines are under the same provider's rule.
    for (const rule of line.rules) rule.running += 1
    const sets = holderSets(line)
    const keys = [line.pauseKey, ...sets.map(({ key }) => key)]
    const limits = sets.map(({ atOnce }) => atOnce)
    const said = (await ask((it) => it.takePlace(keys.length, ...keys, holdMs, holder, ...limits))) ?? 0
    if (said !== 0) {
      for (const rule of line.rules) rule.running -= 1
      if (said < 0) return full()
      line.pausedUntilMs = Date.now() + said
      return { in: false, why: 'paused', waitMs: said }
    }
    held.set(holder, line)
    // After the place, not before it: a start that has been counted takes place now, not when a place is free.
    for (const { scope, rate } of line.rules) {
      const waitMs = rate === null ? 0 : await countStart(scope, rate, isAway())
      if (waitMs === 0) continue
      giveBack(holder)
      return full(waitMs)
    }
    return { in: true }
  }

  function giveBack(holder: string): void {
    const line = held.get(holder)
    if (line === undefined) return
    held.delete(holder)
    for (const rule of line.rules) rule.running -= 1
    const sets = holderSets(line)
    if (sets.length > 0) void ask((it) => Promise.all(sets.map(({ key }) => it.zrem(key, holder))))
    for (const look of waiting) look()
  }

  /** Resolves after the time, or earlier when a place of this process is given back. */
  function wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer)
        waiting.delete(end)
        signal.removeEventListener('abort', end)
        if (signal.aborted) reject(signal.reason)
        else resolve()
      }
      const timer = setTimeout(end, ms)
      waiting.add(end)
      signal.addEventListener('abort', end)
      if (signal.aborted) end()
    })
  }

  /** Waits at the head of the line; the answer lets the call begin. */
  async function getIn(line: Line, signal: AbortSignal): Promise<(failure: Error | null) => void> {
    const holder = randomUUID()
    for (;;) {
      line.circuit.check()
      const answer = await take(line, holder)
      if (answer.in) {
        try {
          signal.throwIfAborted()
          const settle = line.circuit.begin(signal)
          return (failure) => leave(line, holder, settle, failure)
        } catch (error) {
          giveBack(holder)
          throw error
        }
      }
      if (answer.why === 'paused' && answer.waitMs > PAUSE_WAITED_MAX_MS) {
        const seconds = Math.ceil(answer.waitMs / 1_000)
        throw new StepFailure(
          'rate_limit',
          `The provider of "${line.model}" asked for a pause; the model is called again in ${seconds} s.`,
          { retryAfterMs: answer.waitMs },
        )
      }
      await wait(answer.waitMs, signal)
    }
  }

  function leave(line: Line, holder: string, settle: (failure: Error | null) => void, failure: Error | null): void {
    if (!held.has(holder)) return
    settle(failure)
    const pauseMs = pauseAskedBy(failure)
    if (pauseMs > 0) {
      line.pausedUntilMs = Math.max(line.pausedUntilMs, Date.now() + pauseMs)
      void ask((it) => it.lengthenPause(1, line.pauseKey, pauseMs))
    }
    giveBack(holder)
  }

  function renew(): void {
    const holders = new Map<Rule, string[]>()
    for (const [holder, line] of held) {
      for (const rule of holderSets(line)) holders.set(rule, [...(holders.get(rule) ?? []), holder])
    }
    for (const [{ key }, names] of holders) void ask((it) => it.renewPlaces(1, key, holdMs, ...names))
  }
  const renewing = redis === null ? undefined : setInterval(renew, holdMs / 3).unref()

  const opened = redis === null ? Promise.resolve() : firstConnection(redis)
  return {
    async enter({ provider, name }, signal) {
      signal.throwIfAborted()
      const line = lineOf(provider, name)
      const before = line.last
      const { promise, resolve: letNext } = Promise.withResolvers<void>()
      line.last = promise
      try {
        await orAborted(
          before.then(() => opened),
          signal,
        )
        return await getIn(line, signal)
      } finally {
        // Whoever gives up leaves the line in its place: the next one still comes after the one before.
        void before.then(letNext)
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
  redis.defineCommand('takePlace', { lua: TAKE })
  redis.defineCommand('renewPlaces', { lua: RENEW })
  redis.defineCommand('lengthenPause', { lua: PAUSE })
  return redis as Redis & Scripts
}

/** A process that has just started does not take the moment before its connection for an absence. */
function firstConnection(redis: Redis): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, FIRST_CONNECTION_MS)
    for (const event of ['ready', 'close']) {
      redis.once(event, () => {
        clearTimeout(timer)
        resolve()
      })
    }
  })
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

/** Counts a start: 0, or how long the window is still full. */
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

/** With jitter, so that processes do not ask in step. */
function full(waitMs = 0): Answer {
  return { in: false, why: 'full', waitMs: waitMs + POLL_MIN_MS + Math.random() * (POLL_MAX_MS - POLL_MIN_MS) }
}

function pauseAskedBy(failure: Error | null): number {
  if (!StepFailure.is(failure) || failure.failureClass !== 'rate_limit') return 0
  return Math.ceil(failure.retryAfterMs ?? 0)
}

/** Rejects with the signal's reason as soon as it is aborted; the promise goes on unwatched. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
