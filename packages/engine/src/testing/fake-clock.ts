// Time that only a test moves. Hides which sleepers are due: they wake in the order of their moments.
import type { Clock } from '../ports.ts'

export interface FakeClock extends Clock {
  /** Moves time forward and wakes whoever slept until then. */
  advance(ms: number): void
  /** How long the sleepers have yet to sleep, soonest first. */
  sleeping(): number[]
}

interface Sleeper {
  untilMs: number
  wake: () => void
}

/** A clock that stands still; by default at noon of the first of January 2026. */
export function createFakeClock(startMs: number = Date.UTC(2026, 0, 1, 12)): FakeClock {
  let nowMs = startMs
  const sleepers = new Set<Sleeper>()
  return {
    nowMs: () => nowMs,
    sleep(ms, signal) {
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason)
        const sleeper: Sleeper = {
          untilMs: nowMs + ms,
          wake() {
            signal.removeEventListener('abort', give)
            sleepers.delete(sleeper)
            resolve()
          },
        }
        function give(): void {
          sleepers.delete(sleeper)
          reject(signal.reason)
        }
        signal.addEventListener('abort', give, { once: true })
        sleepers.add(sleeper)
      })
    },
    advance(ms) {
      nowMs += ms
      const due = [...sleepers].filter(({ untilMs }) => untilMs <= nowMs)
      for (const sleeper of due.sort((a, b) => a.untilMs - b.untilMs)) sleeper.wake()
    },
    sleeping: () => [...sleepers].map(({ untilMs }) => untilMs - nowMs).sort((a, b) => a - b),
  }
}
