// A route as a row: where it is, who may use it, what it takes and answers, and its handler.
// Hides registration, authorization and documentation, so that none of them can be forgotten for one route.
import type { Principal } from '@fabrique/db'
import { type ErrorCode, FabriqueError, inWords, type JsonObject } from '@fabrique/schema'
import type { Context } from 'hono'
import { z } from 'zod'
import type { HeaderName } from './header-words.ts'

export type Access = 'public' | 'operator' | 'admin'

export interface ApiContext {
  Variables: { requestId: string }
  Bindings: { incoming: import('node:http').IncomingMessage; outgoing: import('node:http').ServerResponse }
}

/** What a handler is given. `principal` is there on every route that is not public. */
export interface Call<Query> {
  c: Context<ApiContext>
  principal: Principal
  query: Query
  param(name: string): string
}

/** What an answer holds: JSON by a schema, nothing, or each of its media types with a schema. */
export type Answer = z.ZodType | null | Record<string, z.ZodType>

export interface Route {
  /** Its name in the description: what clients call their function. */
  id: string
  method: 'get' | 'post' | 'patch' | 'delete'
  /** In Hono's spelling; `:id{.+}` takes the rest of the path, slashes included. */
  path: string
  access: Access
  query: z.ZodObject
  summary: string
  /**
   * The run that is read where the path does not begin with it; null for none in particular. Tokens of one run can use
   * only routes that name theirs, or one below it.
   */
  runOf?(call: Call<never>): Promise<string | null> | string | null
  /** Of the request's document, for the description only; handlers parse by the front door. */
  body?: z.ZodType | JsonObject | undefined
  /** Of a body that is not JSON, YAML or TOML. */
  bodyTypes?: readonly string[]
  /** What comes of it, by status. */
  answers: Record<number, Answer>
  /** What can go wrong beside what the row's other fields imply: see `problemsOf` of the description. */
  problems?: readonly ErrorCode[]
  /** Whether a request counts as a submit of its organization. */
  submits?: boolean
  /** The headers that mean something here, of the request and of the answers. */
  headers?: readonly HeaderName[]
  handle(call: Call<never>): Promise<Response> | Response
}

type Row<Query extends z.ZodObject> = Omit<
  Route,
  'id' | 'method' | 'path' | 'access' | 'query' | 'runOf' | 'handle'
> & {
  query?: Query
  runOf?(call: Call<z.infer<Query>>): Promise<string | null> | string | null
  handle(call: Call<z.infer<Query>>): Promise<Response> | Response
}

/** Routes of one access, by method. The handler's types follow the query schema; another or an odd parameter is a 400. */
function routesFor(access: Access) {
  const of =
    (method: Route['method']) =>
    <Query extends z.ZodObject = z.ZodObject<Record<never, never>>>(
      id: string,
      path: string,
      row: Row<Query>,
    ): Route => {
      const query = row.query ?? z.strictObject({})
      const { runOf, handle, ...rest } = row as typeof row & Pick<Route, 'runOf' | 'handle'>
      return { ...rest, id, method, path, access, query, handle, ...(runOf === undefined ? {} : { runOf }) }
    }
  return { get: of('get'), post: of('post'), patch: of('patch'), delete: of('delete') }
}

export const anyone = routesFor('public')
export const operator = routesFor('operator')
export const admin = routesFor('admin')

/** Parameters of what browsers open without headers (event streams, pictures): a token, or else a key. */
export const URL_CREDENTIAL = {
  access_token: z.string().max(256).optional().describe('A token, where no Authorization header can be sent.'),
  token: z.string().max(256).optional().describe('The same by another name.'),
}

/** The query by its schema; a name given twice counts as odd, `metadata[k]` is one parameter per key. */
export function parseQuery(schema: z.ZodObject, url: string): Record<string, unknown> {
  const raw: Record<string, unknown> = { __proto__: null }
  const metadata: Record<string, string> = {}
  for (const [name, value] of new URL(url).searchParams) {
    if (`${name}${value}`.includes('\0')) throw badQuery(name.replaceAll('\0', ''), 'holds a NUL')
    const key = /^metadata\[([^[\]]{1,128})\]$/.exec(name)?.[1]
    if (key !== undefined && 'metadata' in schema.shape) metadata[key] = value
    else if (Object.hasOwn(raw, name)) throw badQuery(name, 'is given twice')
    else raw[name] = value
  }
  if (Object.keys(metadata).length > 0) raw.metadata = metadata
  const parsed = schema.safeParse(raw)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  if (issue?.code === 'unrecognized_keys') {
    const known = Object.keys(schema.shape)
    throw badQuery(
      issue.keys[0] ?? '',
      known.length === 0 ? 'is not known here' : `is not known here; the parameters are ${known.join(', ')}`,
    )
  }
  throw badQuery(String(issue?.path[0] ?? ''), issue === undefined ? 'is not valid' : inWords(issue))
}

function badQuery(name: string, detail: string): FabriqueError {
  return new FabriqueError('bad-query', `The query parameter "${name}" ${detail}.`, {
    problems: [{ pointer: `?${name}`, detail }],
  })
}
