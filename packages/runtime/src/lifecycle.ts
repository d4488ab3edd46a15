// One way to be a process: resources released last-in-first-out, signals, a deadline, and the exit code.
// Hides signal handlers and the supervisor's channel; a main file only says what it owns.
import { once } from 'node:events'
import type { Logger } from 'pino'

export interface Lifecycle {
  log: Logger
  /** Registers how to let go of a resource, in the line that makes it; answers the resource. */
  own<T>(resource: T, release: (resource: T) => unknown): T
  /** Aborted when the process is asked to stop. */
  stopping: AbortSignal
}

/** Exit code of a start that no restart can help: supervisors do not try again. */
export const EXIT_CONFIGURATION = 78

/** A start that failed for a reason the operator can mend; the message is the whole answer. */
export class ConfigurationError extends Error {
  override name = 'ConfigurationError'
}

/**
 * Runs a service until SIGINT, SIGTERM or the loss of its supervisor, then releases what it owns, newest first.
 * Exits 0 after a clean stop, 1 where a release failed or `deadlineMs` passed, 78 on a `ConfigurationError`.
 */
export async function runService(
  log: Logger,
  start: (life: Lifecycle) => Promise<void>,
  options: { deadlineMs?: number } = {},
): Promise<void> {
  const stop = new AbortController()
  const releases: (() => Promise<void>)[] = []
  const life: Lifecycle = {
    log,
    stopping: stop.signal,
    own(resource, release) {
      releases.push(async () => void (await release(resource)))
      return resource
    },
  }
  const ask = () => stop.abort('shutdown')
  process.on('SIGINT', ask)
  process.on('SIGTERM', ask)
  // The supervisor's channel closes when it dies, however it dies.
  if (process.connected) process.on('disconnect', ask)
  // A supervisor that is gone no longer reads what we print.
  process.stdout.on('error', () => {})
  process.stderr.on('error', () => {})

  let code = 0
  try {
    await start(life)
    if (!stop.signal.aborted) await once(stop.signal, 'abort')
  } catch (error) {
    code = reportStartFailure(log, error)
  }
  ask()
  const timer = setTimeout(() => {
    log.error({}, 'stopping took too long; what was under way will be taken up again')
    process.exit(1)
  }, options.deadlineMs ?? 30_000)
  for (const release of releases.reverse()) {
    await release().catch((error: unknown) => {
      log.error({ err: error }, 'something could not be released')
      code ||= 1
    })
  }
  clearTimeout(timer)
  process.exit(code)
}

function reportStartFailure(log: Logger, error: unknown): number {
  if (error instanceof ConfigurationError) {
    process.stderr.write(`${error.message}\n`)
    return EXIT_CONFIGURATION
  }
  log.fatal({ err: error }, 'the start failed')
  return 1
}
