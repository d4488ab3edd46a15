import { isJsonObject, type JsonObject, type JsonValue, type Step, textOf } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Catalog, GateKind, ProviderRequest, StepContext, StepEvidence, StepKind, Tool } from '../catalog.ts'
import { type FailureClass, StepFailure } from '../failure.ts'
import type { NewRun } from '../ports.ts'
import type { Definition } from '../specification.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { answerTo, asking, createTestCatalog, createTestEngine } from '../testing/test-engine.ts'
import type { EngineDeps } from './execute.ts'

type Serve = (request: ProviderRequest) => Promise<ReturnType<typeof answerTo>>
type Work = (context: StepContext, fields: JsonObject) => Promise<JsonValue>

/** The catalog of the tests with a kind `probe`, whose `text` and `value` are rendered and whose work the test does. */
function catalogOf(work: Work, over: Partial<Catalog> = {}): Catalog {
  const catalog = createTestCatalog()
  const probe: StepKind = {
    kind: 'probe',
    fields: z.looseObject({}),
    renders: [
      { field: 'text', as: 'text' },
      { field: 'value', as: 'value' },
    ],
    outputKeys: () => null,
    capability: () => null,
    expects: () => ({}),
    run: (fields, context) => work(context, fields),
  }
  return { ...catalog, kind: (name) => (name === 'probe' ? probe : catalog.kind(name)), ...over }
}

async function setup(
  definition: Partial<Definition>,
  options: {
    serve?: Serve
    work?: Work
    run?: Partial<NewRun>
    ports?: Partial<EngineDeps>
    gates?: GateKind[]
    tools?: Tool[]
  } = {},
) {
  const { serve = async ({ request }) => answerTo(request), work = async () => null, gates = [], tools = [] } = options
  const asked: string[] = []
  const logged: [object, string][] = []
  const own = createTestCatalog()
  const world = createTestEngine(
    {
      async call(request) {
        asked.push(textOf(request.request.prompt))
        return await serve(request)
      },
    },
    {
      catalog: catalogOf(work, {
        gate: (type) => gates.find((one) => one.type === type) ?? own.gate(type),
        tool: (name) => tools.find((one) => one.name === name),
      }),
      log: {
        debug() {},
        info() {},
        warn() {},
        error: (context, message) => void logged.push([context, message]),
      },
      ...options.ports,
    },
  )
  await world.store.accept(aNewRun('r', { definition: aDefinition(definition), ...options.run }))
  const waits: number[] = []
  return {
    ...world,
    asked,
    logged,
    waits,
    read: () => world.store.read('r'),
    history: () => world.store.history('r'),
    /** The payloads of the run's events of a kind, with the node that each is of. */
    events: (kind: string) =>
      (world.store.read('r')?.events ?? [])
        .filter((event) => event.kind === `workflow.${kind}`)
        .map(({ node_key, payload }) => [node_key, payload]),
    async execute(signal = new AbortController().signal) {
      const execution = world.engine.execute('r', signal)
      let isOver = false
      const over = execution.finally(() => (isOver = true)).catch(() => {})
      while (!isOver) {
        await new Promise((resolve) => setImmediate(resolve))
        const [soonest] = world.clock.sleeping()
        if (soonest === undefined || isOver) continue
        waits.push(soonest)
        world.clock.advance(soonest)
      }
      await over
      return await execution
    },
  }
}

const probing = (...steps: (Partial<Step> & { id: string })[]): Partial<Definition> => ({
  stepInstructions: steps.map((step): Step => ({ kind: 'probe', ...step })),
})

const file = (text: string, name = 'file') => ({
  name,
  mimeType: 'text/plain',
  bytes: new TextEncoder().encode(text),
})

describe('a failed attempt', () => {
  const failing = (failureClass: FailureClass) => async () => {
    throw new StepFailure(failureClass, 'no')
  }

  it.each(['timeout', 'server'] as const)(
    'of class %s is followed by two more, after one second and after two',
    async (failureClass) => {
      const { execute, read, waits, asked } = await setup(asking([{ id: 'a' }]), { serve: failing(failureClass) })
      await execute()
      expect([asked.length, waits]).toEqual([3, [1_000, 2_000]])
      const code = failureClass.replace('_', '-')
      expect(read()).toMatchObject({ status: 'failed', error: { code, message: 'no', node_key: 'a' } })
    },
  )

  it.each(['bad_output', 'refused', 'invalid', 'budget', 'gate', 'internal'] as const)(
    'of class %s is the last',
    async (failureClass) => {
      const { execute, waits, asked } = await setup(asking([{ id: 'a' }]), { serve: failing(failureClass) })
      await execute()
      expect([asked.length, waits]).toEqual([1, []])
    },
  )

  it('is followed by as many as the step says, for what it says, as late as it says', async () => {
    const retry = { maxAttempts: 4, backoffMs: 50, on: ['bad_output' as const] }
    const bad = await setup(asking([{ id: 'a', retry }]), { serve: failing('bad_output') })
    await bad.execute()
    expect([bad.asked.length, bad.waits]).toEqual([4, [50, 100, 200]])
    const other = await setup(asking([{ id: 'a', retry }]), { serve: failing('server') })
    await other.execute()
    expect([other.asked.length, other.waits]).toEqual([1, []])
  })

  it('is told to the next, which may ask otherwise then', async () => {
    const retry = { backoffMs: 1, on: ['bad_output' as const, 'server' as const] }
    const failures = [new StepFailure('bad_output', 'too short'), new StepFailure('server', 'away')]
    const prompt = 'try {retry.attempt}: {retry.problem?}'
    const { execute, asked, read } = await setup(asking([{ id: 'a', prompt, retry: { maxAttempts: 3, ...retry } }]), {
      async serve({ request }) {
        const failure = failures.shift()
        if (failure !== undefined) throw failure
        return answerTo(request)
      },
    })
    await execute()
    expect([read()?.status, ...asked]).toEqual(['completed', 'try 1: ', 'try 2: too short', 'try 3: '])
  })

  it('is told with its number, its reason and the wait', async () => {
    const { execute, events } = await setup(asking([{ id: 'a' }]), { serve: failing('server') })
    await execute()
    const error = { code: 'server', message: 'no' }
    expect(events('node.retrying')).toEqual([
      ['a', { step: 'a', attempt: 1, delay_ms: 1_000, error }],
      ['a', { step: 'a', attempt: 2, delay_ms: 2_000, error }],
    ])
    expect(events('node.failed')).toEqual([
      ['a', { step: 'a', attempt: 3, simulated: false, error: { ...error, node_key: 'a' } }],
    ])
  })

  it('books what it has paid before the next begins, and keeps none of it in safety', async () => {
    const retry = { maxAttempts: 2, backoffMs: 1, on: ['bad_output' as const] }
    let attempts = 0
    const world = await setup(asking([{ id: 'a', retry }]), {
      ports: {
        async inspect(_, mimeType) {
          attempts += 1
          if (attempts === 1) throw new StepFailure('bad_output', 'not a picture')
          const { calls } = await world.history()
          expect(calls.map(({ outcome }) => outcome)).toEqual(['succeeded', 'pending'])
          expect(world.artifacts.stagedCalls()).toEqual(['r.a.2'])
          return { mimeType, width: null, height: null, durationMs: null }
        },
      },
    })
    await world.execute()
    expect([world.read()?.status, attempts]).toEqual(['completed', 2])
    expect((await world.history()).calls.map(({ outcome, attempt }) => [outcome, attempt])).toEqual([
      ['succeeded', 1],
      ['succeeded', 2],
    ])
    expect(world.artifacts.stagedCalls()).toEqual([])
  })

  it('leaves no files of its own behind: the outcome has those of the last', async () => {
    let attempts = 0
    const { execute, history } = await setup(probing({ id: 'a' }), {
      async work(context) {
        attempts += 1
        const stored = await context.store(file(`attempt ${attempts}`))
        if (attempts === 1) throw new StepFailure('server', 'again')
        return stored
      },
    })
    await execute()
    expect((await history()).artifacts).toHaveLength(1)
  })

  it('fails by a file that is not what it must be, whose bytes stay as a draft', async () => {
    const problem = 'A produced file is text/html, not image/png.'
    const found = { mimeType: 'text/html', width: null, height: null, durationMs: null, problem }
    const { execute, read, history } = await setup(asking([{ id: 'a' }]), { ports: { inspect: async () => found } })
    await execute()
    expect(read()?.error).toMatchObject({ code: 'bad-output', message: problem, node_key: 'a' })
    const { calls, artifacts } = await history()
    expect(calls.map(({ outcome, actualUsd }) => [outcome, actualUsd])).toEqual([['succeeded', 0.25]])
    expect(artifacts).toMatchObject([{ mimeType: 'text/html', status: 'draft', stepKey: 'a' }])
    expect(artifacts[0]).not.toHaveProperty('problem')
  })

  it('tells what the template promises of its file', async () => {
    const asked: unknown[] = []
    const promises = [
      { role: 'other', mimeType: 'text/html', from: 'steps.b.output.artifact' },
      { role: 'a', mimeType: 'text/markdown' },
    ]
    const artifactSchema = { artifactType: 'page', files: promises }
    const { execute } = await setup(
      { ...asking([{ id: 'a' }]), artifactSchema },
      {
        ports: {
          async inspect(_, said, promised) {
            asked.push([said, promised])
            return { mimeType: 'text/markdown', width: null, height: null, durationMs: null }
          },
        },
      },
    )
    await execute()
    expect(asked).toEqual([['text/plain', 'text/markdown']])
  })

  it('is not followed by another where the run is stopped while it waits', async () => {
    const stop = new AbortController()
    const { engine, clock, asked, read } = await setup(asking([{ id: 'a' }]), { serve: failing('server') })
    const execution = engine.execute('r', stop.signal)
    while (clock.sleeping().length === 0) await new Promise((resolve) => setImmediate(resolve))
    stop.abort('shutdown')
    expect(await execution).toBe('released')
    expect([asked.length, read()?.status]).toEqual([1, 'pending'])
  })
})

describe('a bug in a step', () => {
  it('fails it as internal, is not tried again, and is logged with what it was', async () => {
    const cause = new Error('a secret')
    const { execute, read, logged, waits } = await setup(probing({ id: 'a' }), { work: () => Promise.reject(cause) })
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'internal', node_key: 'a' } })
    expect(read()?.error?.message).not.toContain('secret')
    expect([logged, waits]).toMatchObject([[[{ run_id: 'r', step: 'a', err: cause }, expect.any(String)]], []])
  })

  it('is a kind that this worker does not have: the step is invalid', async () => {
    const { execute, read } = await setup(probing({ id: 'a', kind: 'from-the-future' }))
    await execute()
    expect(read()?.error).toMatchObject({ code: 'invalid', message: expect.stringContaining('"from-the-future"') })
  })
})

describe('a step that is stopped', () => {
  it('at shutdown keeps its answer in safety, and the next worker does not pay for it again', async () => {
    const stop = new AbortController()
    let isFirst = true
    const { execute, read, asked, artifacts, history } = await setup(asking([{ id: 'a' }]), {
      ports: {
        async inspect(_, mimeType) {
          if (isFirst) {
            isFirst = false
            stop.abort('shutdown')
            throw new StepFailure('timeout', 'stopped')
          }
          return { mimeType, width: null, height: null, durationMs: null }
        },
      },
    })
    expect(await execute(stop.signal)).toBe('released')
    expect(artifacts.stagedCalls()).toEqual(['r.a.1'])
    expect((await history()).calls.map(({ outcome }) => outcome)).toEqual(['pending'])
    expect(await execute()).toBe('finished')
    expect([read()?.status, asked]).toEqual(['completed', ['do a']])
  })

  it('by a cancel has its answer booked', async () => {
    const stop = new AbortController()
    const { execute, read, history } = await setup(asking([{ id: 'a' }]), {
      ports: {
        async inspect() {
          stop.abort('cancel')
          throw new StepFailure('timeout', 'stopped')
        },
      },
    })
    await execute(stop.signal)
    expect(read()?.status).toBe('cancelled')
    expect((await history()).calls.map(({ outcome, actualUsd }) => [outcome, actualUsd])).toEqual([['succeeded', 0.25]])
  })
})

describe('a step with a time limit', () => {
  const limited = { timeoutMs: 20, retry: { maxAttempts: 1, backoffMs: 0 } }

  it('fails by its limit where what it does gives up, however it says so', async () => {
    const { execute, read } = await setup(probing({ id: 'a', ...limited }), {
      work: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(new Error('aborted')))
        }),
    })
    await execute()
    expect(read()?.error).toMatchObject({ code: 'timeout', message: expect.stringContaining('longer than 20 ms') })
  })

  it('keeps the reason of a failure that it has after its limit', async () => {
    const { execute, read } = await setup(probing({ id: 'a', ...limited }), {
      work: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(new StepFailure('refused', 'no')))
        }),
    })
    await execute()
    expect(read()?.error?.code).toBe('refused')
  })

  it('is stopped with its run as well', async () => {
    const stop = new AbortController()
    const { execute, read } = await setup(probing({ id: 'a', timeoutMs: 60_000 }), {
      work: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason))
          setImmediate(() => stop.abort('shutdown'))
        }),
    })
    expect(await execute(stop.signal)).toBe('released')
    expect(read()?.status).toBe('pending')
  })
})

describe('placeholders of a step', () => {
  const GATE = { id: 'prompts', name: 'the prompts', type: 'prompt-resolution' }

  it('are filled before it runs, in the fields that its kind renders', async () => {
    const seen: JsonObject[] = []
    const lookups = { style: { from: 'intake.style', map: { flat: 'F' }, default: 'D' } }
    const step = { id: 'a', text: '{intake.prompt} {lookup.style}', value: { n: '{run.seed}' }, raw: '{intake.prompt}' }
    const { execute } = await setup(probing({ ...step, lookups }), {
      work: async (_, fields) => (seen.push(fields), null),
      run: { instance: { intake: { prompt: 'a fox', style: 'flat' }, regenerate: {}, variantIndex: 3, variants: 4 } },
    })
    await execute()
    expect(seen).toEqual([{ text: 'a fox F', value: { n: 3 }, raw: '{intake.prompt}' }])
  })

  it('that are a whole value and optional are null where there is none', async () => {
    const seen: JsonObject[] = []
    const { execute } = await setup(probing({ id: 'a', value: '{intake.none?}' }), {
      work: async (_, fields) => (seen.push(fields), null),
    })
    await execute()
    expect(seen).toEqual([{ value: null }])
  })

  it.each<[string, Partial<Step>, string]>([
    [
      'are named, each once',
      { text: '{intake.x} {intake.y} {intake.x}', value: ['{intake.z}'] },
      '{intake.x}, {intake.y}, {intake.z}.',
    ],
    ['leave a text that is empty as a whole', { text: ' {intake.x?} ' }, 'its whole text.'],
  ])('without a value fail it before it runs: they %s', async (_, step, named) => {
    let isRun = false
    const { execute, read, history } = await setup(
      { ...probing({ id: 'a', ...step }), gates: [GATE] },
      { work: async () => (isRun = true) },
    )
    await execute()
    expect(isRun).toBe(false)
    const detail = `step "a" needs a value for ${named}`
    expect(read()?.error).toEqual({
      code: 'prompt-unresolved',
      message: `The gate "the prompts" did not pass: ${detail}`,
      node_key: 'a',
    })
    expect((await history()).gates).toEqual([{ ...GATE, status: 'failed', detail }])
  })

  it('without a value fail it by the same words where the template has no gate for them', async () => {
    const { execute, read, history } = await setup(probing({ id: 'a', text: '{intake.x}' }))
    await execute()
    expect(read()?.error).toMatchObject({
      code: 'prompt-unresolved',
      message: expect.stringContaining('"prompt resolution" did not pass'),
    })
    expect((await history()).gates).toEqual([])
  })
})

describe('what a kind may do', () => {
  it('is to store files: they are kept as what they turned out to be, and referred to by their id', async () => {
    const output: JsonValue[] = []
    const { execute, history, events, read } = await setup(probing({ id: 'a' }), {
      async work(context) {
        output.push(await context.store(file('hello', 'greeting')))
        return output[0] ?? null
      },
      ports: {
        inspect: async () => ({ mimeType: 'image/png', width: 2, height: 3, durationMs: 4 }),
      },
    })
    await execute()
    const [record, ...more] = (await history()).artifacts
    if (record === undefined) throw new Error('there is no file')
    const { id, sha256, storageKey } = record
    expect([record, more]).toEqual([
      {
        id,
        stepKey: 'a',
        role: 'greeting',
        status: 'draft',
        mimeType: 'image/png',
        bytes: 5,
        sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
        width: 2,
        height: 3,
        durationMs: 4,
        storageKey: expect.stringMatching(/^system\//),
        simulated: false,
      },
      [],
    ])
    const reference = { id, mime_type: 'image/png', bytes: 5, sha256, width: 2, height: 3 }
    expect(output).toEqual([reference])
    expect(read()?.output).toEqual({ a: reference })
    expect(events('artifact.created')).toEqual([
      ['a', { ...reference, role: 'greeting', status: 'draft', storage_key: storageKey, simulated: false }],
    ])
  })

  it('is to open files of this run, of earlier steps and of its own', async () => {
    const opened: string[] = []
    const { execute, read } = await setup(probing({ id: 'a' }, { id: 'b', value: '{steps.a.output}' }), {
      async work(context, fields) {
        if (fields.value === undefined) return await context.store(file('from a'))
        await context.store(file('from b, before'))
        const own = await context.store(file('from b'))
        for (const reference of [fields.value, own])
          opened.push(new TextDecoder().decode((await context.open(reference, 'value')).bytes))
        return null
      },
    })
    await execute()
    expect([opened, read()?.status]).toEqual([['from a', 'from b'], 'completed'])
  })

  it.each<[string, JsonValue]>([
    ['the id of nothing', { id: 'nothing' }],
    ['no reference', 'text'],
    ['a reference without a text for an id', { id: 7 }],
  ])('is not to open %s', async (_, value) => {
    const { execute, read } = await setup(probing({ id: 'a', value }), {
      work: async (context, fields) => {
        await context.open(fields.value, 'value')
        return null
      },
    })
    await execute()
    expect(read()?.error).toMatchObject({ code: 'invalid', message: expect.stringContaining('"value" of step "a"') })
  })

  it('is to use the local tools of the catalog, and to say how far it is', async () => {
    const upper: Tool = {
      name: 'text.upper',
      description: 'Makes a text loud.',
      args: z.strictObject({}),
      outputKeys: [],
      run: async () => null,
    }
    const found: (Tool | undefined)[] = []
    const { execute, events } = await setup(probing({ id: 'a' }), {
      async work(context) {
        found.push(context.tool('text.upper'), context.tool('text.lower'))
        context.progress({ percent: 40 })
        return null
      },
      tools: [upper],
    })
    await execute()
    expect(found).toEqual([upper, undefined])
    expect(events('node.progress')).toEqual([['a', { step: 'a', percent: 40 }]])
  })

  it('is to ask with the seed of its variant', async () => {
    const seeds: (number | undefined)[] = []
    const serve: Serve = async ({ request, seed }) => (seeds.push(seed), answerTo(request))
    const instance = { intake: {}, regenerate: {}, variantIndex: 2, variants: 3 }
    await (await setup(asking([{ id: 'a' }]), { serve, run: { instance } })).execute()
    await (await setup(asking([{ id: 'a' }]), { serve })).execute()
    expect(seeds).toEqual([2, 0])
  })
})

describe('what is simulated', () => {
  const bound = (simulated: boolean) => ({
    ...asking([{ id: 'a' }]),
    providerBindings: { a: { models: [{ model: 'acme/one', provider: 'acme', endpoint: 'one', simulated }] } },
  })

  it.each([true, false])('makes files, steps and runs as real as the call behind them: %s', async (simulated) => {
    const { execute, history, events } = await setup(bound(simulated))
    await execute()
    const { artifacts, checkpoints } = await history()
    expect(artifacts.map((one) => one.simulated)).toEqual([simulated])
    expect(checkpoints.map((one) => one.simulated)).toEqual([simulated])
    expect(events('node.completed')).toEqual([['a', { step: 'a', attempt: 1, simulated }]])
  })

  it.each([true, false])('is what is made from it, although nobody is called for that: %s', async (simulated) => {
    const definition = bound(simulated)
    const local: Step[] = [
      { id: 'opened', kind: 'probe', value: '{steps.a.output.artifact}' },
      { id: 'read', kind: 'probe', text: '{steps.a.output.text}' },
      { id: 'apart', kind: 'probe' },
    ]
    const { execute, history } = await setup(
      { ...definition, stepInstructions: [...definition.stepInstructions, ...local] },
      {
        async work(context, { value }) {
          if (value !== undefined) await context.open(value, 'value')
          return await context.store(file('made'))
        },
      },
    )
    await execute()
    const { artifacts, checkpoints } = await history()
    const expected = { a: simulated, opened: simulated, read: simulated, apart: false }
    expect(Object.fromEntries(artifacts.map((one) => [one.stepKey, one.simulated]))).toEqual(expected)
    expect(Object.fromEntries(checkpoints.map((one) => [one.key, one.simulated]))).toEqual(expected)
  })
})

describe('a file that is made by a live call from a simulated one', () => {
  it('is no more real than that one', async () => {
    const live = { models: [{ model: 'acme/one', provider: 'acme', endpoint: 'one', simulated: false }] }
    const simulated = { models: [{ model: 'acme/one', provider: 'acme', endpoint: 'one', simulated: true }] }
    const definition = asking([{ id: 'a' }])
    const steps: Step[] = [{ id: 'b', kind: 'probe', value: '{steps.a.output.artifact}' }]
    const { execute, history } = await setup(
      {
        ...definition,
        stepInstructions: [...definition.stepInstructions, ...steps],
        providerBindings: { a: simulated, b: live },
      },
      {
        async work(context, { value }) {
          const opened = await context.open(value, 'value')
          await context.call({ prompt: 'from it' }, { file: opened })
          return await context.store(file('made'))
        },
      },
    )
    await execute()
    expect((await history()).artifacts.map(({ stepKey, simulated: own }) => [stepKey, own])).toEqual([
      ['a', true],
      ['b', true],
    ])
  })
})

describe('the items of a list', () => {
  it('are told one by one below their list: its start first, how many are done, and its end', async () => {
    const forEach = { items: ['x', 'y'], concurrency: 1 }
    const { execute, read } = await setup(asking([{ id: 'a', prompt: '{item}', forEach }]))
    await execute()
    const told = read()
      ?.events.filter(({ kind }) => kind.startsWith('workflow.node.'))
      .map(({ kind, node_key, payload }) => [kind.slice('workflow.node.'.length), node_key, payload])
    const done = { attempt: 1, simulated: false }
    expect(told).toEqual([
      ['started', 'a', { step: 'a', kind: 'ask' }],
      ['started', 'a[0]', { step: 'a', kind: 'ask', index: 0 }],
      ['completed', 'a[0]', { step: 'a', ...done }],
      ['progress', 'a', { step: 'a', done: 1, total: 2 }],
      ['started', 'a[1]', { step: 'a', kind: 'ask', index: 1 }],
      ['completed', 'a[1]', { step: 'a', ...done }],
      ['progress', 'a', { step: 'a', done: 2, total: 2 }],
      ['completed', 'a', { step: 'a', ...done }],
    ])
  })

  it('are begun once: a worker that goes on with them does not tell the start of their list again', async () => {
    const stop = new AbortController()
    const forEach = { items: ['x', 'y', 'z'], concurrency: 1 }
    const { execute, events } = await setup(asking([{ id: 'a', prompt: '{item}', forEach }]), {
      serve: async ({ request }) => {
        if (request.prompt === 'y' && !stop.signal.aborted) {
          stop.abort('shutdown')
          throw new StepFailure('timeout', 'stopped')
        }
        return answerTo(request)
      },
    })
    expect(await execute(stop.signal)).toBe('released')
    expect(await execute()).toBe('finished')
    expect(events('node.started').map(([key]) => key)).toEqual(['a', 'a[0]', 'a[1]', 'a[1]', 'a[2]'])
  })

  it('that cannot be read fail their step with how many there are, or that there is no list', async () => {
    const { execute, read } = await setup(asking([{ id: 'a', prompt: '{item}', forEach: '{intake.list}' }]), {
      run: { instance: { intake: { list: Array(201).fill(1) }, regenerate: {}, variantIndex: null, variants: 1 } },
    })
    await execute()
    expect(read()?.error).toEqual({
      code: 'invalid-items',
      message: 'Step "a" got 201 items, and 200 are the limit.',
      node_key: 'a',
    })
  })
})

describe('a gate behind a step', () => {
  /** A gate that judges steps of kind `ask`, and writes down what it was shown. */
  function watching(passes: (evidence: StepEvidence) => boolean = () => true) {
    const shown: StepEvidence[] = []
    const gate: GateKind = {
      type: 'watch',
      name: 'watch',
      stands: 'after-step',
      applies: ({ kind }) => kind !== 'note',
      async judge(evidence) {
        shown.push(evidence)
        return passes(evidence) ? { passed: true } : { passed: false, detail: 'it looks wrong' }
      },
    }
    return { shown, gate }
  }
  const text = ({ bytes }: { bytes: Uint8Array }) => new TextDecoder().decode(bytes)

  it('is shown the step, its model, its output and the files that this attempt made', async () => {
    const { shown, gate } = watching()
    const definition = asking([{ id: 'a' }, { id: 'b', needs: ['a'] }])
    const { execute } = await setup(
      { ...definition, gates: [{ id: 'w', name: 'w', type: 'watch', after: 'b' }] },
      { gates: [gate] },
    )
    await execute()
    expect(shown).toHaveLength(1)
    const [evidence] = shown
    expect(evidence).toMatchObject({ gate: { id: 'w' }, step: { id: 'b' }, model: { name: 'acme/one' } })
    expect(isJsonObject(evidence?.output) && evidence.output.text).toBe('done: do b')
    expect(evidence?.artifacts.map(text)).toEqual(['do b'])
  })

  it('that names no step is shown every step that it is for, and no model where the step has none', async () => {
    const { shown, gate } = watching()
    const definition = asking([{ id: 'a' }, { id: 'n', kind: 'note', text: 'x' }, { id: 'p', kind: 'probe' }])
    const { execute, history } = await setup(
      { ...definition, gates: [{ id: 'w', name: 'w', type: 'watch' }] },
      { gates: [gate] },
    )
    await execute()
    expect(Object.fromEntries(shown.map(({ step, model }) => [step.id, model?.name]))).toEqual({
      a: 'acme/one',
      p: undefined,
    })
    expect(shown).toHaveLength(2)
    expect((await history()).gates).toEqual([{ id: 'w', name: 'w', type: 'watch', status: 'passed', detail: null }])
  })

  it('that names a list is shown the whole of it with the files of its items, once', async () => {
    const { shown, gate } = watching()
    const definition = asking([{ id: 'a', prompt: '{item}', forEach: { items: ['x', 'y'] } }, { id: 'ab' }])
    const { execute } = await setup(
      { ...definition, gates: [{ id: 'w', name: 'w', type: 'watch', after: 'a' }] },
      { gates: [gate] },
    )
    await execute()
    expect(shown.map(({ artifacts }) => artifacts.map(text).sort())).toEqual([['x', 'y']])
  })

  it('that names a list fails the whole of it, whose items stay completed', async () => {
    const definition = asking([{ id: 'a', prompt: '{item}', forEach: { items: ['x', 'y'] } }])
    const gates = [{ id: 'g', name: 'g', type: 'assert', after: 'a', assert: 'size(steps.a.output) == 3' }]
    const { execute, read, history } = await setup({ ...definition, gates })
    await execute()
    expect(read()?.error).toEqual({
      code: 'gate-failed',
      message: 'The gate "g" did not pass: its condition does not hold',
      node_key: 'a',
    })
    const { checkpoints } = await history()
    expect(Object.fromEntries(checkpoints.map(({ key, status }) => [key, status]))).toEqual({
      'a[0]': 'completed',
      'a[1]': 'completed',
      a: 'failed',
    })
  })

  it('is shown the files of parts that were done once', async () => {
    const { shown, gate } = watching()
    const { execute } = await setup(
      { ...probing({ id: 'a' }), gates: [{ id: 'w', name: 'w', type: 'watch' }] },
      { gates: [gate], work: (context) => context.once('part', () => context.store(file('of a part'))) },
    )
    await execute()
    expect(shown[0]?.artifacts.map(text)).toEqual(['of a part'])
  })

  it('that could not judge is asked again about what was made, which is kept once', async () => {
    let asks = 0
    const gate: GateKind = {
      type: 'unsure',
      name: 'unsure',
      stands: 'after-step',
      applies: () => true,
      async judge() {
        asks += 1
        if (asks < 3) throw new StepFailure('server', 'no answer')
        return { passed: true }
      },
    }
    let works = 0
    const { execute, read, history } = await setup(
      { ...probing({ id: 'a' }), gates: [{ id: 'u', name: 'u', type: 'unsure' }] },
      { gates: [gate], work: async () => (works += 1) },
    )
    await execute()
    expect([works, asks, read()?.output]).toEqual([1, 3, { a: 1 }])
    expect((await history()).checkpoints.map(({ key }) => key)).toEqual(['a#made', 'a'])
  })

  it('that has judged keeps nothing of what it refused', async () => {
    const { gate } = watching(() => false)
    const { execute, history } = await setup(
      { ...probing({ id: 'a' }), gates: [{ id: 'w', name: 'w', type: 'watch' }] },
      { gates: [gate] },
    )
    await execute()
    expect((await history()).checkpoints.map(({ key, status }) => [key, status])).toEqual([['a', 'failed']])
  })

  it('with a condition that cannot be evaluated does not pass, and says why', async () => {
    const gates = [{ id: 'g', name: 'g', type: 'assert', after: 'a', assert: 'intake.missing > 1' }]
    const { execute, history } = await setup({ ...probing({ id: 'a' }), gates })
    await execute()
    expect((await history()).gates).toMatchObject([
      { status: 'failed', detail: expect.stringMatching(/^its condition cannot be evaluated \(.+\)$/) },
    ])
  })

  it('that names no step is shown each item of a list with its own files, and not the list', async () => {
    const { shown, gate } = watching()
    const definition = asking([{ id: 'a', prompt: '{item}', forEach: { items: ['x', 'y'] } }])
    const { execute } = await setup(
      { ...definition, gates: [{ id: 'w', name: 'w', type: 'watch' }] },
      { gates: [gate] },
    )
    await execute()
    expect(shown.map(({ artifacts }) => artifacts.map(text).join(' ')).sort()).toEqual(['x', 'y'])
  })

  it('that does not pass fails the step for good, in its own words, and is on record with them', async () => {
    const { gate } = watching(() => false)
    const { execute, read, history, asked } = await setup(
      { ...asking([{ id: 'a' }]), gates: [{ id: 'w', name: 'the watch', type: 'watch' }] },
      { gates: [gate] },
    )
    await execute()
    expect(read()?.error).toEqual({
      code: 'gate-failed',
      message: 'The gate "the watch" did not pass: it looks wrong',
      node_key: 'a',
    })
    expect((await history()).gates).toMatchObject([{ id: 'w', status: 'failed', detail: 'it looks wrong' }])
    expect(asked).toHaveLength(1)
  })

  it('comes before those below it in the template: the first that does not pass is the last that is asked', async () => {
    const { shown, gate } = watching(({ gate: { id } }) => id !== 'second')
    const gates = ['first', 'second', 'third'].map((id) => ({ id, name: id, type: 'watch' }))
    const { execute } = await setup({ ...asking([{ id: 'a' }]), gates }, { gates: [gate] })
    await execute()
    expect(shown.map((evidence) => evidence.gate.id)).toEqual(['first', 'second'])
  })

  it.each([
    ['its own message', { message: 'not what was wanted' }, 'not what was wanted'],
    ['words of ours where it has none', {}, 'its condition does not hold'],
  ])('with a condition says by %s that it does not hold', async (_, over, detail) => {
    const gates = [{ id: 'g', name: 'g', type: 'assert', after: 'a', assert: 'false', ...over }]
    const { execute, history } = await setup({ ...probing({ id: 'a' }), gates })
    await execute()
    expect((await history()).gates).toMatchObject([{ status: 'failed', detail }])
  })

  it('with a limit says what was spent and what the limit is', async () => {
    const spending = (maxUsd: number) => [{ id: 'g', name: 'g', type: 'budget', after: 'a', maxUsd }]
    const over = await setup({ ...asking([{ id: 'a' }]), gates: spending(0.2) })
    await over.execute()
    expect((await over.history()).gates).toMatchObject([
      { status: 'failed', detail: 'the run has spent $0.25, over its limit of $0.2' },
    ])
    const exact = await setup({ ...asking([{ id: 'a' }]), gates: spending(0.25) })
    await exact.execute()
    expect((await exact.history()).gates).toMatchObject([{ status: 'passed', detail: null }])
  })

  it('that asks a model pays for that as the step’s, under a key of its own', async () => {
    const definition = asking([{ id: 'a' }])
    const { execute, history, asked } = await setup({
      ...definition,
      providerBindings: { ...definition.providerBindings, 'gates.c': definition.providerBindings.a ?? { models: [] } },
      gates: [{ id: 'c', name: 'c', type: 'clean', model: 'acme/one' }],
    })
    await execute()
    expect(asked).toEqual(['do a', 'judge: done: do a'])
    expect((await history()).calls.map(({ id, stepKey, stepId }) => [id, stepKey, stepId])).toEqual([
      ['r.a.1', 'a', 'a'],
      ['r.a!c.1', 'a!c', 'a'],
    ])
  })
})

describe('a run of many steps', () => {
  it('has at most eight of them at work, or as many as the engine is given', async () => {
    for (const [given, expected] of [
      [{}, 8],
      [{ parallelSteps: 2 }, 2],
    ] as const) {
      let [atWork, most] = [0, 0]
      const steps = Array.from({ length: 12 }, (_, n) => ({ id: `s${n}` }))
      const { execute, read } = await setup(asking(steps), {
        ports: given,
        async serve({ request }) {
          atWork += 1
          most = Math.max(most, atWork)
          for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve))
          atWork -= 1
          return answerTo(request)
        },
      })
      await execute()
      expect([most, read()?.status]).toEqual([expected, 'completed'])
    }
  })
})
