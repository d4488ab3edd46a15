// The language of templates as real processes run it: lists, agents, called workflows, fallbacks, budgets and reviews,
// with workers killed between their parts. What was asked is read from the providers' own log.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { LedgerEntry, RunResource } from '@fabrique/schema'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Fabrique, startFabrique } from './harness.ts'
import { noteTemplate } from './note-template.ts'
import { createProviderStandIn, type ProviderStandIn } from './provider-stand-in.ts'

const QUICK = { FABRIQUE_LEASE_MS: '1500', FABRIQUE_RECONCILE_MS: '200' }
const TERMINAL = /^workflow\.run\.(completed|failed|cancelled)$/

let providers: ProviderStandIn
let fabrique: Fabrique

beforeAll(async () => {
  providers = await createProviderStandIn()
  fabrique = await startFabrique({ workers: 0, env: { ...providers.env, ...QUICK } })
  for (const [id, over] of Object.entries(TEMPLATES)) await publish(id, over)
}, 60_000)
afterAll(async () => {
  await fabrique?.stop()
  await providers?.close()
})
beforeEach(() => providers.forget())
afterEach(() => fabrique.killWorkers('SIGKILL'))

const QUICK_RETRY = { maxAttempts: 3, backoffMs: 10 }
const WRITE = { kind: 'llm', model: 'openai/gpt-6-luna', retry: QUICK_RETRY }

const TEMPLATES: Record<string, Record<string, unknown>> = {
  'engine/each': {
    runtimeSteps: [
      {
        ...WRITE,
        id: 'each',
        forEach: { items: '{intake.topics}', concurrency: 1 },
        promptTemplate: 'One line on {item}.',
      },
      { id: 'all', kind: 'tool', tool: 'value.pass', args: { value: '{steps.each.output}' } },
    ],
  },
  'engine/agent': {
    runtimeSteps: [
      {
        ...WRITE,
        id: 'work',
        kind: 'agent',
        promptTemplate: 'Look into {intake.topics[0]}.',
        tools: ['value.pass'],
        maxTurns: 4,
      },
    ],
  },
  'engine/called': { runtimeSteps: [{ ...WRITE, id: 'line', promptTemplate: 'A line on {intake.topics[0]}.' }] },
  'engine/caller': {
    runtimeSteps: [
      { id: 'sub', kind: 'workflow', workflow: 'engine/called', input: { topics: '{intake.topics}' } },
      { ...WRITE, id: 'after', promptTemplate: 'Shorter: {steps.sub.output.line.text}' },
    ],
  },
  'engine/fallback': {
    providers: { writer: ['openai/gpt-6.1-sol', 'openai/gpt-6-luna', 'openai/gpt-5.4-mini'] },
    runtimeSteps: [
      {
        id: 'line',
        kind: 'llm',
        provider: 'writer',
        promptTemplate: 'A line on {intake.topics[0]}.',
        retry: { maxAttempts: 1, backoffMs: 0 },
      },
    ],
  },
  'engine/review': {
    gates: [{ id: 'look', name: 'a look', type: 'review', after: 'line', expiresIn: '2s', onExpiry: 'approve' }],
    runtimeSteps: [
      { ...WRITE, id: 'line', promptTemplate: 'A line on {intake.topics[0]}.' },
      { ...WRITE, id: 'more', promptTemplate: 'More on {steps.line.output.text}.' },
    ],
  },
}

async function publish(id: string, over: Record<string, unknown>): Promise<void> {
  const answer = await fabrique.request('/v1/workflows', {
    method: 'POST',
    body: noteTemplate(id, over),
  })
  expect(answer.status, answer.text).toBe(201)
}

const submit = (workflow: string, topics = ['tea']) => fabrique.submit({ workflow, input: { topics } })

async function ended(id: string): Promise<RunResource> {
  await fabrique.waitFor(id, ({ kind }) => TERMINAL.test(kind))
  return await fabrique.run(id)
}

/** Starts a worker that dies at this point for the first time, and one that lives once it is dead. */
async function dyingAt(point: string, work: () => Promise<{ id: string }>): Promise<RunResource> {
  const proof = join(fabrique.home, `engine-${point}`)
  await fabrique.startWorker({ FABRIQUE_TEST_KILLPOINT: point, FABRIQUE_TEST_KILLPOINT_FILE: proof })
  const { id } = await work()
  await fabrique.workersEnded()
  expect(await readFile(proof, 'utf8')).toContain(point)
  await fabrique.startWorker()
  return await ended(id)
}

/** The ledger says the same as the providers' own log: nothing is paid that is not booked, or booked that was not asked. */
async function expectBooked(run: RunResource, { unknown = 0 } = {}): Promise<LedgerEntry[]> {
  const ledger = await fabrique.ledger(run.id)
  expect(ledger.filter(({ outcome }) => outcome === 'unknown')).toHaveLength(unknown)
  const sum = ledger.reduce((total, { actualCostUsd }) => total + (actualCostUsd ?? 0), 0)
  expect(run.cost.actual).toBeCloseTo(sum, 10)
  expect(ledger.map(({ model }) => model).toSorted()).toEqual(
    providers
      .asked('text')
      .map(({ body }) => `openai/${String(body.model)}`)
      .toSorted(),
  )
  return ledger
}

const call = (id: string) => ({
  status: 200,
  body: {
    id: `resp-${id}`,
    object: 'response',
    status: 'completed',
    output: [
      { type: 'function_call', id, call_id: id, name: 'value_pass', arguments: '{"value":1}', status: 'completed' },
    ],
    usage: { input_tokens: 10, output_tokens: 5, total_tokens: 15 },
  },
})

describe('a worker killed', () => {
  it('between two items of a list pays no finished item again', async () => {
    const run = await dyingAt('W8', () => submit('engine/each', ['tea', 'rain', 'bread']))
    expect(run.status).toBe('completed')
    expect(providers.asked('text')).toHaveLength(3)
    expect(run.outputs[0]?.output).toMatchObject({ all: { value: [{}, {}, {}] } })
    await expectBooked(run)
  })

  it('between two turns of an agent pays neither turn again', async () => {
    providers.script('text', call('one'), call('two'))
    const run = await dyingAt('W13', () => submit('engine/agent'))
    expect(run.status, JSON.stringify(run.error)).toBe('completed')
    expect(providers.asked('text')).toHaveLength(3)
    expect(run.outputs[0]?.output).toMatchObject({ work: { turns: 3 } })
    await expectBooked(run)
  })

  it('with a called workflow on record, before the run is suspended, has called it once', async () => {
    const run = await dyingAt('W12', () => submit('engine/caller'))
    expect(run.status, JSON.stringify(run.error)).toBe('completed')
    const tree = await fabrique.request<{ data: RunResource[] }>(`/v1/workflows/runs?root_run_id=${run.id}`)
    expect(tree.body.data.filter(({ caller_run_id }) => caller_run_id === run.id)).toHaveLength(1)
    expect(providers.asked('text')).toHaveLength(2)
    await expectBooked(run)
  })
})

describe('fallback models', () => {
  it('are tried in order, each on the ledger, until one answers', async () => {
    await fabrique.startWorker()
    providers.script('text', { status: 500, body: {} }, { status: 503, body: {} })
    const run = await ended((await submit('engine/fallback')).id)
    expect(run.status, JSON.stringify(run.error)).toBe('completed')
    expect(providers.asked('text').map(({ body }) => body.model)).toEqual(['gpt-6.1-sol', 'gpt-6-luna', 'gpt-5.4-mini'])
    const ledger = await expectBooked(run)
    expect(ledger.map(({ outcome }) => outcome)).toEqual(['failed', 'failed', 'succeeded'])
  })

  it('are not tried after a refusal', async () => {
    await fabrique.startWorker()
    providers.script('text', { status: 400, body: { error: { code: 'content_policy_violation', message: 'no' } } })
    const run = await ended((await submit('engine/fallback')).id)
    expect(run).toMatchObject({ status: 'failed', error: { code: 'content-refused' } })
    expect(providers.asked('text')).toHaveLength(1)
  })
})

describe('a limit of the day', () => {
  it('for ten calls lets fifty concurrent runs make at most ten, and leaves nothing reserved', async () => {
    const price = (await fabrique.submit({ workflow: 'engine/called', input: { topics: ['price'] } })).cost.estimated
    await publish('engine/capped', {
      budgetPolicy: { maxPerDayUsd: price * 10.5 },
      runtimeSteps: [{ ...WRITE, id: 'line', promptTemplate: 'A line on {intake.topics[0]}.' }],
    })
    // Nobody answers before all have begun that may begin.
    let release: () => void = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    providers.script('text', ...Array.from({ length: 60 }, () => ({ hold: held })))
    const runs = await Promise.all(Array.from({ length: 50 }, () => submit('engine/capped')))
    await Promise.all([fabrique.startWorker(), fabrique.startWorker()])
    await providers.heard('text', 10)
    // What is not spent becomes free again once a call has ended cheaper: so none may end before the rest was refused.
    const ends = runs.map(({ id }) => ended(id))
    await new Promise<void>((resolve) => {
      let refused = 0
      for (const end of ends) void end.then(() => (refused += 1) === 40 && resolve())
    })
    release()
    const all = await Promise.all(ends)
    const asked = providers.asked('text').filter(({ body }) => String(body.input).includes('tea'))
    expect(asked).toHaveLength(10)
    expect(all.filter(({ status }) => status === 'completed')).toHaveLength(10)
    for (const { error } of all.filter(({ status }) => status === 'failed')) expect(error?.code).toBe('budget-exceeded')
    const [row] = await fabrique.query<{ usd: string }>(
      `select sum(usd) as usd from capped_calls where workflow = 'engine/capped'`,
    )
    const spent = all.reduce((sum, { cost }) => sum + cost.actual, 0)
    expect(Number(row?.usd)).toBeCloseTo(spent, 10)
  })
})

describe('a review after a step', () => {
  it('lets the next step start within a second of its approval', async () => {
    await fabrique.startWorker()
    const { id } = await submit('engine/review')
    await fabrique.waitFor(id, ({ kind }) => kind === 'workflow.run.waiting')
    const decided = Date.now()
    expect((await fabrique.review(id, 'approve')).status).toBe(200)
    await providers.heard('text', 2)
    expect(Date.now() - decided).toBeLessThan(1_000)
    expect((await ended(id)).status).toBe('completed')
  })

  it('that expires is decided as the template says', async () => {
    await fabrique.startWorker()
    const { id } = await submit('engine/review')
    const run = await ended(id)
    expect(run.status).toBe('completed')
    expect(run.gates).toContainEqual(expect.objectContaining({ id: 'look', status: 'approved' }))
  })
})
