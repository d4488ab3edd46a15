// Requests to the API of this very origin; the session's cookie goes along by itself.
// Hides problem documents behind one error, and tells whoever listens that the session has ended.
import type { ProblemDocument } from '@fabrique/schema'

/** An answer that is no success, in the API's own words. */
export class ApiError extends Error {
  readonly status: number
  readonly problem: ProblemDocument | null
  constructor(status: number, problem: ProblemDocument | null, message: string) {
    super(message)
    this.status = status
    this.problem = problem
  }
  get code(): string {
    return this.problem?.code ?? ''
  }
}

export interface Asked {
  method?: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  body?: unknown
  headers?: Record<string, string>
  signal?: AbortSignal
  /** The request outlives the page. */
  keepalive?: boolean
}

let onEnd = () => {}
/** Says that nobody is signed in any more. */
export const sessionEnded = (): void => onEnd()
/** Calls this when nobody is signed in any more. */
export function whenSessionEnds(listener: () => void): void {
  onEnd = listener
}

/** The answer's JSON; throws an ApiError for a refusal and for a server that cannot be reached. */
export async function api<Answer>(path: string, { method, body, headers, ...rest }: Asked = {}): Promise<Answer> {
  let response: Response
  try {
    response = await fetch(path, {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...rest,
    })
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new ApiError(0, null, 'The server cannot be reached. What you see may be out of date.')
  }
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') === true
  const parsed: unknown = isJson && text !== '' ? JSON.parse(text) : undefined
  if (response.ok) return parsed as Answer
  if (response.status === 401 && path !== '/session') sessionEnded()
  const problem = isJson ? (parsed as ProblemDocument) : null
  throw new ApiError(response.status, problem, problem?.detail ?? `The server answered ${response.status}.`)
}

/** A path with a query of what is given. */
export function withQuery(path: string, query: Record<string, string | number | undefined>): string {
  const given = Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]))
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given).toString()}`
}

export const contentUrl = (artifactId: string): string => `/v1/artifacts/${artifactId}/content`
export const thumbnailUrl = (artifactId: string, width: 160 | 320 | 640 | 1280): string =>
  `/v1/artifacts/${artifactId}/thumbnail?width=${width}`
