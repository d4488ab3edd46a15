// Limits on live provider calls over all workers: calls at once, starts per window, and the pace that the provider sets by
// its 429s. Hides Redis: while it is away each process keeps the same limits for itself, and no call waits for it.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { type Limits, type Log, StepFailure } from '@fabrique/engine'
import type { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { type Circuit, createCircuit } from './circuit.ts'
import { begun, FRESH_PACE, limited, type Pace, spacingMs, succeeded, waitMs } from './pace.ts'
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
/** A pause, or a circuit that stays open, is waited for so long. */
const PATIENCE_MS = 3_600_000
/** A call that could ask another model waits only so long for its turn among calls that are spaced out. */
const TURN_WAITED_MS = 1_000
/** Longer than any pause: after that nothing is known of a model's pace. */
const PACE_KEPT_MS = 2 * PATIENCE_MS
/** After a failure Redis is not asked for so long: otherwise each call would wait for it to fail again. */
const AWAY_MS = 2_000
const FIRST_CONNECTION_MS = 500
const POLL_MIN_MS = 50
const POLL_MAX_MS = 250
/** The longest sleep: whose patience is over learns it by then. */
const SLEEP_MAX_MS = 30_000

/**
 * Answers 1 with a permit under every rule, 0 where a rule has none left. `KEYS`: each rule's set of holders, scored by
 * expiry on Redis' clock. `ARGV`: the permits' lease, the holder, then the limit of each set.
 */
const ACQUIRE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[i + 2]) then return 0 end
end
for i = 1, #KEYS do
  redis.call('ZADD', KEYS[i], now + ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[i], ARGV[1])
end
return 1`

/** Also adds holders that Redis has lost, because their calls are under way. */
const RENEW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])`

/** A model's pace, and the time on Redis' clock. */
const READ_PACE = `
local time = redis.call('TIME')
return {redis.call('GET', KEYS[1]), time[1] * 1000 + math.floor(time[2] / 1000)}`

/** Replaces a pace by another unless a process has changed it meanwhile; says whether. */
const SWAP_PACE = `
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`

interface Scripts {
  acquirePermit(keys: number, ...keysAndArguments: (string | number)[]): Promise<number>
  renewPermits(keys: number, ...keysAndArguments: (string | number)[]): Promise<void>
  readPace(keys: 1, key: string): Promise<[pace: string | null, nowMs: number]>
  swapPace(keys: 1, key: string, before: string, after: string, keptMs: number): Promise<number>
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

/** A call that waits for its turn. */
interface Waiter {
  signal: AbortSignal
  isPatient: boolean
  /** Its place in line: when it asked first, which may have been an earlier call of `enter`. */
  sinceMs: number
  untilMs: number
  begin(leave: (failure: Error | null) => void): void
  reject(failure: unknown): void
}

/** The calls of one model in this process. Only the first in line asks Redis for a permit, the others wait behind it. */
interface Line {
  model: string
  rules: Rule[]
  circuit: Circuit
  /** The pace as this process knows it, which is the truth while Redis is away. */
  pace: Pace
  paceKey: string
  /** Resolves when no change of the pace is under way. */
  paced: Promise<unknown>
  waiters: Waiter[]
  isServed: boolean
}

/** Why the first in line may not begin, and for how long: others use all permits, the provider, or its outage. */
interface Hindrance {
  why: 'full' | 'pause' | 'turn' | 'outage'
  forMs: number
}

/** The limits of this process' calls, shared with all processes that use the same Redis and prefix. */
export function createLimits({ rules: given, log, shared, leaseMs = LEASE_MS }: LimitsOptions): ClosableLimits {
  const root = `${queueNames(shared?.prefix ?? '').prefix}:limits`
  const redis = shared === undefined ? null : connectWithScripts(shared.redisUrl, log)
  const rules = new Map(given.map((rule) => [rule.scope, createRule(rule, root, redis)]))
  const lines = new Map<string, Line>()
  const held = new Map<string, Line>()
  /** Resolves when a permit is released, a circuit may have changed, or a line has emptied. */
  let wakeUp = Promise.withResolvers<void>()
  let awayUntilMs = 0

  /** Redis' clock as far as it is known, so that instants mean the same in all processes. */
  let clockAheadMs = Date.now() - performance.now()
  const nowMs = () => performance.now() + clockAheadMs
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
      pace: FRESH_PACE,
      paceKey: `${root}:pace:${model}`,
      paced: Promise.resolve(),
      waiters: [],
      isServed: false,
    }
    lines.set(model, line)
    return line
  }

  const holderSets = (line: Line) => line.rules.filter(({ atOnce }) => atOnce < Infinity)

  /**
   * Changes a model's pace for all processes; null where `change` does not allow it. The changes of one process follow
   * each other. After Redis came back empty, and while it is away, what this process knows is the best there is.
   */
  function changePace(line: Line, change: (pace: Pace, nowMs: number) => Pace | null): Promise<Pace | null> {
    const attempt = async () => {
      for (;;) {
        const known = await ask(async (it) => {
          const [text, redisMs] = await it.readPace(1, line.paceKey)
          clockAheadMs = redisMs - performance.now()
          if (text !== null) line.pace = JSON.parse(text) as Pace
          return { text: text ?? '', redisMs }
        })
        const after = change(line.pace, known?.redisMs ?? nowMs())
        if (after === null || after === line.pace) return after
        const next = JSON.stringify(after)
        const isOurs =
          known !== undefined && (await ask((it) => it.swapPace(1, line.paceKey, known.text, next, PACE_KEPT_MS)))
        if (isOurs === 0) continue
        line.pace = after
        return after
      }
    }
    const changed = line.paced.then(attempt)
    line.paced = changed
    return changed
  }

  /** What keeps every call of the model back at present, as far as this process knows. */
  function hindranceOf({ circuit, pace }: Line): Hindrance | null {
    const outageMs = circuit.waitMs()
    if (outageMs > 0) return { why: 'outage', forMs: outageMs }
    const forMs = waitMs(pace, nowMs())
    return forMs === 0 ? null : { why: pace.until > nowMs() ? 'pause' : 'turn', forMs }
  }

  /** Acquires a permit under every rule of the line and a start at its pace, or none at all. */
  async function acquire(line: Line, holder: string): Promise<Hindrance | { phase: number }> {
    const known = hindranceOf(line)
    if (known !== null) return known
    if (line.rules.some(({ running, atOnce }) => running >= atOnce)) return full()
    const fullMs = Math.max(0, ...line.rules.map(({ rate }) => (rate?.fullUntilMs ?? 0) - Date.now()))
    if (fullMs > 0) return full(fullMs)

    // Counted before Redis answers, because lines of other models are under the same provider's rule.
    for (const rule of line.rules) rule.running += 1
    const sets = holderSets(line)
    const keys = sets.map(({ key }) => key)
    const limits = sets.map(({ atOnce }) => atOnce)
    if ((await ask((it) => it.acquirePermit(keys.length, ...keys, leaseMs, holder, ...limits))) === 0) {
      for (const rule of line.rules) rule.running -= 1
      return full()
    }
    held.set(holder, line)
    const paced = await changePace(line, begun)
    if (paced === null) {
      release(holder)
      return hindranceOf(line) ?? full()
    }
    // Last of all: a start that is counted must happen now, not once a permit is free.
    for (const { scope, rate } of line.rules) {
      const forMs = rate === null ? 0 : await countStart(scope, rate, isAway())
      if (forMs === 0) continue
      release(holder)
      return full(forMs)
    }
    return { phase: paced.pausedAt }
  }

  function release(holder: string): void {
    const line = held.get(holder)
    if (line === undefined) return
    held.delete(holder)
    for (const rule of line.rules) rule.running -= 1
    const sets = holderSets(line)
    if (sets.length > 0) void ask((it) => Promise.all(sets.map(({ key }) => it.zrem(key, holder))))
    wake()
  }

  function wake(): void {
    wakeUp.resolve()
    wakeUp = Promise.withResolvers()
  }

  /** Sleeps for the time, or until `wake`. */
  async function sleep(ms: number, woken: Promise<void>): Promise<void> {
    const timer = new AbortController()
    const isOver = delay(Math.min(ms, SLEEP_MAX_MS), undefined, { signal: timer.signal }).catch(() => {})
    await Promise.race([isOver, woken])
    timer.abort()
  }

  /** Begins the calls in line, one after the other, as soon as each may. */
  async function serve(line: Line): Promise<void> {
    if (line.isServed) return
    line.isServed = true
    await opened
    for (let holder = randomUUID(); line.waiters.length > 0; holder = randomUUID()) {
      // From before the look at what hinders, so that no change is missed.
      const woken = wakeUp.promise
      try {
        const acquired = await acquire(line, holder)
        if ('why' in acquired) {
          dismiss(line, acquired)
          if (line.waiters.length > 0) await sleep(acquired.forMs, woken)
          continue
        }
        // Meanwhile the line may have emptied, or the circuit opened.
        const next = line.circuit.waitMs() > 0 ? undefined : line.waiters.shift()
        if (next === undefined) release(holder)
        else next.begin(entered(line, holder, acquired.phase, next.signal))
      } catch (error) {
        release(holder)
        line.waiters.shift()?.reject(error)
      }
    }
    line.isServed = false
  }

  /** Rejects whoever has waited for the provider too long, and whoever could ask another model instead. */
  function dismiss(line: Line, hindrance: Hindrance | null): void {
    if (hindrance === null || hindrance.why === 'full') return
    const { why, forMs } = hindrance
    const spacing = spacingMs(line.pace, nowMs())
    const isOver = ({ isPatient, untilMs }: Waiter, turnMs: number) =>
      isPatient ? nowMs() > untilMs : why !== 'turn' || turnMs > TURN_WAITED_MS
    line.waiters = line.waiters.filter((waiter, index) => {
      const turnMs = forMs + index * spacing
      if (!isOver(waiter, turnMs)) return true
      waiter.reject(failureOf(line.model, why, turnMs))
      return false
    })
  }

  /** How a call that begins now, in this phase of its model's pace, is left. */
  function entered(line: Line, holder: string, phase: number, signal: AbortSignal): (failure: Error | null) => void {
    const report = line.circuit.begin(signal)
    let hasLeft = false
    return (failure) => {
      if (hasLeft) return
      hasLeft = true
      report(failure)
      const isLimited = StepFailure.is(failure) && failure.failureClass === 'rate_limit'
      if (isLimited || (failure === null && line.pace.isGuess)) void learn(line, holder, phase, failure)
      else release(holder)
    }
  }

  /** Changes the pace by an outcome, and only then releases the permit: whoever gets it knows of the pause. */
  async function learn(line: Line, holder: string, phase: number, limit: StepFailure | null): Promise<void> {
    const hintMs = Math.min(limit?.retryAfterMs ?? 0, PATIENCE_MS)
    let isNewPause = false
    const after = await changePace(line, (pace, now) => {
      const changed = limit === null ? succeeded(pace, phase) : limited(pace, phase, hintMs, now)
      isNewPause = changed.pausedAt !== pace.pausedAt
      return changed
    })
    if (isNewPause && after !== null) {
      const forMs = Math.round(after.until - after.pausedAt)
      log.info({ model: line.model, for_ms: forMs, asked: hintMs > 0 }, 'the provider limits a model; its calls pause')
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
    async enter({ provider, name }, signal, { patient, sinceMs = Date.now() } = { patient: true }) {
      signal.throwIfAborted()
      const line = lineOf(provider, name)
      const { promise, resolve: begin, reject } = Promise.withResolvers<(failure: Error | null) => void>()
      const waiter: Waiter = { signal, isPatient: patient, sinceMs, untilMs: nowMs() + PATIENCE_MS, begin, reject }
      const giveUp = () => {
        line.waiters = line.waiters.filter((other) => other !== waiter)
        reject(signal.reason)
        if (line.waiters.length === 0) wake()
      }
      signal.addEventListener('abort', giveUp, { once: true })
      line.waiters.splice(line.waiters.findLastIndex((other) => other.sinceMs <= sinceMs) + 1, 0, waiter)
      dismiss(line, hindranceOf(line))
      void serve(line)
      return await promise.finally(() => signal.removeEventListener('abort', giveUp))
    },
    isOut: ({ provider, name }) => lineOf(provider, name).circuit.waitMs() > 0,
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
  redis.defineCommand('readPace', { lua: READ_PACE })
  redis.defineCommand('swapPace', { lua: SWAP_PACE })
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
    const fullMs = Math.max(error.msBeforeNext, 1)
    rate.fullUntilMs = Date.now() + fullMs
    return fullMs
  }
}

/** With jitter, so that processes do not all ask at the same moment. */
function full(forMs = 0): Hindrance {
  return { why: 'full', forMs: forMs + POLL_MIN_MS + Math.random() * (POLL_MAX_MS - POLL_MIN_MS) }
}

function failureOf(model: string, why: Hindrance['why'], forMs: number): StepFailure {
  const retryAfterMs = Math.ceil(forMs)
  const seconds = Math.ceil(forMs / 1_000)
  return why === 'outage'
    ? new StepFailure('server', `The model "${model}" kept failing; it is tried again in ${seconds} s.`, {
        code: 'circuit-open',
        retryAfterMs,
      })
    : new StepFailure(
        'rate_limit',
        `The provider of "${model}" limits its calls; the next one may begin in ${seconds} s.`,
        {
          retryAfterMs,
        },
      )
}
