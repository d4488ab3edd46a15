// Health, readiness, and the API's own description.
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { serveStatic } from '@hono/node-server/serve-static'
import { Health, JsonRecord, Readiness } from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { isKnown } from '../request-headers.ts'
import { openApiDocument } from '../openapi.ts'
import { anyone, type Route } from '../route.ts'

/** What has not answered by then counts as away: probes do not wait long themselves. */
const PROBE_LIMIT_MS = 700

/** Whether something answers in time. Never rejects. */
async function answers(asked: Promise<unknown>): Promise<boolean> {
  const late = delay(PROBE_LIMIT_MS, false, { ref: false })
  return await Promise.race([late, asked.then(() => true)]).catch(() => false)
}

/** Alive, and ready: PostgreSQL decides that; the others are only named, since runs are accepted without them. */
export function healthRoutes({
  askDatabase,
  queue,
  artifactStore,
  stopping,
}: Pick<AppDeps, 'askDatabase' | 'queue' | 'artifactStore' | 'stopping'>): Route[] {
  return [
    anyone.get('getHealth', '/healthz', {
      summary: 'Whether the process is alive',
      answers: { 200: Health },
      handle: ({ c }) => c.json({ status: 'ok' }),
    }),
    anyone.get('getReadiness', '/readyz', {
      summary: 'Whether requests can be served',
      answers: { 200: Readiness, 503: Readiness },
      async handle({ c }) {
        const asked = [askDatabase(), queue.ask(), artifactStore.ready()].map(answers)
        const [postgres = false, redis = false, artifacts = false] = await Promise.all(asked)
        const serving = redis && artifacts ? 'ready' : 'degraded'
        const body: Readiness = {
          status: stopping.aborted ? 'leaving' : postgres ? serving : 'not ready',
          postgres: postgres ? 'ok' : 'away',
          redis: redis ? 'ok' : 'away',
          artifacts: artifacts ? 'ok' : 'away',
        }
        return c.json(body, postgres && !stopping.aborted ? 200 : 503)
      },
    }),
  ]
}

const Text = z.string()
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
  let description: { bytes: Buffer<ArrayBuffer>; etag: string } | undefined

  /** Made when it is first asked for: it takes as long as a hundred other answers. */
  function described() {
    const bytes = Buffer.from(JSON.stringify(openApiDocument(routes)))
    return { bytes, etag: `"${createHash('sha256').update(bytes).digest('hex')}"` }
  }

  return [
    anyone.get('getOpenApi', '/openapi.json', {
      summary: 'This description, as OpenAPI 3.1',
      answers: { 200: JsonRecord, 304: null },
      headers: ['If-None-Match', 'ETag', 'Cache-Control'],
      handle({ c }) {
        const { bytes, etag } = (description ??= described())
        const headers = { etag, 'cache-control': 'public, max-age=300' }
        if (isKnown(c, etag)) return c.body(null, 304, headers)
        return c.body(bytes, 200, { ...headers, 'content-type': 'application/json' })
      },
    }),
    anyone.get('getDocs', '/docs', {
      summary: 'This description, as a page',
      answers: { 200: { 'text/html': Text } },
      handle: ({ c }) => c.html(PAGE, 200, { 'content-security-policy': POLICY }),
    }),
    anyone.get('getDocsScript', '/docs/start.js', {
      summary: "The page's script",
      answers: { 200: { 'text/javascript': Text } },
      handle: ({ c }) => c.body(START, 200, { 'content-type': 'text/javascript' }),
    }),
    anyone.get('getDocsAsset', '/docs/:asset{swagger-ui\\.css|swagger-ui-bundle\\.js}', {
      summary: "The page's parts",
      answers: { 200: { 'text/javascript': Text, 'text/css': Text } },
      handle: async ({ c }) => (await assets(c, async () => {})) ?? c.notFound(),
    }),
  ]
}
