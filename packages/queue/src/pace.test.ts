import { describe, expect, it } from 'vitest'
import { begun, FRESH_PACE, limited, type Pace, spacingMs, succeeded, waitMs } from './pace.ts'

/** A provider's answer to a call at an instant: null lets it through, a number is its hint, 0 a limit without one. */
type Provider = (nowMs: number) => number | null

/** So many calls in a window that opens with its first; says that the whole window, what is left of it, or nothing is to be waited. */
function windows(calls: number, windowMs: number, hint: 'whole' | 'left' | 'none'): Provider {
  let [openedAt, used] = [-Infinity, 0]
  return (nowMs) => {
    if (nowMs - openedAt > windowMs) [openedAt, used] = [nowMs, 0]
    used += 1
    if (used <= calls) return null
    return hint === 'none' ? 0 : hint === 'whole' ? windowMs : openedAt + windowMs - nowMs + 1
  }
}

/** A bucket of tokens that fills up steadily, and says when the next one is there. */
function bucket(tokens: number, refillMs: number): Provider {
  let [level, at] = [tokens, 0]
  return (nowMs) => {
    level = Math.min(tokens, level + (nowMs - at) / refillMs)
    at = nowMs
    if (level < 1) return (1 - level) * refillMs
    level -= 1
    return null
  }
}

interface Load {
  calls: number
  /** Of these at once, as in one or several workers that share the pace. */
  atOnce: number
  /** On average; a call that is limited is answered within 40 ms. */
  latencyMs?: number
  /** When each call comes; default: all at once. */
  comesAt?: (index: number) => number
  seed?: number
}

/** Makes all calls in virtual time, a limited one again; what that took, and all starts. */
function drive(provider: Provider, { calls, atOnce, latencyMs = 50, comesAt = () => 0, seed = 1 }: Load) {
  let state = seed
  const random = () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
  const agenda: { at: number; work: () => void }[] = []
  const later = (at: number, work: () => void) => agenda.push({ at, work })
  const beganAt = 1_000_000
  let [now, pace, waiting, underWay, limits, doneAt] = [beganAt, FRESH_PACE, 0, 0, 0, 0]
  let wakesAt = 0
  const starts: number[] = []

  function serve(): void {
    while (waiting > 0 && underWay < atOnce) {
      const started = begun(pace, now)
      if (started === null) {
        const next = now + waitMs(pace, now) + 1
        if (next !== wakesAt) later(next, serve)
        wakesAt = next
        return
      }
      pace = started
      begin(pace.pausedAt)
    }
  }
  function begin(phase: number): void {
    waiting -= 1
    underWay += 1
    starts.push(now - beganAt)
    later(now + 10 + 10 * random(), () => {
      const answer = provider(now)
      later(now + (answer === null ? latencyMs * (0.5 + random()) : 20), () => {
        underWay -= 1
        if (answer === null) {
          doneAt = now
          pace = succeeded(pace, phase)
        } else {
          limits += 1
          waiting += 1
          pace = limited(pace, phase, answer, now, random)
        }
        serve()
      })
    })
  }
  for (let index = 0; index < calls; index += 1)
    later(beganAt + comesAt(index), () => {
      waiting += 1
      serve()
    })
  while (agenda.length > 0) {
    const next = agenda.reduce((first, other) => (other.at < first.at ? other : first))
    agenda.splice(agenda.indexOf(next), 1)
    now = next.at
    next.work()
  }
  return { tookMs: doneAt - beganAt, limits, starts }
}

describe('200 calls against 5 in 8 s', () => {
  const load = { calls: 200, atOnce: 100 }
  it.each([
    ['says to wait for the whole window', () => windows(5, 8_000, 'whole')],
    ['says what is left of the window', () => windows(5, 8_000, 'left')],
    ['says nothing', () => windows(5, 8_000, 'none')],
  ])('take at most 1.3 times as long as the limit dictates, where the provider %s', (_how, provider) => {
    for (let seed = 1; seed <= 20; seed += 1) {
      for (const latencyMs of [50, 3_000, 10_000]) {
        expect(drive(provider(), { ...load, latencyMs, seed }).tookMs).toBeLessThan(1.3 * 320_000)
      }
    }
  })
})

describe('at other limits the calls get through in at most 1.3 times the time', () => {
  it.each([
    ['60 in a minute, 600 calls', () => windows(60, 60_000, 'whole'), 600, 600_000],
    ['3 in a second, 200 calls, nothing said', () => windows(3, 1_000, 'none'), 200, 67_000],
    ['20 in 2 s, 400 calls, nothing said', () => windows(20, 2_000, 'none'), 400, 40_000],
    ['1 in 20 s, 20 calls', () => windows(1, 20_000, 'whole'), 20, 400_000],
    ['1 in 20 s, 20 calls, nothing said', () => windows(1, 20_000, 'none'), 20, 400_000],
    ['a token every 120 ms, 4,000 calls', () => bucket(500, 120), 4_000, 3_500 * 120],
  ])('%s', (_what, provider, calls, idealMs) => {
    for (let seed = 1; seed <= 10; seed += 1) {
      expect(drive(provider(), { calls, atOnce: 100, latencyMs: 500, seed }).tookMs).toBeLessThan(1.3 * idealMs)
    }
  })
})

it('calls after a pause are spaced as those before it got through, and do not begin as a herd', () => {
  const { starts } = drive(windows(5, 8_000, 'whole'), { calls: 30, atOnce: 100 })
  const after = starts.filter((at) => at > 7_000 && at < 20_000)
  const gaps = after.slice(1).map((at, index) => at - (after[index] as number))
  expect(Math.min(...gaps)).toBeGreaterThan(1_000)
})

it('a burst that is limited slows down once, however many of its calls are limited', () => {
  const run = (atOnce: number) => drive(windows(5, 8_000, 'whole'), { calls: 100, atOnce })
  expect(run(100).tookMs).toBeLessThan(1.1 * run(6).tookMs)
})

it('a burst that is limited within its very millisecond is spaced like any other', () => {
  const AT = 5_000
  const two = begun(begun(FRESH_PACE, AT) ?? FRESH_PACE, AT) ?? FRESH_PACE
  const paused = limited(two, 0, 500, AT)
  const resumed = begun(paused, AT + 500)
  expect(resumed === null ? 0 : waitMs(resumed, AT + 500)).toBeGreaterThanOrEqual(500)
})

it('a rate is measured while calls are made, not while nobody asked', () => {
  const provider = windows(5, 8_000, 'left')
  // A call a minute for an hour, then 60 at once.
  const comesAt = (index: number) => (index < 60 ? index * 60_000 : 3_600_000)
  const { tookMs } = drive(provider, { calls: 120, atOnce: 100, comesAt })
  expect(tookMs - 3_600_000).toBeLessThan(1.3 * 96_000)
})

it.each([
  ['lower', 2, 120, 60 * 4_000],
  ['higher', 20, 400, 340 * 400],
])('finds the way when the limit becomes %s', (_how, callsThen, calls, idealMs) => {
  const [before, then] = [windows(5, 8_000, 'left'), windows(callsThen, 8_000, 'left')]
  // Some 60 calls get through before it changes.
  const { tookMs } = drive((nowMs) => (nowMs < 1_100_000 ? before : then)(nowMs), { calls, atOnce: 50 })
  expect(tookMs).toBeLessThan(1.3 * (100_000 + idealMs))
})

describe('a pause', () => {
  const NOW = 1_000_000
  const started = (pace: Pace, nowMs: number) => begun(pace, nowMs) ?? expect.fail('may not begin yet')

  it('is as long as the provider says, and never made shorter by a smaller answer', () => {
    const pace = started(started(started(FRESH_PACE, 1_000), 1_000), 1_000)
    const first = limited(pace, 0, 8_000, 1_100)
    const second = limited(first, 0, 200, 1_150)
    expect(waitMs(second, 1_150)).toBe(7_950)
    expect(begun(second, 9_099)).toBeNull()
    expect(begun(second, 9_100)).not.toBeNull()
    expect(waitMs(limited(second, 0, 30_000, 2_000), 2_000)).toBe(30_000)
  })

  it('grows where nobody says how long, as long as no call gets through, at random', () => {
    let pace = FRESH_PACE
    let now = 1_000
    const lengths: number[] = []
    for (let times = 0; times < 12; times += 1) {
      pace = started(pace, now)
      pace = limited(pace, pace.pausedAt, 0, now + 20, () => 1)
      lengths.push(Math.round(pace.until - pace.pausedAt))
      now = pace.until
    }
    expect(lengths.slice(0, 4)).toEqual([1_000, 1_020, 2_060, 4_140])
    expect(lengths.at(-1)).toBe(60_000)
    expect(limited(started(pace, now), pace.pausedAt, 0, now, () => 0.25).until - now).toBe(15_000)
  })

  it('is short again after a call got through', () => {
    let pace = started(FRESH_PACE, 1_000)
    for (let times = 0; times < 8; times += 1) {
      pace = limited(pace, pace.pausedAt, 0, pace.until + 1_000, () => 1)
      pace = started(pace, pace.until)
    }
    const now = pace.until + 100
    pace = succeeded(pace, pace.pausedAt)
    pace = limited(started(pace, now), pace.pausedAt, 0, now, () => 1)
    expect(pace.until - now).toBe(1_000)
  })

  it('goes on growing although another call is under way, which may be limited as well', () => {
    let pace = FRESH_PACE
    for (let times = 0; times < 100; times += 1) pace = started(pace, NOW)
    pace = limited(pace, 0, 0, NOW, () => 1)
    for (const atLeast of [1_000, 2_000, 4_000]) {
      pace = started(pace, pace.until)
      pace = started(pace, pace.nextAt)
      pace = limited(pace, pace.pausedAt, 0, Math.max(pace.nextAt, pace.until + 20), () => 1)
      expect(pace.until - pace.pausedAt).toBeGreaterThanOrEqual(atLeast)
    }
  })

  it('that was guessed too short says nothing about the rate', () => {
    let pace: Pace = { ...FRESH_PACE, intervalMs: 1_000, nextAt: 1_000, until: 1, pausedAt: 1 }
    for (let times = 0; times < 6; times += 1) {
      pace = started(pace, Math.max(pace.nextAt, pace.until))
      pace = limited(pace, pace.pausedAt, 0, (pace.nextAt || pace.until) - 900, () => 0.01)
    }
    expect(pace.intervalMs).toBeLessThan(1_101)
  })

  it('that was guessed ended somewhere between the last call that was limited and the first that was not', () => {
    let pace = FRESH_PACE
    for (let times = 0; times < 6; times += 1) pace = started(pace, NOW)
    pace = limited(pace, 0, 0, NOW + 100, () => 1)
    // Five calls got through in 100 ms at least and 1,100 ms at most.
    expect(started(pace, pace.until).intervalMs).toBe(120)
  })

  it('leaves the rate a little lower each time, and lets it grow with the time since', () => {
    let pace: Pace = { ...FRESH_PACE, intervalMs: 1_000, nextAt: 1_000, until: 1, pausedAt: 1 }
    for (let times = 0; times < 20; times += 1) pace = started(pace, Math.max(1_000, pace.nextAt))
    const now = pace.nextAt
    const rateBefore = spacingMs(pace, now)
    pace = limited(pace, 1, 8_000, now)
    pace = started(pace, pace.until)
    expect(spacingMs(pace, pace.until) / rateBefore).toBeCloseTo(1.1, 5)
    const factor = (pauses: number) => pace.intervalMs / spacingMs(pace, pace.until + pauses * 8_000)
    expect([factor(8), factor(21), factor(60)].map((each) => Number(each.toFixed(1)))).toEqual([1.1, 2.0, 317.3])
  })
})
