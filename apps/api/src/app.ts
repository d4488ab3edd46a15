// The API as a value: request ids, authentication, the route table, errors. It does not listen.
// Hides the order of middleware, which is the contract's order of refusals.
import { randomUUID } from 'node:crypto'
import type { Principal } from '@fabrique/db'
import { errorRow, FabriqueError } from '@fabrique/schema'
import { Hono } from 'hono'
import { createAuthorizer } from './authenticate.ts'
import { cors } from './cors.ts'
import type { CredentialWatch } from './credential-watch.ts'
import type { AppDeps } from './deps.ts'
import { asFabriqueError, problemResponse, unauthenticated } from './errors.ts'
import { notFound } from './found.ts'
import { type ApiContext, type Call, parseQuery, type Route, URL_CREDENTIAL } from './route.ts'
import { mountOps } from './ops-board.ts'
import { createRoutes } from './routes/index.ts'
import { acceptingSessions, type AuthorizeRequest } from './session-cookie.ts'
import { mountWebApp } from './web-app.ts'

/** The API over these parts. */
export function createApp(deps: AppDeps): Hono<ApiContext> {
  const app = new Hono<ApiContext>()
  const authorize = acceptingSessions(createAuthorizer(deps.accounts), deps.sessions)

  app.use(async function requestId(c, next) {
    const given = c.req.header('x-request-id')
    const id = given !== undefined && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : randomUUID()
    c.set('requestId', id)
    await next()
    c.res.headers.set('x-request-id', id)
  })
  app.use(async function host(c, next) {
    // Such as 1.2.3.999: a name to HTTP, and no URL to anybody else.
    if (!URL.canParse(c.req.url)) throw new FabriqueError('bad-header', 'The Host header does not name a host.')
    await next()
  })

  app.use(cors(deps.corsOrigins))

  app.onError((error, c) => {
    const known = asFabriqueError(error)
    if (errorRow(known.code).status >= 500)
      deps.log.error({ request_id: c.get('requestId'), err: known.cause ?? known }, 'a request failed')
    return problemResponse(c, known)
  })
  app.notFound((c) => problemResponse(c, notFound('address')))

  mountOps(app, deps, authorize)
  mountWebApp(app, deps.webApp)
  for (const route of createRoutes(deps)) mount(app, route, authorize, deps)
  return app
}

const NOT_VALID = ': the key or token of this stream is no longer valid\n\n'

const NOBODY: Principal = { keyId: '', organizationId: '', role: 'operator', token: null }

function mount(
  app: Hono<ApiContext>,
  route: Route,
  authorize: AuthorizeRequest,
  deps: Pick<AppDeps, 'credentials' | 'quotas' | 'reader'>,
): void {
  const { access } = route
  app.on(route.method.toUpperCase(), route.path, async (c) => {
    const header = c.req.header('authorization') ?? urlCredential(route, c.req.url)
    const principal = access === 'public' ? NOBODY : await authorize(c, header, access)
    if (principal.token !== null && route.method !== 'get')
      throw new FabriqueError('forbidden', 'A token only reads; this needs a key.')
    // PostgreSQL has no text with a NUL, so nothing that we keep is called that.
    if (Object.values(c.req.param() as Record<string, string>).some((value) => value.includes('\0')))
      throw notFound('address')
    const query = parseQuery(route.query, c.req.url)
    const call: Call<never> = { c, principal, query: query as never, param: (name) => c.req.param(name) ?? '' }
    await checkRun(route, call, deps)
    if (route.submits) await deps.quotas.takeSubmit(principal.organizationId, (name, value) => c.header(name, value))
    return access === 'public' ? await route.handle(call) : await whileValid(deps.credentials, call, route)
  })
}

/**
 * The route's answer, until the key or token is no longer valid: the request is refused then, or its answer cut where
 * that has begun, and nothing more of its body is read.
 */
async function whileValid(credentials: CredentialWatch, call: Call<never>, route: Route): Promise<Response> {
  const { incoming, outgoing } = call.c.env
  const { promise: refused, reject } = Promise.withResolvers<never>()
  const unwatch = credentials.watch(call.principal, () => {
    if (!outgoing.headersSent) {
      outgoing.shouldKeepAlive = false
      outgoing.once('finish', () => incoming.socket.destroySoon())
      reject(unauthenticated())
    } else if (outgoing.getHeader('content-type')?.toString().startsWith('text/event-stream')) outgoing.end(NOT_VALID)
    else outgoing.destroy()
  })
  // A client that has gone already closes nothing more.
  if (outgoing.destroyed) unwatch()
  else outgoing.once('close', unwatch)
  return await Promise.race([route.handle(call), refused])
}

function urlCredential({ query }: Route, url: string): string | undefined {
  if (!('access_token' in query.shape)) return undefined
  const given = new URL(url).searchParams
  const found = Object.keys(URL_CREDENTIAL).flatMap((name) => given.get(name) ?? [])[0]
  return found === undefined ? undefined : `Bearer ${found}`
}

/** A token of one run finds nothing but that run and what is below it. */
async function checkRun(route: Route, call: Call<never>, { reader }: Pick<AppDeps, 'reader'>): Promise<void> {
  const { organizationId, token } = call.principal
  if (token === null || token.runId === null) return
  const isOfRun = route.path.startsWith('/v1/workflows/runs/:id')
  if (!isOfRun && route.runOf === undefined)
    throw new FabriqueError('forbidden', 'This token reads one run; this needs a key, or a token of the scope "read".')
  const asked = isOfRun ? call.param('id') : await route.runOf?.(call)
  if (asked === token.runId) return
  const run = typeof asked === 'string' ? await reader.get(organizationId, asked) : null
  if (run?.root_run_id !== token.runId) throw notFound('run')
}
