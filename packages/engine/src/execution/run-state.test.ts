import { type Step, textOf } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { ProviderRequest } from '../catalog.ts'
import { StepFailure } from '../failure.ts'
import type { NewRun, RunStore, Transition } from '../ports.ts'
import type { Definition } from '../specification.ts'
import { aCall, aCheckpoint, aDefinition, aNewRun, aTransition } from '../testing/factories.ts'
import { answerTo, asking, createTestEngine, drive, pinned } from '../testing/test-engine.ts'
import { createEngine } from './execute.ts'

type Serve = (request: ProviderRequest) => Promise<ReturnType<typeof answerTo>>

/** A run over a record that writes down every transition, and may answer it by itself. */
async function setup(
  definition: Partial<Definition>,
  options: {
    serve?: Serve
    run?: Partial<NewRun>
    commit?: (transition: Transition, store: RunStore) => ReturnType<RunStore['commit']>
  } = {},
) {
  const { serve = async ({ request }) => answerTo(request) } = options
  const { commit = (transition, own) => own.commit(transition) } = options
  const world = createTestEngine({ call: serve })
  const { store, deps, deliveries, clock } = world
  const written: Transition[] = []
  const engine = createEngine({
    ...deps,
    store: {
      ...store,
      async commit(transition) {
        written.push(structuredClone(transition))
        return await commit(transition, store)
      },
    },
  })
  await store.accept(aNewRun('r', { definition: aDefinition(definition), ...options.run }))
  return {
    ...world,
    engine,
    written,
    read: () => store.read('r'),
    history: () => store.history('r'),
    told: () => (store.read('r')?.events ?? []).map(({ kind, node_key }) => [kind.slice(9), node_key].join(' ').trim()),
    async execute() {
      deliveries.push({ runId: 'r', organizationId: 'system', epoch: 0, workflow: '', priority: 50, lane: 'batch' })
      await drive({ engine, deliveries, clock })
    },
  }
}

const noting = (...steps: (Partial<Step> & { id: string })[]): Partial<Definition> => ({
  stepInstructions: steps.map((step): Step => ({ kind: 'note', text: step.id, ...step })),
})
const bound = (ids: string[], simulated: boolean) =>
  Object.fromEntries(
    ids.map((id) => [id, { models: [{ model: 'acme/one', provider: 'acme', endpoint: 'one', simulated }] }]),
  )

describe('what a run writes', () => {
  it('is one transition for each round of steps, the last together with its end', async () => {
    const { execute, written } = await setup(noting({ id: 'a' }, { id: 'b', needs: ['a'] }, { id: 'c', needs: ['a'] }))
    await execute()
    expect(written.map(({ checkpoints, end }) => [checkpoints.map(({ key }) => key), end?.status])).toEqual([
      [['a'], undefined],
      [['b', 'c'], 'completed'],
    ])
  })

  it('is for a paid step its intent with its start, and then all that it came to', async () => {
    const { execute, written, artifacts } = await setup(asking([{ id: 'a' }]))
    await execute()
    const kinds = ({ events }: Transition) => events.map(({ kind }) => kind)
    expect(written.map((one) => [one.calls.map(({ outcome }) => outcome), kinds(one), one.artifacts.length])).toEqual([
      [['pending'], ['workflow.node.started'], 0],
      [['succeeded'], ['workflow.artifact.created', 'workflow.node.completed', 'workflow.run.completed'], 1],
    ])
    expect(artifacts.stagedCalls()).toEqual([])
  })

  it('goes with the run’s fence, and with caps of the day only where it has some', async () => {
    const uncapped = await setup(asking([{ id: 'a' }]))
    await uncapped.execute()
    expect(uncapped.written.map(({ runId, fence, dayCaps }) => [runId, fence, dayCaps])).toEqual([
      ['r', 1, undefined],
      ['r', 1, undefined],
    ])
    const capped = await setup({ ...asking([{ id: 'a' }]), budgetPolicy: { maxPerDayUsd: 1 } })
    await capped.execute()
    expect(capped.written.map(({ dayCaps }) => dayCaps)).toEqual(
      [1, 2].map(() => [{ workflow: 'test/example', maxUsd: 1 }]),
    )
  })

  it('is when each step began and ended, by the clock', async () => {
    const { execute, history, clock } = await setup(asking([{ id: 'a' }]), {
      serve: async ({ request }) => {
        clock.advance(1_500)
        return answerTo(request)
      },
    })
    await execute()
    expect((await history()).checkpoints).toMatchObject([
      { startedAt: '2026-01-01T12:00:00.000Z', finishedAt: '2026-01-01T12:00:01.500Z' },
    ])
  })
})

describe('a run that comes to rest', () => {
  it.each([
    [{}, null],
    [{ expiresIn: '30m' }, 1_800_000],
  ])('at a review %j is looked at again in %s ms', async (over, wakeInMs) => {
    const gates = [{ id: 'look', name: 'look', type: 'review', ...over }]
    const { execute, written } = await setup({ ...noting({ id: 'a' }), gates })
    await execute()
    expect(written.at(-1)?.end).toEqual({ status: 'waiting', wakeInMs })
  })
})

describe('a cancel that the record knows of first', () => {
  it('ends the run with all on record that was done until then', async () => {
    const world = await setup(asking([{ id: 'a' }]), {
      serve: async ({ request }) => {
        await world.store.requestCancel('r')
        return answerTo(request)
      },
    })
    await world.execute()
    expect(world.told()).toEqual([
      'run.created',
      'run.queued',
      'run.started',
      'node.started a',
      'artifact.created a',
      'node.completed a',
      'run.cancelled',
    ])
    const { checkpoints, artifacts, calls } = await world.history()
    expect([checkpoints.length, artifacts.length, calls.map(({ outcome }) => outcome)]).toEqual([1, 1, ['succeeded']])
    expect(world.read()?.events.at(-1)?.payload).toMatchObject({ cost: { actual: 0.25 } })
  })

  it('begins no call any more, and books none that was not made', async () => {
    const world = await setup(asking([{ id: 'a' }, { id: 'b', needs: ['a'] }]), {
      commit: async (transition, store) => {
        const outcome = await store.commit(transition)
        if (transition.checkpoints.length > 0) await store.requestCancel('r')
        return outcome
      },
    })
    await world.execute()
    expect((await world.history()).calls.map(({ stepId, outcome }) => [stepId, outcome])).toEqual([['a', 'succeeded']])
    expect(world.read()?.status).toBe('cancelled')
  })

  it('calls no workflow any more, and keeps what was done before', async () => {
    const called = aDefinition({ templateId: 'test/called', ...noting({ id: 'x' }) })
    const steps = asking([{ id: 'a' }, { id: 'd', kind: 'call', prompt: undefined, input: {}, needs: ['a'] }])
    const world = await setup(
      { ...steps, subWorkflows: { d: pinned(called) } },
      {
        commit: async (transition, store) => {
          if (transition.children !== undefined) await store.requestCancel('r')
          return await store.commit(transition)
        },
      },
    )
    await world.execute()
    expect(world.read()?.status).toBe('cancelled')
    expect(await world.store.children('r')).toEqual([])
    expect(world.told()).toContain('node.completed a')
  })
})

describe('a run that is lost', () => {
  it('writes nothing more, and starts no step', async () => {
    const asked: unknown[] = []
    const { execute, written } = await setup(asking([{ id: 'a' }, { id: 'b', needs: ['a'] }]), {
      serve: async ({ request }) => {
        asked.push(request.prompt)
        return answerTo(request)
      },
      commit: async (transition, store) =>
        transition.checkpoints.length > 0 ? { outcome: 'lost' } : await store.commit(transition),
    })
    await execute()
    expect([asked, written.length]).toEqual([['do a'], 2])
  })
})

describe('the failure of a run', () => {
  it('is that of the step which failed first, whatever fails after it', async () => {
    const { execute, read } = await setup(asking([{ id: 'a' }, { id: 'b' }]), {
      run: { failFast: false },
      serve: async ({ request }) => {
        for (let turn = 0; request.prompt === 'do a' && turn < 20; turn += 1)
          await new Promise((resolve) => setImmediate(resolve))
        throw new StepFailure('invalid', `${textOf(request.prompt)} failed`)
      },
    })
    await execute()
    expect(read()?.error).toEqual({ code: 'invalid', message: 'do b failed', node_key: 'b' })
  })

  it('is not that of an item whose step has not failed', async () => {
    const { store, execute, read } = await setup(asking([{ id: 'a', prompt: '{item}', forEach: { items: ['x'] } }]))
    const claim = await store.claim('r', 'another', 60_000)
    const error = { code: 'invalid', message: 'the item failed', node_key: 'a[0]' }
    const checkpoints = [aCheckpoint('a', { key: 'a[0]', status: 'failed', output: null, error })]
    await store.commit(aTransition('r', claim?.fence ?? 0, { checkpoints }))
    await store.release('r', claim?.fence ?? 0)
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error })
    expect(
      read()
        ?.events.filter(({ kind }) => kind === 'workflow.node.failed')
        .map((one) => one.node_key),
    ).toEqual(['a'])
  })
})

describe('what is simulated', () => {
  it.each([true, false])('makes a list as real as its items, and a step as its parts: %s', async (simulated) => {
    const definition = {
      ...asking([
        { id: 'list', prompt: '{item}', forEach: { items: ['x', 'y'] } },
        { id: 'parts', kind: 'parts', prompt: 'part', count: 2 },
        { id: 'listed', kind: 'note', text: '' },
        { id: 'after', kind: 'note', text: '{steps.list.output[0].text}' },
      ]),
      providerBindings: bound(['list', 'parts'], simulated),
    }
    const { execute, history, read } = await setup(definition)
    await execute()
    const { checkpoints } = await history()
    const real = Object.fromEntries(checkpoints.map((one) => [one.key, one.simulated]))
    expect(real).toEqual({
      list: simulated,
      'list[0]': simulated,
      'list[1]': simulated,
      parts: simulated,
      'parts#part-1': simulated,
      'parts#part-2': simulated,
      listed: false,
      after: simulated,
    })
    expect(read()?.status).toBe('completed')
  })

  it.each([
    [['a', 'b'], true],
    [['a'], true],
    [[], false],
  ])('is a run of which %j are: %s', async (ids, simulated) => {
    const definition = {
      ...asking([{ id: 'a' }, { id: 'b' }]),
      providerBindings: { ...bound(['a', 'b'], false), ...bound(ids, true) },
    }
    const completed = await setup(definition)
    await completed.execute()
    expect(completed.written.at(-1)?.end).toMatchObject({ status: 'completed', simulated })
    const failed = await setup({ ...definition, gates: [{ id: 'g', name: 'g', type: 'assert', assert: 'false' }] })
    await failed.execute()
    expect(failed.written.at(-1)?.end).toMatchObject({ status: 'failed', simulated })
  })

  it('is not a step that failed or was skipped', async () => {
    const definition = {
      ...asking([{ id: 'a' }, { id: 'b', needs: ['a'] }]),
      providerBindings: bound(['a', 'b'], true),
      gates: [{ id: 'c', name: 'c', type: 'assert', after: 'a', assert: 'false' }],
    }
    const { execute, history } = await setup(definition, { run: { failFast: false } })
    await execute()
    expect((await history()).checkpoints.map(({ key, status, simulated }) => [key, status, simulated])).toEqual([
      ['a', 'failed', false],
      ['b', 'skipped', false],
    ])
  })
})

describe('a limit that the next call would break', () => {
  it('is named with what the run would come to', async () => {
    const { execute, read } = await setup({
      ...asking([{ id: 'a' }, { id: 'b', needs: ['a'] }]),
      budgetPolicy: { maxPerRunUsd: 0.4 },
    })
    await execute()
    expect(read()?.error).toEqual({
      code: 'budget-exceeded',
      message: 'Stopped before a call: the next call would bring the run to $0.5, over its limit of $0.4.',
      node_key: 'b',
    })
  })

  it('of a gate is on record with it, and says its name', async () => {
    const gate = { id: 'g', name: 'the purse', type: 'budget' }
    const { execute, read, history } = await setup({ ...asking([{ id: 'a' }]), gates: [{ ...gate, maxUsd: 0.2 }] })
    await execute()
    const detail = 'the next call would bring the run to $0.25, over its limit of $0.2.'
    expect(read()?.error).toMatchObject({
      code: 'budget-exceeded',
      message: `The gate "the purse" did not pass: ${detail}`,
    })
    expect((await history()).gates).toEqual([{ ...gate, status: 'failed', detail }])
  })

  it('of the day is named with what is spent of it', async () => {
    const { execute, read } = await setup({
      ...asking([{ id: 'a' }, { id: 'b', needs: ['a'] }]),
      budgetPolicy: { maxPerDayUsd: 0.3 },
    })
    await execute()
    expect(read()?.error).toEqual({
      code: 'budget-exceeded',
      message: '"test/example" may spend $0.3 a day, and $0.25 of it is spent or reserved.',
      node_key: 'b',
    })
  })

  it('counts calls of earlier executions, as they were booked or else as they were expected', async () => {
    const { store, execute, read } = await setup({
      ...asking([{ id: 'a' }, { id: 'b' }]),
      budgetPolicy: { maxPerRunUsd: 0.6 },
    })
    const claim = await store.claim('r', 'another', 60_000)
    const calls = [
      aCall('r.a.1', { stepKey: 'a', stepId: 'a', outcome: 'failed', actualUsd: 0.1 }),
      aCall('r.a.2', { stepKey: 'a', stepId: 'a', outcome: 'unknown', actualUsd: null, estimatedUsd: 0.25 }),
    ]
    await store.commit(aTransition('r', claim?.fence ?? 0, { calls }))
    await store.release('r', claim?.fence ?? 0)
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'budget-exceeded' } })
  })
})

describe('a condition', () => {
  it('sees the outputs of completed steps, nothing of items and parts, and an empty one of skipped steps', async () => {
    const { execute, history } = await setup({
      ...asking([
        { id: 'list', prompt: '{item}', forEach: { items: ['x'] } },
        { id: 'none', when: 'false' },
        {
          id: 'last',
          kind: 'note',
          text: '',
          when: 'steps.list.output[0].text == "done: x" && !has(steps.none.output.text) && run.workflow == "test/example"',
        },
      ]),
    })
    await execute()
    expect((await history()).checkpoints.find(({ key }) => key === 'last')?.status).toBe('completed')
  })
})
