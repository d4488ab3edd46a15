// What an execution does while the record is away: it waits, and asks the same again.
// Hides how often it asks, and when it stops asking.
import { FabriqueError } from '@fabrique/schema'
import { backoffMs } from '../failure.ts'
import type { Clock, RunStore } from '../ports.ts'

/** The first pause; they double: 0.1 s, 0.2 s … 2 s, which is how late an outage is noticed to be over. */
const ASK_AGAIN_MS = 100
const ASK_AGAIN_MS_MAX = 2_000
/** A cancelled execution has its end to write, and does not hold up a shutdown for long: 20 more tries, at most 40 s. */
const TRIES_WHEN_CANCELLED = 20

const never = new AbortController().signal

/**
 * The store as an execution uses it: what is refused as `unavailable` is asked again until the record answers, so that
 * no work in hand is lost to an outage. Once `signal` is aborted the refusal is thrown; after a cancel a while later.
 */
export function outlasting(store: RunStore, clock: Pick<Clock, 'sleep'>, signal: AbortSignal): RunStore {
  function patient<Args extends unknown[], Answer>(ask: (...args: Args) => Promise<Answer>) {
    return async (...args: Args): Promise<Answer> => {
      let triesLeft = TRIES_WHEN_CANCELLED
      for (let tries = 1; ; tries += 1) {
        try {
          return await ask(...args)
        } catch (error) {
          if (signal.aborted) triesLeft = signal.reason === 'cancel' ? triesLeft - 1 : 0
          if (!FabriqueError.is(error, 'unavailable') || triesLeft === 0) throw error
          const pauseMs = Math.min(backoffMs(tries, ASK_AGAIN_MS), ASK_AGAIN_MS_MAX)
          await clock.sleep(pauseMs, signal.aborted ? never : signal).catch(() => {})
        }
      }
    }
  }
  return {
    ...store,
    claim: patient(store.claim),
    definition: patient(store.definition),
    history: patient(store.history),
    find: patient(store.find),
    children: patient(store.children),
    notify: patient(store.notify),
    cancelChildren: patient(store.cancelChildren),
    commit: patient(store.commit),
    release: patient(store.release),
  }
}
