/**
 * The one kind of failure that users of the services see: a line that says what to do.
 * Hides how the line is told apart from a bug, and how the end of a server's log is added to it.
 */

const NAME = 'ServiceError'
const LOG_LINES = 6

/** An error whose message is meant for the user: one line with the remedy, then the end of `log` where it helps. */
export function serviceError(line: string, log = ''): Error {
  const tail = log.trimEnd().split('\n').slice(-LOG_LINES).join('\n    ').trim()
  const error = new Error(tail ? `${line}\n    ${tail}` : line)
  error.name = NAME
  return error
}

/** True for errors whose message can be shown as it is; anything else is a bug and deserves its stack. */
export function isServiceError(error: unknown): error is Error {
  return error instanceof Error && error.name === NAME
}

/** The text of any thrown value, for use inside a longer line. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0])
  return error instanceof Error ? error.message || error.name : String(error)
}
