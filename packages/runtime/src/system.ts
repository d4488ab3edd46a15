// The real clock and the real ids, for the engine's ports.
import { randomFillSync } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicFactory } from 'ulid'

/** Wall-clock time; sleeping never keeps a process alive longer than its signal. */
export const systemClock = {
  nowMs: () => Date.now(),
  sleep: (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal }),
}

/** ULIDs, rising within this process even inside one millisecond. */
export function systemIds(): { next(): string } {
  // The generator asks for its random digits one at a time: a pool is filled once for many of them.
  const pool = new Uint32Array(1024)
  let used = pool.length
  function random(): number {
    if (used === pool.length) {
      randomFillSync(pool)
      used = 0
    }
    used += 1
    return (pool[used - 1] as number) / 2 ** 32
  }
  const ulid = monotonicFactory(random)
  return { next: () => ulid() }
}
