// Access tokens: what a page in a browser is given instead of a key, because it cannot keep one.
import { AccessTokenRequest, FabriqueError, NewAccessToken } from '@fabrique/schema'
import type { AppDeps } from '../deps.ts'
import { locatedIn, parseBody, readDocument } from '../body.ts'
import { removed } from '../found.ts'
import { operator, type Route } from '../route.ts'

export function tokenRoutes({ accounts, reader }: Pick<AppDeps, 'accounts' | 'reader'>): Route[] {
  return [
    operator.post('createToken', '/v1/tokens', {
      summary: 'Create a token that reads for a while: one run, or all of the organization; it is shown once',
      body: AccessTokenRequest,
      answers: { 201: NewAccessToken },
      headers: ['Cache-Control'],
      problems: ['quota-exceeded'],
      async handle({ c, principal }) {
        const document = await readDocument(c)
        const { run_id: runId = null, ttl } = parseBody(AccessTokenRequest, document)
        if (runId !== null && !(await reader.exists(principal.organizationId, runId))) {
          const problems = [{ pointer: '/run_id', detail: `there is no run ${runId}` }]
          return locatedIn(document)(new FabriqueError('validation-failed', 'There is no such run.', { problems }))
        }
        const made = await accounts.createToken({ keyId: principal.keyId, runId, ttlS: ttl })
        if (made !== null) return c.json(made, 201, { 'cache-control': 'no-store' })
        throw new FabriqueError('quota-exceeded', 'This key has its 10,000 tokens already; wait until some expire.', {
          retryAfterS: 60,
        })
      },
    }),
    operator.delete('revokeToken', '/v1/tokens/:id', {
      summary: 'Revoke a token; it stops working, and its streams end, within seconds',
      answers: { 204: null },
      handle: removed('token', accounts.revokeToken),
    }),
  ]
}
