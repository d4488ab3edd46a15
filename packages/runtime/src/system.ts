// The real clock and the real ids, for the engine's ports.
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicFactory } from 'ulid'

/** Wall-clock time; sleeping never keeps a process alive longer than its signal. */
export const systemClock = {
  nowMs: () => Date.now(),
  sleep: (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal }),
}

/** ULIDs, rising within this process even inside one millisecond. */
export function systemIds(): { next(): string } {
  const ulid = monotonicFactory()
  return { next: () => ulid() }
}
