// A model's pace: when its next call may begin, learned from the provider's 429s. Pure: state and time in, state out.
// Hides how the rate that held is measured, how fast it grows again, and how long to pause where nobody says.

/** All instants are milliseconds on one clock; 0 stands for "never". */
export interface Pace {
  /** What lay between two starts when the last pause ended; 0: no limit has been met. */
  intervalMs: number
  /** The earliest next start. 0 from the beginning of a pause until the first start after it. */
  nextAt: number
  /** The last pause. Its beginning also names the phase in which later calls begin. */
  pausedAt: number
  until: number
  /** Nobody said how long to pause, and no call has succeeded since: the pause may have been too short. */
  isGuess: boolean
  /** Beginning of the first of the pauses between which no call got through. */
  limitedAt: number
  /** Calls that began since `since` and were not limited; `fresh` of them after the last pause. */
  since: number
  passed: number
  fresh: number
}

export const FRESH_PACE: Pace = {
  intervalMs: 0,
  nextAt: 0,
  pausedAt: 0,
  until: 0,
  isGuess: false,
  limitedAt: 0,
  since: 0,
  passed: 0,
  fresh: 0,
}

/** A limit shows that the calls came too fast, if only by little. */
const SLOWER = 1.1
/** In lengths of the last pause: the rate is a tenth higher after 8 of them, twice as high after 21, unbounded after 60. */
const GROWTH_PAUSES = 25
/** Pauses where nobody says how long: at random up to this, and up to as long as the provider has limited us already. */
const GUESS_MIN_MS = 1_000
const GUESS_MAX_MS = 60_000
/** A limited call is answered by then, so any other that began earlier got through. */
const ANSWERED_MS = 1_000
/** After so long without a start, what is measured begins anew: nobody asked, so the provider limited nothing. */
const IDLE_MS = 1_000

/** Milliseconds between two starts at this time. */
export function spacingMs({ intervalMs, limitedAt, until }: Pace, nowMs: number): number {
  const pauses = (nowMs - until) / Math.max(until - limitedAt, GUESS_MIN_MS)
  return intervalMs / Math.exp((pauses / GROWTH_PAUSES) ** 2)
}

/** The pace with a call that begins now; null where none may yet. */
export function begun(pace: Pace, nowMs: number): Pace | null {
  if (waitMs(pace, nowMs) > 0) return null
  const resumed = pace.nextAt === 0 ? { ...pace, intervalMs: intervalThatHeld(pace) } : pace
  const spacing = spacingMs(resumed, nowMs)
  const isIdle = nowMs - Math.max(pace.nextAt, pace.until) > Math.max(IDLE_MS, spacing)
  const { since, passed, fresh } = isIdle ? { since: nowMs, passed: 0, fresh: 0 } : pace
  return { ...resumed, nextAt: nowMs + spacing, since, passed: passed + 1, fresh: fresh + 1 }
}

/** How long no call may begin: until the pause is over, then until it is the next one's turn. */
export function waitMs({ until, nextAt }: Pace, nowMs: number): number {
  return Math.max(0, Math.max(until, nextAt) - nowMs)
}

/** The pace after a call of this phase succeeded. */
export function succeeded(pace: Pace, phase: number): Pace {
  return pace.isGuess && phase === pace.pausedAt ? { ...pace, isGuess: false } : pace
}

/**
 * The pace after a call that began in this phase was limited, for `hintMs` where the provider said so. Only the first
 * such answer of a phase starts a pause: the others come from calls that began before anybody knew.
 */
export function limited(pace: Pace, phase: number, hintMs: number, nowMs: number, random = Math.random): Pace {
  const passed = Math.max(0, pace.passed - 1)
  if (phase !== pace.pausedAt)
    return { ...pace, passed, until: hintMs > 0 ? Math.max(pace.until, nowMs + hintMs) : pace.until }
  const fresh = pace.fresh - 1
  const gotThrough = fresh > 0 && (!pace.isGuess || nowMs - pace.until > ANSWERED_MS)
  const isNew = pace.limitedAt === 0 || gotThrough
  const limitedAt = isNew ? nowMs : pace.limitedAt
  const guessMs = random() * Math.min(Math.max(nowMs - limitedAt, GUESS_MIN_MS), GUESS_MAX_MS)
  return {
    intervalMs: isNew ? spacingMs(pace, nowMs) * SLOWER : pace.intervalMs,
    nextAt: 0,
    pausedAt: nowMs,
    until: nowMs + (hintMs > 0 ? hintMs : Math.max(1, guessMs)),
    isGuess: hintMs <= 0,
    limitedAt,
    ...(gotThrough ? { since: Math.max(pace.since, pace.until), passed: fresh } : { since: pace.since, passed }),
    fresh: 0,
  }
}

/**
 * The interval after a pause. Calls that came about as fast as they were allowed to were a little too fast. Otherwise
 * there was a burst, and what the provider let through of it, over all the time until it let calls through again, is the rate.
 */
function intervalThatHeld({ intervalMs, since, passed, pausedAt, until, isGuess }: Pace): number {
  // Before any limit was met nothing spaced them: even a burst of one millisecond was one.
  const wasSpaced = intervalMs > 0 && (pausedAt - since) / passed <= 2 * intervalMs
  if (passed === 0 || wasSpaced) return intervalMs
  const openedAt = isGuess ? (pausedAt + until) / 2 : until
  return Math.max(intervalMs, (openedAt - since) / passed)
}
