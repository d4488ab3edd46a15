// What a step promises by its `outputSchema`, with the engine, the standard kinds and the real validator; the model is
// the test's.
import { createEngine, type ProviderAnswer } from '@fabrique/engine'
import {
  aDefinition,
  aNewRun,
  createMemoryArtifactStore,
  createMemoryRunStore,
  createSequentialIds,
  createFakeClock,
} from '@fabrique/engine/testing'
import { createIntakeSchemas } from '@fabrique/intake'
import type { JsonObject, Step } from '@fabrique/schema'
import { createStandardCatalog, inspect } from '@fabrique/steps'
import { afterAll, describe, expect, it } from 'vitest'

const intake = createIntakeSchemas({ timeoutMs: 20_000 })
afterAll(() => intake.close())
const catalog = createStandardCatalog()
const MODEL = 'openai/gpt-5-mini'
const WORDS: JsonObject = {
  type: 'object',
  required: ['words'],
  properties: { words: { type: 'array', items: { type: 'string', pattern: '^[a-z]+$' } }, mood: { default: 'calm' } },
  additionalProperties: false,
}

/** Runs one step whose model answers with these texts, one a call. */
async function answering(texts: string[], over: Partial<Step> = {}) {
  const clock = createFakeClock()
  const ids = createSequentialIds()
  const store = createMemoryRunStore({ clock, ids: createSequentialIds('9') })
  const asked: JsonObject[] = []
  const step: Step = {
    id: 'say',
    kind: 'llm',
    model: MODEL,
    promptTemplate: 'Say words.',
    outputSchema: WORDS,
    ...over,
  }
  const binding = { models: [{ model: MODEL, provider: 'openai', endpoint: 'gpt-5-mini', simulated: false }] }
  const rates = (['input_token', 'output_token'] as const).map((unit) => ({
    model: MODEL,
    unit,
    unit_price_usd: 0.001,
    assumed: true as const,
  }))
  const definition = aDefinition({ stepInstructions: [step], providerBindings: { say: binding }, rates: [...rates] })
  const run = aNewRun(ids.next(), { definition })
  await store.accept(run)
  const deps: Parameters<typeof createEngine>[0] = {
    store,
    catalog,
    intake,
    inspect,
    ids,
    queue: { enqueue: async () => {}, publish() {}, publishCancel() {} },
    artifacts: createMemoryArtifactStore(),
    providers: {
      async call(_, { request }): Promise<ProviderAnswer> {
        asked.push(request)
        return {
          output: { text: texts[asked.length - 1] ?? '' },
          files: [],
          usage: [{ unit: 'output_token', quantity: 5 }],
        }
      },
    },
    limits: { enter: async () => () => {} },
    clock: { nowMs: () => clock.nowMs(), sleep: async () => {} },
    log: { debug() {}, info() {}, warn() {}, error() {} },
    worker: 'w1',
    leaseMs: 60_000,
  }
  await createEngine(deps).execute(run.id, new AbortController().signal)
  const { checkpoints, calls } = await store.history(run.id)
  const checkpoint = checkpoints.find(({ key }) => key === 'say')
  return { asked, checkpoint, paid: calls.map(({ outcome, actualUsd }) => ({ outcome, actualUsd })) }
}

describe.each<[string, Partial<Step>]>([
  ['llm', {}],
  ['agent', { kind: 'agent', tools: ['value.pass'] }],
])('a structured answer of %s', (_, kind) => {
  it('is the output where it fits, with what the schema adds', async () => {
    const { checkpoint } = await answering(['{"words":["one"]}'], kind)
    expect(checkpoint).toMatchObject({ status: 'completed', output: { json: { words: ['one'], mood: 'calm' } } })
  })

  it('fails the step as bad output where it does not fit, with the place and nothing that it said; it is paid for', async () => {
    const { asked, checkpoint, paid } = await answering(['{"words":["one","SECRET WORDS"]}'], kind)
    expect(asked).toHaveLength(1)
    expect(checkpoint?.error).toMatchObject({ code: 'bad-output', message: expect.stringContaining('/words/1') })
    expect(checkpoint?.error?.message).not.toContain('SECRET')
    expect(paid).toEqual([{ outcome: 'succeeded', actualUsd: 0.005 }])
    const other = await answering(['{"wrong":1}'], kind)
    expect(other.checkpoint?.error?.message).toContain('/words is required')
  })

  it('fails the step as bad output where it is no JSON', async () => {
    const { checkpoint, paid } = await answering(['Here you are: SECRET'], kind)
    expect(checkpoint?.error).toMatchObject({ code: 'bad-output' })
    expect(checkpoint?.error?.message).not.toContain('SECRET')
    expect(paid).toEqual([{ outcome: 'succeeded', actualUsd: 0.005 }])
  })

  it('is asked for again where the step retries bad output, and each answer is paid', async () => {
    const retry = { maxAttempts: 3, backoffMs: 100, on: ['bad_output' as const] }
    const { checkpoint, paid } = await answering(['{"wrong":1}', 'no JSON', '{"words":[]}'], { ...kind, retry })
    expect(checkpoint).toMatchObject({ status: 'completed', attempt: 3, output: { json: { words: [] } } })
    expect(paid).toEqual(Array.from({ length: 3 }, () => ({ outcome: 'succeeded', actualUsd: 0.005 })))
  })

  it('is not even asked for by a schema that cannot be used', async () => {
    const outputSchema = { $ref: 'https://example.org/s.json' }
    const { asked, checkpoint } = await answering(['{}'], { ...kind, outputSchema })
    expect(asked).toEqual([])
    expect(checkpoint?.error).toMatchObject({ code: 'output-schema' })
  })

  it('says little of an answer that is wrong everywhere', async () => {
    const wrong = JSON.stringify({ words: Array.from({ length: 500 }, () => 'X'.repeat(300)) })
    const { checkpoint } = await answering([wrong], kind)
    expect(checkpoint?.error?.message.length).toBeLessThan(700)
    expect(checkpoint?.error?.message).not.toContain('XX')
  })
})
