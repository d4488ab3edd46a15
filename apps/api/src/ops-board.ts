// Bull Board at /ops/queues, read-only, for admins: a session of the app, a bearer key, or HTTP Basic with the key as the
// password.
import { SYSTEM_ORGANIZATION } from '@fabrique/db'
import { FabriqueError } from '@fabrique/schema'
import { createBullBoard } from '@bull-board/api'
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter'
import { HonoAdapter } from '@bull-board/hono'
import { serveStatic } from '@hono/node-server/serve-static'
import type { Hono, MiddlewareHandler } from 'hono'
import type { AppDeps } from './deps.ts'
import { problemResponse } from './errors.ts'
import { orNotFound } from './found.ts'
import type { ApiContext } from './route.ts'
import type { AuthorizeRequest } from './session-cookie.ts'

const BASE = '/ops/queues'
const FOREIGN_FONT = /<link href="https:[^>]{1,400}>/
/** Styles in attributes are the library's; scripts come from its files only. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'self'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Mounts the board. A browser is asked for Basic credentials; everybody else for a bearer key. */
export function mountOps(
  app: Hono<ApiContext>,
  { queue, reader }: Pick<AppDeps, 'queue' | 'reader'>,
  authorize: AuthorizeRequest,
): void {
  const adapter = new HonoAdapter(serveStatic)
  createBullBoard({
    queues: queue.queues.map(
      (each) =>
        new BullMQAdapter(each, {
          readOnlyMode: true,
          description: 'Jobs carry ids only; "the run" shows what the record has of it.',
          externalJobUrl({ data }) {
            const { organization_id: organization = SYSTEM_ORGANIZATION, run_id: run = '' } = data as Record<
              string,
              string
            >
            return { displayText: 'the run', href: `${BASE}/runs/${organization}/${run}` }
          },
        }),
    ),
    serverAdapter: adapter,
    options: { uiConfig: { boardTitle: 'Fabrique' } },
  })
  adapter.setBasePath(BASE)

  const guard: MiddlewareHandler<ApiContext> = async function adminsOnly(c, next) {
    try {
      await authorize(c, c.req.header('authorization'), 'admin')
    } catch (error) {
      if (!FabriqueError.is(error, 'unauthenticated') || !c.req.header('accept')?.includes('text/html')) throw error
      const response = problemResponse(c, error)
      response.headers.set('www-authenticate', 'Basic realm="Fabrique: any name, your admin key as the password"')
      return response
    }
    return await next()
  }
  app.use(`${BASE}/*`, async function policy(c, next) {
    await next()
    const html = c.res.headers.get('content-type')?.startsWith('text/html') === true
    // The library's page takes its font from a stranger, who would see each visit; without it there is the system's.
    if (html) c.res = new Response((await c.res.text()).replace(FOREIGN_FONT, ''), c.res)
    c.res.headers.set('content-security-policy', POLICY)
    c.res.headers.set('x-content-type-options', 'nosniff')
    c.res.headers.set('referrer-policy', 'no-referrer')
  })
  // Its home link ends in a slash.
  app.get(`${BASE}/`, (c) => c.redirect(BASE + new URL(c.req.url).search))
  app.use(BASE, guard)
  app.use(`${BASE}/*`, async (c, next) => {
    // The library's own files are the same for everybody, and browsers ask for some of them without credentials.
    return c.req.path.startsWith(`${BASE}/static/`) ? await next() : await guard(c, next)
  })
  app.get(`${BASE}/runs/:organization/:id`, async (c) => {
    const { organization, id } = c.req.param()
    // PostgreSQL has no text with a NUL.
    const run = `${organization}${id}`.includes('\0') ? null : await reader.get(organization, id)
    return c.body(JSON.stringify(orNotFound(run, 'run'), null, 2), 200, { 'content-type': 'application/json' })
  })
  app.route(BASE, adapter.registerPlugin())
}
