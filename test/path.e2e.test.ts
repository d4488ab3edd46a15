// The main path as a client sees it: a run-spec over HTTP, its events, its review, its artifacts, its cost, and who may
// see what of it. Simulated providers, real API, worker, PostgreSQL and Redis.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Artifact, ProblemDocument, RunEvent, RunResource } from '@fabrique/schema'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkout, type Fabrique, FOX, startFabrique } from './harness.ts'

const EXAMPLE = 'examples/run-inputs/clip-art-fox.yaml'
const RUNS = '/v1/workflows/runs'
/** Words of the shipped prompt template that no input holds: whoever reads them has read a prompt. */
const PROMPT_WORDS = /bold outlines|One subject, centred|promptTemplate|styleDescriptor/

let fabrique: Fabrique

beforeAll(async () => {
  fabrique = await startFabrique()
})
afterAll(() => fabrique?.stop())

/** The key of a new organization's operator. */
async function createKey(): Promise<string> {
  return (await fabrique.createOperator('Orchard')).key
}

/** Posts the example as a file, with whatever headers curl adds; answers the head and the accepted run. */
async function postExample(key: string): Promise<{ head: string; run: RunResource }> {
  const { stdout } = await promisify(execFile)(
    'curl',
    [
      '-sSi', // silent but for errors, with the head of the answer
      '--header',
      'content-type: application/yaml',
      '--header',
      `Authorization: Bearer ${key}`,
      '--data-binary',
      `@${EXAMPLE}`,
      `${fabrique.url}${RUNS}?name=generate-clip-art-asset`,
    ],
    { cwd: checkout },
  )
  const [head = '', body = ''] = stdout.split('\r\n\r\n')
  return { head, run: JSON.parse(body) as RunResource }
}

/** A run of the example that waits for its review. */
async function createWaitingRun(key: string): Promise<RunResource> {
  const { run } = await postExample(key)
  await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting', { key })
  return run
}

/** A run of the example that was approved and has completed, and its events. */
async function createCompletedRun(key: string): Promise<{ run: RunResource; events: RunEvent[] }> {
  const run = await createWaitingRun(key)
  const body = { decision: 'approve', comment: 'lovely' }
  expect((await fabrique.request(`${RUNS}/${run.id}/review`, { key, body })).status).toBe(200)
  const events = await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.completed', { key })
  return { run, events }
}

async function artifactsOf(runId: string, key: string): Promise<Artifact[]> {
  return (await fabrique.request<{ data: Artifact[] }>(`/v1/artifacts?run_id=${runId}`, { key })).body.data
}

async function cancel(runId: string, key: string): Promise<void> {
  await fabrique.request(`${RUNS}/${runId}/cancel`, { method: 'POST', key })
}

// Concurrent: each test has an organization and a run of its own, and most of its time is spent waiting for the run.
describe.concurrent('a run-spec file, posted byte for byte', () => {
  it('is accepted with 202, Location and the pending run', async () => {
    const key = await createKey()
    const { head, run } = await postExample(key)
    expect(head).toMatch(/^HTTP\/1\.1 202 /)
    expect(head.toLowerCase()).toContain(`location: ${RUNS}/${run.id.toLowerCase()}`)
    expect(head.toLowerCase()).toContain('x-request-id: ')
    expect(run).toMatchObject({
      id: expect.stringMatching(/^[0-9A-HJKMNP-TV-Z]{26}$/),
      workflow: 'generate-clip-art-asset',
      workflow_version: '2026.05.16',
      status: 'pending',
      priority: 80,
      fail_fast: true,
      input: { prompt: 'a fox wearing a scarf', style: 'flat' },
      metadata: { source: 'examples' },
      state: { request_id: 'fox-1' },
      root_run_id: run.id,
      simulated: true,
      warnings: [],
      urls: { self: `${RUNS}/${run.id}`, events: `${RUNS}/${run.id}/events` },
    })
    expect(run.outputs).toHaveLength(1)
    expect(run.cost.estimated).toBeGreaterThan(0)
    await cancel(run.id, key)
  })

  it('waits at the review gate, its files under review', async () => {
    const key = await createKey()
    const { id } = await createWaitingRun(key)
    const { body } = await fabrique.request<RunResource>(`${RUNS}/${id}`, { key })
    expect(body).toMatchObject({ status: 'waiting', finished_at: null })
    expect(body.gates.map(({ name, status }) => [name, status])).toEqual(
      expect.arrayContaining([
        ['prompt resolution', 'passed'],
        ['provider execution', 'passed'],
        ['background removal', 'passed'],
        ['storage metadata', 'passed'],
        ['HITL review', 'open'],
      ]),
    )
    const files = await artifactsOf(id, key)
    expect(files.filter(({ status }) => status === 'review').map(({ role }) => role)).toEqual(
      expect.arrayContaining(['processed', 'raw']),
    )
  })

  it('completes once approved; the stream gives every event once, in order, and then ends', async () => {
    const key = await createKey()
    const { run } = await createCompletedRun(key)
    const frames = []
    for await (const frame of fabrique.events(run.id, { key })) frames.push(frame)
    const events = frames.map(({ data }) => data)
    expect(frames.map(({ id }) => Number(id))).toEqual(frames.map((_, index) => index + 1))
    expect(events.map(({ seq }) => seq)).toEqual(frames.map((_, index) => index + 1))
    expect(frames.map(({ event }) => event)).toEqual(events.map(({ kind }) => kind))
    expect(events.every((event) => event.run_id === run.id && event.root_run_id === run.id)).toBe(true)
    const order = [
      'workflow.run.created',
      'workflow.run.queued',
      'workflow.run.started',
      'workflow.node.started render',
      'workflow.node.completed render',
      'workflow.node.completed cutout',
      'workflow.node.completed processed',
      'workflow.run.waiting',
      'workflow.run.completed',
    ]
    const named = events.map(({ kind, node_key: node }) => (node === undefined ? kind : `${kind} ${node}`))
    expect(named.filter((one) => order.includes(one))).toEqual(order)
    expect(named.filter((one) => one.startsWith('workflow.artifact.created'))).toHaveLength(4)

    const after = await fabrique.request(`${RUNS}/${run.id}/events`, {
      key,
      headers: { accept: 'text/event-stream', 'last-event-id': String(events.length) },
    })
    expect([after.status, after.text]).toEqual([204, ''])
  })

  it('has a terminal event with its outputs and cost, and with state and metadata unchanged', async () => {
    const { run, events } = await createCompletedRun(await createKey())
    expect(events.at(-1)?.payload).toMatchObject({
      status: 'completed',
      partial: false,
      state: { request_id: 'fox-1' },
      metadata: { source: 'examples' },
      error: null,
      cost: { currency: 'USD' },
      outputs: [{ index: 0, variant_index: null, run_id: run.id, status: 'completed' }],
    })
  })

  it('has a stream that resumes after an event without gap or repetition', async () => {
    const key = await createKey()
    const { run, events } = await createCompletedRun(key)
    for (const after of [3, 7]) {
      const seen: number[] = []
      for await (const { data } of fabrique.events(run.id, { key, after })) seen.push(data.seq)
      expect(seen).toEqual(events.map(({ seq }) => seq).filter((seq) => seq > after))
    }
  })

  it('leaves approved files that download by hash and decode, the cut-out with real alpha', async () => {
    const key = await createKey()
    const { run } = await createCompletedRun(key)
    const final = (await artifactsOf(run.id, key)).filter(({ status }) => status === 'approved')
    expect(final.map(({ role }) => role).sort()).toEqual(['processed', 'raw'])
    for (const file of final) {
      expect(file).toMatchObject({ mime_type: 'image/webp', simulated: true, workflow_version: '2026.05.16' })
      const response = await fetch(`${fabrique.url}/v1/artifacts/${file.id}/content`, {
        headers: { authorization: `Bearer ${key}` },
      })
      const bytes = Buffer.from(await response.arrayBuffer())
      expect(response.headers.get('etag')).toBe(`"${file.sha256}"`)
      expect(response.headers.get('x-content-type-options')).toBe('nosniff')
      expect(response.headers.get('content-type')).toBe('image/webp')
      expect(createHash('sha256').update(bytes).digest('hex')).toBe(file.sha256)
      expect(bytes.byteLength).toBe(file.bytes)
      expect(await readFile(join(fabrique.home, 'artifacts', file.storage_key))).toEqual(bytes)
      const picture = sharp(bytes)
      expect(await picture.metadata()).toMatchObject({ format: 'webp', width: file.width, height: file.height })
      const alpha = (await sharp(bytes).ensureAlpha().stats()).channels[3]
      if (file.role === 'processed') expect([alpha?.min, alpha?.max]).toEqual([0, 255])
    }
    const [first] = final
    const cached = await fabrique.request(`/v1/artifacts/${first?.id}/content`, {
      key,
      headers: { 'if-none-match': `"${first?.sha256}"` },
    })
    expect(cached.status).toBe(304)
  })

  it('books one ledger entry per provider call; the run costs their sum', async () => {
    const key = await createKey()
    const { run, events } = await createCompletedRun(key)
    const { body } = await fabrique.request<{ data: Record<string, unknown>[] }>(`${RUNS}/${run.id}/ledger`, { key })
    expect(body.data).toMatchObject([
      {
        provider: 'openai',
        providerOperation: 'images.generate',
        model: 'openai/gpt-image-2',
        stepId: 'render',
        outcome: 'succeeded',
        simulated: true,
      },
      {
        provider: 'fal',
        providerOperation: 'background.remove',
        model: 'fal/birefnet-light',
        stepId: 'cutout',
        outcome: 'succeeded',
        quantity: 1,
        unit: 'request',
        unitPriceUsd: 0.0003,
        actualCostUsd: 0.0003,
      },
    ])
    const total = body.data.reduce((sum, entry) => sum + Number(entry.actualCostUsd), 0)
    const { cost } = (await fabrique.request<RunResource>(`${RUNS}/${run.id}`, { key })).body
    expect(cost.actual).toBeCloseTo(total, 9)
    expect(cost.actual).toBeGreaterThan(0)
    expect(cost.pricing_version).toBe(body.data[0]?.pricingVersion)
    expect(events.at(-1)?.payload.cost).toMatchObject({ actual: cost.actual })
  })

  it('has a specification that holds everything but, for operators, what the prompts say', async () => {
    const key = await createKey()
    const { run } = await postExample(key)
    const { body, text } = await fabrique.request(`${RUNS}/${run.id}/specification`, { key })
    const promised =
      'id runId templateId templateVersion schemaVersion createdAt intake providerBindings stepInstructions gates ' +
      'artifactSchema fileFormats outputAliases budgetPolicy pricingVersion estimatedCostUsd'
    expect(Object.keys(body)).toEqual(expect.arrayContaining(promised.split(' ')))
    expect(body).toMatchObject({
      runId: run.id,
      templateId: 'generate-clip-art-asset',
      templateVersion: '2026.05.16',
      schemaVersion: 'workflow-schema-v1',
      intake: { prompt: 'a fox wearing a scarf', style: 'flat' },
      fileFormats: expect.arrayContaining([expect.objectContaining({ role: 'processed', format: 'webp' })]),
    })
    expect(body.stepInstructions).toEqual([
      { id: 'render', kind: 'image', name: 'Draw the subject' },
      { id: 'cutout', kind: 'tool', name: 'Remove the background' },
      { id: 'raw', kind: 'tool', name: 'Keep the original as WebP' },
      { id: 'processed', kind: 'tool', name: 'Save the cut-out as WebP' },
    ])
    expect(text).not.toMatch(PROMPT_WORDS)
    await cancel(run.id, key)
  })

  it('shows an operator no prompt, wherever it is read', async () => {
    const key = await createKey()
    const { run } = await createCompletedRun(key)
    const paths = [
      RUNS,
      ...['', '/specification', '/steps', '/ledger', '/events'].map((suffix) => `${RUNS}/${run.id}${suffix}`),
      `/v1/artifacts?run_id=${run.id}`,
      '/v1/workflows',
      '/v1/workflows/generate-clip-art-asset',
      '/v1/catalog',
    ]
    for (const path of paths) {
      const { status, text } = await fabrique.request(path, { key, headers: { accept: 'application/json' } })
      expect(status, path).toBe(200)
      expect(text.length, path).toBeGreaterThan(100)
      expect(text, path).not.toMatch(PROMPT_WORDS)
    }
  })

  it('shows an admin the instructions of a run of its own, and the prompts that were sent', async () => {
    const run = await fabrique.submit()
    const { text, body } = await fabrique.request(`${RUNS}/${run.id}/specification`)
    expect(text).toMatch(PROMPT_WORDS)
    // As it was asked, not as it is written in the template.
    expect(body.resolvedPrompts).toContainEqual({
      stepId: 'render',
      key: 'render',
      field: 'promptTemplate',
      text: expect.stringMatching(/^a fox wearing a scarf\. .*bold outlines/),
    })
    await fabrique.finish(run.id)
  })

  it('is to another organization what an unknown id is, word for word, wherever it is read', async () => {
    const [key, stranger] = await Promise.all([createKey(), createKey()])
    const { id } = await createWaitingRun(key)
    const unknown = id.replace(/.$/, (last) => (last === '0' ? '1' : '0'))
    for (const suffix of ['', '/specification', '/steps', '/ledger', '/events']) {
      const [foreign, none] = await Promise.all(
        [id, unknown].map((one) => fabrique.request<ProblemDocument>(`${RUNS}/${one}${suffix}`, { key: stranger })),
      )
      expect(foreign?.status, suffix).toBe(404)
      expect(anonymous(foreign, id), suffix).toEqual(anonymous(none, unknown))
    }
  })

  it('cannot be cancelled or reviewed by another organization', async () => {
    const [key, stranger] = await Promise.all([createKey(), createKey()])
    const { id } = await createWaitingRun(key)
    for (const action of ['cancel', 'review']) {
      const body = { decision: 'approve' }
      const { status } = await fabrique.request(`${RUNS}/${id}/${action}`, { key: stranger, body })
      expect(status, action).toBe(404)
    }
    expect((await fabrique.request<RunResource>(`${RUNS}/${id}`, { key })).body.status).toBe('waiting')
  })

  it('keeps its files from other organizations', async () => {
    const [key, stranger] = await Promise.all([createKey(), createKey()])
    const { id } = await createWaitingRun(key)
    const [file] = await artifactsOf(id, key)
    for (const suffix of ['', '/content']) {
      const path = `/v1/artifacts/${file?.id}${suffix}`
      expect((await fabrique.request(path, { key })).status).toBe(200)
      expect((await fabrique.request(path, { key: stranger })).status).toBe(404)
    }
    expect(await artifactsOf(id, stranger)).toEqual([])
  })
})

describe('submitting', () => {
  it.each([
    ['application/json', JSON.stringify({ ...FOX, state: { n: 1 } })],
    ['text/yaml', `workflow: ${FOX.workflow}\ninput: {prompt: ${FOX.input.prompt}, style: flat}\nstate: {n: 1}\n`],
    [
      'application/toml',
      `workflow = "${FOX.workflow}"\n[input]\nprompt = "${FOX.input.prompt}"\nstyle = "flat"\n[state]\nn = 1\n`,
    ],
  ])('takes the same spec as %s', async (contentType, body) => {
    const { status, body: run } = await post(body, contentType, '')
    expect(status).toBe(202)
    expect(run).toMatchObject({ ...FOX, state: { n: 1 }, priority: 50 })
    await cancel(String(run.id), fabrique.adminKey)
  })

  it('refuses an unknown content type and a foreign charset with 415', async () => {
    expect((await post('hello', 'text/plain')).status).toBe(415)
    expect((await post(JSON.stringify(FOX), 'application/json; charset=latin1')).status).toBe(415)
  })

  it('names what is wrong by pointer, line and column', async () => {
    const text = `workflow: ${FOX.workflow}\npriority: 170\ninput:\n  prompt: x\n`
    const { status, body } = await post<ProblemDocument>(text, 'application/yaml', '')
    expect(status).toBe(422)
    expect(body).toMatchObject({ code: 'validation-failed', status: 422, request_id: expect.any(String) })
    expect(body.errors).toEqual([
      expect.objectContaining({ pointer: '/priority', line: 2, column: expect.any(Number) }),
    ])

    const short = text.replace('170', '70')
    const intake = await post<ProblemDocument>(short, 'application/yaml', '')
    expect(intake.status).toBe(422)
    expect(intake.body.errors).toEqual([expect.objectContaining({ pointer: '/input/prompt', line: 4 })])
  })

  it('names the nearest key to an unknown one', async () => {
    const { status, body } = await post<ProblemDocument>(`piority: 3\ninput: {prompt: a fox}\n`, 'application/yaml')
    expect(status).toBe(422)
    expect(body.errors?.[0]).toMatchObject({
      pointer: '/piority',
      line: 1,
      detail: expect.stringContaining('"priority"'),
    })
  })

  it('answers 400 with the place for text that does not parse', async () => {
    const { status, body } = await post<ProblemDocument>('{"input": {\n  "prompt": }', 'application/json')
    expect(status).toBe(400)
    expect(body.errors?.[0]).toMatchObject({ line: 2 })
  })

  it('answers the first run again for the same Idempotency-Key of an organization, and refuses another spec under it', async () => {
    const [key, stranger] = await Promise.all([createKey(), createKey()])
    const headers = { 'idempotency-key': 'orchard-1' }
    const first = await fabrique.request<RunResource>(RUNS, { key, headers, body: FOX })
    const again = await fabrique.request<RunResource>(RUNS, { key, headers, body: FOX })
    expect([first.status, again.status]).toEqual([202, 202])
    expect(again.body.id).toBe(first.body.id)
    expect([first, again].map((one) => one.headers.get('idempotent-replayed'))).toEqual([null, 'true'])
    const other = await fabrique.request<ProblemDocument>(RUNS, {
      key,
      headers,
      body: { ...FOX, priority: 1 },
    })
    expect([other.status, other.body.code]).toEqual([422, 'idempotency-mismatch'])
    const elsewhere = await fabrique.request<RunResource>(RUNS, { key: stranger, headers, body: FOX })
    expect(elsewhere.status).toBe(202)
    expect(elsewhere.body.id).not.toBe(first.body.id)
  })

  it('makes one run of twenty identical posts at once', async () => {
    const key = await createKey()
    const headers = { 'idempotency-key': 'orchard-20' }
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => fabrique.request<RunResource>(RUNS, { key, headers, body: FOX })),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]))
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1)
  })

  it('stores and spends nothing on a dry run', async () => {
    const key = await createKey()
    const { status, body, text } = await fabrique.request(`${RUNS}?dry_run=true`, { key, body: FOX })
    expect(status).toBe(200)
    expect(body).toMatchObject({ workflow: FOX.workflow, estimate: { currency: 'USD', expected: expect.any(Number) } })
    expect(text).not.toMatch(PROMPT_WORDS)
    expect((await fabrique.request(RUNS, { key })).body.data).toEqual([])
  })

  it('passes an undeclared input on, and warns of it', async () => {
    const run = await fabrique.submit({ ...FOX, input: { ...FOX.input, mood: 'calm' } })
    expect(run.warnings).toEqual([expect.stringContaining('mood')])
    await cancel(run.id, fabrique.adminKey)
  })

  async function post<Body = Record<string, unknown>>(
    body: string,
    contentType: string,
    query = `?name=${FOX.workflow}`,
  ) {
    return await fabrique.request<Body>(`${RUNS}${query}`, {
      headers: { 'content-type': contentType },
      body,
    })
  }
})

describe('steering', () => {
  it('cancels a run that waits for its review, and answers 409 to a second cancel', async () => {
    const run = await fabrique.submit()
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting')
    const post = () => fabrique.request<RunResource>(`${RUNS}/${run.id}/cancel`, { method: 'POST' })
    const first = await post()
    expect([first.status, first.body.status]).toEqual([202, 'cancelled'])
    expect((await post()).status).toBe(409)
    expect((await fabrique.review(run.id, 'approve')).status).toBe(409)
    const log = await fabrique.log(run.id)
    expect(log.filter(({ kind }) => kind === 'workflow.run.cancelled')).toHaveLength(1)
    expect(log.at(-1)?.payload).toMatchObject({ status: 'cancelled', partial: false })
    // Its end says the same of its cost and files as the run does.
    const { cost, outputs } = await fabrique.run(run.id)
    expect(log.at(-1)?.payload.cost).toMatchObject({ actual: cost.actual, pricing_version: cost.pricing_version })
    expect(outputs[0]?.status).toBe('cancelled')
  })

  it('fails a rejected run and keeps its files as rejected', async () => {
    const run = await fabrique.submit()
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting')
    expect((await fabrique.review(run.id, 'reject')).status).toBe(200)
    const events = await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.failed')
    expect(events.at(-1)?.payload).toMatchObject({ status: 'failed', error: { code: 'review-rejected' } })
    const files = (await fabrique.artifacts(run.id)).filter(({ role }) => ['processed', 'raw'].includes(role))
    expect(files.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect((await fabrique.request(`/v1/artifacts/${files[0]?.id}/content`)).status).toBe(200)
  })

  it('takes one of twenty approvals at once, and answers 409 to the others', async () => {
    const run = await fabrique.submit()
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting')
    const answers = await Promise.all(Array.from({ length: 20 }, () => fabrique.review(run.id, 'approve')))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(19)
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.completed')
  })
})

describe('the API', () => {
  it('answers the same 401 to no key, an unknown one and one of another form', async () => {
    const keys = [null, 'fab_unknown_but_long_enough_to_be_one', 'not-a-key']
    const answers = await Promise.all(keys.map((key) => fabrique.request<ProblemDocument>(RUNS, { key })))
    for (const { status, headers, body } of answers) {
      expect(status).toBe(401)
      expect(headers.get('www-authenticate')).toBe('Bearer')
      expect({ ...body, request_id: '' }).toEqual({ ...answers[0]?.body, request_id: '' })
    }
  })

  it.each(['/healthz', '/readyz', '/v1/catalog'])('answers %s to anyone', async (path) => {
    expect((await fabrique.request(path, { key: null })).status).toBe(200)
  })

  it('says at /readyz that PostgreSQL and Redis are reachable', async () => {
    expect((await fabrique.request('/readyz')).body).toMatchObject({ postgres: 'ok', redis: 'ok' })
  })

  it('has an OpenAPI 3.1 document that names the routes of runs', async () => {
    const { body } = await fabrique.request<{ openapi: string; paths: Record<string, unknown> }>('/openapi.json', {
      key: null,
    })
    expect(body.openapi).toMatch(/^3\.1\./)
    expect(Object.keys(body.paths)).toEqual(expect.arrayContaining([RUNS, `${RUNS}/{id}`, `${RUNS}/{id}/events`]))
  })

  it('serves its docs page without reference to any other host', async () => {
    const page = await fabrique.request('/docs', { key: null })
    expect(page.status).toBe(200)
    const parts = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address = '']) => address)
    expect(parts.length).toBeGreaterThan(1)
    for (const address of parts) {
      expect(address).toMatch(/^\/[^/]/)
      expect((await fabrique.request(address, { key: null })).status).toBe(200)
    }
    expect(page.headers.get('content-security-policy')).toContain("default-src 'self'")
  })

  it('shows the queues to admins only', async () => {
    const statuses = await Promise.all(
      [null, await createKey(), fabrique.adminKey].map(
        async (key) => (await fabrique.request('/ops/queues', { key })).status,
      ),
    )
    expect(statuses).toEqual([401, 403, 200])
    const stats = await fabrique.request<Record<string, { backlog: number }>>('/v1/queues/stats')
    expect(Object.keys(stats.body).sort()).toEqual(['runs-batch', 'runs-interactive'])
  })
})

/** An answer without what names its own request. */
function anonymous(answer: { status: number; body: ProblemDocument } | undefined, id: string) {
  return { ...answer?.body, request_id: '', instance: answer?.body.instance?.replace(id, ':id') }
}
