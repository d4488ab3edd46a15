import { type JsonObject, type Step, textOf } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { ProviderRequest } from '../catalog.ts'
import { StepFailure } from '../failure.ts'
import type { NewRun } from '../ports.ts'
import type { Definition } from '../specification.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { answerTo, asking, createTestEngine, drive } from '../testing/test-engine.ts'

type Serve = (request: ProviderRequest) => Promise<ReturnType<typeof answerTo>>

/** Runs over a provider that the test plays, each request at a quarter of a dollar. */
function setup(serve: Serve = async ({ request }) => answerTo(request)) {
  const asked: string[] = []
  const ids = createSequentialIds()
  const world = createTestEngine({
    async call(request) {
      asked.push(textOf(request.request.prompt))
      return await serve(request)
    },
  })
  async function execute(runId: string) {
    world.deliveries.push({
      runId,
      organizationId: 'system',
      epoch: 0,
      workflow: 'test/example',
      priority: 50,
      lane: 'batch',
    })
    await drive(world)
    const read = world.store.read(runId)
    if (read === null) throw new Error('there is no such run')
    return read
  }
  async function accept(definition: Definition, over: Partial<NewRun> = {}) {
    const run = aNewRun(ids.next(), { definition, ...over })
    await world.store.accept(run)
    return run.id
  }
  return {
    ...world,
    asked,
    accept,
    execute,
    async run(definition: Definition, over: Partial<NewRun> = {}) {
      const id = await accept(definition, over)
      return { id, ...(await execute(id)) }
    },
    costOf: (runId: string) => world.store.read(runId)?.events.at(-1)?.payload.cost as JsonObject,
    ledger: async (runId: string) =>
      (await world.store.history(runId)).calls.map(({ model, outcome, actualUsd }) => [model, outcome, actualUsd]),
  }
}

const chain = (...ids: string[]) =>
  asking(
    ids.map((id, index): Partial<Step> & { id: string } =>
      index === 0 ? { id } : { id, needs: [ids[index - 1] as string] },
    ),
  )

describe('the limit of a run', () => {
  it('stops before the call that would break it', async () => {
    const { run, asked, costOf } = setup()
    const { id, status, error } = await run(
      aDefinition({ ...chain('a', 'b', 'c'), budgetPolicy: { maxPerRunUsd: 0.5 } }),
    )
    expect([status, error?.code, error?.node_key]).toEqual(['failed', 'budget-exceeded', 'c'])
    expect(asked).toEqual(['do a', 'do b'])
    expect(costOf(id)).toMatchObject({ actual: 0.5 })
  })

  it('holds for calls that are made at once', async () => {
    const { run, asked } = setup()
    const definition = aDefinition({
      ...asking([{ id: 'a' }, { id: 'b' }, { id: 'c', forEach: { items: ['x', 'y', 'z'] } }]),
      budgetPolicy: { maxPerRunUsd: 0.5 },
    })
    const { status, error } = await run(definition, { failFast: false })
    expect([status, error?.code]).toEqual(['failed', 'budget-exceeded'])
    expect(asked.length).toBeLessThanOrEqual(2)
  })

  it('allows what meets it exactly, in numbers that binary fractions cannot hold', async () => {
    const { run, asked } = setup()
    const dime = { model: 'acme/one', unit: 'request' as const, unit_price_usd: 0.1, assumed: true as const }
    const definition = aDefinition({ ...chain('a', 'b', 'c'), rates: [dime], budgetPolicy: { maxPerRunUsd: 0.3 } })
    expect((await run(definition)).status).toBe('completed')
    expect(asked).toHaveLength(3)
  })

  it('counts a call that failed at what it cost', async () => {
    const failures = [new StepFailure('server', 'again', { billed: 'yes' })]
    const { run, asked } = setup(async ({ request }) => {
      const failure = failures.pop()
      if (failure) throw failure
      return answerTo(request)
    })
    const definition = aDefinition({ ...asking([{ id: 'a' }]), budgetPolicy: { maxPerRunUsd: 0.3 } })
    const { error } = await run(definition)
    expect(error?.code).toBe('budget-exceeded')
    expect(asked).toHaveLength(1)
  })

  it('is held against facts after each call: a run that has passed it makes no further one, and says so', async () => {
    const { run, asked, costOf } = setup(async ({ request }) => ({
      ...answerTo(request),
      usage: [{ unit: 'request', quantity: 5 }],
    }))
    const free = { model: 'acme/free', unit: 'request' as const, unit_price_usd: 0, assumed: true as const }
    const steps = chain('a', 'b')
    const { id, status, error } = await run(
      aDefinition({
        ...steps,
        providerBindings: {
          ...steps.providerBindings,
          b: { models: [{ model: 'acme/free', provider: 'acme', endpoint: 'free', simulated: false }] },
        },
        rates: [...steps.rates, free],
        budgetPolicy: { maxPerRunUsd: 1 },
      }),
    )
    expect([status, error?.code, error?.node_key]).toEqual(['failed', 'budget-exceeded', 'b'])
    expect(error?.message).toContain('the run has spent $1.25, over its limit of $1.')
    expect(asked).toEqual(['do a'])
    expect(costOf(id)).toMatchObject({ actual: 1.25 })
  })

  it('counts an interrupted call as spent after a crash', async () => {
    let dies = true
    const { accept, execute, engine, store, clock, asked } = setup(async ({ request }) => {
      if (dies) return await new Promise(() => {})
      return answerTo(request)
    })
    const id = await accept(aDefinition({ ...asking([{ id: 'a' }]), budgetPolicy: { maxPerRunUsd: 0.3 } }))
    void engine.execute(id, new AbortController().signal)
    while (asked.length < 1) await new Promise((resolve) => setImmediate(resolve))
    dies = false
    clock.advance(61_000)
    await store.recover(10)
    // What was interrupted may have been charged: it counts, and there is not enough for a second one.
    expect((await execute(id)).error?.code).toBe('budget-exceeded')
    expect(asked).toHaveLength(1)
  })
})

describe('a budget gate', () => {
  const gate = (over: JsonObject) => ({ gates: [{ id: 'purse', name: 'purse', type: 'budget', ...over }] })

  it('stops before the call that would break it, and is on record', async () => {
    const { run, store, asked } = setup()
    const { id, status, error } = await run(aDefinition({ ...chain('a', 'b'), ...gate({ maxUsd: 0.3 }) }))
    expect([status, error?.code]).toEqual(['failed', 'budget-exceeded'])
    expect(error?.message).toContain('purse')
    expect((await store.history(id)).gates).toMatchObject([{ id: 'purse', status: 'failed' }])
    expect(asked).toEqual(['do a'])
  })

  it('passes where the run stays below it', async () => {
    const { run, store } = setup()
    const { id, status } = await run(aDefinition({ ...chain('a', 'b'), ...gate({ maxUsd: 0.5 }) }))
    expect(status).toBe('completed')
    expect((await store.history(id)).gates).toMatchObject([{ status: 'passed' }])
  })

  it.each([
    [0.5, 'completed'],
    [0.49, 'failed'],
  ])('of $%d behind its step judges what was spent by then', async (maxUsd, status) => {
    const { run, asked } = setup()
    const outcome = await run(aDefinition({ ...chain('a', 'b', 'c'), ...gate({ maxUsd, after: 'b' }) }))
    expect(outcome.status).toBe(status)
    expect(asked).toHaveLength(status === 'completed' ? 3 : 2)
    if (status === 'failed') expect(outcome.error).toMatchObject({ code: 'gate-failed', node_key: 'b' })
  })
})

describe('the limit of a day', () => {
  const capped = (maxPerDayUsd: number, over: Partial<Definition> = {}) =>
    aDefinition({ ...chain('a', 'b'), budgetPolicy: { maxPerDayUsd }, ...over })

  it('is one for all runs of a workflow, and free again on the next day', async () => {
    const { run, clock, asked } = setup()
    expect((await run(capped(0.75))).status).toBe('completed')
    const over = await run(capped(0.75))
    expect([over.status, over.error?.code, over.error?.node_key]).toEqual(['failed', 'budget-exceeded', 'b'])
    expect(asked).toHaveLength(3)
    expect((await run(capped(0.75), { organizationId: 'other' })).status).toBe('completed')
    clock.advance(24 * 3_600_000)
    expect((await run(capped(0.75))).status).toBe('completed')
  })

  it('allows what meets it exactly, in numbers that binary fractions cannot hold', async () => {
    const { run } = setup()
    const dime = { model: 'acme/one', unit: 'request' as const, unit_price_usd: 0.1, assumed: true as const }
    const definition = aDefinition({ ...chain('a', 'b', 'c'), rates: [dime], budgetPolicy: { maxPerDayUsd: 0.3 } })
    expect((await run(definition)).status).toBe('completed')
  })

  it('gets back what a call was expected to cost and did not', async () => {
    const cheap: Serve = async ({ request }) => ({ ...answerTo(request), usage: [{ unit: 'request', quantity: 0.2 }] })
    const { run, store } = setup(cheap)
    expect((await run(capped(0.3))).status).toBe('completed')
    expect(await store.spentToday('system', 'test/example')).toBe(0.1)
  })

  it('tells of the start of the step that it stops', async () => {
    const { run } = setup()
    const { events } = await run(capped(0.1))
    expect(events.map(({ kind, node_key }) => [kind, node_key]).filter(([, key]) => key === 'a')).toEqual([
      ['workflow.node.started', 'a'],
      ['workflow.node.failed', 'a'],
    ])
  })

  it('is not shared by another workflow', async () => {
    const { run } = setup()
    await run(capped(0.5))
    expect((await run(capped(0.5), { workflow: 'test/other' })).status).toBe('completed')
  })
})

describe('a call whose outcome nobody knows, where a person decides', () => {
  const definition = (steps = asking([{ id: 'a' }])) => aDefinition({ ...steps, onUnknownOutcome: 'review' })
  const broken = new StepFailure('server', 'the connection broke', { billed: 'unknown' })

  /** Breaks the first call of every prompt in `prompts`. */
  function breaking(...prompts: string[]): Serve {
    const failing = new Set(prompts)
    return async ({ request }) => {
      if (failing.delete(textOf(request.prompt))) throw broken
      return answerTo(request)
    }
  }

  it.each([
    [true, 'completed', 2],
    [false, 'failed', 1],
  ] as const)('waits; approve %s leaves the run %s after %i calls', async (approve, status, calls) => {
    const { run, execute, asked, store, ledger } = setup(breaking('do a'))
    const { id, status: parked } = await run(definition())
    expect(parked).toBe('waiting')
    expect((await store.history(id)).gates).toMatchObject([
      {
        id: 'unknown-outcome:a',
        type: 'unknown-outcome',
        status: 'open',
        detail: expect.stringContaining('may cost $0.25'),
      },
    ])
    expect(await store.decide(id, { approve, by: 'key' }), 'nobody pays again by approving a run').toBeNull()
    await store.decide(id, { approve, gateId: 'unknown-outcome:a', by: 'key' })
    const ended = await execute(id)
    expect(ended.status).toBe(status)
    if (!approve) expect(ended.error).toMatchObject({ code: 'unknown-outcome', node_key: 'a' })
    expect(asked).toHaveLength(calls)
    expect((await ledger(id))[0]).toEqual(['acme/one', 'unknown', 0.25])
  })

  it('holds back the item alone, and what reads the list', async () => {
    const { run, execute, asked, store } = setup(breaking('x1'))
    const steps = asking([
      { id: 'a', forEach: { items: ['x0', 'x1', 'x2'] }, prompt: '{item}' },
      { id: 'b', prompt: '{steps.a.output[1].text}' },
      { id: 'c' },
    ])
    const { id, status } = await run(definition(steps))
    expect(status).toBe('waiting')
    expect(asked.toSorted()).toEqual(['do c', 'x0', 'x1', 'x2'])
    await store.decide(id, { approve: true, gateId: 'unknown-outcome:a[1]', by: 'key' })
    expect((await execute(id)).status).toBe('completed')
    expect(asked.slice(4)).toEqual(['x1', 'done: x1'])
  })

  it('asks a person once: a second such call of the step fails it', async () => {
    const { run, execute, store } = setup(async () => {
      throw broken
    })
    const { id } = await run(definition(asking([{ id: 'a', retry: { maxAttempts: 1, backoffMs: 0 } }])))
    await store.decide(id, { approve: true, gateId: 'unknown-outcome:a', by: 'key' })
    expect((await execute(id)).status).toBe('failed')
  })

  it('makes the call of a gate again once a person has approved', async () => {
    const { run, execute, store, asked } = setup(breaking('judge: done: do a'))
    const steps = asking([{ id: 'a' }])
    const { id, status } = await run({
      ...definition(steps),
      providerBindings: { ...steps.providerBindings, 'gates.clean': steps.providerBindings.a as never },
      gates: [{ id: 'clean', name: 'clean', type: 'clean', model: 'acme/one' }],
    })
    expect(status).toBe('waiting')
    await store.decide(id, { approve: true, gateId: 'unknown-outcome:a', by: 'key' })
    expect((await execute(id)).status).toBe('completed')
    // What the gate judges has been paid for already, and stands.
    expect(asked).toEqual(['do a', 'judge: done: do a', 'judge: done: do a'])
  })
})

describe('a gate that asks a model', () => {
  it('is asked again by itself where it could not answer, and its step is paid once', async () => {
    const failures = [new StepFailure('server', 'again')]
    const { run, asked, store, costOf, artifacts } = setup(async ({ request }) => {
      const failure = textOf(request.prompt).startsWith('judge') ? failures.pop() : undefined
      if (failure) throw failure
      return answerTo(request)
    })
    const steps = asking([{ id: 'a' }])
    const { id, status } = await run({
      ...aDefinition(steps),
      providerBindings: { ...steps.providerBindings, 'gates.clean': steps.providerBindings.a as never },
      gates: [{ id: 'clean', name: 'clean', type: 'clean', model: 'acme/one' }],
    })
    expect(status).toBe('completed')
    expect(asked).toEqual(['do a', 'judge: done: do a', 'judge: done: do a'])
    expect(costOf(id)).toMatchObject({ actual: 0.5 })
    expect((await store.history(id)).artifacts).toHaveLength(1)
    expect(artifacts.stagedCalls()).toEqual([])
  })
})

describe('fallback models', () => {
  const definition = aDefinition(
    asking([{ id: 'a', retry: { maxAttempts: 1, backoffMs: 0 } }], ['acme/one', 'acme/two']),
  )

  it('are each on the ledger, at what they cost', async () => {
    const { run, ledger, costOf } = setup(async ({ request, model }) => {
      if (model.name === 'acme/one') throw new StepFailure('server', 'down', { billed: 'yes' })
      return answerTo(request)
    })
    const { id, status } = await run(definition)
    expect(status).toBe('completed')
    expect(await ledger(id)).toEqual([
      ['acme/one', 'failed', 0.25],
      ['acme/two', 'succeeded', 0.25],
    ])
    expect(costOf(id)).toMatchObject({ estimated: 0, actual: 0.5 })
  })

  it('are not asked for what the first has refused', async () => {
    const { run, ledger } = setup(async () => {
      throw new StepFailure('refused', 'no')
    })
    const { id, status } = await run(definition)
    expect(status).toBe('failed')
    expect(await ledger(id)).toEqual([['acme/one', 'failed', 0]])
  })
})
