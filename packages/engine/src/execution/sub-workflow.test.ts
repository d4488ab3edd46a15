import { type JsonObject, type Step, textOf } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { ProviderRequest } from '../catalog.ts'
import { createEngine, type EngineDeps } from './execute.ts'
import { StepFailure } from '../failure.ts'
import type { NewRun } from '../ports.ts'
import { RunTaken } from './run-state.ts'
import type { Definition } from '../specification.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { forecast } from '../template/forecast.ts'
import { answerTo, asking, createTestCatalog, createTestEngine, drive, pinned } from '../testing/test-engine.ts'

type Serve = (request: ProviderRequest) => Promise<ReturnType<typeof answerTo>>

const FILE = { artifactType: 'example', files: [{ role: 'b', mimeType: 'text/plain' }] }
/** Asks about its prompt; a quarter of a dollar, one file. */
const CALLED = aDefinition({
  templateId: 'test/called',
  ...asking([{ id: 'b', prompt: '{intake.prompt}' }]),
  artifactSchema: FILE,
})

/** Calls `called` in step `d`; further steps beside it. */
function calling(called: Definition, over: Partial<Step> = {}, steps: (Partial<Step> & { id: string })[] = []) {
  return aDefinition({
    ...asking([{ id: 'd', kind: 'call', prompt: undefined, input: { prompt: 'sub' }, ...over }, ...steps]),
    subWorkflows: { d: pinned(called) },
  })
}

async function setup(
  definition: Definition,
  serve: Serve = async ({ request }) => answerTo(request),
  over: Partial<NewRun> = {},
  ports: Partial<EngineDeps> = {},
) {
  const asked: string[] = []
  const world = createTestEngine(
    {
      async call(request) {
        asked.push(textOf(request.request.prompt))
        return await serve(request)
      },
    },
    ports,
  )
  const run = aNewRun(createSequentialIds().next(), { definition, ...over })
  await world.store.accept(run)
  const { store } = world
  const children = async () => (await store.children(run.id)).toSorted((a, b) => (a.id < b.id ? -1 : 1))
  return {
    ...world,
    asked,
    id: run.id,
    children,
    read: (runId = run.id) => store.read(runId),
    costOf: (runId = run.id) => store.read(runId)?.events.at(-1)?.payload.cost as JsonObject,
    async execute() {
      world.deliveries.push({
        runId: run.id,
        organizationId: 'system',
        epoch: 0,
        workflow: run.workflow,
        priority: 50,
        lane: 'batch',
      })
      await drive(world)
    },
    /** Hands a delivery over, and everything that follows from it. */
    async deliver(delivery: Awaited<ReturnType<typeof store.decide>>) {
      if (delivery === null) throw new Error('there is nothing to deliver')
      world.deliveries.push(delivery)
      await drive(world)
    },
    async until(condition: () => boolean) {
      for (let tries = 0; !condition() && tries < 1_000; tries += 1)
        await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

const stopped = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    if (signal.aborted) reject(new StepFailure('timeout', 'stopped', { billed: 'yes' }))
    signal.addEventListener('abort', () => reject(new StepFailure('timeout', 'stopped', { billed: 'yes' })))
  })

describe('a called workflow', () => {
  it('is a run of its own, whose output is the step’s and whose cost is counted once', async () => {
    const { execute, read, children, costOf, store, id } = await setup(
      calling(CALLED, {}, [{ id: 'e', prompt: '{steps.d.output.b.text}' }]),
    )
    await execute()
    expect(read()).toMatchObject({ status: 'completed', output: { e: { text: 'done: done: sub' } } })
    const [child] = await children()
    expect(child).toMatchObject({
      callerKey: 'd',
      workflow: 'test/called',
      status: 'completed',
      spent: { billed: 0.25 },
    })
    expect(costOf()).toMatchObject({ actual: 0.5 })
    expect(costOf(child?.id)).toMatchObject({ actual: 0.25 })
    expect((await store.history(id)).calls).toHaveLength(1)
    expect(read(child?.id)?.events.every(({ root_run_id }) => root_run_id === id)).toBe(true)
  })

  it('hands its files on under ids of the caller’s own', async () => {
    const { execute, children, store, id } = await setup({
      ...calling(CALLED, {}, []),
      artifactSchema: {
        artifactType: 'x',
        files: [{ role: 'out', mimeType: 'text/plain', from: 'steps.d.output.b.artifact' }],
      },
    })
    await execute()
    const own = (await store.history(id)).artifacts
    const theirs = (await children())[0]?.artifacts ?? []
    expect(own).toHaveLength(1)
    expect(theirs).toHaveLength(1)
    expect(own[0]?.id).not.toBe(theirs[0]?.id)
    expect(own[0]).toMatchObject({
      role: 'out',
      status: 'approved',
      stepKey: 'd',
      sha256: theirs[0]?.sha256,
      storageKey: theirs[0]?.storageKey,
    })
    expect((await store.history(id)).checkpoints[0]?.output).toMatchObject({ b: { artifact: { id: own[0]?.id } } })
  })

  it('marks its step and the whole run as simulated where it is', async () => {
    const definition = calling(CALLED)
    const { execute, store, id } = await setup({
      ...definition,
      subWorkflows: { d: { ...pinned(CALLED), simulated: true } },
    })
    await execute()
    expect((await store.history(id)).checkpoints).toMatchObject([{ key: 'd', simulated: true }])
  })

  it('may spend no more than its caller allows, whatever its own limit', async () => {
    const called = aDefinition({
      templateId: 'test/called',
      ...asking([{ id: 'b', kind: 'parts', count: 3, retry: { maxAttempts: 3, backoffMs: 0, on: ['bad_output'] } }]),
      budgetPolicy: { maxPerRunUsd: 5 },
    })
    const { execute, read, asked, children } = await setup({
      ...calling(called),
      budgetPolicy: { maxPerRunUsd: 0.6 },
    })
    await execute()
    expect((await children())[0]).toMatchObject({ status: 'failed', error: { code: 'budget-exceeded' }, capUsd: 0.6 })
    expect(asked).toEqual(['do b 1', 'do b 2'])
    expect(read()?.status).toBe('failed')
  })

  it('is not called where not even what it is expected to need is left', async () => {
    const { execute, read, children } = await setup({
      ...calling(CALLED, { needs: ['a'] }, [{ id: 'a' }]),
      budgetPolicy: { maxPerRunUsd: 0.4 },
    })
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'budget-exceeded', node_key: 'd' } })
    expect(await children()).toEqual([])
  })

  it('counts against the caps of the day of whoever called it', async () => {
    const { execute, store, read } = await setup({ ...calling(CALLED), budgetPolicy: { maxPerDayUsd: 0.2 } })
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'sub-workflow-failed' } })
    expect(await store.spentToday('system', 'test/example')).toBe(0)
    const fitting = await setup({ ...calling(CALLED), budgetPolicy: { maxPerDayUsd: 0.25 } })
    await fitting.execute()
    expect(fitting.read()?.status).toBe('completed')
    expect(await fitting.store.spentToday('system', 'test/example')).toBe(0.25)
  })

  it('gets a validated input, with what the schema adds to it', async () => {
    const { execute, read, asked } = await setup(
      calling(CALLED, { input: {} }),
      undefined,
      {},
      {
        intake: {
          validate: async (_hash, _schema, value) => ({
            problems: [],
            value: { ...(value as JsonObject), prompt: 'by default' },
            undeclared: [],
          }),
        },
      },
    )
    await execute()
    expect(read()?.status).toBe('completed')
    expect(asked).toEqual(['by default'])
  })

  it('is not called with an input that does not fit', async () => {
    const { execute, read, children, asked } = await setup(
      calling(CALLED),
      undefined,
      {},
      {
        intake: {
          validate: async (_hash, _schema, value) => ({
            problems: [{ pointer: '/prompt', detail: 'is too short' }],
            value,
            undeclared: [],
          }),
        },
      },
    )
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'sub-workflow-input', node_key: 'd' } })
    expect(read()?.error?.message).toContain('/prompt is too short')
    expect([await children(), asked]).toEqual([[], []])
  })

  it('fails its step with its own reason, and is not called again', async () => {
    const { execute, read, children, costOf } = await setup(calling(CALLED), async () => {
      throw new StepFailure('invalid', 'no such thing', { billed: 'yes' })
    })
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'sub-workflow-failed', node_key: 'd' } })
    expect(read()?.error?.message).toContain('no such thing')
    expect(await children()).toHaveLength(1)
    expect(costOf()).toMatchObject({ actual: 0.25 })
  })

  it.each(['W12', 'W11', 'W7', 'W9'])('is called once, whatever dies at %s', async (place) => {
    let dies = true
    const world = await setup(calling(CALLED, { forEach: { items: ['x', 'y'] } }, [{ id: 'e', needs: ['d'] }]))
    const { store, clock, deliveries, id, read, children, asked, deps } = world
    const mortal = createEngine({
      ...deps,
      killpoint(name) {
        if (name !== place || !dies) return
        dies = false
        // A dead worker writes nothing more; to the engine that looks like a run that another one holds.
        throw new RunTaken('lost')
      },
    })
    await mortal.execute(id, new AbortController().signal).catch(() => {})
    for (let pass = 0; pass < 20; pass += 1) {
      while (deliveries.length > 0)
        await mortal.execute(deliveries.shift()?.runId ?? '', new AbortController().signal).catch(() => {})
      clock.advance(61_000)
      deliveries.push(...(await store.recover(10)).overdue)
    }
    expect(read()?.status).toBe('completed')
    expect((await children()).map(({ callerKey }) => callerKey)).toEqual(['d[0]', 'd[1]'])
    expect(asked.filter((prompt) => prompt === 'sub')).toHaveLength(2)
  })

  it('leaves no staged answer behind, whoever commits it', async () => {
    const { execute, artifacts, read } = await setup(
      calling(CALLED, { needs: [] }, [
        { id: 'a' },
        { id: 'e', kind: 'call', prompt: undefined, input: {}, needs: ['a'] },
      ]),
    )
    await execute()
    expect(read()?.status).toBe('failed')
    expect(artifacts.stagedCalls()).toEqual([])
  })

  it('books what the caller has paid by then together with the call, and unstages it', async () => {
    const called = calling(CALLED, { forEach: { items: ['x'] }, needs: ['a'] }, [{ id: 'a' }])
    const { execute, artifacts, read } = await setup(called)
    await execute()
    expect(read()?.status).toBe('completed')
    expect(artifacts.stagedCalls()).toEqual([])
  })
})

describe('called workflows of a list', () => {
  const LIST = { forEach: { items: ['x', 'y', 'z'], concurrency: 2 }, input: { prompt: '{item}' } }

  it('are called as many at once as the step allows, and answered in order', async () => {
    let [atWork, most] = [0, 0]
    const { execute, read } = await setup(calling(CALLED, LIST), async ({ request }) => {
      atWork += 1
      most = Math.max(most, atWork)
      await new Promise((resolve) => setImmediate(resolve))
      atWork -= 1
      return answerTo(request)
    })
    await execute()
    expect(read()?.output).toMatchObject({
      d: [{ b: { text: 'done: x' } }, { b: { text: 'done: y' } }, { b: { text: 'done: z' } }],
    })
    expect(most).toBe(2)
  })

  it('take the place of one that has ended while others go on, even beside a step at work', async () => {
    let release: () => void = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    let beside: () => void = () => {}
    const heldBeside = new Promise<void>((resolve) => {
      beside = resolve
    })
    const { execute, read, asked } = await setup(calling(CALLED, LIST, [{ id: 'a' }]), async ({ request }) => {
      if (request.prompt === 'y') await held
      if (request.prompt === 'do a') await heldBeside
      if (request.prompt === 'z') {
        release()
        beside()
      }
      return answerTo(request)
    })
    const done = execute()
    const ended = await Promise.race([
      done.then(() => true),
      new Promise((resolve) => setTimeout(resolve, 1_500, false)),
    ])
    const before = [...asked]
    release()
    beside()
    await done
    expect(ended, `asked by then: ${before.join(', ')}`).toBe(true)
    expect(read()?.status).toBe('completed')
  })

  it('with fail_fast false are all waited for, and paid, before the run ends', async () => {
    const releases: Record<string, () => void> = {}
    const { execute, read, costOf, children, until } = await setup(
      calling(CALLED, { ...LIST, forEach: { items: ['x', 'y', 'z'], concurrency: 3 } }),
      async ({ request }) => {
        if (request.prompt === 'x') throw new StepFailure('invalid', 'no')
        await new Promise<void>((resolve) => {
          releases[textOf(request.prompt)] = resolve
        })
        return answerTo(request)
      },
      { failFast: false },
    )
    const done = execute()
    await until(() => Object.keys(releases).length === 2)
    for (let n = 0; n < 20; n += 1) await new Promise((resolve) => setImmediate(resolve))
    releases.y?.()
    for (let n = 0; n < 50; n += 1) await new Promise((resolve) => setImmediate(resolve))
    expect(read()?.status, 'one of its runs still goes on').not.toBe('failed')
    releases.z?.()
    await done
    expect((await children()).map(({ status }) => status)).toEqual(['failed', 'completed', 'completed'])
    expect(read()?.status).toBe('failed')
    expect(costOf()).toMatchObject({ actual: 0.5 })
  })

  it('together may spend no more than the caller', async () => {
    const definition = {
      ...calling(CALLED, { ...LIST, forEach: { items: ['x', 'y', 'z'], concurrency: 3 } }),
      budgetPolicy: { maxPerRunUsd: 0.75 },
    }
    const { execute, store, id, deps, deliveries } = await setup(definition)
    deliveries.push({ runId: id, organizationId: 'system', epoch: 0, workflow: '', priority: 50, lane: 'batch' })
    const [first] = deliveries.splice(0)
    await createEngine(deps).execute(first?.runId ?? '', new AbortController().signal)
    const caps = (await store.children(id)).map(({ capUsd }) => capUsd)
    expect(caps.reduce((sum, cap) => sum + cap, 0)).toBeLessThanOrEqual(0.75)
    await execute()
  })

  it('that are expected to fit under the limit of the caller all get what they are expected to need', async () => {
    const definition = {
      ...calling(CALLED, { ...LIST, forEach: { items: ['x', 'y', 'z'], concurrency: 3 } }),
      budgetPolicy: { maxPerRunUsd: 0.75 },
    }
    const instance = { intake: {}, regenerate: {}, variantIndex: null, variants: 1 }
    const priced = forecast(createTestCatalog(), definition, instance)
    const { execute, read } = await setup(definition, undefined, { instance: { ...instance, priced } })
    await execute()
    expect(read()?.status).toBe('completed')
  })
})

describe('a review in a called workflow', () => {
  const REVIEWED = { ...CALLED, gates: [{ id: 'look', name: 'look', type: 'review' }] }

  it.each([
    [true, 'completed'],
    [false, 'failed'],
  ])('is decided on the caller: approve %s leaves it %s', async (approve, status) => {
    const { execute, read, store, id, deliver, children } = await setup(calling(REVIEWED))
    await execute()
    expect(read()?.status).toBe('waiting')
    const child = (await children())[0]?.id
    expect(read()?.events.at(-1)).toMatchObject({
      kind: 'workflow.run.waiting',
      payload: { gates: [{ id: 'look', name: 'look', run_id: child }] },
    })
    await deliver(await store.decide(id, { approve, by: 'key' }))
    expect(read()?.status).toBe(status)
    expect(read()?.events.filter(({ kind }) => kind === 'workflow.run.waiting')).toHaveLength(1)
    expect(await store.decide(id, { approve, by: 'key' })).toBeNull()
  })

  it('two levels down is decided on the run at the top', async () => {
    const { execute, read, store, id, deliver, costOf } = await setup(
      calling({ ...calling(REVIEWED), templateId: 'test/between' }),
    )
    await execute()
    expect(read()?.status).toBe('waiting')
    await deliver(await store.decide(id, { approve: true, by: 'key' }))
    expect(read()?.status).toBe('completed')
    expect(costOf()).toMatchObject({ actual: 0.25 })
  })

  it('lets the caller’s other steps go on meanwhile', async () => {
    const { execute, asked, read } = await setup(calling(REVIEWED, {}, [{ id: 'a' }, { id: 'c', needs: ['a'] }]))
    await execute()
    expect(asked.toSorted()).toEqual(['do a', 'do c', 'sub'])
    expect(read()?.status).toBe('waiting')
  })
})

describe('a run that gives up', () => {
  it('cancels what it has called, waits for it, and counts what that has spent', async () => {
    const world = await setup(calling(CALLED, {}, [{ id: 'a' }]), async ({ request, signal }) => {
      if (request.prompt === 'sub') return await stopped(signal)
      await world.until(() => world.asked.includes('sub'))
      throw new StepFailure('invalid', 'no')
    })
    const { store, id, read, children, costOf, deps, deliveries, clock, until } = world
    const aborts = new Map<string, AbortController>()
    const engine = createEngine({
      ...deps,
      queue: { ...deps.queue, publishCancel: (runId) => aborts.get(runId)?.abort('cancel') },
    })
    const start = (runId: string) => {
      const abort = new AbortController()
      aborts.set(runId, abort)
      return engine.execute(runId, abort.signal)
    }
    const parent = start(id)
    await until(() => deliveries.length > 0)
    const child = deliveries.shift()?.runId ?? ''
    await start(child)
    await parent
    for (let pass = 0; pass < 5; pass += 1) {
      while (deliveries.length > 0) await start(deliveries.shift()?.runId ?? '')
      clock.advance(31_000)
      deliveries.push(...(await store.recover(10)).overdue)
    }
    expect((await children())[0]?.status).toBe('cancelled')
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'invalid', node_key: 'a' } })
    expect(costOf(child)).toMatchObject({ actual: 0.25 })
    expect(costOf()).toMatchObject({ actual: 0.25 })
  })
})

describe('a cancel by a user', () => {
  it('ends the caller and what it has called, suspended or queued, with what they have spent', async () => {
    const reviewed = { ...CALLED, gates: [{ id: 'look', name: 'look', type: 'review' }] }
    const { execute, store, id, read, children, costOf } = await setup(calling(reviewed, {}, [{ id: 'a' }]))
    await execute()
    expect(read()?.status).toBe('waiting')
    const { settled, active } = await store.requestCancel(id)
    expect(active).toEqual([])
    expect(settled).toHaveLength(2)
    expect((await children())[0]?.status).toBe('cancelled')
    expect(read()?.status).toBe('cancelled')
    expect(costOf()).toMatchObject({ actual: 0.5 })
  })

  it('ends the caller after what it has called, and counts what that had under way', async () => {
    let sent = false
    const { store, id, read, costOf, engine, deliveries, until, clock } = await setup(
      calling(CALLED, {}, [{ id: 'a' }]),
      async ({ request, signal }) => {
        if (request.prompt === 'sub') sent = true
        return await stopped(signal)
      },
    )
    const [first, second] = [new AbortController(), new AbortController()]
    const parent = engine.execute(id, first.signal)
    await until(() => deliveries.length > 0)
    const child = engine.execute(deliveries.shift()?.runId ?? '', second.signal)
    await until(() => sent)
    await store.requestCancel(id)
    first.abort('cancel')
    await until(() => clock.sleeping().includes(50))
    expect(read()?.status).toBe('running')
    second.abort('cancel')
    await child
    clock.advance(50)
    await parent
    expect(read()?.status).toBe('cancelled')
    expect(costOf()).toMatchObject({ actual: 0.5 })
  })

  it('ends the caller without it after two leases: its worker may be dead', async () => {
    let sent = false
    const world = await setup(calling(CALLED, {}, [{ id: 'a' }]), async ({ request, signal }) => {
      if (request.prompt === 'sub') sent = true
      return await stopped(signal)
    })
    const { store, id, read, engine, deliveries, until, clock, deps } = world
    const cancel = new AbortController()
    const parent = engine.execute(id, cancel.signal)
    await until(() => deliveries.length > 0)
    void engine.execute(deliveries.shift()?.runId ?? '', new AbortController().signal)
    await until(() => sent)
    await store.requestCancel(id)
    cancel.abort('cancel')
    const startMs = clock.nowMs()
    let isOver = false
    void parent.then(() => (isOver = true))
    while (!isOver) {
      await new Promise((resolve) => setImmediate(resolve))
      clock.advance(25)
    }
    expect(clock.nowMs() - startMs).toBeGreaterThanOrEqual(2 * deps.leaseMs)
    expect(read()?.status).toBe('cancelled')
  })

  it('counts it as well where the caller rests', async () => {
    let sent = false
    const { store, id, read, costOf, engine, deliveries, until } = await setup(calling(CALLED), async ({ signal }) => {
      sent = true
      return await stopped(signal)
    })
    await engine.execute(id, new AbortController().signal)
    const abort = new AbortController()
    const child = engine.execute(deliveries.shift()?.runId ?? '', abort.signal)
    await until(() => sent)
    const { active } = await store.requestCancel(id)
    expect(active).toHaveLength(1)
    abort.abort('cancel')
    await child
    expect(read()?.status).toBe('cancelled')
    expect(costOf()).toMatchObject({ actual: 0.25 })
  })
})
