// What an execution does while the record or the artifact store is away: it waits, and asks the same again.
// Hides how often it asks, and when it stops asking.
import { FabriqueError } from '@fabrique/schema'
import { backoffMs } from '../failure.ts'
import type { ArtifactStore, Clock, Log, RunStore } from '../ports.ts'

/** The first pause; they double: 0.1 s, 0.2 s … 2 s, which is how late an outage is noticed to be over. */
const ASK_AGAIN_MS = 100
const ASK_AGAIN_MS_MAX = 2_000
/** A cancelled execution has its end to write, and does not hold up a shutdown for long: 20 more tries, at most 40 s. */
const TRIES_WHEN_CANCELLED = 20

const never = new AbortController().signal

/**
 * Asks again what is refused as `unavailable`, until there is an answer. Once `signal` is aborted the refusal is thrown;
 * after a cancel a while later.
 */
function patience(clock: Pick<Clock, 'sleep'>, signal: AbortSignal, onRefusal: (error: unknown) => void = () => {}) {
  return function patient<Args extends unknown[], Answer>(ask: (...args: Args) => Promise<Answer>) {
    return async (...args: Args): Promise<Answer> => {
      let triesLeft = TRIES_WHEN_CANCELLED
      for (let tries = 1; ; tries += 1) {
        try {
          return await ask(...args)
        } catch (error) {
          if (signal.aborted) triesLeft = signal.reason === 'cancel' ? triesLeft - 1 : 0
          if (!FabriqueError.is(error, 'unavailable') || triesLeft === 0) throw error
          onRefusal(error)
          const pauseMs = Math.min(backoffMs(tries, ASK_AGAIN_MS), ASK_AGAIN_MS_MAX)
          await clock.sleep(pauseMs, signal.aborted ? never : signal).catch(() => {})
        }
      }
    }
  }
}

/** The store as an execution uses it: no work in hand is lost to an outage of the record. */
export function outlasting(store: RunStore, clock: Pick<Clock, 'sleep'>, signal: AbortSignal): RunStore {
  const patient = patience(clock, signal)
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

/** The artifact store as the execution of a run uses it: what was paid for is kept until it can be stored. */
export function outlastingArtifacts(
  artifacts: ArtifactStore,
  { clock, log }: { clock: Pick<Clock, 'sleep'>; log: Log },
  runId: string,
  signal: AbortSignal,
): ArtifactStore {
  let isLogged = false
  const patient = patience(clock, signal, (err) => {
    if (!isLogged) log.warn({ run_id: runId, err }, 'the artifact store is away; the run waits for it')
    isLogged = true
  })
  return {
    ...artifacts,
    put: patient(artifacts.put),
    get: patient(artifacts.get),
    stage: patient(artifacts.stage),
    staged: patient(artifacts.staged),
    ready: patient(artifacts.ready),
  }
}
