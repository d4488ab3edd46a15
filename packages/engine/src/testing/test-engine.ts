// An engine over in-memory ports, with two step kinds and one provider that the test plays itself.
// Hides the wiring; every port can be replaced to stand in its way.
import { isJsonObject, objectOf, type JsonObject, type JsonValue, type Step, textOf } from '@fabrique/schema'
import { z } from 'zod'
import { createCatalog, type ProviderClient, type StepKind } from '../catalog.ts'
import { createEngine, type Engine, type EngineDeps } from '../execution/execute.ts'
import type { Delivery, Log, RunQueue } from '../ports.ts'
import { contentHash } from '../template/compile.ts'
import type { Binding, Definition, SubWorkflow } from '../specification.ts'
import { createFakeClock, type FakeClock } from './fake-clock.ts'
import { createMemoryArtifactStore, type MemoryArtifactStore } from './memory-artifact-store.ts'
import { createMemoryRunStore, type MemoryRunStore } from './memory-run-store.ts'
import { createSequentialIds } from './sequential-ids.ts'

/** `note`: its `text`, rendered, without calling anybody. */
const note: StepKind = {
  kind: 'note',
  fields: z.strictObject({ text: z.unknown() }),
  renders: [{ field: 'text', as: 'value' }],
  outputKeys: () => ['text'],
  capability: () => null,
  expects: () => ({}),
  run: async (fields) => ({ text: fields.text ?? null }),
}

/** `ask`: what the provider answers to its `prompt`, and the first file as `artifact`. */
const ask: StepKind = {
  kind: 'ask',
  fields: z.strictObject({ prompt: z.string(), model: z.string().optional() }),
  renders: [{ field: 'prompt', as: 'text' }],
  outputKeys: () => null,
  capability: () => ['text'],
  expects: (step) => ({ prompt: textOf(step.prompt) }),
  async run(fields, context) {
    const answer = await context.call({ prompt: textOf(fields.prompt) })
    const [file] = answer.files
    return file === undefined ? answer.output : { ...answer.output, artifact: await context.store(file) }
  },
}

/** `parts`: asks the provider `count` times, each time once and for all; the answers' texts as `texts`. */
const parts: StepKind = {
  ...ask,
  kind: 'parts',
  fields: z.strictObject({ prompt: z.string(), count: z.int(), model: z.string().optional() }),
  async run(fields, context) {
    const texts: JsonValue[] = []
    for (let part = 1; part <= Number(fields.count); part += 1) {
      const text = await context.once(`part-${part}`, async () => {
        const answer = await context.call({ prompt: `${textOf(fields.prompt)} ${part}` })
        return answer.output.text ?? null
      })
      texts.push(text)
    }
    return { texts }
  },
}

/** `call`: another workflow with this `input`. */
const call: StepKind = {
  kind: 'call',
  fields: z.strictObject({ input: z.unknown() }),
  renders: [{ field: 'input', as: 'value' }],
  outputKeys: () => null,
  capability: () => null,
  expects: () => ({}),
  run: (fields, context) => context.callWorkflow(objectOf(fields.input)),
}

/** A called workflow for `aDefinition({ subWorkflows })`, pinned to this definition. */
export function pinned(definition: Definition): SubWorkflow {
  return {
    workflow: 'test/called',
    workflowVersion: definition.templateVersion,
    hash: contentHash(definition),
    definition,
    intakeSchema: { type: 'object' },
    simulated: false,
  }
}

/** The catalog of the tests: kinds `note`, `ask`, `parts` and `call`, models `acme/*`, and a gate of each sort. */
export function createTestCatalog() {
  return createCatalog({
    kinds: [note, ask, parts, call],
    tools: [],
    providers: [
      {
        name: 'acme',
        model: (name) => ({ name, provider: 'acme', capability: 'text', endpoint: name.slice(5), operation: 'make' }),
        expectedUsage: () => [{ unit: 'request', quantity: 1 }],
      },
    ],
    gates: [
      { type: 'prompt-resolution', name: 'prompt resolution', stands: 'before-call' },
      { type: 'review', name: 'review', stands: 'review' },
      { type: 'assert', name: 'assert', stands: 'condition', expression: (gate) => textOf(gate.assert) },
      { type: 'budget', name: 'budget', stands: 'spending', limitUsd: (gate) => Number(gate.maxUsd) },
      {
        // Judges the text that a step has answered: by itself, or, with a `model`, by asking it.
        type: 'clean',
        name: 'clean',
        stands: 'after-step',
        applies: ({ kind }) => kind === 'ask',
        async judge({ gate, output, ask: askModel }) {
          const text = isJsonObject(output) ? textOf(output.text) : ''
          if (gate.model !== undefined) await askModel({ prompt: `judge: ${text}` }, {})
          return text.includes('stain') ? { passed: false, detail: 'there is a stain' } : { passed: true }
        },
      },
      {
        type: 'files',
        name: 'files',
        stands: 'end',
        judge: async ({ files }) =>
          files.every(({ found }) => found !== null)
            ? { passed: true }
            : { passed: false, detail: 'a file is missing' },
      },
    ],
  })
}

/** Steps of kind `ask` bound to live models, for `aDefinition`; every `acme/*` request costs a quarter. */
export function asking(
  steps: (Partial<Step> & { id: string })[],
  models: string[] = ['acme/one'],
): { stepInstructions: Step[]; providerBindings: Record<string, Binding>; rates: [] | ReturnType<typeof rateOf>[] } {
  const stepInstructions = steps.map((step): Step => ({ kind: 'ask', prompt: `do ${step.id}`, ...step }))
  const bound = models.map((model) => ({ model, provider: 'acme', endpoint: model.slice(5), simulated: false }))
  return {
    stepInstructions,
    providerBindings: Object.fromEntries(
      stepInstructions
        .filter(({ kind }) => kind === 'ask' || kind === 'parts')
        .map(({ id }) => [id, { models: bound }]),
    ),
    rates: models.map(rateOf),
  }
}

function rateOf(model: string) {
  return { model, unit: 'request' as const, unit_price_usd: 0.25, assumed: true as const }
}

export interface TestEngine {
  engine: Engine
  store: MemoryRunStore
  artifacts: MemoryArtifactStore
  clock: FakeClock
  /** What was handed to the queue, oldest first. */
  deliveries: Delivery[]
  deps: EngineDeps
}

/** An engine whose provider is `client`; `over` replaces ports. */
export function createTestEngine(client: ProviderClient, over: Partial<EngineDeps> = {}): TestEngine {
  const clock = createFakeClock()
  const ids = createSequentialIds('9')
  const store = createMemoryRunStore({ clock, ids })
  const artifacts = createMemoryArtifactStore()
  const deliveries: Delivery[] = []
  const queue: Pick<RunQueue, 'enqueue' | 'publish' | 'publishCancel'> = {
    async enqueue(given) {
      deliveries.push(...given)
    },
    publish() {},
    publishCancel() {},
  }
  const log: Log = { debug() {}, info() {}, warn() {}, error() {} }
  const deps: EngineDeps = {
    store,
    queue,
    artifacts,
    catalog: createTestCatalog(),
    intake: { validate: async (_hash, _schema, value) => ({ problems: [], value, undeclared: [] }) },
    providers: { call: (_simulated, request) => client.call(request) },
    limits: { enter: async () => () => {} },
    inspect: async (_bytes, mimeType) => ({ mimeType, width: null, height: null, durationMs: null }),
    clock,
    ids,
    log,
    worker: 'w1',
    leaseMs: 60_000,
    ...over,
  }
  return { engine: createEngine(deps), store, artifacts, clock, deliveries, deps }
}

/**
 * Executes what was delivered until nothing is left to deliver; time passes while everybody sleeps. Runs that rest
 * without a delivery stay as they are.
 */
export async function drive({
  engine,
  clock,
  deliveries,
}: Pick<TestEngine, 'engine' | 'clock' | 'deliveries'>): Promise<void> {
  const running = new Set<Promise<unknown>>()
  while (running.size + deliveries.length > 0) {
    for (const { runId } of deliveries.splice(0)) {
      const execution = engine.execute(runId, new AbortController().signal).finally(() => running.delete(execution))
      running.add(execution)
    }
    await new Promise((resolve) => setImmediate(resolve))
    const [soonest] = clock.sleeping()
    if (soonest !== undefined) clock.advance(soonest)
  }
}

/** An answer with one file whose bytes are the prompt's, charged as one request. */
export function answerTo(request: JsonObject) {
  const prompt = isJsonObject(request) ? textOf(request.prompt) : ''
  return {
    output: { text: `done: ${prompt}` },
    files: [{ name: 'file', mimeType: 'text/plain', bytes: new TextEncoder().encode(prompt) }],
    usage: [{ unit: 'request' as const, quantity: 1 }],
  }
}
