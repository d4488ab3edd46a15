// What a page in a browser can do: preflights, answers that other origins may read, and tokens that a URL may carry.
import type { NewAccessToken, ProblemDocument, RunResource } from '@fabrique/schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Fabrique, FOX, type Operator, startFabrique } from './harness.ts'

const APP = 'https://app.example'
const RUNS = '/v1/workflows/runs'
const PREFLIGHT = {
  'access-control-request-method': 'POST',
  'access-control-request-headers': 'authorization,content-type',
}

let fabrique: Fabrique
let operator: Operator
let run: RunResource

beforeAll(async () => {
  fabrique = await startFabrique({ env: { FABRIQUE_CORS_ORIGINS: `${APP}, http://localhost:5173` } })
  operator = await fabrique.createOperator('Pages')
  run = await fabrique.submit({ ...FOX, input: { ...FOX.input, variants: 2 } }, { key: operator.key })
  await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting', { key: operator.key })
}, 60_000)
afterAll(() => fabrique?.stop())

function ask(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Response> {
  return fetch(fabrique.url + path, { method, headers })
}

async function statusOf(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<number> {
  const answer = await ask(path, headers, method)
  await answer.body?.cancel()
  return answer.status
}

async function tokenOf(body: object, key = operator.key): Promise<NewAccessToken> {
  const made = await fabrique.request<NewAccessToken>('/v1/tokens', { key, body })
  expect(made.status, made.text).toBe(201)
  return made.body
}

const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` })

describe('a page of another origin', () => {
  it.each([
    [APP, '/v1/workflows/runs', APP],
    ['http://localhost:5173', '/v1/tokens', 'http://localhost:5173'],
    ['https://evil.example', '/v1/workflows/runs', null],
    ['null', '/v1/workflows/runs', null],
    ['https://evil.example', '/v1/catalog', '*'],
  ])('%s is answered its preflight of %s: %s', async (origin, path, allowed) => {
    const answer = await ask(path, { origin, ...PREFLIGHT }, 'OPTIONS')
    expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([204, allowed])
    expect(answer.headers.get('access-control-allow-headers')?.toLowerCase().includes('authorization') ?? null).toBe(
      allowed === null ? null : true,
    )
    expect(answer.headers.get('access-control-allow-credentials')).toBeNull()
  })

  it('that is listed reads answers, problems and streams; another one reads the catalog and schemas', async () => {
    const events = `${RUNS}/${run.id}/events`
    const readable: [string, string, string | null][] = [
      [APP, RUNS, APP],
      [APP, '/v1/nothing', APP],
      [APP, events, APP],
      ['https://evil.example', RUNS, null],
      ['https://evil.example', events, null],
      ['https://evil.example', '/v1/catalog', '*'],
      ['https://evil.example', '/v1/schemas/run-spec.json', '*'],
    ]
    for (const [origin, path, allowed] of readable) {
      for (const credential of [{}, bearer(operator.key)]) {
        const answer = await ask(path, { origin, ...credential })
        await answer.body?.cancel()
        expect(answer.headers.get('access-control-allow-origin'), `${origin} ${path} ${answer.status}`).toBe(allowed)
        expect(answer.headers.get('vary')).toMatch(/\borigin\b/i)
      }
    }
  })
})

describe('a token of one run', () => {
  it('reads it, its slots, events and artifacts, in the header or in the URL of a stream or a file', async () => {
    const { token, ...rest } = await tokenOf({ run_id: run.id })
    expect(rest).toMatchObject({ scope: 'run', run_id: run.id, expires_at: expect.any(String) })
    const [slot] = run.outputs
    for (const id of [run.id, slot?.run_id ?? '']) {
      for (const path of ['', '/steps', '/ledger', '/receipt', '/specification'])
        expect(await statusOf(`${RUNS}/${id}${path}`, bearer(token)), path).toBe(200)
      for (const name of ['token', 'access_token'])
        expect(await statusOf(`${RUNS}/${id}/events?${name}=${token}`), name).toBe(200)
    }
    const list = await ask(`/v1/artifacts?run_id=${run.id}`, bearer(token))
    const { data } = (await list.json()) as { data: { id: string }[] }
    expect(data.length).toBeGreaterThan(0)
    expect(await statusOf(`/v1/artifacts/${data[0]?.id}/content?token=${token}`)).toBe(200)
  })

  it('goes on behind the id that a client reconnects with, though its URL still says where it began', async () => {
    const { token } = await tokenOf({ run_id: run.id })
    const path = `${RUNS}/${run.id}/events?access_token=${token}&after=1`
    const accept = { accept: 'application/json' }
    const first = async (at: string, headers: Record<string, string> = {}) => {
      const { data } = (await (await ask(at, { ...accept, ...headers })).json()) as { data: { seq: number }[] }
      return data[0]?.seq
    }
    expect(await first(path)).toBe(2)
    expect(await first(path, { 'last-event-id': '3' })).toBe(4)
    expect(await first(`${path}&lastEventId=3`)).toBe(4)
  })

  it('does nothing else', async () => {
    const { token } = await tokenOf({ run_id: run.id })
    const other = await fabrique.submit(FOX, { key: operator.key })
    const expected: [string, string, number][] = [
      ['GET', RUNS, 403],
      ['GET', '/v1/events/stream', 403],
      ['GET', '/v1/schedules', 403],
      ['GET', '/v1/pricing', 403],
      ['GET', '/v1/api-keys', 403],
      ['POST', `${RUNS}/${run.id}/cancel`, 403],
      ['POST', `${RUNS}/${run.id}/review`, 403],
      ['POST', '/v1/tokens', 403],
      ['GET', `${RUNS}/${other.id}`, 404],
      ['GET', `${RUNS}/${other.id}/events`, 404],
      ['GET', `/v1/artifacts?run_id=${other.id}`, 404],
      ['GET', '/v1/artifacts', 404],
      ['GET', `/v1/artifacts/${other.id}/content`, 404],
    ]
    for (const [method, path, status] of expected)
      expect(await statusOf(path, bearer(token), method), `${method} ${path}`).toBe(status)
    // Elsewhere a URL carries no credential at all.
    expect(await statusOf(`${RUNS}/${run.id}?token=${token}`)).toBe(401)
    expect(await statusOf(`${RUNS}?access_token=${operator.key}`)).toBe(401)
  })

  it.each([
    [{}, '/run_id'],
    [{ scope: 'read', run_id: '01J6N3YV2H3K8E7XR4M2YT5VAW' }, '/run_id'],
    [{ run_id: '01J6N3YV2H3K8E7XR4M2YT5VAW' }, '/run_id'],
    [{ scope: 'write' }, '/scope'],
    [{ scope: 'read', ttl: 0 }, '/ttl'],
    [{ scope: 'read', ttl: 86_401 }, '/ttl'],
    [{ scope: 'read', ttl: '900' }, '/ttl'],
  ])('is refused with the place of the fault: %j', async (body, pointer) => {
    const refused = await fabrique.request<ProblemDocument>('/v1/tokens', { key: operator.key, body })
    expect([refused.status, refused.body.errors?.map((problem) => problem.pointer)]).toEqual([422, [pointer]])
  })

  it('is not made for the run of another organization', async () => {
    const stranger = await fabrique.createOperator('Strangers of pages')
    const refused = await fabrique.request('/v1/tokens', { key: stranger.key, body: { run_id: run.id } })
    expect(refused.status).toBe(422)
  })
})

describe('a token of the scope "read"', () => {
  it('reads what an operator may, and changes nothing', async () => {
    const { token } = await tokenOf({ scope: 'read' }, fabrique.adminKey)
    const { token: own } = await tokenOf({ scope: 'read' })
    expect(await statusOf(RUNS, bearer(own))).toBe(200)
    expect(await statusOf(`${RUNS}/${run.id}`, bearer(own))).toBe(200)
    expect(await statusOf(`/v1/events/stream?token=${own}`)).toBe(200)
    expect(await statusOf(`${RUNS}/${run.id}`, bearer(token))).toBe(404)
    expect(await statusOf('/v1/organizations', bearer(token))).toBe(403)
    expect(await statusOf('/ops/queues', bearer(token))).toBe(403)
    expect(await statusOf(RUNS, bearer(own), 'POST')).toBe(403)
  })
})

describe('the streams of a token', () => {
  /** Resolves when the stream has ended, with how long that took. */
  async function ended(secret: string, then: () => Promise<unknown>): Promise<number> {
    const answer = await ask(`/v1/events/stream?token=${secret}`)
    expect(answer.status).toBe(200)
    await then()
    const startedMs = performance.now()
    await answer.text()
    return performance.now() - startedMs
  }
  const revoke = (path: string, key: string) => fabrique.request(path, { method: 'DELETE', key })

  it('end within 5 s of its expiry, and nothing is opened with it afterwards', async () => {
    const { token } = await tokenOf({ scope: 'read', ttl: 1 })
    expect(await ended(token, async () => {})).toBeLessThan(6_000)
    expect(await statusOf(`/v1/events/stream?token=${token}`)).toBe(401)
  })

  it('end within 5 s of its being revoked, by its own organization only', async () => {
    const { id, token } = await tokenOf({ scope: 'read' })
    const stranger = await fabrique.createOperator('Revokers')
    expect((await revoke(`/v1/tokens/${id}`, stranger.key)).status).toBe(404)
    expect(await ended(token, () => revoke(`/v1/tokens/${id}`, operator.key))).toBeLessThan(5_000)
    expect((await revoke(`/v1/tokens/${id}`, operator.key)).status).toBe(404)
  })

  it('end within 5 s of its key being revoked, as those of the key itself do', async () => {
    const { body: key } = await fabrique.request<{ id: string; key: string }>('/v1/api-keys', {
      body: { role: 'operator', organization_id: operator.organizationId },
    })
    const { token } = await tokenOf({ scope: 'read' }, key.key)
    const direct = await ask('/v1/events/stream', bearer(key.key))
    expect(await ended(token, () => revoke(`/v1/api-keys/${key.id}`, fabrique.adminKey))).toBeLessThan(5_000)
    await direct.text()
    expect(await statusOf(RUNS, bearer(token))).toBe(401)
  })
})
