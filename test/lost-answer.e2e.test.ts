// A paid call whose outcome nobody knows, of a template that lets a person decide: what the run, the API and the command
// line say of it, and that no approval of something else pays again.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import type { RunResource } from '@fabrique/schema'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { checkout, type Fabrique, startFabrique } from './harness.ts'
import { createProviderStandIn, type ProviderStandIn } from './provider-stand-in.ts'

const GATE = 'unknown-outcome:draw'
const PRICE = /to call again may cost \$0\.\d+ once more/

let fabrique: Fabrique
let providers: ProviderStandIn

beforeAll(async () => {
  providers = await createProviderStandIn()
  fabrique = await startFabrique({ env: providers.env })
  const { status, text } = await fabrique.request('/v1/workflows', {
    body: {
      id: 'test/lost',
      name: 'lost',
      cadence: 'On demand',
      version: '2026.11.28',
      artifactClass: 'visual',
      schemaVersion: 'workflow-schema-v1',
      intakeSchema: { type: 'object', properties: { prompt: { type: 'string' } } },
      runtimeSteps: [
        { id: 'draw', kind: 'image', model: 'openai/gpt-image-2', promptTemplate: 'a fox' },
        { id: 'note', kind: 'tool', tool: 'value.pass', args: { value: 'seen' } },
      ],
      providers: {},
      gates: [],
      budgetPolicy: 'none',
      onUnknownOutcome: 'review',
      artifactSchema: { artifactType: 'none', files: [] },
      visibility: 'public',
    },
  })
  expect(status, text).toBe(201)
}, 60_000)

afterAll(async () => {
  await fabrique?.stop()
  await providers?.close()
})

/** A run that waits because the connection of its one paid call broke. */
async function lost(): Promise<RunResource> {
  providers.forget()
  providers.script('image', { reset: 'before' })
  const { id } = await fabrique.submit({ workflow: 'test/lost', input: {} })
  await fabrique.waitFor(id, ({ kind }) => kind === 'workflow.run.waiting')
  expect(providers.asked('image')).toHaveLength(1)
  return await fabrique.run(id)
}

const review = (run: RunResource, body: object) =>
  fabrique.request<{ code: string; detail: string }>(`/v1/workflows/runs/${run.id}/review`, { body })

async function ended(run: RunResource): Promise<RunResource> {
  await fabrique.waitFor(run.id, ({ kind }) => /completed|failed/.test(kind) && kind.startsWith('workflow.run'))
  return await fabrique.run(run.id)
}

function cli(...args: string[]): Promise<{ code: number; text: string }> {
  const env = { PATH: process.env.PATH ?? '', FABRIQUE_API_KEY: fabrique.adminKey, NO_COLOR: '1' }
  return new Promise((resolve) => {
    const all = [join('apps', 'cli', 'src', 'main.ts'), ...args, '--api-url', fabrique.url]
    execFile(process.execPath, all, { cwd: checkout, env }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, text: stdout + stderr }),
    )
  })
}

it('is decided only by the name of its gate and a word of its own; anything else says the price and pays nothing', async () => {
  const run = await lost()
  expect(run.gates).toEqual([
    expect.objectContaining({
      id: GATE,
      type: 'unknown-outcome',
      status: 'open',
      detail: expect.stringMatching(PRICE),
    }),
  ])
  for (const body of [
    { decision: 'approve' },
    { decision: 'reject' },
    { decision: 'approve', gate: GATE },
    { decision: 'call-again' },
  ]) {
    const { status, body: problem } = await review(run, body)
    expect([status, problem.code], JSON.stringify(body)).toEqual([409, 'gate-by-name'])
    expect(problem.detail).toMatch(PRICE)
    expect(problem.detail).toContain(GATE)
  }
  expect(providers.asked('image')).toHaveLength(1)
  expect((await review(run, { decision: 'call-again', gate: GATE })).status).toBe(200)
  expect((await ended(run)).status).toBe('completed')
  expect(providers.asked('image')).toHaveLength(2)
})

it('is given up by name: the step fails, and nothing is paid again', async () => {
  const run = await lost()
  expect((await review(run, { decision: 'give-up', gate: GATE })).status).toBe(200)
  expect(await ended(run)).toMatchObject({ status: 'failed', error: { code: 'unknown-outcome' } })
  expect(providers.asked('image')).toHaveLength(1)
})

it('is shown with its price by status, and approved on the command line only by --gate', async () => {
  const run = await lost()
  expect((await cli('status', run.id)).text).toMatch(PRICE)
  const plain = await cli('approve', run.id)
  expect(plain.code).not.toBe(0)
  expect(plain.text).toMatch(PRICE)
  expect(plain.text).toContain(`--gate ${GATE}`)
  expect(providers.asked('image')).toHaveLength(1)
  expect((await cli('approve', run.id, '--gate', GATE)).code).toBe(0)
  expect(providers.asked('image')).toHaveLength(2)
})

it('of a workflow that was withdrawn is not retried: the answer is that of a submit', async () => {
  const run = await lost()
  await review(run, { decision: 'give-up', gate: GATE })
  await ended(run)
  const { key, organizationId } = await fabrique.createOperator('withdrawn')
  await fabrique.query('update runs set organization_id = $1 where id = $2', [organizationId, run.id])
  const etag = (await fabrique.request('/v1/workflows/test/lost')).headers.get('etag') ?? ''
  const withdrawn = await fabrique.request('/v1/workflows/test/lost', {
    method: 'PATCH',
    headers: { 'if-match': etag },
    body: { visibility: 'draft' },
  })
  expect(withdrawn.status, withdrawn.text).toBe(200)
  const retried = await fabrique.request(`/v1/workflows/runs/${run.id}/retry`, { method: 'POST', key })
  const submitted = await fabrique.request('/v1/workflows/runs', { key, body: { workflow: 'test/lost', input: {} } })
  const answer = { status: 404, body: { code: 'not-found', detail: expect.stringContaining('"test/lost"') } }
  expect([retried, submitted]).toMatchObject([answer, answer])
  expect(providers.asked('image')).toHaveLength(1)
})
