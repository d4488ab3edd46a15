// A model's circuit in this process: after repeated outages it lets nothing through for a while, then one call as a probe.
// Hides which failures are outages: a model that refuses, limits or answers badly is there.
import { type FailureClass, type Log, StepFailure } from '@fabrique/engine'

export interface Circuit {
  /** Milliseconds until a call may begin: 0 where one may. While a probe is under way, until the next one may. */
  waitMs(): number
  /**
   * Begins a call, which is the probe where the circuit is open; its caller reports the outcome, null for success. The
   * outcome of an aborted call counts for nothing, nor does that of a call that began before the circuit last changed.
   */
  begin(signal: AbortSignal): (failure: Error | null) => void
}

const FAILURES_TO_OPEN = 5
/** Open for 1 s, and twice as long after each probe that failed, up to half a minute; or for what the provider asks. */
const OPEN_MIN_MS = 1_000
const OPEN_MAX_MS = 30_000
/** A probe that takes longer lets another one try: some models take minutes, and a dead one answers never. */
const PROBE_MS = 10_000

const OUTAGES: readonly FailureClass[] = ['server', 'timeout']
/** Failures that show that the model answers. */
const ANSWERS: readonly FailureClass[] = ['rate_limit', 'refused', 'invalid', 'bad_output']

/** A closed circuit. */
export function createCircuit(model: string, log: Log): Circuit {
  let failures = 0
  /** How often it opened in a row; 0 while it is closed. */
  let openings = 0
  let blockedUntilMs = 0
  /** Counts how often it opened or closed. */
  let changes = 0

  function open(askedMs: number): void {
    const forMs = Math.max(askedMs, Math.min(OPEN_MIN_MS * 2 ** openings, OPEN_MAX_MS))
    blockedUntilMs = performance.now() + forMs
    openings += 1
    changes += 1
    log.warn({ model, for_ms: forMs }, 'a model keeps failing; its circuit is open')
  }

  function close(): void {
    failures = 0
    if (openings === 0) return
    openings = 0
    blockedUntilMs = 0
    changes += 1
    log.info({ model }, 'a model answers again; its circuit is closed')
  }

  return {
    waitMs: () => Math.max(0, blockedUntilMs - performance.now()),
    begin(signal) {
      const begunAt = changes
      if (openings > 0) blockedUntilMs = performance.now() + PROBE_MS
      return (failure) => {
        if (begunAt !== changes) return
        const told = StepFailure.is(failure) && !signal.aborted ? failure : null
        if (failure === null || (told && ANSWERS.includes(told.failureClass))) close()
        else if (told && OUTAGES.includes(told.failureClass)) {
          failures += 1
          if (failures >= FAILURES_TO_OPEN) open(told.retryAfterMs ?? 0)
        } else if (openings > 0) blockedUntilMs = 0
      }
    },
  }
}
