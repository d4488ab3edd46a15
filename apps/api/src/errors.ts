// Errors as answers: the one place that knows how a FabriqueError looks in HTTP.
// Hides everything else that was thrown: its text goes to the log, never to a caller.
import { errorRow, FabriqueError, type ProblemDocument } from '@fabrique/schema'
import type { Context } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { ApiContext } from './route.ts'

/** An error as a problem document (RFC 9457). */
export function problemDocument(error: FabriqueError, requestId: string): ProblemDocument {
  const { status, title } = errorRow(error.code)
  return {
    type: `urn:fabrique:problem:${error.code}`,
    title,
    status,
    detail: error.message,
    code: error.code,
    request_id: requestId,
    ...(error.problems.length === 0 ? {} : { errors: error.problems }),
  }
}

/** The `application/problem+json` answer to an error. */
export function problemResponse(c: Context<ApiContext>, error: FabriqueError): Response {
  const body: ProblemDocument = { ...problemDocument(error, c.get('requestId')), instance: c.req.path }
  const headers: Record<string, string> = { 'content-type': 'application/problem+json' }
  if (error.code === 'unauthenticated') {
    headers['www-authenticate'] = 'Bearer'
    body.instance = '/'
  }
  if (error.retryAfterS !== undefined) headers['retry-after'] = String(error.retryAfterS)
  return c.body(JSON.stringify(body), body.status as ContentfulStatusCode, headers)
}

/** A FabriqueError for anything thrown; what is not one becomes `internal`. */
export function asFabriqueError(error: unknown): FabriqueError {
  if (FabriqueError.is(error)) return error
  const detail = 'The request could not be served; the log names the reason under this request id.'
  return new FabriqueError('internal', detail, { cause: error })
}

export const unauthenticated = (): FabriqueError =>
  new FabriqueError(
    'unauthenticated',
    'Send "Authorization: Bearer fab_…" with a key that exists, has not expired and was not revoked.',
  )
