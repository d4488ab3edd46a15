// Sessions of the operator app over HTTP: who gets one, what it may do, and when it ends.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { WebSession } from '@fabrique/schema'
import { type Fabrique, FOX, type Operator, startFabrique } from './harness.ts'

let fabrique: Fabrique
let operator: Operator
beforeAll(async () => {
  fabrique = await startFabrique()
  operator = await fabrique.createOperator('Pages')
}, 60_000)
afterAll(() => fabrique?.stop())

const ask = (path: string, headers: Record<string, string>, method = 'GET', body?: unknown) =>
  fabrique.request<{ session: WebSession | null }>(path, {
    key: null,
    method,
    headers,
    ...(body === undefined ? {} : { body }),
  })

const own = () => ({ origin: fabrique.url })

async function signIn(key = operator.key): Promise<{ cookie: string; whole: string }> {
  const answer = await ask('/session', own(), 'POST', { key })
  expect(answer.status, answer.text).toBe(200)
  const whole = answer.headers.get('set-cookie') ?? ''
  return { cookie: whole.split(';')[0] ?? '', whole }
}

it('a session is a cookie that scripts cannot read, named by the port, and does what its key does', async () => {
  const { cookie, whole } = await signIn()
  expect(whole).toMatch(/; HttpOnly/)
  expect(whole).toMatch(/; SameSite=Strict/)
  expect(cookie).toContain(`fabrique-${new URL(fabrique.url).port}=fabs_`)
  const { body } = await ask('/session', { cookie })
  expect(body.session).toMatchObject({ role: 'operator', organization: { id: operator.organizationId, name: 'Pages' } })
  expect((await ask('/v1/workflows/runs', { cookie })).status).toBe(200)
  expect((await ask('/v1/api-keys', { cookie })).status).toBe(403)
})

it('behind TLS the cookie is bound to the host', async () => {
  const headers = { ...own(), 'x-forwarded-proto': 'https' }
  const { headers: given } = await ask('/session', headers, 'POST', { key: operator.key })
  expect(given.get('set-cookie')).toMatch(/^__Host-fabrique=fabs_\w+; Path=\/; HttpOnly; Secure; SameSite=Strict$/)
})

describe('a request by cookie that changes something', () => {
  it.each([
    ['names no origin', {}, 403],
    ['comes from another origin', { origin: 'https://evil.example' }, 403],
    ['comes from another port of this host', { 'sec-fetch-site': 'same-site' }, 403],
    ['comes from our own page', { 'sec-fetch-site': 'same-origin' }, 202],
  ])('that %s', async (_name, headers, status) => {
    const { cookie } = await signIn()
    const answer = await ask('/v1/workflows/runs', { cookie, ...(headers as Record<string, string>) }, 'POST', FOX)
    expect(answer.status, answer.text).toBe(status)
  })
})

it.each([
  ['a key that does not exist', { key: `fab_${'0'.repeat(40)}` }],
  ['a link that does not exist', { link: `fabl_${'0'.repeat(40)}` }],
])('%s gets no session', async (_name, body) => {
  expect((await ask('/session', own(), 'POST', body)).status).toBe(401)
})

it('nobody is begun a session for by another page', async () => {
  expect((await ask('/session', { origin: 'https://evil.example' }, 'POST', { key: operator.key })).status).toBe(403)
})

it('a session ends by sign-out, by two hours without input, by a day, and with its key', async () => {
  const { key, organizationId } = await fabrique.createOperator('Leaving')
  const sessions = [await signIn(key), await signIn(key), await signIn(key), await signIn(key)] as const
  const [out, idle, old, keyless] = sessions
  const statusOf = async ({ cookie }: { cookie: string }) => (await ask('/v1/workflows/runs', { cookie })).status
  expect(await Promise.all(sessions.map(statusOf))).toEqual([200, 200, 200, 200])

  expect((await ask('/session', { cookie: out.cookie, ...own() }, 'DELETE')).status).toBe(204)
  const age = (column: string, { cookie }: { cookie: string }, span: string) =>
    fabrique.query(
      `update web_sessions set ${column} = now() - $2::interval where digest = encode(sha256(convert_to($1, 'utf8')), 'hex')`,
      [cookie.split('=')[1], span],
    )
  await age('seen_at', idle, '121 minutes')
  await age('created_at', old, '1441 minutes')
  expect(await Promise.all(sessions.map(statusOf))).toEqual([401, 401, 401, 200])
  expect((await ask('/session', { cookie: idle.cookie, ...own() }, 'PATCH')).body.session).toBeNull()

  const { body } = await fabrique.request<{ data: { id: string; organization_id: string }[] }>('/v1/api-keys')
  const id = body.data.find((one) => one.organization_id === organizationId)?.id
  await fabrique.request(`/v1/api-keys/${id}`, { method: 'DELETE' })
  expect(await statusOf(keyless)).toBe(401)
})

it('only input prolongs a session: asking does not, a touch does', async () => {
  const { cookie } = await signIn()
  const idleAt = async () => Date.parse((await ask('/session', { cookie })).body.session?.idle_at ?? '')
  await fabrique.query(`update web_sessions set seen_at = now() - interval '1 hour'`)
  const before = await idleAt()
  await ask('/v1/workflows/runs', { cookie })
  expect(await idleAt()).toBe(before)
  await ask('/session', { cookie, ...own() }, 'PATCH')
  expect(await idleAt()).toBeGreaterThan(before)
})

it('a stream of events ends with its session', async () => {
  const { cookie } = await signIn()
  const stream = await fetch(`${fabrique.url}/v1/events/stream`, { headers: { cookie } })
  expect(stream.status).toBe(200)
  await ask('/session', { cookie, ...own() }, 'DELETE')
  expect(await stream.text()).toContain('no longer valid')
})

it('the board of queues opens to an admin who is signed in', async () => {
  const [admin, other] = [await signIn(fabrique.adminKey), await signIn()]
  expect((await ask('/ops/queues', { cookie: admin.cookie })).status).toBe(200)
  expect((await ask('/ops/queues', { cookie: other.cookie })).status).toBe(403)
})

it('without a built app its addresses say how it is built', async () => {
  const { status, text } = await ask('/app/review', {})
  expect([status, text.includes('npm run up')]).toEqual([404, true])
})
