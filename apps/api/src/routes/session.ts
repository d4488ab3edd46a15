// Sign-in to the operator app: a key or a one-time link becomes a session, kept in a cookie that no script can read.
import { FabriqueError, SignIn, SignInLink, WebSession } from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { parseBody, readDocument } from '../body.ts'
import { unauthenticated } from '../errors.ts'
import { admin, anyone, type Call, type Route } from '../route.ts'
import { clearSession, requireOwnPage, sessionSecret, setSession } from '../session-cookie.ts'

const LINK_TTL_S = 3_600
const Signed = z.object({ session: WebSession.nullable().describe('Null: nobody is signed in.') })
const NO_STORE = { 'cache-control': 'no-store' }

export function sessionRoutes({ accounts, sessions }: Pick<AppDeps, 'accounts' | 'sessions'>): Route[] {
  async function keyOf(signIn: z.infer<typeof SignIn>): Promise<string> {
    if ('link' in signIn) {
      const keyId = await sessions.redeem(signIn.link)
      if (keyId !== null) return keyId
      throw new FabriqueError('unauthenticated', 'This link was used before, or is too old. Sign in with an API key.')
    }
    const principal = await accounts.authenticate(signIn.key.trim())
    if (principal === null || principal.token !== null) throw unauthenticated()
    return principal.keyId
  }

  async function signed({ c }: Pick<Call<never>, 'c'>, secret: string | undefined): Promise<Response> {
    const session = secret === undefined ? null : await sessions.describe(secret)
    return c.json({ session } satisfies z.infer<typeof Signed>, 200, NO_STORE)
  }

  return [
    anyone.post('signIn', '/session', {
      summary: 'Begin a session of the operator app, by an API key or a one-time link',
      body: SignIn,
      answers: { 200: Signed },
      problems: ['unauthenticated', 'forbidden'],
      headers: ['Cache-Control', 'Set-Cookie'],
      async handle({ c }) {
        const signIn = parseBody(SignIn, await readDocument(c))
        requireOwnPage(c)
        const secret = await sessions.create(await keyOf(signIn))
        setSession(c, secret)
        return await signed({ c }, secret)
      },
    }),
    anyone.get('getSession', '/session', {
      summary: 'Who is signed in to the operator app; asking does not prolong it',
      answers: { 200: Signed },
      headers: ['Cache-Control'],
      handle: ({ c }) => signed({ c }, sessionSecret(c)),
    }),
    anyone.patch('prolongSession', '/session', {
      summary: 'Note that somebody uses the operator app',
      answers: { 200: Signed },
      problems: ['forbidden'],
      headers: ['Cache-Control'],
      async handle({ c }) {
        const secret = sessionSecret(c)
        if (secret !== undefined) await sessions.touch(secret)
        return await signed({ c }, secret)
      },
    }),
    anyone.delete('signOut', '/session', {
      summary: 'End the session; its event streams end within seconds',
      answers: { 204: null },
      problems: ['forbidden'],
      headers: ['Set-Cookie'],
      async handle({ c }) {
        const secret = sessionSecret(c)
        if (secret !== undefined) await sessions.end(secret)
        clearSession(c)
        return c.body(null, 204)
      },
    }),
    admin.post('createSignInLink', '/session/links', {
      summary: 'Create a link that opens the operator app signed in by the asking key, once within an hour',
      answers: { 201: SignInLink },
      headers: ['Cache-Control'],
      async handle({ c, principal }) {
        const link = await sessions.createLink(principal.keyId, LINK_TTL_S)
        // Behind the #, so that no log of requests holds it.
        const url = `${new URL(c.req.url).origin}/app/sign-in#${link}`
        return c.json({ url, expires_in_s: LINK_TTL_S }, 201, NO_STORE)
      },
    }),
  ]
}
