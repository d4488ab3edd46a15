import { textOf } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { ProviderRequest } from '../catalog.ts'
import { isForGood, StepFailure } from '../failure.ts'
import type { NewRun } from '../ports.ts'
import { aCall, aDefinition, aNewRun, aTransition } from '../testing/factories.ts'
import type { FakeClock } from '../testing/fake-clock.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { answerTo, asking, createTestEngine } from '../testing/test-engine.ts'

type Serve = (request: ProviderRequest) => Promise<ReturnType<typeof answerTo>>

/** A run of a definition over a provider that the test plays; `asked` are the prompts that were paid. */
async function setup(definition = aDefinition(asking([{ id: 'a' }])), serve?: Serve, over: Partial<NewRun> = {}) {
  const asked: string[] = []
  const world = createTestEngine({
    async call(request) {
      asked.push(textOf(request.request.prompt))
      return serve === undefined ? answerTo(request.request) : await serve(request)
    },
  })
  const run = aNewRun(createSequentialIds().next(), { definition, ...over })
  await world.store.accept(run)
  return {
    ...world,
    asked,
    id: run.id,
    execute: (signal = new AbortController().signal) => world.engine.execute(run.id, signal),
    read: () => world.store.read(run.id),
    kinds: () =>
      world.store.read(run.id)?.events.map(({ kind, node_key }) => [kind.slice(9), node_key].join(' ').trim()),
  }
}

const CHAIN = asking([{ id: 'a' }, { id: 'b', prompt: '{steps.a.output.text}' }])

/** Moves time once somebody sleeps, after everything that does not sleep has happened. */
async function passTime(clock: FakeClock, ms: number): Promise<void> {
  while (clock.sleeping().length === 0) await new Promise((resolve) => setImmediate(resolve))
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve))
  clock.advance(ms)
  await new Promise((resolve) => setImmediate(resolve))
}

describe('an execution', () => {
  it('runs steps in the order of their references and tells of it in order', async () => {
    const { execute, read, kinds, asked, artifacts } = await setup(aDefinition(CHAIN))
    expect(await execute()).toBe('finished')
    expect(asked).toEqual(['do a', 'done: do a'])
    expect(kinds()).toEqual([
      'run.created',
      'run.queued',
      'run.started',
      'node.started a',
      'artifact.created a',
      'node.completed a',
      'node.started b',
      'artifact.created b',
      'node.completed b',
      'run.completed',
    ])
    // The output is that of the steps which nobody references.
    expect(Object.keys(read()?.output ?? {})).toEqual(['b'])
    expect(artifacts.stagedCalls()).toEqual([])
  })

  it('has the declared aliases as its output, and nothing else', async () => {
    const { execute, read } = await setup(aDefinition({ ...CHAIN, outputAliases: { first: 'steps.a.output.text' } }))
    await execute()
    expect(read()?.output).toEqual({ first: 'done: do a' })
  })

  it('runs steps that do not read each other at the same time', async () => {
    let both: () => void = () => {}
    const met = new Promise<void>((resolve) => {
      both = resolve
    })
    let inFlight = 0
    const { execute, read } = await setup(aDefinition(asking([{ id: 'a' }, { id: 'b' }])), async ({ request }) => {
      inFlight += 1
      if (inFlight === 2) both()
      await met
      return answerTo(request)
    })
    await execute()
    expect(read()?.status).toBe('completed')
  })

  it('pays only the interrupted call again when its worker died', async () => {
    const definition = aDefinition(CHAIN)
    let dies = true
    const { store, execute, asked, clock, read, id } = await setup(definition, async ({ request }) => {
      if (request.prompt !== 'do a' && dies) {
        dies = false
        return await new Promise(() => {})
      }
      return answerTo(request)
    })
    void execute()
    while (asked.length < 2) await new Promise((resolve) => setImmediate(resolve))
    clock.advance(61_000)
    await store.recover(10)
    expect(await execute()).toBe('finished')
    expect(read()?.status).toBe('completed')
    // The first is adopted from its checkpoint; the second was interrupted, and its first call is booked as unknown.
    expect(asked).toEqual(['do a', 'done: do a', 'done: do a'])
    const { calls } = await store.history(id)
    expect(calls.map(({ stepKey, outcome, actualUsd }) => [stepKey, outcome, actualUsd])).toEqual([
      ['a', 'succeeded', 0.25],
      ['b', 'unknown', 0.25],
      ['b', 'succeeded', 0.25],
    ])
  })

  it.each([
    { failFast: false, completed: ['b'] },
    { failFast: true, completed: [] },
  ])('with fail_fast $failFast completes $completed beside a failed step', async ({ failFast, completed }) => {
    const definition = aDefinition(asking([{ id: 'a' }, { id: 'b' }, { id: 'c', needs: ['a'] }]))
    let release: () => void = () => {}
    const failed = new Promise<void>((resolve) => {
      release = resolve
    })
    const serve: Serve = async ({ request, signal }) => {
      if (request.prompt === 'do a') {
        setImmediate(release)
        throw new StepFailure('invalid', 'no')
      }
      await failed
      if (signal.aborted) throw new StepFailure('timeout', 'stopped')
      return answerTo(request)
    }
    const { execute, read, store, id } = await setup(definition, serve, { failFast })
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'invalid', node_key: 'a' } })
    const { checkpoints } = await store.history(id)
    expect(checkpoints.filter(({ status }) => status === 'completed').map(({ key }) => key)).toEqual(completed)
  })

  it('ends as failed by a step that failed before it was handed over', async () => {
    const abort = new AbortController()
    const definition = aDefinition(asking([{ id: 'a' }, { id: 'b' }]))
    const serve: Serve = async ({ request, signal }) => {
      if (request.prompt === 'do a') throw new StepFailure('invalid', 'no')
      if (abort.signal.aborted) return answerTo(request)
      setImmediate(() => abort.abort('shutdown'))
      return await new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new StepFailure('timeout', 'stopped')))
      })
    }
    const { execute, read } = await setup(definition, serve, { failFast: false })
    expect(await execute(abort.signal)).toBe('released')
    expect(await execute()).toBe('finished')
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'invalid', node_key: 'a' } })
  })

  it('waits as long as the provider asked before it tries again', async () => {
    let fails = true
    const { execute, clock, read, kinds } = await setup(undefined, async ({ request }) => {
      if (!fails) return answerTo(request)
      fails = false
      throw new StepFailure('server', 'come back later', { retryAfterMs: 7_000 })
    })
    const execution = execute()
    await passTime(clock, 6_999)
    expect(clock.sleeping()).toEqual([1])
    clock.advance(1)
    await execution
    expect(read()?.status).toBe('completed')
    expect(kinds()).toContain('node.retrying a')
  })

  it('fails a step when the clock reaches its limit, not before', async () => {
    const definition = aDefinition(asking([{ id: 'a', timeoutMs: 100, retry: { maxAttempts: 1, backoffMs: 0 } }]))
    const { execute, read, clock } = await setup(
      definition,
      ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason))
        }),
    )
    const execution = execute()
    await passTime(clock, 99)
    expect(clock.sleeping()).toEqual([1])
    expect(read()?.status).toBe('running')
    clock.advance(1)
    await execution
    expect(read()?.error?.code).toBe('timeout')
  })

  it('forgets the limit of a step that returned in time', async () => {
    const { execute, read, clock } = await setup(aDefinition(asking([{ id: 'a', timeoutMs: 100 }])))
    await execute()
    expect(read()?.status).toBe('completed')
    expect(clock.sleeping()).toEqual([])
  })

  it.each([
    ['yes', 0.25],
    ['unknown', 0.25],
    ['no', 0],
  ] as const)(
    'gives up what is under way when its time is over, billed: %s, and never makes it again',
    async (billed, usd) => {
      const definition = aDefinition(asking([{ id: 'a', timeoutMs: 100, retry: { maxAttempts: 3, backoffMs: 0 } }]))
      const { execute, store, id, clock, read } = await setup(definition, async ({ signal, onRequestId }) => {
        await onRequestId('held-by-the-provider')
        return await new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            expect(isForGood(signal)).toBe(true)
            reject(new StepFailure('timeout', 'stopped', { billed }))
          })
        })
      })
      const execution = execute()
      await passTime(clock, 100)
      await execution
      expect(read()?.error?.code).toBe('result-timeout')
      const { calls } = await store.history(id)
      expect(calls.map(({ outcome, actualUsd }) => [outcome, actualUsd])).toEqual([['failed', usd]])
    },
  )

  it.each([
    [true, 'completed'],
    [false, 'failed'],
  ])('waits at a review; approve %s ends it %s, without another call', async (approve, status) => {
    const definition = aDefinition({ ...asking([{ id: 'a' }]), gates: [{ id: 'look', name: 'look', type: 'review' }] })
    const { execute, read, store, id, asked } = await setup(definition)
    expect(await execute()).toBe('waiting')
    expect(read()?.status).toBe('waiting')
    await store.decide(id, { approve, by: 'key' })
    expect(await execute()).toBe('finished')
    expect(read()?.status).toBe(status)
    expect(asked).toHaveLength(1)
  })

  it('books what an earlier execution left open, when it is cancelled before it looks', async () => {
    const { store, id, read, engine } = await setup()
    const first = await store.claim(id, 'w0', 1)
    if (first === null) throw new Error('the run can be claimed')
    await store.commit(aTransition(id, first.fence, { calls: [aCall(`${id}.a.1`, { stepKey: 'a', stepId: 'a' })] }))
    await store.release(id, first.fence)
    const cancel = new AbortController()
    cancel.abort('cancel')
    await engine.execute(id, cancel.signal)
    expect((await store.history(id)).calls).toMatchObject([{ outcome: 'unknown', actualUsd: 0.25 }])
    expect(read()?.events.at(-1)).toMatchObject({ kind: 'workflow.run.cancelled', payload: { cost: { actual: 0.25 } } })
  })

  it('books the cost of an answer that came after the cancel', async () => {
    const world = await setup(undefined, async ({ request }) => {
      await world.store.requestCancel(world.id)
      return answerTo(request)
    })
    expect(await world.execute()).toBe('finished')
    expect(world.read()?.status).toBe('cancelled')
    expect((await world.store.history(world.id)).calls).toMatchObject([{ outcome: 'succeeded', actualUsd: 0.25 }])
  })

  it('stops when it hears of the loss by a write that no step waits for', async () => {
    const asks = Promise.withResolvers<void>()
    let calls = 0
    const { store, id, execute, clock } = await setup(
      undefined,
      async ({ onRequestId, onProgress, resumeId, signal }) => {
        calls += 1
        // A run that is begun again for ever would leave the test no turn to fail in.
        if (calls > 100) return await new Promise(() => {})
        if (resumeId === null) await onRequestId('q-1')
        onProgress({ position: calls })
        asks.resolve()
        return await new Promise((_, reject) => {
          const stop = () => reject(new StepFailure('timeout', 'stopped', { billed: 'yes' }))
          if (signal.aborted) stop()
          else signal.addEventListener('abort', stop, { once: true })
        })
      },
    )
    const execution = execute()
    await asks.promise
    await store.release(id, 1)
    clock.advance(1_000)
    expect(await execution).toBe('lost')
    expect(calls).toBe(1)
  })

  it('hands the run back at shutdown, and writes nothing more when its fence is lost', async () => {
    const abort = new AbortController()
    const { execute, read, deliveries } = await setup(undefined, async () => {
      abort.abort('shutdown')
      throw new StepFailure('timeout', 'stopped')
    })
    expect(await execute(abort.signal)).toBe('released')
    expect(read()?.status).toBe('pending')
    expect(deliveries).toMatchObject([{ epoch: 1 }])

    const lost = await setup(undefined, async ({ request }) => {
      lost.clock.advance(61_000)
      await lost.store.recover(10)
      return answerTo(request)
    })
    const events = () => lost.read()?.events.length
    expect(await lost.execute()).toBe('lost')
    expect(events()).toBe(4)
    expect(lost.read()?.status).toBe('pending')
  })
})
