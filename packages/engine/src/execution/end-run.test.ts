import type { Gate, Step } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { GateKind, ProviderRequest } from '../catalog.ts'
import { StepFailure } from '../failure.ts'
import type { NewRun } from '../ports.ts'
import type { Definition } from '../specification.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { answerTo, asking, createTestCatalog, createTestEngine, drive, pinned } from '../testing/test-engine.ts'
import { durationMs } from './end-run.ts'

type Serve = (request: ProviderRequest) => Promise<ReturnType<typeof answerTo>>

async function setup(
  definition: Partial<Definition>,
  options: { serve?: Serve; run?: Partial<NewRun>; gates?: GateKind[] } = {},
) {
  const { serve = async ({ request }) => answerTo(request), gates = [] } = options
  const catalog = createTestCatalog()
  const world = createTestEngine(
    { call: serve },
    { catalog: { ...catalog, gate: (type) => gates.find((one) => one.type === type) ?? catalog.gate(type) } },
  )
  await world.store.accept(aNewRun('r', { definition: aDefinition(definition), ...options.run }))
  const { store, deliveries } = world
  const deliver = async (runId: string) => {
    deliveries.push({ runId, organizationId: 'system', epoch: 0, workflow: '', priority: 50, lane: 'batch' })
    await drive(world)
  }
  const artifacts = async () => (await store.history('r')).artifacts
  return {
    ...world,
    read: () => store.read('r'),
    history: () => store.history('r'),
    artifacts,
    execute: () => deliver('r'),
    async decide(approve: boolean) {
      const decided = await store.decide('r', { approve, by: 'key' })
      if (decided === null) throw new Error('there is nothing to decide')
      await deliver(decided.runId)
    },
    /** Role and status of every file, in the order in which they were made. */
    files: async () => (await artifacts()).map(({ stepKey, role, status }) => `${stepKey} ${role} ${status}`).sort(),
    /** What the last event says. */
    last: () => store.read('r')?.events.at(-1),
  }
}

const failing: Serve = async ({ request }) => {
  if (request.prompt === 'no') throw new StepFailure('invalid', 'no')
  return answerTo(request)
}
const promising = (...files: Definition['artifactSchema']['files']) => ({
  artifactSchema: { artifactType: 'example', files },
})
const review = (over: Partial<Gate> = {}): Gate => ({ id: 'look', name: 'the look', type: 'review', ...over })
const noting = (...steps: (Partial<Step> & { id: string })[]): Partial<Definition> => ({
  stepInstructions: steps.map((step): Step => ({ kind: 'note', text: step.id, ...step })),
})

describe('a duration', () => {
  it.each([
    ['90s', 90_000],
    ['30m', 1_800_000],
    ['12h', 43_200_000],
    ['7d', 604_800_000],
    ['9999s', 9_999_000],
    ['10000s', undefined],
    ['1w', undefined],
    ['s', undefined],
    ['1.5h', undefined],
    [' 1h', undefined],
    ['1h ', undefined],
    ['', undefined],
  ])('of "%s" is %s', (text, ms) => {
    expect(durationMs(text)).toBe(ms)
  })
})

describe('the end of a run', () => {
  const TWO = asking([{ id: 'a' }, { id: 'b', prompt: 'b {steps.a.output.text}' }])
  const placed = { state: { x: 1 }, metadata: { order: 7 }, estimatedUsd: 0.6 }

  it('tells what came of it: outputs with their files, cost, and what the run was given', async () => {
    const { execute, last, artifacts } = await setup(
      { ...TWO, ...promising({ role: 'b', mimeType: 'text/plain' }) },
      { run: placed },
    )
    await execute()
    const file = (await artifacts()).find(({ stepKey }) => stepKey === 'b')
    const summary = {
      id: file?.id,
      mime_type: 'text/plain',
      bytes: file?.bytes,
      sha256: file?.sha256,
      width: null,
      height: null,
      role: 'b',
      status: 'approved',
      storage_key: file?.storageKey,
      simulated: false,
    }
    expect(last()).toMatchObject({ kind: 'workflow.run.completed' })
    expect(last()?.payload).toEqual({
      status: 'completed',
      partial: false,
      state: { x: 1 },
      metadata: { order: 7 },
      outputs: [
        {
          index: 0,
          workflow: 'test/example',
          variant_index: null,
          run_id: 'r',
          status: 'completed',
          output: { b: { text: 'done: b done: do a', artifact: expect.objectContaining({ id: file?.id }) } },
          artifacts: [summary],
          error: null,
        },
      ],
      cost: {
        currency: 'USD',
        estimated: 0.6,
        actual: 0.5,
        billed: 0.5,
        simulated: 0,
        unknown: 0,
        pricing_version: '2026.01.01',
      },
      error: null,
    })
  })

  it('that failed tells the error, no output, and the cost until then', async () => {
    const { execute, last } = await setup(asking([{ id: 'a' }, { id: 'b', prompt: 'no', needs: ['a'] }]), {
      serve: failing,
      run: { instance: { intake: {}, regenerate: {}, variantIndex: 2, variants: 3 } },
    })
    await execute()
    const error = { code: 'invalid', message: 'no', node_key: 'b' }
    expect(last()).toMatchObject({ kind: 'workflow.run.failed' })
    expect(last()?.payload).toMatchObject({
      status: 'failed',
      state: null,
      outputs: [{ index: 0, variant_index: 2, status: 'failed', output: null, artifacts: [], error }],
      cost: { actual: 0.25 },
      error,
    })
  })

  it('of a slot stands under the slot’s index', async () => {
    const world = createTestEngine({ call: async ({ request }) => answerTo(request) })
    const slots = ['s0', 's1'].map((id) => aNewRun(id, { definition: aDefinition(noting({ id: 'a' })) }))
    await world.store.accept(aNewRun('root', { slots }))
    for (const id of ['s0', 's1']) await world.engine.execute(id, new AbortController().signal)
    expect(['s0', 's1'].map((id) => world.store.read(id)?.events.at(-1)?.payload.outputs)).toMatchObject([
      [{ index: 0 }],
      [{ index: 1 }],
    ])
  })

  it('has as output what no other step reads, or the aliases, with null for what is not there', async () => {
    const steps = noting({ id: 'a' }, { id: 'b', text: '{steps.a.output.text}!' }, { id: 'c', needs: [] })
    const plain = await setup(steps)
    await plain.execute()
    expect(plain.read()?.output).toEqual({ b: { text: 'a!' }, c: { text: 'c' } })
    const aliased = await setup({
      ...steps,
      outputAliases: { first: 'steps.a.output.text', none: 'steps.a.output.more', odd: 'not a path' },
    })
    await aliased.execute()
    expect(aliased.read()?.output).toMatchObject({ first: 'a', none: null })
  })
})

describe('the files that a template promises', () => {
  const PROMISED = promising(
    { role: 'a', mimeType: 'text/plain' },
    { role: 'all', mimeType: 'text/plain', from: 'steps.list.output' },
  )
  const STEPS = asking([{ id: 'a' }, { id: 'b' }, { id: 'list', prompt: '{item}', forEach: { items: ['x', 'y'] } }])

  it('become the run’s own under the roles that it names, approved; the others stay drafts', async () => {
    const { execute, files } = await setup({ ...STEPS, ...PROMISED })
    await execute()
    expect(await files()).toEqual(['a a approved', 'b file draft', 'list[0] all approved', 'list[1] all approved'])
  })

  it('stay drafts where the run failed by itself', async () => {
    const definition = { ...STEPS, ...PROMISED, gates: [{ id: 'no', name: 'no', type: 'assert', assert: 'false' }] }
    const { execute, files } = await setup(definition)
    await execute()
    expect(new Set((await files()).map((one) => one.split(' ').at(-1)))).toEqual(new Set(['draft']))
  })

  it.each([
    [true, 'approved'],
    [false, 'rejected'],
  ])('are in review while a person decides, and then as decided: %s', async (approve, status) => {
    const { execute, files, decide } = await setup({ ...STEPS, ...PROMISED, gates: [review()] })
    await execute()
    expect(await files()).toEqual(['a a review', 'b file draft', 'list[0] all review', 'list[1] all review'])
    await decide(approve)
    expect(await files()).toEqual([`a a ${status}`, 'b file draft', `list[0] all ${status}`, `list[1] all ${status}`])
  })

  const FILES = { gates: [{ id: 'complete', name: 'complete', type: 'files' }] }

  it.each<[string, string | undefined, string]>([
    ['whose step made none', undefined, 'failed'],
    ['that may be missing', 'steps.n.output.artifact?', 'completed'],
    ['that may be missing and is not a file', 'steps.n.output.text?', 'completed'],
    ['behind a path that leads nowhere', 'steps.nobody.output.artifact', 'failed'],
    ['behind what is no path', 'not a path', 'failed'],
    ['that is there', 'steps.a.output.artifact', 'completed'],
    ['that is the whole output', 'steps.a.output', 'completed'],
  ])('are judged at the end: one %s (%s) leaves the run %s', async (_, from, status) => {
    const steps = asking([{ id: 'a' }, { id: 'n', kind: 'note', text: 'x' }])
    const promised = promising({ role: 'n', mimeType: 'text/plain', ...(from === undefined ? {} : { from }) })
    const { execute, read, history, artifacts } = await setup({ ...steps, ...promised, ...FILES })
    await execute()
    expect(read()?.status).toBe(status)
    expect((await artifacts()).map(({ stepKey }) => stepKey)).toEqual(['a'])
    if (status === 'completed') expect((await history()).gates).toMatchObject([{ id: 'complete', status: 'passed' }])
    else
      expect(read()?.error).toEqual({
        code: 'gate-failed',
        message: 'The gate "complete" did not pass: a file is missing',
      })
  })

  it('are shown to a gate with their bytes, what was promised, and the template’s schema', async () => {
    const shown: unknown[] = []
    const gate: GateKind = {
      type: 'reader',
      name: 'reader',
      stands: 'end',
      async judge({ artifactSchema, files, read }) {
        for (const { role, mimeType, found } of files)
          shown.push([role, mimeType, found === null ? null : new TextDecoder().decode(await read(found))])
        shown.push(artifactSchema.artifactType)
        return { passed: true }
      },
    }
    const { execute } = await setup(
      { ...STEPS, ...PROMISED, gates: [{ id: 'g', name: 'g', type: 'reader' }] },
      { gates: [gate] },
    )
    await execute()
    expect(shown).toEqual([
      ['a', 'text/plain', 'do a'],
      ['all', 'text/plain', 'x'],
      ['all', 'text/plain', 'y'],
      'example',
    ])
  })
})

describe('gates at the end', () => {
  it('that would have stopped the run before a call are on record as passed', async () => {
    const gates = [
      { id: 'p', name: 'p', type: 'prompt-resolution' },
      { id: 'b', name: 'b', type: 'budget', maxUsd: 1 },
      { id: 'later', name: 'later', type: 'budget', maxUsd: 1, after: 'none' },
    ]
    const { execute, history } = await setup({ ...asking([{ id: 'a' }]), gates })
    await execute()
    expect((await history()).gates.map(({ id, status }) => [id, status])).toEqual([
      ['p', 'passed'],
      ['b', 'passed'],
    ])
  })

  it('are asked in the template’s order, up to the first that does not pass', async () => {
    const gates = ['true', 'false', 'false'].map((assert, n) => ({
      id: `g${n}`,
      name: `g${n}`,
      type: 'assert',
      assert,
    }))
    const { execute, read, history } = await setup({ ...noting({ id: 'a' }), gates })
    await execute()
    expect((await history()).gates.map(({ id, status }) => [id, status])).toEqual([
      ['g0', 'passed'],
      ['g1', 'failed'],
    ])
    expect(read()?.error).toMatchObject({ code: 'gate-failed', message: expect.stringContaining('"g1"') })
  })

  it('are asked once: what passed before a review is not judged again behind it', async () => {
    let judged = 0
    const gate: GateKind = {
      type: 'once',
      name: 'once',
      stands: 'end',
      judge: async () => {
        judged += 1
        return { passed: true }
      },
    }
    const gates = [{ id: 'g', name: 'g', type: 'once' }, review()]
    const { execute, read, decide } = await setup({ ...noting({ id: 'a' }), gates }, { gates: [gate] })
    await execute()
    await decide(true)
    expect([judged, read()?.status]).toEqual([1, 'completed'])
  })

  it('are not asked of a run that has failed', async () => {
    const gates = [{ id: 'g', name: 'g', type: 'assert', assert: 'true' }]
    const { execute, read, history } = await setup(
      { ...asking([{ id: 'a', prompt: 'no' }]), gates },
      { serve: failing },
    )
    await execute()
    expect([read()?.error?.code, (await history()).gates]).toEqual(['invalid', []])
  })

  it('that a person rejected fail the run by name', async () => {
    const { execute, read, decide } = await setup({ ...noting({ id: 'a' }), gates: [review()] })
    await execute()
    await decide(false)
    expect(read()?.error).toEqual({ code: 'review-rejected', message: 'The review "the look" was rejected.' })
  })
})

describe('a run that waits for a person', () => {
  it('says for which decisions, once, however often it is looked at', async () => {
    const { execute, read, store, clock, decide } = await setup({
      ...noting({ id: 'a' }),
      gates: [review(), review({ id: 'again', name: 'another look' })],
    })
    await execute()
    const waiting = () => read()?.events.filter(({ kind }) => kind === 'workflow.run.waiting')
    expect(waiting()?.map(({ payload }) => payload)).toEqual([
      {
        status: 'waiting',
        gates: [
          { id: 'look', name: 'the look', run_id: 'r' },
          { id: 'again', name: 'another look', run_id: 'r' },
        ],
        detail: 'Waiting for a decision: the look, another look.',
      },
    ])
    await decide(true)
    expect([read()?.status, waiting()?.length]).toEqual(['waiting', 1])
    await decide(true)
    expect(read()?.status).toBe('completed')
    clock.advance(86_400_000)
    expect((await store.recover(10)).overdue).toEqual([])
  })

  it('is not looked at again while nobody decides, where no gate has a time', async () => {
    const { execute, store, clock, read } = await setup({ ...noting({ id: 'a' }), gates: [review()] })
    await execute()
    clock.advance(30 * 86_400_000)
    await store.recover(10)
    expect(read()?.status).toBe('waiting')
  })

  it('is looked at again when the first of its gates is over', async () => {
    const gates = [review({ expiresIn: '2h', onExpiry: 'approve' }), review({ id: 'soon', expiresIn: '1h' })]
    const { execute, store, clock, read, history } = await setup({ ...noting({ id: 'a' }), gates })
    await execute()
    clock.advance(3_599_999)
    await store.recover(10)
    expect(read()?.status).toBe('waiting')
    clock.advance(1)
    expect((await store.recover(10)).overdue).toMatchObject([{ runId: 'r' }])
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'review-rejected' } })
    expect((await history()).gates.find(({ id }) => id === 'soon')).toMatchObject({
      status: 'rejected',
      detail: 'nobody decided in time; rejected as the template says',
    })
  })

  it('for a step is not asked for one that came to nothing, and is for one that has', async () => {
    const gates = [review({ after: 'a' }), review({ id: 'other', name: 'other', after: 'b' })]
    const { execute, read } = await setup({ ...noting({ id: 'a', when: 'false' }, { id: 'b' }), gates })
    await execute()
    expect(read()?.events.at(-1)?.payload.gates).toEqual([{ id: 'other', name: 'other', run_id: 'r' }])
  })
})

describe('a run that waits for one that it called', () => {
  const called = aDefinition({ templateId: 'test/called', ...noting({ id: 'x' }), gates: [review()] })
  const CALLING = {
    ...asking([{ id: 'd', kind: 'call', prompt: undefined, input: {} }]),
    subWorkflows: { d: pinned(called) },
  }

  it('is suspended, and looks by itself after half a minute', async () => {
    const { engine, store, clock, read } = await setup(CALLING)
    expect(await engine.execute('r', new AbortController().signal)).toBe('suspended')
    clock.advance(29_999)
    expect((await store.recover(10)).overdue.map(({ runId }) => runId)).not.toContain('r')
    clock.advance(1)
    expect((await store.recover(10)).overdue.map(({ runId }) => runId)).toContain('r')
    expect(read()?.events.map(({ kind }) => kind)).not.toContain('workflow.run.waiting')
  })

  it('is parked for an hour at most while a person decides there', async () => {
    const { execute, store, clock, read } = await setup(CALLING)
    await execute()
    expect(read()?.status).toBe('waiting')
    clock.advance(3_599_999)
    expect((await store.recover(10)).overdue).toEqual([])
    clock.advance(1)
    expect((await store.recover(10)).overdue).toMatchObject([{ runId: 'r' }])
  })
})

describe('what is left open at the end', () => {
  it('of calls is booked as spent, since the provider may charge for it', async () => {
    const stop = new AbortController()
    const { engine, history, last } = await setup(asking([{ id: 'a' }]), {
      serve: async ({ onRequestId }) => {
        await onRequestId('q-1')
        stop.abort('cancel')
        return await new Promise<never>((_, reject) => {
          setImmediate(() => reject(new StepFailure('timeout', 'stopped', { billed: 'unknown' })))
        })
      },
    })
    expect(await engine.execute('r', stop.signal)).toBe('finished')
    expect((await history()).calls).toMatchObject([{ outcome: 'unknown', actualUsd: 0.25 }])
    expect(last()).toMatchObject({
      kind: 'workflow.run.cancelled',
      payload: { cost: { actual: 0.25 }, error: null, outputs: [{ status: 'cancelled', output: null }] },
    })
  })
})
