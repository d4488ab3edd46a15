// Request bodies in JSON, YAML or TOML, bounded while they are read.
// Hides the order of refusals: first the content type, then the size, then the content.
import {
  DOCUMENT_LIMITS,
  type DocumentFormat,
  type DocumentOutcome,
  FabriqueError,
  formatOfMediaType,
  hiddenBelow,
  type ParsedDocument,
  parseDocument,
  type Problem,
  problemsOf,
} from '@fabrique/schema'
import type { Context } from 'hono'
import type { z } from 'zod'
import type { ApiContext } from './route.ts'

const STATUS_CODES = { 400: 'malformed-body', 413: 'body-too-large', 422: 'validation-failed' } as const

/** Throws 415 for a compressed body: it would have to be unpacked before its size is known. */
export function refuseCompressed(c: Context<ApiContext>): void {
  const encoding = c.req.header('content-encoding')
  if (encoding === undefined || encoding.trim().toLowerCase() === 'identity') return
  throw new FabriqueError('unsupported-media-type', 'Send the body as it is, without a content encoding.')
}

/** The body as a plain tree with positions. Throws 415, 413, 400 or 422, the first that applies. */
export async function readDocument(c: Context<ApiContext>): Promise<ParsedDocument> {
  refuseCompressed(c)
  const format = formatOf(c)
  const outcome = parseDocument(await readBounded(c, DOCUMENT_LIMITS.bodyBytes), format)
  if (outcome.ok) return outcome.document
  throw unreadable(outcome)
}

/** The error of a document that could not be read. */
export function unreadable({ status, problems }: Extract<DocumentOutcome, { ok: false }>): FabriqueError {
  return new FabriqueError(STATUS_CODES[status], problems[0]?.detail ?? 'The body cannot be read.', { problems })
}

function formatOf(c: Context<ApiContext>): DocumentFormat {
  const contentType = c.req.header('content-type')
  const format = formatOfMediaType(contentType)
  if (format !== undefined) return format
  throw new FabriqueError(
    'unsupported-media-type',
    `Send application/json, application/yaml or application/toml in UTF-8${contentType === undefined ? '; there was no content type' : ''}.`,
  )
}

async function readBounded(c: Context<ApiContext>, limitBytes: number): Promise<Uint8Array> {
  const declared = c.req.header('content-length')
  if (declared !== undefined) {
    if (Number(declared) > limitBytes) throw tooLarge(limitBytes)
    return new Uint8Array(await c.req.arrayBuffer())
  }
  const chunks: Uint8Array[] = []
  let total = 0
  for await (const chunk of c.req.raw.body ?? []) {
    total += chunk.byteLength
    if (total > limitBytes) throw tooLarge(limitBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function tooLarge(limitBytes: number): FabriqueError {
  return new FabriqueError('body-too-large', `The body is larger than ${limitBytes / 1024 / 1024} MiB.`)
}

/** The document as the schema's type; throws `validation-failed` with all problems at once, each with its place. */
export function parseBody<Schema extends z.ZodType>(schema: Schema, document: ParsedDocument): z.infer<Schema> {
  const parsed = schema.safeParse(document.value)
  if (parsed.success) return parsed.data
  const problems = problemsOf(parsed.error, schema)
  return locatedIn(document)(new FabriqueError('validation-failed', 'The document is not valid.', { problems }))
}

/** For a `catch`: adds line and column to problems that point into this document, then throws them on. */
export const locatedIn =
  (document: ParsedDocument) =>
  (error: unknown): never => {
    // A `not-runnable` error's problems point into a stored draft, not into this document.
    if (!FabriqueError.is(error) || error.code === 'not-runnable') throw error
    const problems = error.problems.map(({ detail, ...problem }): Problem => {
      const hidden = hiddenBelow(document.value, problem.pointer)
      return { ...problem, ...document.locate(problem.pointer), detail: `${detail}${hidden}` }
    })
    throw new FabriqueError(error.code, error.message, {
      problems,
      cause: error.cause,
      context: error.context,
      ...(error.retryAfterS === undefined ? {} : { retryAfterS: error.retryAfterS }),
    })
  }
