import type { Step } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { StepFailure } from '../failure.ts'
import type { NewRun, RunStore } from '../ports.ts'
import type { Definition, Estimate, PricedStep } from '../specification.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { answerTo, asking, createTestEngine, drive, pinned } from '../testing/test-engine.ts'
import type { EngineDeps } from './execute.ts'

const usd = (expected: number, high = expected): Estimate => ({ low: expected, expected, high })
/** Asks about its prompt, for a quarter. */
const CALLED = aDefinition({ templateId: 'test/called', ...asking([{ id: 'b', prompt: '{intake.prompt}' }]) })

/** As `CALLED`, and at most as much as this: the first model costs what is expected, the second what is highest. */
function costing({ expected, high }: Estimate): Definition {
  const { rates, ...asked } = asking([{ id: 'b', retry: { maxAttempts: 1, backoffMs: 0 } }], ['acme/one', 'acme/two'])
  const prices = rates.map((rate, index) => ({ ...rate, unit_price_usd: index === 0 ? expected : high }))
  return aDefinition({ ...CALLED, ...asked, rates: prices })
}

/** A run whose step `d` calls a workflow; other steps are priced as they are expected to cost. */
function calling(
  options: {
    estimate?: Estimate
    beside?: Record<string, Estimate>
    step?: Partial<Step>
    over?: Partial<Definition>
  } = {},
): Partial<Definition> & { priced: PricedStep[] } {
  const { estimate, beside = {}, step = {}, over = {} } = options
  const steps = asking([
    { id: 'd', kind: 'call', prompt: undefined, input: { prompt: 'sub' }, ...step },
    ...Object.keys(beside).map((id) => ({ id, needs: ['d'] })),
  ])
  return {
    ...steps,
    subWorkflows: { d: pinned(estimate === undefined ? CALLED : costing(estimate)) },
    priced: [
      { stepId: 'd', kind: 'call', once: estimate ?? usd(0.25), items: null, conditional: false },
      ...Object.entries(beside).map(([stepId, once]) => ({
        stepId,
        kind: 'ask',
        once,
        items: null,
        conditional: false,
      })),
    ],
    ...over,
  }
}

async function setup(
  { priced, ...definition }: Partial<Definition> & { priced: PricedStep[] },
  over: Partial<NewRun> = {},
  ports: Partial<EngineDeps> = {},
) {
  const world = createTestEngine({ call: async ({ request }) => answerTo(request) }, ports)
  const { store, engine, deliveries } = world
  const run = aNewRun('r', { definition: aDefinition(definition), ...over })
  await store.accept({ ...run, instance: { ...run.instance, priced } })
  const step = (signal = new AbortController().signal) => engine.execute('r', signal)
  return {
    ...world,
    step,
    read: () => store.read('r'),
    children: () => store.children('r'),
    async instances() {
      const found = await Promise.all((await store.children('r')).map(({ id }) => store.find(id)))
      return found.map((one) => one?.instance)
    },
    async finish() {
      deliveries.push({ runId: 'r', organizationId: 'system', epoch: 0, workflow: '', priority: 50, lane: 'batch' })
      await drive(world)
    },
  }
}

describe('a called run', () => {
  it('gets its input and the wishes of its caller, and nothing else of it', async () => {
    const { step, instances, children } = await setup(calling(), {
      instance: { intake: { prompt: 'mine' }, regenerate: { direction: 'bolder' }, variantIndex: 2, variants: 3 },
      metadata: { order: 7 },
      state: { x: 1 },
    })
    expect(await step()).toBe('suspended')
    expect(await instances()).toEqual([
      {
        intake: { prompt: 'sub' },
        regenerate: { direction: 'bolder' },
        variantIndex: null,
        variants: 1,
        priced: [{ stepId: 'b', kind: 'ask', once: usd(0.25), items: null, conditional: false }],
      },
    ])
    expect(await children()).toMatchObject([{ callerKey: 'd', workflow: 'test/called', status: 'pending', capUsd: 0 }])
  })

  it('is delivered with the priority, lane and organization of its caller', async () => {
    const { step, deliveries, children } = await setup(calling(), { priority: 90, lane: 'interactive' })
    await step()
    const [child] = await children()
    expect(deliveries).toEqual([
      {
        runId: child?.id,
        organizationId: 'system',
        epoch: 0,
        workflow: 'test/called',
        priority: 90,
        lane: 'interactive',
      },
    ])
  })

  it('has the start of its step told once, however often its caller is looked at', async () => {
    const { finish, read } = await setup(calling())
    await finish()
    expect(read()?.status).toBe('completed')
    const started = read()?.events.filter(({ kind }) => kind === 'workflow.node.started')
    expect(started?.map(({ payload }) => payload)).toEqual([{ step: 'd', kind: 'call' }])
  })

  it('of a list has the start of the list told once, while its items come and go', async () => {
    const step = { forEach: { items: ['x', 'y', 'z'], concurrency: 2 }, input: { prompt: '{item}' } }
    const { finish, read } = await setup(calling({ step }))
    await finish()
    expect(read()?.status).toBe('completed')
    const started = read()?.events.filter(({ kind }) => kind === 'workflow.node.started')
    expect(started?.map(({ node_key }) => node_key)).toEqual(['d', 'd[0]', 'd[1]', 'd[2]'])
  })

  it('counts against the caps of the day of its caller, and of whoever called that', async () => {
    const dayCaps = [{ workflow: 'test/top', maxUsd: 9 }]
    const { step, instances } = await setup(calling({ over: { budgetPolicy: { maxPerDayUsd: 4 } } }), {
      instance: { intake: {}, regenerate: {}, variantIndex: null, variants: 1, dayCaps },
    })
    await step()
    expect((await instances())[0]?.dayCaps).toEqual([{ workflow: 'test/example', maxUsd: 4 }, ...dayCaps])
  })

  it('goes on where an earlier run that the same step called has stopped', async () => {
    const { step, instances } = await setup(calling(), {
      instance: {
        intake: {},
        regenerate: {},
        variantIndex: null,
        variants: 1,
        earlierCalls: { d: 'earlier', e: 'other' },
      },
    })
    await step()
    expect((await instances())[0]?.continues).toBe('earlier')
  })
})

describe('what a called run may spend', () => {
  it.each<[string, number | undefined, Parameters<typeof calling>[0], number | undefined]>([
    ['without end where its caller may', undefined, {}, undefined],
    ['what it needs at most', 9, { estimate: usd(0.25, 3) }, 3],
    ['twice what it is expected to need, where that is more', 9, { estimate: usd(0.25, 0.3) }, 0.5],
    ['what is left', 2, { estimate: usd(0.25, 3) }, 2],
    ['what is left beside the other steps', 2, { estimate: usd(0.25, 3), beside: { x: usd(0.5), y: usd(0.25) } }, 1.25],
    [
      'what it is expected to need, before the other steps',
      0.4,
      { estimate: usd(0.25, 3), beside: { x: usd(0.3) } },
      0.25,
    ],
    ['what is left exactly, in decimal numbers', 0.3, { estimate: usd(0.1, 3), beside: { x: usd(0.2) } }, 0.1],
  ])('is %s', async (_, maxPerRunUsd, options, capUsd) => {
    const policy = maxPerRunUsd === undefined ? {} : { budgetPolicy: { maxPerRunUsd } }
    const { step, instances } = await setup(calling({ ...options, over: policy }))
    await step()
    expect(await instances()).toHaveLength(1)
    expect((await instances())[0]?.capUsd).toBe(capUsd)
  })

  it('leaves the other items of its list what they are expected to need', async () => {
    const estimate = usd(0.25, 3)
    const list = ['x', 'y', 'z']
    const definition = calling({
      estimate,
      step: { forEach: { items: list, concurrency: 3 } },
      over: { budgetPolicy: { maxPerRunUsd: 2 } },
    })
    const items = { list, likely: estimate }
    const { step, children } = await setup({
      ...definition,
      priced: [{ stepId: 'd', kind: 'call', once: estimate, items, conditional: false }],
    })
    await step()
    const caps = Object.fromEntries((await children()).map(({ callerKey, capUsd }) => [callerKey, capUsd]))
    expect(caps).toEqual({ 'd[0]': 1.5, 'd[1]': 0.25, 'd[2]': 0.25 })
  })

  it('does not reserve anything for steps that are done', async () => {
    const estimate = usd(0.25, 3)
    const { stepInstructions, providerBindings, rates } = asking([
      { id: 'a' },
      { id: 'd', kind: 'call', prompt: undefined, input: {}, needs: ['a'] },
    ])
    const priced = ['a', 'd'].map((stepId) => ({ stepId, kind: '', once: usd(0.25), items: null, conditional: false }))
    const { step, instances } = await setup({
      stepInstructions,
      providerBindings,
      rates,
      priced,
      subWorkflows: { d: pinned(costing(estimate)) },
      budgetPolicy: { maxPerRunUsd: 1 },
    })
    await step()
    expect((await instances())[0]?.capUsd).toBe(0.75)
  })
})

describe('a call that cannot be made', () => {
  it('for want of a workflow fails its step as invalid', async () => {
    const { finish, read, children } = await setup(calling({ over: { subWorkflows: {} } }))
    await finish()
    expect(read()?.error).toMatchObject({ code: 'invalid', node_key: 'd' })
    expect(await children()).toEqual([])
  })

  it('for an input that does not fit says why, in five places at most', async () => {
    const problems = ['', '/a', '/b', '/c', '/d', '/e'].map((pointer) => ({ pointer, detail: 'is bad' }))
    const hashes: string[] = []
    const { finish, read } = await setup(
      calling(),
      {},
      {
        intake: {
          async validate(hash, _, value) {
            hashes.push(hash)
            return { problems, value, undeclared: [] }
          },
        },
      },
    )
    await finish()
    expect(read()?.error).toEqual({
      code: 'sub-workflow-input',
      message: 'The input for "test/called" is not valid: / is bad; /a is bad; /b is bad; /c is bad; /d is bad.',
      node_key: 'd',
    })
    expect(hashes).toEqual([pinned(CALLED).hash])
  })

  it('for a commit that is refused leaves nothing reserved, and the run is lost', async () => {
    const { step, store, deps, children } = await setup(calling())
    let isTaken = false
    const commit: RunStore['commit'] = async (transition) => {
      if (transition.children === undefined || isTaken) return await store.commit(transition)
      isTaken = true
      return { outcome: 'lost' }
    }
    deps.store = { ...store, commit }
    expect(await step()).toBe('lost')
    expect(await children()).toEqual([])
  })
})

describe('a called run that was not completed', () => {
  it.each([
    ['failed', async () => Promise.reject(new StepFailure('refused', 'not that')), ' not that'],
    ['cancelled', null, ''],
  ] as const)('but %s fails its step by name, with its reason', async (status, serve, reason) => {
    const world = await setup(calling(), {}, serve === null ? {} : { providers: { call: serve } })
    await world.step()
    const [child] = await world.children()
    if (status === 'cancelled') await world.store.requestCancel(child?.id ?? '')
    await world.finish()
    expect((await world.children())[0]?.status).toBe(status)
    expect(world.read()?.error).toEqual({
      code: 'sub-workflow-failed',
      message: `The run ${child?.id} of "test/called" was not completed.${reason}`,
      node_key: 'd',
    })
  })
})
