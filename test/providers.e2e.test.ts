// How Fabrique speaks to OpenAI and fal: what is sent, how often, what is made of their refusals and silences, and what
// the ledger says of it. The providers are a stand-in on loopback; its record, not ours, is the evidence.
import type { LedgerEntry, RateTable } from '@fabrique/schema'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Fabrique, FOX, startFabrique } from './harness.ts'
import { createProviderStandIn, FAL_KEY, OPENAI_KEY, type ProviderStandIn, saying } from './provider-stand-in.ts'

/** The stand-in's usage at the seeded rates: 50 text tokens and 1,056 picture tokens. */
const PICTURE_USD = 0.03193
const MATTE_USD = 0.0003

/** A template but for its name and its steps. */
const PLAIN = {
  artifactClass: 'knowledge',
  version: '2026.11.01',
  schemaVersion: 'workflow-schema-v1',
  cadence: 'On demand',
  intakeSchema: { type: 'object' },
  providers: {},
  gates: [],
  budgetPolicy: {},
  artifactSchema: { artifactType: 'text', files: [], metadata: {} },
  outputAliases: {},
  onUnknownOutcome: 'retry',
}

let providers: ProviderStandIn
let fabrique: Fabrique

beforeAll(async () => {
  providers = await createProviderStandIn()
  fabrique = await startFabrique({ env: providers.env })
})
afterAll(async () => {
  await fabrique?.stop()
  await providers?.close()
})
beforeEach(() => providers.forget())

describe('a run with live providers', () => {
  it('asks each provider once, with its key, its own name for the model, and our id of the call', async () => {
    const run = await fabrique.submit()
    await fabrique.finish(run.id)
    expect((await fabrique.run(run.id)).status).toBe('completed')

    expect(providers.asked('image')).toMatchObject([
      {
        headers: { authorization: `Bearer ${OPENAI_KEY}`, 'idempotency-key': expect.stringContaining(run.id) },
        body: {
          model: 'gpt-image-2',
          prompt: expect.stringContaining('a fox wearing a scarf'),
          size: '1024x1024',
          quality: 'medium',
        },
      },
    ])
    expect(providers.asked('submit')).toMatchObject([
      {
        path: '/fal/fal-ai/birefnet/v2',
        headers: { authorization: `Key ${FAL_KEY}` },
        body: {
          model: 'General Use (Light)',
          output_format: 'png',
          image_url: expect.stringMatching(/^data:image\/png;base64,/),
        },
      },
    ])
    expect(providers.asked('status').length).toBeGreaterThan(0)
    expect(providers.asked('result')).toHaveLength(1)
    expect(providers.asked('file')).toHaveLength(1)
    expect(providers.asked('other')).toEqual([])
  })

  it('books what the providers reported, at the rates of the pricing version', async () => {
    const run = await fabrique.submit()
    await fabrique.finish(run.id)
    const ledger = await fabrique.ledger(run.id)
    expect(ledger).toMatchObject([
      {
        id: providers.asked('image')[0]?.headers['idempotency-key'],
        provider: 'openai',
        providerOperation: 'images.generate',
        model: 'openai/gpt-image-2',
        stepId: 'render',
        outcome: 'succeeded',
        status: 'provider_reported',
        simulated: false,
      },
      {
        provider: 'fal',
        model: 'fal/birefnet-light',
        stepId: 'cutout',
        quantity: 1,
        unit: 'request',
        unitPriceUsd: MATTE_USD,
        outcome: 'succeeded',
        simulated: false,
      },
    ])
    expect(costs(ledger)).toEqual([PICTURE_USD, MATTE_USD])
    const { cost, simulated } = await fabrique.run(run.id)
    expect(cost.actual).toBeCloseTo(PICTURE_USD + MATTE_USD, 9)
    expect(simulated).toBe(false)
    expect((await fabrique.artifacts(run.id)).map((file) => file.simulated)).not.toContain(true)
  })

  it('speaks the text and speech operations too', async () => {
    const { body: prices } = await fabrique.request<RateTable>('/v1/pricing')
    // No model of OpenAI's speech endpoint outlives January 2027, and the operation is what is tried here.
    const rate = { model: 'openai/gpt-next-tts', unit: 'character', unit_price_usd: 0.00001, assumed: true }
    const list = { ...prices, version: '2026.12.24', rates: [...prices.rates, rate] }
    expect((await fabrique.request('/v1/pricing', { method: 'POST', body: list })).status).toBe(201)
    await addTemplate({
      ...PLAIN,
      id: 'say-it',
      name: 'Say it',
      intakeSchema: { type: 'object', properties: { topic: { type: 'string' } }, required: ['topic'] },
      runtimeSteps: [
        {
          id: 'words',
          kind: 'llm',
          model: 'openai/gpt-6-luna',
          promptTemplate: 'Say {intake.topic}.',
          system: 'Be brief.',
        },
        { id: 'voice', kind: 'tool', tool: 'openai/gpt-next-tts', args: { text: '{steps.words.output.text}' } },
      ],
      artifactSchema: { artifactType: 'speech', files: [], metadata: {} },
    })
    const run = await fabrique.submit({ workflow: 'say-it', input: { topic: 'hello' } })
    await fabrique.finish(run.id)
    expect(providers.asked('text')).toMatchObject([
      {
        headers: { authorization: `Bearer ${OPENAI_KEY}` },
        body: { model: 'gpt-6-luna', input: 'Say hello.', instructions: 'Be brief.', stream: false },
      },
    ])
    expect(providers.asked('speech')).toMatchObject([
      { body: { model: 'gpt-next-tts', input: 'Five words from a stand-in.', response_format: 'wav' } },
    ])
    const [file] = await fabrique.artifacts(run.id)
    expect(file).toMatchObject({ mime_type: 'audio/wav', duration_ms: 100 })
    expect((await fabrique.run(run.id)).status).toBe('completed')
  })
})

describe('a structured answer', () => {
  const outputSchema = {
    type: 'object',
    required: ['words'],
    properties: { words: { type: 'array', items: { type: 'string' } } },
    additionalProperties: false,
  }
  beforeAll(async () => {
    const retry = { maxAttempts: 2, backoffMs: 100, on: ['bad_output'] }
    for (const [id, more] of [
      ['list-words', {}],
      ['list-words-again', { retry }],
    ] as const) {
      const step = { id: 'list', kind: 'llm', model: 'openai/gpt-6-luna', promptTemplate: 'List words.', outputSchema }
      await addTemplate({ ...PLAIN, id, name: id, runtimeSteps: [{ ...step, ...more }] })
    }
  })

  it('that the schema does not allow fails the run with the place, and is paid for', async () => {
    providers.script('text', saying('{"wrong":1}'))
    const run = await fabrique.submit({ workflow: 'list-words', input: {} })
    await fabrique.finish(run.id)
    expect(await fabrique.run(run.id)).toMatchObject({
      status: 'failed',
      error: { code: 'bad-output', message: expect.stringContaining('/words is required'), node_key: 'list' },
    })
    expect(providers.asked('text')).toMatchObject([
      { body: { text: { format: { type: 'json_schema', schema: outputSchema, strict: true } } } },
    ])
    const [entry] = await fabrique.ledger(run.id)
    expect(entry).toMatchObject({ outcome: 'succeeded', status: 'provider_reported' })
    expect(entry?.actualCostUsd).toBeGreaterThan(0)
  })

  it('is asked for again where the step says so, until it is allowed', async () => {
    providers.script('text', saying('no JSON'), saying('{"words":["one"]}'))
    const run = await fabrique.submit({ workflow: 'list-words-again', input: {} })
    await fabrique.finish(run.id)
    expect((await fabrique.run(run.id)).status).toBe('completed')
    expect((await fabrique.ledger(run.id)).map(({ outcome }) => outcome)).toEqual(['succeeded', 'succeeded'])
  })
})

describe('a provider that fails', () => {
  it('by 429 is waited for without an attempt, and asked by the engine alone, no earlier than it said', async () => {
    providers.script('image', {
      status: 429,
      headers: { 'retry-after': '3' },
      body: { error: { message: 'slow down', type: 'rate_limit', code: 'rate_limit_exceeded' } },
    })
    const run = await fabrique.submit()
    const log = await fabrique.finish(run.id)
    const [first, second, ...more] = providers.asked('image')
    expect(more).toEqual([])
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThanOrEqual(3000)
    expect(first?.headers['idempotency-key']).not.toBe(second?.headers['idempotency-key'])
    expect(log.map(({ kind }) => kind)).not.toContain('workflow.node.retrying')
    expect(log.find(({ kind }) => kind === 'workflow.node.progress')).toMatchObject({
      node_key: 'render',
      payload: { waits_for: 'rate-limit', retry_after_ms: 3000 },
    })
    expect(log.at(-1)?.kind).toBe('workflow.run.completed')
    expect(outcomes(await fabrique.ledger(run.id))).toEqual([
      ['render', 'failed', 0],
      ['render', 'succeeded', PICTURE_USD],
      ['cutout', 'succeeded', MATTE_USD],
    ])
  })

  it('by policy is asked once; the run fails with a clear reason and without the prompt', async () => {
    providers.script('image', {
      status: 400,
      body: {
        error: {
          message: 'Your prompt a fox wearing a scarf was rejected',
          type: 'user_error',
          code: 'moderation_blocked',
        },
      },
    })
    const run = await fabrique.submit()
    const log = await fabrique.finish(run.id)
    expect(providers.asked('image')).toHaveLength(1)
    expect(providers.asked('submit')).toEqual([])
    expect(log.at(-1)).toMatchObject({
      kind: 'workflow.run.failed',
      payload: { status: 'failed', error: { code: 'content-refused', node_key: 'render' } },
    })
    expect(JSON.stringify(log)).not.toMatch(/was rejected/)
    expect(JSON.stringify(log.at(-1)?.payload.error)).not.toMatch(/fox|outlines/)
    expect(outcomes(await fabrique.ledger(run.id))).toEqual([['render', 'failed', 0]])
  })

  it("keeps the provider's words on step and ledger for admins, without the prompt, and from operators", async () => {
    const message = 'Your prompt a fox wearing a scarf was rejected'
    const { key } = await fabrique.createOperator('words')
    const told = async (by?: string) => {
      providers.script('image', { status: 400, body: { error: { message, code: 'moderation_blocked' } } })
      const run = await fabrique.submit(FOX, by === undefined ? {} : { key: by })
      await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.failed', by === undefined ? {} : { key: by })
      const paths = ['steps', 'ledger'].map((what) => `/v1/workflows/runs/${run.id}/${what}`)
      const answers = await Promise.all(
        paths.map((path) => fabrique.request(path, by === undefined ? {} : { key: by })),
      )
      return answers.map(({ text }) => text)
    }
    for (const text of await told()) expect(text).toMatch(/"code":"moderation_blocked".*Your prompt \[…\] was rejected/)
    for (const text of await told(key)) expect(text).not.toMatch(/moderation_blocked|was rejected/)
  })

  it("by a 500 at fal's submit is asked again by the engine alone, and the finished step is not", async () => {
    providers.script('submit', { status: 500, body: { detail: 'Internal Server Error' } })
    const run = await fabrique.submit()
    await fabrique.finish(run.id)
    expect(providers.asked('submit')).toHaveLength(2)
    expect(providers.asked('image')).toHaveLength(1)
    expect(outcomes(await fabrique.ledger(run.id))).toEqual([
      ['render', 'succeeded', PICTURE_USD],
      ['cutout', 'failed', 0],
      ['cutout', 'succeeded', MATTE_USD],
    ])
  })

  it('a look at a request is asked again, without a second submit', async () => {
    providers.script('status', { status: 503, body: { detail: 'busy' } }, { status: 429, body: { detail: 'slow' } })
    const run = await fabrique.submit()
    expect((await fabrique.finish(run.id)).at(-1)?.kind).toBe('workflow.run.completed')
    expect(providers.asked('submit')).toHaveLength(1)
  })

  it.each(['before', 'midway'] as const)(
    'an answer (%s it) is asked again; the possible cost stays on the ledger as unknown',
    async (reset) => {
      providers.script('image', { reset })
      const run = await fabrique.submit()
      await fabrique.finish(run.id)
      expect(providers.asked('image')).toHaveLength(2)
      const ledger = await fabrique.ledger(run.id)
      expect(outcomes(ledger).map(([step, outcome]) => [step, outcome])).toEqual([
        ['render', 'unknown'],
        ['render', 'succeeded'],
        ['cutout', 'succeeded'],
      ])
      expect(ledger[0]?.actualCostUsd).toBe(ledger[0]?.estimatedCostUsd)
      expect((await fabrique.run(run.id)).cost.actual).toBeCloseTo(sum(costs(ledger)), 9)
    },
  )

  it.each([
    ['HTML', '<html>maintenance</html>', 'unreadable'],
    ['no picture', { created: 1, data: [] }, 'bad-output'],
    [
      'bytes that are no picture',
      { created: 1, data: [{ b64_json: Buffer.from('not a picture').toString('base64') }] },
      'bad-output',
    ],
  ])('to make sense (%s) fails the run honestly, and its cost is booked', async (_, body, code) => {
    providers.script('image', { body })
    const run = await fabrique.submit()
    const log = await fabrique.finish(run.id)
    expect(providers.asked('image')).toHaveLength(1)
    expect(log.at(-1)).toMatchObject({ kind: 'workflow.run.failed', payload: { error: { code } } })
    const ledger = await fabrique.ledger(run.id)
    expect(ledger).toHaveLength(1)
    expect(ledger[0]?.actualCostUsd).toBeGreaterThan(0)
    expect(log.at(-1)?.payload.cost).toMatchObject({ actual: ledger[0]?.actualCostUsd })
  })
})

describe('a cancel', () => {
  it("closes the provider's connection within a second, and the possible cost stays on the ledger", async () => {
    providers.script('image', { hold: new Promise(() => {}) })
    const run = await fabrique.submit()
    const call = await providers.heard('image')
    const cancelledAtMs = performance.now()
    expect((await cancel(run.id)).status).toBe(202)
    expect(await call.ended).toBe('dropped')
    expect(performance.now() - cancelledAtMs).toBeLessThan(1000)
    const log = await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.cancelled')
    expect(log.at(-1)?.payload).toMatchObject({ status: 'cancelled', error: null })
    expect((await fabrique.run(run.id)).status).toBe('cancelled')
    const ledger = await fabrique.ledger(run.id)
    expect(ledger).toMatchObject([{ stepId: 'render', outcome: 'unknown' }])
    expect(ledger[0]?.actualCostUsd).toBe(ledger[0]?.estimatedCostUsd)
    expect(providers.asked('image')).toHaveLength(1)
  })

  it("cancels fal's request at fal, and keeps what was paid before", async () => {
    providers.holdFal(true)
    const run = await fabrique.submit()
    await providers.heard('status', 2)
    expect((await cancel(run.id)).status).toBe(202)
    const put = await providers.heard('cancel')
    const [submit] = providers.asked('submit')
    expect(put).toMatchObject({ method: 'PUT', headers: { authorization: `Key ${FAL_KEY}` } })
    expect(put.path).toContain(`/fal/fal-ai/birefnet/requests/`)
    expect(submit).toBeDefined()
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.cancelled')
    expect(outcomes(await fabrique.ledger(run.id))).toEqual([
      ['render', 'succeeded', PICTURE_USD],
      ['cutout', 'cancelled', MATTE_USD],
    ])
    const log = await fabrique.log(run.id)
    expect(log.filter(({ kind }) => /^workflow\.run\.(completed|failed|cancelled)$/.test(kind))).toHaveLength(1)
    expect(log.at(-1)?.kind).toBe('workflow.run.cancelled')
  })

  it('of a run that waits for a limit ends it at once', async () => {
    providers.script('image', { status: 429, headers: { 'retry-after': '600' }, body: { error: { message: 'later' } } })
    const run = await fabrique.submit()
    await fabrique.waitFor(run.id, ({ payload }) => payload.waits_for === 'rate-limit')
    await cancel(run.id)
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.cancelled')
    expect(providers.asked('image')).toHaveLength(1)
  })
})

it('no key of a provider is in the logs', () => {
  const logged = fabrique.lines().join('\n')
  expect(logged.length).toBeGreaterThan(100)
  for (const secret of [OPENAI_KEY, FAL_KEY, fabrique.adminKey]) expect(logged).not.toContain(secret)
})

function cancel(runId: string) {
  return fabrique.request(`/v1/workflows/runs/${runId}/cancel`, { method: 'POST' })
}

/** Puts a template into the record as seeding does; authoring over HTTP has tests of its own. */
async function addTemplate(document: { id: string } & Record<string, unknown>): Promise<void> {
  await fabrique.query(
    `insert into templates (id, document, visibility, owner, ever_listed)
     select $1, $2, 'public', owner, true from templates where id = $3`,
    [document.id, JSON.stringify(document), FOX.workflow],
  )
}

function outcomes(ledger: LedgerEntry[]): [string, string, number | null][] {
  return ledger.map(({ stepId, outcome, actualCostUsd }) => [stepId, outcome, actualCostUsd])
}

function costs(ledger: LedgerEntry[]): number[] {
  return ledger.map(({ actualCostUsd }) => actualCostUsd ?? Number.NaN)
}

function sum(amounts: number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0)
}
