// A crawler over the route table: who is let in where, for every role, for tokens, and for keys that are no longer valid.
import type { NewAccessToken, ProblemDocument } from '@fabrique/schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Operation, readDescription } from './described.ts'
import { type Fabrique, FOX, type Operator, startFabrique } from './harness.ts'

const UNKNOWN = '01J6N3YV2H3K8E7XR4M2YT5VAW'
/** Beside the described routes: what is mounted as a whole. */
const BOARD = ['', '/', '/api/queues', `/runs/system/${UNKNOWN}`].map((end): Route => {
  return { id: `board${end}`, method: 'GET', path: `/ops/queues${end}`, access: 'admin' }
})

type Route = Pick<Operation, 'id' | 'method' | 'path' | 'access'>
type Who = 'nobody' | 'admin' | 'operator' | 'token' | 'revoked' | 'expired' | 'cut' | 'other scheme'

let fabrique: Fabrique
let operator: Operator
let routes: Route[]
let secrets: Record<Who, string>

beforeAll(async () => {
  fabrique = await startFabrique({ workers: 0 })
  operator = await fabrique.createOperator('Crawled')
  const { text } = await fabrique.request('/openapi.json', { key: null })
  routes = [...readDescription(JSON.parse(text) as Record<string, unknown>).operations, ...BOARD]
  const keyOf = async (over: object = {}) => {
    const body = { role: 'operator', organization_id: operator.organizationId, ...over }
    return (await fabrique.request<{ id: string; key: string }>('/v1/api-keys', { body })).body
  }
  const token = { key: operator.key, body: { scope: 'read' } }
  const revoked = await keyOf()
  const expired = await keyOf({ expires_at: '2020-01-01T00:00:00Z' })
  await fabrique.request(`/v1/api-keys/${revoked.id}`, { method: 'DELETE' })
  secrets = {
    nobody: '',
    admin: `Bearer ${fabrique.adminKey}`,
    operator: `Bearer ${operator.key}`,
    token: `Bearer ${(await fabrique.request<NewAccessToken>('/v1/tokens', token)).body.token}`,
    revoked: `Bearer ${revoked.key}`,
    expired: `Bearer ${expired.key}`,
    cut: `Bearer ${operator.key.slice(0, -1)}`,
    'other scheme': `Digest ${operator.key}`,
  }
}, 60_000)
afterAll(() => fabrique?.stop())

/** What the route answers to somebody who asks for something that does not exist, or sends an empty document. */
async function ask(
  { method, path }: Route,
  who: Who,
  id = UNKNOWN,
): Promise<{ status: number; code: string | undefined }> {
  const answer = await fetch(fabrique.url + path.replaceAll(/\{[^}]+\}/g, id), {
    method,
    redirect: 'manual',
    headers: {
      ...(secrets[who] === '' ? {} : { authorization: secrets[who] }),
      ...(method === 'GET' ? {} : { 'content-type': 'application/json' }),
    },
    ...(method === 'GET' || method === 'DELETE' ? {} : { body: '{}' }),
  })
  if (answer.headers.get('content-type') !== 'application/problem+json') {
    await answer.body?.cancel()
    return { status: answer.status, code: undefined }
  }
  return { status: answer.status, code: ((await answer.json()) as ProblemDocument).code }
}

/** The refusal that is due; undefined where the route may look at what was asked. */
function refusalOf({ method, access, path }: Route, who: Who): 401 | 403 | undefined {
  if (access === 'public' || path === '/ops/queues/') return undefined
  if (who === 'admin') return undefined
  if (who !== 'operator' && who !== 'token') return 401
  return access === 'admin' || (who === 'token' && method !== 'GET') ? 403 : undefined
}

describe('every route of the table', () => {
  it.each<Who>(['nobody', 'admin', 'operator', 'token', 'revoked', 'expired', 'cut', 'other scheme'])(
    'lets %s in, or refuses with the one code for it, whatever is asked for',
    async (who) => {
      expect(routes.length).toBeGreaterThan(50)
      const wrong: string[] = []
      for (const route of routes) {
        const { status, code } = await ask(route, who)
        const due = refusalOf(route, who)
        const isRight =
          due === undefined
            ? status !== 401 && status !== 403 && status < 500
            : status === due && code === (due === 401 ? 'unauthenticated' : 'forbidden')
        if (!isRight) wrong.push(`${route.method} ${route.path}: ${status} ${code ?? ''}, due is ${due ?? 'an answer'}`)
      }
      expect(wrong).toEqual([])
    },
    60_000,
  )

  it('answers for a run of another organization as for one that does not exist', async () => {
    const run = await fabrique.submit(FOX)
    const wrong: string[] = []
    for (const route of routes.filter(({ path }) => path.includes('{id}'))) {
      const [foreign, unknown] = [await ask(route, 'operator', run.id), await ask(route, 'operator')]
      if (foreign.status !== unknown.status || foreign.code !== unknown.code)
        wrong.push(`${route.method} ${route.path}: ${foreign.status} and ${unknown.status}`)
    }
    expect(wrong).toEqual([])
    expect((await fabrique.run(run.id)).status).toBe('pending')
  }, 60_000)
})
