// What went wrong, as lines on stderr and an exit code.
// Hides which package an error comes from; a bug is told as one, with its stack.
import { type ErrorCode, errorRow, FabriqueError, onOneLine, onTerminal } from '@fabrique/schema'
import { EXIT } from './exit.ts'

const CODES: Partial<Record<ErrorCode, number>> = {
  unauthenticated: EXIT.notAllowed,
  forbidden: EXIT.notAllowed,
  unavailable: EXIT.unreachable,
  'quota-exceeded': EXIT.unreachable,
  internal: EXIT.runFailed,
}

/** Says what is wrong with what was asked, one line per problem; the caller exits with `invalid`. */
export class InvalidRequest extends Error {
  override name = 'InvalidRequest'
}

/** Prints the failure; answers the exit code that fits it. */
export function reportFailure(error: unknown): number {
  const [code, ...lines] = explain(error)
  // Of an `InvalidRequest` and a stack the lines are ours.
  for (const line of lines) process.stderr.write(`${onTerminal(line)}\n`)
  return code
}

function explain(error: unknown): [code: number, ...lines: string[]] {
  if (FabriqueError.is(error)) {
    const problems = error.problems.map(({ pointer, detail }) => (pointer === '' ? detail : `${pointer}: ${detail}`))
    const code = CODES[error.code] ?? (errorRow(error.code).status >= 500 ? EXIT.runFailed : EXIT.invalid)
    return [code, ...[error.message, ...problems.map((line) => `  ${line}`)].map((line) => onOneLine(line))]
  }
  if (!(error instanceof Error)) return [EXIT.runFailed, String(error)]
  const { name, message, stack } = error
  // By name: the packages that throw these are not loaded unless they are used.
  if (name === 'InvalidRequest' || name === 'ConfigurationError') return [EXIT.invalid, message]
  return name === 'ServiceError' ? [EXIT.unreachable, message] : [EXIT.runFailed, stack ?? message]
}
