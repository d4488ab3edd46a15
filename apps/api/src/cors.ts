// What pages of other origins may ask: the public catalog and schemas always, everything else from origins that are listed.
// Hides that cookies are never let through, so that a page can use nothing but the keys and tokens that it has itself.
import type { MiddlewareHandler } from 'hono'
import { ANSWER_HEADERS, REQUEST_HEADERS } from './header-words.ts'
import type { ApiContext } from './route.ts'

const OPEN_TO_ALL = /^\/v1\/(?:catalog|schemas)(?:\/|$)/
const PREFLIGHT = {
  'access-control-allow-methods': 'GET, POST, PATCH, DELETE',
  'access-control-allow-headers': ['Authorization', 'Content-Type', ...Object.keys(REQUEST_HEADERS)].join(', '),
  'access-control-max-age': '7200',
}
const EXPOSED = Object.keys(ANSWER_HEADERS).join(', ')

/** Answers preflights, and lets pages of `origins` read answers and streams; `*` stands for all of them. */
export function cors(origins: readonly string[]): MiddlewareHandler<ApiContext> {
  return async function crossOrigin(c, next) {
    const origin = c.req.header('origin')
    const isOpen = OPEN_TO_ALL.test(c.req.path) || origins.includes('*')
    const allowed = isOpen && origin !== undefined ? '*' : origins.find((one) => one === origin)
    // On Node's response, because event streams are not answered by way of Hono's.
    const { outgoing } = c.env
    outgoing.setHeader('vary', 'Origin')
    if (allowed !== undefined) {
      outgoing.setHeader('access-control-allow-origin', allowed)
      outgoing.setHeader('access-control-expose-headers', EXPOSED)
    }
    if (c.req.method !== 'OPTIONS' || c.req.header('access-control-request-method') === undefined) return await next()
    return c.body(null, 204, allowed === undefined ? {} : PREFLIGHT)
  }
}
