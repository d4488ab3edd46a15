// A model's circuit: open for a while after it kept failing, then one call tries it before all others do.
// Hides which failures are the model's: what it refuses, limits or answers badly shows that it is there.
import { type FailureClass, type Log, StepFailure } from '@fabrique/engine'
import { CircuitState, circuitBreaker, ConsecutiveBreaker, handleWhen } from 'cockatiel'

export interface Circuit {
  /** Throws the failure `circuit-open` while no call may begin. */
  check(): void
  /** Begins a call; the answer says how it went. Throws as `check` does. An aborted call proves nothing. */
  begin(signal: AbortSignal): (failure: Error | null) => void
}

const FAILURES_TO_OPEN = 5
const OPEN_MS = 30_000

/** Failures that come from the model. The first two count; the others show that it answers. */
const ITS_OWN: readonly FailureClass[] = ['server', 'timeout', 'rate_limit', 'refused', 'invalid', 'bad_output']

/** Stands for a failure that says nothing about the model: ours, or a call that was stopped. */
class NoEvidence extends Error {}

/** A closed circuit, this process' own. */
export function createCircuit(model: string, log: Log): Circuit {
  let openUntilMs = 0
  const breaker = circuitBreaker(
    // The one call that tries the model must show that it is there; elsewhere no evidence changes nothing.
    handleWhen(
      (error: unknown) => isOutage(error) || (error instanceof NoEvidence && breaker.state === CircuitState.HalfOpen),
    ),
    { breaker: new ConsecutiveBreaker(FAILURES_TO_OPEN), halfOpenAfter: OPEN_MS },
  )
  breaker.onBreak(() => {
    openUntilMs = Date.now() + OPEN_MS
    log.warn({ model, for_ms: OPEN_MS }, 'a model kept failing; calls of it fail at once for a while')
  })

  function check(): void {
    const isTried = breaker.state === CircuitState.HalfOpen
    const leftMs = isTried ? OPEN_MS : openUntilMs - Date.now()
    if (breaker.state === CircuitState.Closed || leftMs <= 0) return
    const seconds = Math.ceil(leftMs / 1_000)
    throw new StepFailure('server', `The model "${model}" kept failing; it is tried again in ${seconds} s.`, {
      code: 'circuit-open',
      retryAfterMs: leftMs,
    })
  }

  return {
    check,
    begin(signal) {
      check()
      const call = Promise.withResolvers<void>()
      breaker.execute(() => call.promise).catch(() => {})
      return (failure) => {
        if (failure === null) call.resolve()
        else call.reject(isItsOwn(failure) && !signal.aborted ? failure : new NoEvidence())
      }
    },
  }
}

function isItsOwn(error: Error): boolean {
  return StepFailure.is(error) && ITS_OWN.includes(error.failureClass)
}

function isOutage(error: unknown): boolean {
  return StepFailure.is(error) && (error.failureClass === 'server' || error.failureClass === 'timeout')
}
