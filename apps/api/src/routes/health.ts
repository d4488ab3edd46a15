// Health, readiness, and the API's own description.
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { serveStatic } from '@hono/node-server/serve-static'
import type { AppDeps } from '../deps.ts'
import { openApiDocument } from '../openapi.ts'
import { defineRoute, type Route } from '../route.ts'

/** Alive, and ready: PostgreSQL decides readiness; Redis is only named, since runs are accepted without it. */
export function healthRoutes({ databaseReachable, queue }: Pick<AppDeps, 'databaseReachable' | 'queue'>): Route[] {
  return [
    defineRoute({
      method: 'get',
      path: '/healthz',
      access: 'public',
      docs: { summary: 'Whether the process is alive', tag: 'health', answers: { 200: 'It is.' } },
      handle: ({ c }) => c.json({ status: 'ok' }),
    }),
    defineRoute({
      method: 'get',
      path: '/readyz',
      access: 'public',
      docs: {
        summary: 'Whether requests can be served',
        tag: 'health',
        answers: { 200: 'They can.', 503: 'PostgreSQL is away.' },
      },
      async handle({ c }) {
        const [postgres, redis] = await Promise.all([databaseReachable(), queue.reachable()])
        const body = {
          status: postgres ? 'ready' : 'not ready',
          postgres: postgres ? 'ok' : 'away',
          redis: redis ? 'ok' : 'away',
        }
        return c.json(body, postgres ? 200 : 503)
      },
    }),
  ]
}

const PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Fabrique API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="ui"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>`
const START = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#ui', deepLinking: true, validatorUrl: null })`
const POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"

/** The description of these routes, and a page to read it that works offline. */
export function docsRoutes(routes: readonly Route[]): Route[] {
  const assets = serveStatic({
    root: join(dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))),
    rewriteRequestPath: (path) => path.replace(/^\/docs/, ''),
  })
  const page = { tag: 'health', answers: { 200: 'The document.' } }
  return [
    defineRoute({
      method: 'get',
      path: '/openapi.json',
      access: 'public',
      docs: { ...page, summary: 'This description, as OpenAPI 3.1' },
      handle: ({ c }) => c.json(openApiDocument(routes)),
    }),
    defineRoute({
      method: 'get',
      path: '/docs',
      access: 'public',
      docs: { ...page, summary: 'This description, as a page' },
      handle: ({ c }) => c.html(PAGE, 200, { 'content-security-policy': POLICY }),
    }),
    defineRoute({
      method: 'get',
      path: '/docs/start.js',
      access: 'public',
      docs: { ...page, summary: "The page's script" },
      handle: ({ c }) => c.body(START, 200, { 'content-type': 'text/javascript' }),
    }),
    defineRoute({
      method: 'get',
      path: '/docs/:asset{swagger-ui\\.css|swagger-ui-bundle\\.js}',
      access: 'public',
      docs: { ...page, summary: "The page's parts" },
      handle: async ({ c }) => (await assets(c, async () => {})) ?? c.notFound(),
    }),
  ]
}
