// Bull Board at /ops/queues, read-only, for admins: a bearer key, or HTTP Basic with the key as the password.
import type { BullRunQueue } from '@fabrique/queue'
import { FabriqueError } from '@fabrique/schema'
import { createBullBoard } from '@bull-board/api'
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter'
import { HonoAdapter } from '@bull-board/hono'
import { serveStatic } from '@hono/node-server/serve-static'
import type { Hono, MiddlewareHandler } from 'hono'
import type { Authorize } from './authenticate.ts'
import { problemResponse } from './errors.ts'
import type { ApiContext } from './route.ts'

const BASE = '/ops/queues'

/** Mounts the board. A browser is asked for Basic credentials; everybody else for a bearer key. */
export function mountOps(app: Hono<ApiContext>, queue: BullRunQueue, authorize: Authorize): void {
  const adapter = new HonoAdapter(serveStatic)
  createBullBoard({
    queues: queue.queues.map(
      (each) =>
        new BullMQAdapter(each, {
          readOnlyMode: true,
          description: 'Jobs carry run ids only; the run is at /v1/workflows/runs/<id>.',
          externalJobUrl: (job) => ({
            displayText: 'the run',
            href: `/v1/workflows/runs/${(job.data as { run_id?: string }).run_id ?? ''}`,
          }),
        }),
    ),
    serverAdapter: adapter,
    options: { uiConfig: { boardTitle: 'Fabrique' } },
  })
  adapter.setBasePath(BASE)

  const guard: MiddlewareHandler<ApiContext> = async function adminsOnly(c, next) {
    try {
      await authorize(c.req.header('authorization'), 'admin')
    } catch (error) {
      if (!FabriqueError.is(error, 'unauthenticated') || !c.req.header('accept')?.includes('text/html')) throw error
      const response = problemResponse(c, error)
      response.headers.set('www-authenticate', 'Basic realm="Fabrique: any name, your admin key as the password"')
      return response
    }
    return await next()
  }
  app.use(BASE, guard)
  app.use(`${BASE}/*`, guard)
  app.route(BASE, adapter.registerPlugin())
}
