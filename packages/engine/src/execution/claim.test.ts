import { FabriqueError, type JsonValue, type RunEvent, type Step } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { ProviderRequest } from '../catalog.ts'
import { StepFailure } from '../failure.ts'
import type { NewRun, RunStore, Transition } from '../ports.ts'
import type { Definition } from '../specification.ts'
import type { FakeClock } from '../testing/fake-clock.ts'
import { aCheckpoint, aDefinition, aNewRun, aTransition } from '../testing/factories.ts'
import { answerTo, asking, createTestEngine, pinned } from '../testing/test-engine.ts'
import { createEngine, type EngineDeps } from './execute.ts'

type Serve = (request: ProviderRequest) => Promise<ReturnType<typeof answerTo>>

/** An engine whose record counts what it is asked, and can be replaced in part by `record`. */
function setup(serve: Serve = async ({ request }) => answerTo(request), over: Partial<EngineDeps> = {}) {
  const world = createTestEngine({ call: serve }, over)
  const { store, deps } = world
  const asked: string[] = []
  const published: RunEvent[] = []
  const stopped: string[] = []
  const counted: RunStore = {
    ...store,
    async definition(hash) {
      asked.push('definition')
      return await store.definition(hash)
    },
    async history(runId) {
      asked.push(`history ${runId}`)
      return await store.history(runId)
    },
  }
  const queue = {
    ...deps.queue,
    publish: (events: RunEvent[]) => void published.push(...events),
    publishCancel: (rootRunId: string) => void stopped.push(rootRunId),
  }
  const engineOver = (record: Partial<RunStore> = {}) =>
    createEngine({ ...deps, queue, store: { ...counted, ...record } })
  return {
    ...world,
    asked,
    published,
    stopped,
    engineOver,
    accept: (id: string, definition: Partial<Definition> = noting({ id: 'a' }), run: Partial<NewRun> = {}) =>
      store.accept(aNewRun(id, { definition: aDefinition(definition), ...run })),
  }
}

const noting = (...steps: (Partial<Step> & { id: string })[]): Partial<Definition> => ({
  stepInstructions: steps.map((step): Step => ({ kind: 'note', text: step.id, ...step })),
})
const never = new AbortController().signal
const away = () => new FabriqueError('unavailable', 'away')

describe('a claim', () => {
  it('is told with its fence before anything else happens', async () => {
    const { accept, engineOver, asked } = setup()
    await accept('r')
    const heard: unknown[] = []
    const engine = engineOver()
    expect(await engine.execute('r', never, (held) => heard.push([held, [...asked]]))).toBe('finished')
    expect(heard).toEqual([[{ runId: 'r', rootRunId: 'r', fence: 1 }, []]])
  })

  it('that fails is a loss, told to nobody', async () => {
    const { accept, engineOver, store, published } = setup()
    await accept('r')
    await store.claim('r', 'another', 60_000)
    const heard: unknown[] = []
    expect(await engineOver().execute('r', never, (held) => heard.push(held))).toBe('lost')
    expect([heard, published]).toEqual([[], []])
  })

  it('reads what an earlier execution left only where there was one', async () => {
    const { accept, engineOver, store, asked } = setup()
    await accept('fresh')
    await accept('resumed', noting({ id: 'a' }, { id: 'b', needs: ['a'] }))
    const first = await store.claim('resumed', 'another', 60_000)
    const checkpoints = [aCheckpoint('a', { output: { text: 'of the other worker' } })]
    await store.commit(aTransition('resumed', first?.fence ?? 0, { checkpoints }))
    await store.release('resumed', first?.fence ?? 0)
    const engine = engineOver()
    for (const id of ['fresh', 'resumed']) await engine.execute(id, never)
    expect(asked.filter((one) => one.startsWith('history'))).toEqual(['history resumed'])
    expect((await store.history('resumed')).checkpoints[0]?.output).toEqual({ text: 'of the other worker' })
  })
})

describe('a definition', () => {
  it('is read once by a worker, however many runs have it', async () => {
    const { accept, engineOver, asked } = setup()
    const engine = engineOver()
    for (const id of ['r1', 'r2', 'r3']) {
      await accept(id)
      await engine.execute(id, never)
    }
    expect(asked).toEqual(['definition'])
  })

  it('is kept for 500 at a time: the least recently used one makes room', async () => {
    const { accept, engineOver, asked } = setup()
    const engine = engineOver()
    const execute = async (id: string, version: number) => {
      await accept(id, { ...noting({ id: 'a' }), templateVersion: `v${version}` })
      asked.length = 0
      await engine.execute(id, never)
      return asked.length
    }
    for (let version = 0; version < 500; version += 1) await execute(`r${version}`, version)
    expect(await execute('known', 0)).toBe(0)
    expect(await execute('one more', 500)).toBe(1)
    expect([await execute('second', 1), await execute('first', 0)]).toEqual([1, 0])
  })

  it('that the record lacks breaks the execution off, with its hash', async () => {
    const { accept, engineOver } = setup()
    await accept('r')
    const engine = engineOver({ definition: async () => null })
    await expect(engine.execute('r', never)).rejects.toThrow(/specification [0-9a-f]{64} is not in the record/)
  })
})

/** Resolves when this has ended, in a time that goes on by so much at each turn. */
async function whileTimePasses(execution: Promise<unknown>, clock: FakeClock, stepMs: number): Promise<void> {
  let isOver = false
  void execution.then(() => (isOver = true))
  while (!isOver) {
    await new Promise((resolve) => setImmediate(resolve))
    clock.advance(stepMs)
  }
}

/** A record that is away for the first `times` of what it is asked. */
function awayFor<Args extends unknown[], Answer>(times: number, ask: (...args: Args) => Promise<Answer>) {
  let left = times
  return async (...args: Args): Promise<Answer> => {
    if (left-- > 0) throw away()
    return await ask(...args)
  }
}

describe('a run whose record is away', () => {
  it('keeps the answer that is paid for until the record is back, asking with pauses that grow to two seconds', async () => {
    const prompts: unknown[] = []
    const { accept, engineOver, store, clock } = setup(async ({ request }) => {
      prompts.push(request.prompt)
      return answerTo(request)
    })
    await accept('r', asking([{ id: 'a', prompt: 'do a' }]))
    let isAway = false
    const tried = awayFor(8, store.commit)
    const engine = engineOver({
      async commit(transition) {
        // From the commit of the answer on.
        isAway ||= transition.checkpoints.length > 0
        return isAway ? await tried(transition) : await store.commit(transition)
      },
    })
    const execution = engine.execute('r', never)
    const pauses: number[] = []
    while (pauses.length < 8) {
      await new Promise((resolve) => setImmediate(resolve))
      const [pause] = clock.sleeping()
      if (pause === undefined) continue
      pauses.push(pause)
      clock.advance(pause)
    }
    expect(await execution).toBe('finished')
    expect(pauses).toEqual([100, 200, 400, 800, 1600, 2000, 2000, 2000])
    expect(prompts).toEqual(['do a'])
    expect(store.read('r')).toMatchObject({ status: 'completed', calls: [{ outcome: 'succeeded' }] })
  })

  it.each(['claim', 'definition', 'history', 'children'] as const)(
    'goes on where "%s" was not answered',
    async (name) => {
      const { accept, engineOver, store, clock } = setup()
      await accept('r')
      const first = await store.claim('r', 'w0', 1)
      await store.release('r', first?.fence ?? 0)
      const engine = engineOver({ [name]: awayFor(1, store[name] as never) })
      const execution = engine.execute('r', never)
      await whileTimePasses(execution, clock, 100)
      expect(await execution).toBe('finished')
    },
  )

  it('applies a transition once whose answer was lost, and ends with one terminal event', async () => {
    const { accept, engineOver, store, clock } = setup(async ({ request }) => answerTo(request))
    await accept('r', asking([{ id: 'a', prompt: 'do a' }]))
    let losesNext = true
    const engine = engineOver({
      async commit(transition) {
        const outcome = await store.commit(transition)
        losesNext = !losesNext
        if (!losesNext) throw away()
        return outcome
      },
    })
    const execution = engine.execute('r', never)
    await whileTimePasses(execution, clock, 100)
    expect(await execution).toBe('finished')
    const kinds = store.read('r')?.events.map(({ kind }) => kind) ?? []
    expect(kinds).toHaveLength(new Set(kinds).size)
    expect(kinds.at(-1)).toBe('workflow.run.completed')
  })

  it('is handed back at a shutdown, once it answers', async () => {
    const { accept, engineOver, clock, deliveries } = setup()
    await accept('r')
    const shutdown = new AbortController()
    const execution = engineOver({ commit: () => Promise.reject(away()) }).execute('r', shutdown.signal)
    while (clock.sleeping().length === 0) await new Promise((resolve) => setImmediate(resolve))
    shutdown.abort('shutdown')
    expect(await execution).toBe('released')
    expect(deliveries).toMatchObject([{ runId: 'r', epoch: 1 }])
  })

  it('is left to its lease where it is away at the shutdown too, and a cancelled one after some dozens of tries', async () => {
    const { accept, engineOver, clock } = setup()
    let tries = 0
    const refuse = () => {
      tries += 1
      return Promise.reject(away())
    }
    for (const [reason, expected] of [
      ['shutdown', [1, 2]],
      ['cancel', [20, 45]],
    ] as const) {
      await accept(reason)
      const stop = new AbortController()
      tries = 0
      const engine = engineOver({ commit: refuse, release: refuse })
      const execution = engine.execute(reason, stop.signal).catch((error: unknown) => error)
      while (tries === 0) await new Promise((resolve) => setImmediate(resolve))
      stop.abort(reason)
      const before = tries
      await whileTimePasses(execution, clock, 2_000)
      expect(FabriqueError.is(await execution, 'unavailable')).toBe(true)
      expect(tries - before).toBeGreaterThanOrEqual(expected[0])
      expect(tries - before).toBeLessThanOrEqual(expected[1])
    }
  })

  it('is lost where it was taken meanwhile, and its answer stays for whoever took it', async () => {
    const { accept, engineOver, store, artifacts, clock, deliveries } = setup(async ({ request }) => answerTo(request))
    await accept('r', asking([{ id: 'a', prompt: 'do a' }]))
    let isAway = false
    const engine = engineOver({
      async commit(transition) {
        if (transition.checkpoints.length === 0) return await store.commit(transition)
        if (isAway) return { outcome: 'lost' }
        isAway = true
        throw away()
      },
    })
    const execution = engine.execute('r', never)
    while (clock.sleeping().length === 0) await new Promise((resolve) => setImmediate(resolve))
    clock.advance(100)
    expect(await execution).toBe('lost')
    expect(deliveries).toEqual([])
    const [call] = store.read('r')?.calls ?? []
    expect(await artifacts.staged(call?.id ?? '')).not.toBeNull()
  })

  it('is not handed back for a fault of ours', async () => {
    const { accept, engineOver } = setup()
    await accept('r1')
    const bug = new Error('a bug')
    let released = 0
    const broken = engineOver({
      commit: () => Promise.reject(bug),
      release: async () => (released++, null),
    })
    await expect(broken.execute('r1', never)).rejects.toBe(bug)
    expect(released).toBe(0)
  })
})

describe('a run that breaks its commit', () => {
  it.each([
    ['of a finished step', ({ checkpoints }: Transition) => checkpoints.length > 0],
    ['of a call', ({ calls }: Transition) => calls.some(({ outcome, bill }) => outcome === 'failed' && bill !== null)],
  ])('%s is failed at once with its reason, and what it has paid is booked', async (_, isRefused) => {
    let asked = 0
    const { accept, engineOver, store, published, clock } = setup(async ({ request }) => {
      asked += 1
      if (asked === 1) throw new StepFailure('server', 'busy', { billed: 'yes' })
      return answerTo(request)
    })
    await accept('r', asking([{ id: 'a', prompt: 'do a', retry: { maxAttempts: 2, backoffMs: 10 } }]))
    const engine = engineOver({
      commit: async (transition) =>
        isRefused(transition) ? { outcome: 'unstorable' } : await store.commit(transition),
    })
    const execution = engine.execute('r', never)
    let isOver = false
    void execution.finally(() => (isOver = true))
    while (!isOver) {
      await new Promise((resolve) => setImmediate(resolve))
      clock.advance(10)
    }
    expect(await execution).toBe('finished')
    const run = store.read('r')
    expect(run).toMatchObject({ status: 'failed', error: { code: 'unstorable-answer' } })
    expect(run?.calls.map(({ outcome }) => outcome)).not.toContain('pending')
    const spent = run?.calls.reduce((sum, { actualUsd }) => sum + (actualUsd ?? Number.NaN), 0)
    expect(spent).toBe(0.25 * asked)
    expect(published.at(-1)).toMatchObject({ kind: 'workflow.run.failed', payload: { cost: { actual: spent } } })
  })

  it('with an answer nested without end fails as its step, asked once and booked', async () => {
    let deep: JsonValue = 'deep'
    for (let level = 0; level < 100_000; level += 1) deep = [deep]
    let asked = 0
    const { accept, engineOver, store } = setup(async ({ request }) => {
      asked += 1
      const answer = answerTo(request)
      return { ...answer, output: { ...answer.output, deep } }
    })
    await accept('r', asking([{ id: 'a', prompt: 'do a' }]))
    expect(await engineOver().execute('r', never)).toBe('finished')
    expect(store.read('r')).toMatchObject({
      status: 'failed',
      error: { code: 'unstorable-answer', node_key: 'a' },
      calls: [{ outcome: 'failed', actualUsd: 0.25 }],
    })
    expect(asked).toBe(1)
  })

  it('does not with characters that no column can hold: an output is JSON, and stays as it was made', async () => {
    const { accept, engineOver, store } = setup(async ({ request }) => ({
      ...answerTo(request),
      output: { text: 'a\0b\uD800' },
    }))
    await accept('r', asking([{ id: 'a', prompt: 'do a' }]))
    expect(await engineOver().execute('r', never)).toBe('finished')
    expect(store.read('r')?.status).toBe('completed')
    expect((await store.history('r')).checkpoints[0]?.output).toMatchObject({ text: 'a\0b\uD800' })
  })
})

describe('a bug in the middle of a run', () => {
  it('stops the steps that are at work, waits for them, and comes out as it was', async () => {
    const order: string[] = []
    const { accept, engineOver } = setup(async ({ request, signal }) => {
      if (request.prompt === 'do a') return answerTo(request)
      return await new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => {
          order.push(`stopped: ${String(signal.reason)}`)
          setImmediate(() => {
            order.push('returned')
            reject(new StepFailure('timeout', 'stopped'))
          })
        })
      })
    })
    await accept('r', asking([{ id: 'a' }, { id: 'b' }]))
    const bug = new Error('a bug')
    const engine = engineOver({
      async commit(transition) {
        if (transition.checkpoints.length > 0) throw bug
        return { outcome: 'committed', events: [] }
      },
    })
    await expect(engine.execute('r', never)).rejects.toBe(bug)
    expect(order).toEqual(['stopped: lost', 'returned'])
  })
})

describe('the end of a run that another waits for', () => {
  const called = aDefinition({ templateId: 'test/called', ...noting({ id: 'x' }) })
  const CALLING = {
    ...asking([{ id: 'd', kind: 'call', prompt: undefined, input: {} }]),
    subWorkflows: { d: pinned(called) },
  }

  it('is told to it: it is delivered again', async () => {
    const { accept, engineOver, deliveries } = setup()
    await accept('r', CALLING)
    const engine = engineOver()
    expect(await engine.execute('r', never)).toBe('suspended')
    const [child] = deliveries.splice(0)
    expect(await engine.execute(child?.runId ?? '', never)).toBe('finished')
    expect(deliveries).toMatchObject([{ runId: 'r', epoch: 1 }])
    expect(await engine.execute('r', never)).toBe('finished')
  })

  it('is told as well where it waits for a person', async () => {
    const { accept, engineOver, deliveries } = setup()
    const reviewed = { ...called, gates: [{ id: 'look', name: 'look', type: 'review' }] }
    await accept('r', { ...CALLING, subWorkflows: { d: pinned(reviewed) } })
    const engine = engineOver()
    await engine.execute('r', never)
    const [child] = deliveries.splice(0)
    expect(await engine.execute(child?.runId ?? '', never)).toBe('waiting')
    expect(deliveries).toMatchObject([{ runId: 'r' }])
  })

  it('is told to nobody where the run goes on elsewhere', async () => {
    const stop = new AbortController()
    const { accept, engineOver, deliveries } = setup(async () => {
      stop.abort('shutdown')
      throw new StepFailure('timeout', 'stopped')
    })
    const asks = aDefinition({ templateId: 'test/called', ...asking([{ id: 'x' }]) })
    await accept('r', { ...CALLING, subWorkflows: { d: pinned(asks) } })
    const engine = engineOver()
    await engine.execute('r', never)
    const [child] = deliveries.splice(0)
    expect(await engine.execute(child?.runId ?? '', stop.signal)).toBe('released')
    expect(deliveries.map(({ runId }) => runId)).toEqual([child?.runId])
  })

  it.each([
    ['has ended', [], 'finished'],
    ['waits for a person', [{ id: 'look', name: 'look', type: 'review' }], 'waiting'],
  ] as const)(
    'is not missed where the called run %s just before its caller is suspended',
    async (_, gates, outcome) => {
      const { accept, engineOver, deliveries, store } = setup()
      await accept('r', { ...CALLING, subWorkflows: { d: pinned({ ...called, gates: [...gates] }) } })
      const other = engineOver()
      const engine = engineOver({
        async commit(transition) {
          if (transition.end?.status === 'suspended') {
            const [child] = deliveries.splice(0)
            expect(await other.execute(child?.runId ?? '', never)).toBe(outcome)
            expect(deliveries, 'the caller is not suspended yet').toEqual([])
          }
          return await store.commit(transition)
        },
      })
      expect(await engine.execute('r', never)).toBe('suspended')
      expect(deliveries).toMatchObject([{ runId: 'r', epoch: 1 }])
    },
  )

  it('is awaited without another delivery where nothing has happened meanwhile', async () => {
    const { accept, engineOver, deliveries, store } = setup()
    const reviewed = { ...called, gates: [{ id: 'look', name: 'look', type: 'review' }] }
    await accept('r', { ...CALLING, subWorkflows: { d: pinned(reviewed) } })
    const engine = engineOver()
    await engine.execute('r', never)
    const [child] = deliveries.splice(0)
    await engine.execute(child?.runId ?? '', never)
    const [again] = deliveries.splice(0)
    expect([again?.runId, await engine.execute('r', never)]).toEqual(['r', 'waiting'])
    expect([deliveries, store.read('r')?.status]).toEqual([[], 'waiting'])
  })

  it('is no delivery where the other is not yet at rest', async () => {
    const { accept, engineOver, deliveries } = setup()
    await accept('root', noting({ id: 'a' }), {
      slots: [aNewRun('s1', { definition: aDefinition(noting({ id: 'a' })) })],
    })
    const engine = engineOver()
    expect(await engine.execute('s1', never)).toBe('finished')
    expect(deliveries).toEqual([])
  })

  it('of a slot is published with what it means for the whole', async () => {
    const { accept, engineOver, published, stopped, store } = setup(async ({ request }) => {
      if (request.prompt === 'do a') throw new StepFailure('invalid', 'no')
      return answerTo(request)
    })
    const slots = ['s1', 's2'].map((id) => aNewRun(id, { definition: aDefinition(asking([{ id: 'a' }])) }))
    await accept('root', noting({ id: 'a' }), { slots })
    await store.claim('s2', 'another', 60_000)
    await engineOver().execute('s1', never)
    expect(published.filter(({ run_id }) => run_id === 'root').map(({ kind, node_key }) => [kind, node_key])).toEqual(
      expect.arrayContaining([['workflow.node.failed', 'slots/0']]),
    )
    expect(stopped, 'the slot that another worker executes').toHaveLength(1)
  })
})

describe('a step that does not run', () => {
  it('is told as skipped, without a start', async () => {
    const { accept, engineOver, store } = setup()
    await accept('r', noting({ id: 'a', when: 'false' }, { id: 'b', needs: ['a'] }))
    await engineOver().execute('r', never)
    const told = store.read('r')?.events.filter(({ kind }) => kind.startsWith('workflow.node.'))
    expect(told?.map(({ kind, node_key, payload }) => [kind, node_key, payload])).toEqual(
      ['a', 'b'].map((id) => ['workflow.node.skipped', id, { step: id, attempt: 0, simulated: false }]),
    )
    expect((await store.history('r')).checkpoints).toMatchObject(
      ['a', 'b'].map((id) => ({ key: id, stepId: id, status: 'skipped', attempt: 0, output: null, error: null })),
    )
  })

  it('for a condition that cannot be evaluated says which, and why', async () => {
    const { accept, engineOver, store } = setup()
    await accept('r', noting({ id: 'a', when: 'intake.missing > 1' }))
    await engineOver().execute('r', never)
    expect(store.read('r')?.error).toEqual({
      code: 'condition-failed',
      message: expect.stringMatching(/^The condition of step "a" cannot be evaluated: .+\.$/),
      node_key: 'a',
    })
  })
})
