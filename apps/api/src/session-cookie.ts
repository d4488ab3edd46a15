// The cookie of the operator app's session: how it is called and sent, and which requests may use it.
// Hides that cookies know no ports, and how a request of another site is told from one of our own page.
import type { Principal, SessionStore } from '@fabrique/db'
import { FabriqueError } from '@fabrique/schema'
import type { Context } from 'hono'
import { deleteCookie, getCookie, setCookie } from 'hono/cookie'
import { type Authorize, permitted } from './authenticate.ts'
import { unauthenticated } from './errors.ts'
import type { Access, ApiContext } from './route.ts'

/** The principal of a request: by its header, or else by the cookie of a session. */
export type AuthorizeRequest = (
  c: Context<ApiContext>,
  header: string | undefined,
  access: Exclude<Access, 'public'>,
) => Promise<Principal>

/** Requests with an Authorization header go by it alone; the others by their session. */
export function acceptingSessions(
  authorize: Authorize,
  sessions: Pick<SessionStore, 'authenticate'>,
): AuthorizeRequest {
  return async function authorizeRequest(c, header, access) {
    const secret = header === undefined ? sessionSecret(c) : undefined
    if (secret === undefined) return await authorize(header, access)
    const principal = await sessions.authenticate(secret)
    if (principal === null) throw unauthenticated()
    return permitted(principal, access)
  }
}

/**
 * The session's secret, undefined where none was sent. Throws `forbidden` for a request that could change something
 * and does not come from our own pages: SameSite does not keep out other ports of this host.
 */
export function sessionSecret(c: Context<ApiContext>): string | undefined {
  const secret = getCookie(c, cookieOf(c).name)
  if (secret === undefined || !/^fabs_\w{1,64}$/.test(secret)) return undefined
  if (!['GET', 'HEAD'].includes(c.req.method)) requireOwnPage(c)
  return secret
}

/** Throws `forbidden` unless the request says that a page of this very origin sends it. */
export function requireOwnPage(c: Context<ApiContext>): void {
  const { host } = new URL(c.req.url)
  const site = c.req.header('sec-fetch-site')
  // Behind TLS our own URL says http; the host is what tells origins apart then.
  const from = c.req.header('origin')
  const isOwn = site === undefined ? hostOf(from) === host : site === 'same-origin'
  if (!isOwn)
    throw new FabriqueError('forbidden', 'A session changes things only from the pages of this server; use a key.')
}

const hostOf = (origin: string | undefined) =>
  origin !== undefined && URL.canParse(origin) ? new URL(origin).host : undefined

export function setSession(c: Context<ApiContext>, secret: string): void {
  const { name, secure } = cookieOf(c)
  setCookie(c, name, secret, { httpOnly: true, sameSite: 'Strict', path: '/', secure })
}

export function clearSession(c: Context<ApiContext>): void {
  const { name, secure } = cookieOf(c)
  deleteCookie(c, name, { path: '/', secure })
}

/** Named by the port, since two servers of one host would overwrite each other's. */
function cookieOf(c: Context<ApiContext>): { name: string; secure: boolean } {
  const { protocol, port } = new URL(c.req.url)
  const secure = protocol === 'https:' || c.req.header('x-forwarded-proto') === 'https'
  return secure ? { name: '__Host-fabrique', secure } : { name: `fabrique-${port || '80'}`, secure }
}
