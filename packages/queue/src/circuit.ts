// A model's circuit breaker: after repeated outages it fails all calls for 30 s, then lets a single one probe the model.
// Hides which failures are outages: a model that refuses, limits or answers badly is there.
import { type FailureClass, type Log, StepFailure } from '@fabrique/engine'
import { CircuitState, circuitBreaker, ConsecutiveBreaker, handleWhen } from 'cockatiel'

export interface Circuit {
  /** Throws the failure `circuit-open` while the breaker is open, and while a probe is under way. */
  check(): void
  /**
   * Begins a call; its caller reports the outcome, null for success, to the returned function. Throws as `check` does.
   * The outcome of an aborted call counts for nothing.
   */
  begin(signal: AbortSignal): (failure: Error | null) => void
}

const FAILURES_TO_OPEN = 5
const OPEN_MS = 30_000

/** Failures that come from the model: the first two are outages, the others show that it answers. */
const FROM_MODEL: readonly FailureClass[] = ['server', 'timeout', 'rate_limit', 'refused', 'invalid', 'bad_output']

/** Replaces a failure that says nothing about the model: one of ours, or of a call that was aborted. */
class NoEvidence extends Error {}

/** A closed circuit breaker of this process alone. */
export function createCircuit(model: string, log: Log): Circuit {
  let openUntilMs = 0
  const breaker = circuitBreaker(
    // A probe without evidence must open the breaker again, or it would close; an ordinary call without evidence must not.
    handleWhen(
      (error: unknown) => isOutage(error) || (error instanceof NoEvidence && breaker.state === CircuitState.HalfOpen),
    ),
    { breaker: new ConsecutiveBreaker(FAILURES_TO_OPEN), halfOpenAfter: OPEN_MS },
  )
  breaker.onBreak(() => {
    openUntilMs = Date.now() + OPEN_MS
    log.warn({ model, for_ms: OPEN_MS }, 'a model kept failing; its circuit breaker is open')
  })

  function check(): void {
    const isProbed = breaker.state === CircuitState.HalfOpen
    const leftMs = isProbed ? OPEN_MS : openUntilMs - Date.now()
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
        else call.reject(isFromModel(failure) && !signal.aborted ? failure : new NoEvidence())
      }
    },
  }
}

function isFromModel(error: Error): boolean {
  return StepFailure.is(error) && FROM_MODEL.includes(error.failureClass)
}

function isOutage(error: unknown): boolean {
  return StepFailure.is(error) && (error.failureClass === 'server' || error.failureClass === 'timeout')
}
