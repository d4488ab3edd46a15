// The API as a value: request ids, authentication, the route table, errors. It does not listen.
// Hides the order of middleware, which is the contract's order of refusals.
import { randomUUID } from 'node:crypto'
import type { Principal } from '@fabrique/db'
import { errorRow, FabriqueError } from '@fabrique/schema'
import { Hono } from 'hono'
import { type Authorize, createAuthorizer } from './authenticate.ts'
import type { AppDeps } from './deps.ts'
import { asFabriqueError, problemResponse } from './errors.ts'
import { notFound } from './found.ts'
import { type ApiContext, parseQuery, type Route } from './route.ts'
import { mountOps } from './ops-board.ts'
import { createRoutes } from './routes/index.ts'

/** The API over these parts. */
export function createApp(deps: AppDeps): Hono<ApiContext> {
  const app = new Hono<ApiContext>()
  const authorize = createAuthorizer(deps.accounts)

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

  app.onError((error, c) => {
    const known = asFabriqueError(error)
    if (errorRow(known.code).status >= 500)
      deps.log.error({ request_id: c.get('requestId'), err: known.cause ?? known }, 'a request failed')
    return problemResponse(c, known)
  })
  app.notFound((c) => problemResponse(c, notFound('address')))

  mountOps(app, deps.queue, authorize)
  for (const route of createRoutes(deps)) mount(app, route, authorize)
  return app
}

const NOBODY: Principal = { keyId: '', organizationId: '', role: 'operator' }

function mount(app: Hono<ApiContext>, route: Route, authorize: Authorize): void {
  const { access } = route
  app.on(route.method.toUpperCase(), route.path, async (c) => {
    const principal = access === 'public' ? NOBODY : await authorize(c.req.header('authorization'), access)
    // PostgreSQL has no text with a NUL, so nothing that we keep is called that.
    if (Object.values(c.req.param() as Record<string, string>).some((value) => value.includes('\0')))
      throw notFound('address')
    const query = parseQuery(route.query, c.req.url)
    return await route.handle({ c, principal, query: query as never, param: (name) => c.req.param(name) ?? '' })
  })
}
