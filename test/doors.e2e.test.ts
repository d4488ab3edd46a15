// Who is let in, where to, and for how long: what the doors of a whole Fabrique refuse.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { ProblemDocument } from '@fabrique/schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkout, type Fabrique, FOX, type Operator, startFabrique } from './harness.ts'

const PIXEL = 'data:image/png;base64,YWJj'
const PICTURED = {
  id: 'pictures/described',
  name: 'Described',
  artifactClass: 'knowledge',
  version: '2026.11.01',
  schemaVersion: 'workflow-schema-v1',
  cadence: 'On demand',
  visibility: 'public',
  intakeSchema: {
    type: 'object',
    properties: { photo: { type: 'string', format: 'file' }, more: { type: 'array', items: { format: 'file' } } },
  },
  providers: {},
  runtimeSteps: [{ id: 'write', kind: 'llm', model: 'openai/gpt-6-luna', promptTemplate: 'Describe {intake.photo}.' }],
  gates: [],
  budgetPolicy: 'little',
  artifactSchema: { artifactType: 'text', files: [], metadata: {} },
}

let fabrique: Fabrique
let operator: Operator

beforeAll(async () => {
  fabrique = await startFabrique()
  operator = await fabrique.createOperator('Doors')
  const made = await fabrique.request('/v1/workflows', { body: PICTURED })
  expect(made.status, made.text).toBe(201)
}, 60_000)
afterAll(() => fabrique?.stop())

describe('a file in a request', () => {
  const submit = (input: object) =>
    fabrique.request<ProblemDocument>('/v1/workflows/runs', {
      key: operator.key,
      body: { workflow: PICTURED.id, input },
    })

  it.each(['/etc/passwd', './cat.png', 'http://169.254.169.254/', 'https://example.org/cat.png', 'file:///etc/passwd'])(
    'is its bytes: %s is refused before anybody reads it',
    async (photo) => {
      const answer = await submit({ photo, more: [PIXEL, photo] })
      expect(answer.status, answer.text).toBe(422)
      expect(answer.body.errors?.map(({ pointer }) => pointer)).toEqual(['/input/more/1', '/input/photo'])
    },
  )

  it('is taken as a data: URI', async () => {
    expect((await submit({ photo: PIXEL, more: [PIXEL] })).status).toBe(202)
  })
})

interface Key {
  id: string
  key: string
  prefix: string
}

async function keyOf(body: object = {}): Promise<Key> {
  const made = await fabrique.request<Key & Record<string, unknown>>('/v1/api-keys', {
    body: { role: 'operator', organization_id: operator.organizationId, ...body },
  })
  expect(made.status, made.text).toBe(201)
  return made.body
}

async function revoke({ id }: { id: string }): Promise<void> {
  expect((await fabrique.request(`/v1/api-keys/${id}`, { method: 'DELETE' })).status).toBe(204)
}

/** How long something goes on after the key was revoked. */
async function endsAfterRevoking(key: Key, going: Promise<unknown>): Promise<number> {
  const start = performance.now()
  await revoke(key)
  await going
  return performance.now() - start
}

describe('what a revoked key holds open', () => {
  /** Twice the promise: two cores are shared by all tests. Without the end, each goes on for half a minute and more. */
  const END_MS_MAX = 10_000

  /** A request whose body has begun; answers what comes until the connection ends. */
  function upload(key: Key, path: string, contentType: string, first: string) {
    const socket = connect(Number(new URL(fabrique.url).port), '127.0.0.1')
    socket.on('error', () => {})
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key.key}\r\ncontent-type: ${contentType}\r\n` +
        `transfer-encoding: chunked\r\n\r\n${first.length.toString(16)}\r\n${first}\r\n`,
    )
    // The key goes while the body still comes, steadily enough for a slow client.
    const timer = setInterval(() => socket.write(`400\r\n${' '.repeat(1_024)}\r\n`), 500)
    socket.once('close', () => clearInterval(timer))
    return { socket, answer: text(socket) }
  }

  it('ends within seconds: a wait for a run', async () => {
    const key = await keyOf()
    const run = await fabrique.submit(FOX, { key: operator.key })
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting', { key: operator.key })
    await fabrique.killWorkers('SIGTERM')
    const waiting = fabrique.request<ProblemDocument>('/v1/workflows/runs', {
      key: key.key,
      headers: { prefer: 'wait=60' },
      body: FOX,
    })
    await expect.poll(async () => await queuedRuns(), { timeout: 20_000 }).toBe(1)
    expect(await endsAfterRevoking(key, waiting)).toBeLessThan(END_MS_MAX)
    expect((await waiting).status).toBe(401)
    await fabrique.startWorker()
  })

  it('ends within seconds: the upload of a run-spec, which is not accepted', async () => {
    const key = await keyOf()
    const before = await runs()
    const { socket, answer } = upload(key, '/v1/workflows/runs', 'application/json', `${JSON.stringify(FOX)} `)
    await once(socket, 'connect')
    expect(await endsAfterRevoking(key, answer)).toBeLessThan(END_MS_MAX)
    expect(await answer).toMatch(/^HTTP\/1.1 401 /)
    expect(await runs()).toBe(before)
  })

  it('ends within seconds: a batch, of which no further line is read', async () => {
    const key = await keyOf()
    const { socket, answer } = upload(key, '/v1/workflows/runs/batch', 'application/x-ndjson', '{}\n')
    await once(socket, 'readable')
    expect(await endsAfterRevoking(key, answer)).toBeLessThan(END_MS_MAX)
    expect(await answer).toMatch(/^HTTP\/1.1 200 [^]*validation-failed/)
  })

  const runs = async () => (await fabrique.query<{ n: number }>('select count(*)::int as n from runs'))[0]?.n
  const queuedRuns = async () =>
    (await fabrique.query<{ n: number }>(`select count(*)::int as n from runs where status = 'pending'`))[0]?.n
})

describe('an admin', () => {
  it('is of the platform: a key with that role in another organization is refused', async () => {
    const refused = await fabrique.request<ProblemDocument>('/v1/api-keys', {
      body: { role: 'admin', organization_id: operator.organizationId },
    })
    expect(refused.status).toBe(422)
    expect(refused.body.errors).toMatchObject([{ pointer: '/role' }])
    for (const organization of [{}, { organization_id: 'system' }])
      await revoke(await keyOf({ organization_id: undefined, ...organization, role: 'admin' }))
  })

  it('finds any key to revoke among many: by page, by organization, and by how it begins', async () => {
    const sought = await keyOf({ name: 'sought' })
    for (let n = 0; n < 25; n += 1) await keyOf()
    const list = async (query: string) =>
      (await fabrique.request<{ data: Key[]; next_cursor: string | null }>(`/v1/api-keys?${query}`)).body
    const found: string[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const page = await list(`limit=7${cursor === '' ? '' : `&cursor=${cursor}`}`)
      expect(page.data.length).toBeLessThanOrEqual(7)
      found.push(...page.data.map(({ id }) => id))
      cursor = page.next_cursor
    }
    expect(found).toContain(sought.id)
    expect(new Set(found).size).toBe(found.length)
    expect(found).toEqual(found.toSorted().toReversed())
    for (const query of [`prefix=${sought.key}`, `prefix=${sought.prefix}&organization_id=${operator.organizationId}`])
      expect((await list(query)).data.map(({ id }) => id)).toEqual([sought.id])
    expect((await list('organization_id=system&limit=100')).data.map(({ id }) => id)).not.toContain(sought.id)
    await revoke(sought)
    expect((await list(`prefix=${sought.key}`)).data).toEqual([])
  })

  it('gets a new key on the machine when the last one was revoked', async () => {
    const child = spawn(process.execPath, [join(checkout, 'scripts/admin-key.ts')], {
      env: { PATH: process.env.PATH, DATABASE_URL: fabrique.databaseUrl, FABRIQUE_HOME: fabrique.home },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const printed = /fab_\S+/.exec(await text(child.stdout))?.[0] ?? ''
    const file = join(fabrique.home, 'admin-key')
    expect(readFileSync(file, 'utf8')).toBe(`${printed}\n`)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect((await fabrique.request('/v1/organizations', { key: printed })).status).toBe(200)
  })
})

describe('small doors', () => {
  it('hide from operators what a template hands to the workflow that it calls', async () => {
    const caller = {
      ...PICTURED,
      id: 'pictures/caller',
      intakeSchema: { type: 'object', properties: { topic: { type: 'string' } } },
      runtimeSteps: [
        {
          id: 'call',
          kind: 'workflow',
          workflow: PICTURED.id,
          input: { note: 'secret of {intake.topic}', photo: PIXEL },
        },
      ],
    }
    const made = await fabrique.request('/v1/workflows', { body: caller })
    expect(made.status, made.text).toBe(201)
    const { key } = operator
    const run = await fabrique.submit({ workflow: caller.id, input: { topic: 'x' } }, { key })
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.completed', { key })
    const list = `/v1/workflows/runs?root_run_id=${run.id}&fields=input`
    const { text: shown, body } = await fabrique.request<{ data: { id: string }[] }>(list, { key })
    const called = body.data.find(({ id }) => id !== run.id)?.id ?? ''
    const single = await fabrique.request(`/v1/workflows/runs/${called}`, { key })
    expect([single.status, single.body.input]).toEqual([200, {}])
    expect(shown + single.text).not.toContain('secret of')
    expect((await fabrique.request(`/v1/workflows/runs/${run.id}`, { key })).body.input).toEqual({ topic: 'x' })
    const [row] = await fabrique.query<{ input: object }>('select input from runs where id = $1', [called])
    expect(row?.input).toMatchObject({ note: 'secret of x' })
  })

  it('keep the keys of lines apart from the keys of single runs', async () => {
    const { key } = operator
    const single = await fabrique.submit(FOX, { key, headers: { 'idempotency-key': 'k:1' } })
    const batch = await fabrique.request('/v1/workflows/runs/batch', {
      key,
      headers: { 'content-type': 'application/x-ndjson', 'idempotency-key': 'k' },
      body: JSON.stringify({ ...FOX, priority: 1 }),
    })
    expect(batch.text).toMatch(/"run_id"/)
    expect(batch.text).not.toContain(single.id)
  })

  it.each(['gzip', 'br', 'x-unknown', 'identity, gzip'])('refuse a body that is compressed: %s', async (encoding) => {
    for (const [path, type] of [
      ['/v1/workflows/runs', 'application/json'],
      ['/v1/workflows/runs/batch', 'application/x-ndjson'],
    ] as const) {
      const headers = { 'content-type': type, 'content-encoding': encoding }
      const answer = await fabrique.request(path, { key: operator.key, headers, body: '{}' })
      expect(answer.status, path).toBe(415)
    }
  })
})

describe('files of the home', () => {
  it('are for their owner only, artifacts among them', async () => {
    const run = await fabrique.submit(FOX, { key: operator.key })
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting', { key: operator.key })
    const listed = readdirSync(fabrique.home, { recursive: true, encoding: 'utf8' })
    expect(listed.some((name) => /artifacts.*\.webp$/.test(name))).toBe(true)
    expect(listed.filter((name) => (statSync(join(fabrique.home, name)).mode & 0o077) !== 0)).toEqual([])
  })
})
