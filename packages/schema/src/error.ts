// Every error that may leave the system has a row here: its code, its HTTP status, and whether trying again can help.
// Hides nothing else: the wording of one occurrence belongs to whoever throws it.

import { z } from 'zod'

const CODES = {
  'malformed-body': { status: 400, title: 'The body cannot be parsed', retry: false },
  'bad-query': { status: 400, title: 'A query parameter is not valid', retry: false },
  'bad-header': { status: 400, title: 'A header is not valid', retry: false },
  unauthenticated: { status: 401, title: 'A valid API key is required', retry: false },
  forbidden: { status: 403, title: 'This key may not do that', retry: false },
  'not-found': { status: 404, title: 'There is no such thing here', retry: false },
  'method-not-allowed': { status: 405, title: 'This method is not offered here', retry: false },
  'already-exists': { status: 409, title: 'It exists already', retry: false },
  'already-finished': { status: 409, title: 'The run has already finished', retry: false },
  'already-started': { status: 409, title: 'The run has already started', retry: false },
  'gate-by-name': { status: 409, title: 'This gate is decided by name', retry: false },
  'no-open-gate': { status: 409, title: 'No gate is open for a decision', retry: false },
  'not-retryable': { status: 409, title: 'Only a failed or cancelled run can be retried', retry: false },
  'id-immutable': { status: 409, title: 'The id of a workflow cannot change', retry: false },
  'version-immutable': { status: 409, title: 'A published version cannot change', retry: false },
  'webhook-disabled': { status: 409, title: 'The webhook is disabled', retry: false },
  'workflow-in-use': { status: 409, title: 'Other workflows need this one', retry: false },
  'artifact-gone': { status: 410, title: 'The file is no longer there', retry: false },
  'version-conflict': { status: 412, title: 'Somebody else changed it first', retry: false },
  'body-too-large': { status: 413, title: 'The body is too large', retry: false },
  'unsupported-media-type': { status: 415, title: 'The content type is not one of JSON, YAML, TOML', retry: false },
  'validation-failed': { status: 422, title: 'The document is not valid', retry: false },
  'not-publishable': { status: 422, title: 'The template cannot be listed yet', retry: false },
  'model-retired': { status: 422, title: 'A model is no longer offered', retry: false },
  'not-runnable': { status: 422, title: 'The workflow cannot run as it stands', retry: false },
  'budget-exceeded': { status: 422, title: 'The estimate is over the budget', retry: false },
  'provider-key-missing': { status: 422, title: 'A provider has no key', retry: false },
  'tool-unavailable': { status: 422, title: 'A tool is not installed here', retry: false },
  'idempotency-mismatch': { status: 422, title: 'The key was used for another spec', retry: false },
  'quota-exceeded': { status: 429, title: 'Too many requests', retry: true },
  'artifact-damaged': { status: 500, title: 'The stored file is damaged', retry: false },
  internal: { status: 500, title: 'Something went wrong here', retry: true },
  unavailable: { status: 503, title: 'Not available at the moment', retry: true },
} as const satisfies Record<string, { status: number; title: string; retry: boolean }>

export type ErrorCode = keyof typeof CODES

/** Every code that an answer may have. */
export const ERROR_CODES = Object.keys(CODES) as [ErrorCode, ...ErrorCode[]]

/** One named place in the caller's document and how to mend it. */
export const Problem = z.object({
  pointer: z.string().describe('A JSON pointer into the document; `?name` for a query parameter.'),
  detail: z.string(),
  code: z.string().exactOptional().describe('The stable name of the rule that was broken.'),
  guard: z
    .enum(['executability', 'estimability'])
    .exactOptional()
    .describe('The publish guard that it is a matter of.'),
  line: z.int().exactOptional(),
  column: z.int().exactOptional(),
})
export type Problem = z.infer<typeof Problem>

/** The row of a code: HTTP status, title, whether the caller may simply try again. */
export function errorRow(code: ErrorCode): { status: number; title: string; retry: boolean } {
  return CODES[code]
}

/** The most problems that an error names; whoever looks for them stops there, before the next costs anything. */
export const PROBLEMS_MAX = 100

const MARK = Symbol.for('fabrique.error')

/**
 * An error whose message may be shown to the caller.
 * `message` is public; `cause` and `context` are for the log and never hold secrets or payloads.
 */
export class FabriqueError extends Error {
  readonly [MARK] = true
  readonly code: ErrorCode
  /** The first hundred of those given. */
  readonly problems: Problem[]
  readonly context: Record<string, string | number>
  /** Whole seconds after which trying again makes sense; only for codes that may be retried. */
  readonly retryAfterS: number | undefined

  constructor(
    code: ErrorCode,
    message: string,
    options: {
      problems?: Problem[]
      cause?: unknown
      context?: Record<string, string | number>
      retryAfterS?: number
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'FabriqueError'
    this.code = code
    this.problems = (options.problems ?? []).slice(0, PROBLEMS_MAX)
    this.context = options.context ?? {}
    this.retryAfterS = options.retryAfterS
  }

  /** True for a FabriqueError of any copy of this module; with a code, of that code only. */
  static is(error: unknown, code?: ErrorCode): error is FabriqueError {
    return (
      typeof error === 'object' &&
      error !== null &&
      MARK in error &&
      (code === undefined || (error as FabriqueError).code === code)
    )
  }
}

/** The body of every error answer (RFC 9457, `application/problem+json`). */
export const ProblemDocument = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.enum(ERROR_CODES),
    instance: z.string().exactOptional().describe('The path that was asked for.'),
    request_id: z.string().exactOptional(),
    errors: z.array(Problem).exactOptional(),
  })
  .meta({ id: 'Problem', description: 'Why there is no other answer (RFC 9457).' })
export type ProblemDocument = z.infer<typeof ProblemDocument>
