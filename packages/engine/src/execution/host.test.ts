import { FabriqueError, type JsonObject, textOf } from '@fabrique/schema'
import { describe, expect, it, onTestFinished } from 'vitest'
import { StepFailure } from '../failure.ts'
import type { NewRun, RunStore } from '../ports.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { answerTo, asking, createTestEngine } from '../testing/test-engine.ts'
import { createHost } from './host.ts'

const LEASE_MS = 60_000
type Renew = RunStore['renew']

/** A process that executes runs of one paid step; a provider that answers when the test says so, or when it is stopped. */
function setup(renewing: (renew: Renew) => Renew = (renew) => renew) {
  const answers = new Map<string, () => void>()
  const stops: [string, unknown][] = []
  let isDeaf = false
  const world = createTestEngine(
    {
      call: ({ request, signal }) =>
        new Promise((resolve, reject) => {
          const prompt = textOf(request.prompt)
          answers.set(prompt, () => resolve(answerTo(request)))
          signal.addEventListener('abort', () => {
            stops.push([prompt, signal.reason])
            if (!isDeaf) reject(new StepFailure('server', 'stopped', { billed: 'unknown' }))
          })
        }),
    },
    { leaseMs: LEASE_MS },
  )
  const { engine, store, clock } = world
  const renewed: string[][] = []
  const logged: [string, JsonObject][] = []
  const log = {
    debug() {},
    info() {},
    warn: (context: object) => void logged.push(['warn', context as JsonObject]),
    error: (context: object) => void logged.push(['error', context as JsonObject]),
  }
  const renew = renewing(store.renew)
  const stop = new AbortController()
  onTestFinished(() => stop.abort())
  const host = createHost({
    engine,
    store: {
      async renew(held, leaseMs) {
        renewed.push(held.map(({ runId, fence }) => `${runId} ${fence}`))
        return await renew(held, leaseMs)
      },
    },
    clock,
    log,
    leaseMs: LEASE_MS,
    stopped: stop.signal,
  })
  const until = async (holds: () => boolean) => {
    while (!holds()) await new Promise((resolve) => setImmediate(resolve))
  }
  const settle = async () => {
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve))
  }
  return {
    ...world,
    host,
    stop,
    answers,
    stops,
    renewed,
    logged,
    until,
    /** Lets everything happen that can happen without time. */
    settle,
    deafen: () => void (isDeaf = true),
    async accept(id: string, over: Partial<NewRun> = {}) {
      const definition = aDefinition(asking([{ id: 'a', prompt: id }]))
      await store.accept(aNewRun(id, { definition, ...over }))
    },
    /** Executes an accepted run until its call is sent, and answers what will become of it. */
    async hold(id: string) {
      answers.delete(id)
      const outcome: { execution?: string } = {}
      const done = host.execute(id).then((execution) => void (outcome.execution = execution))
      await until(() => answers.has(id))
      return { outcome, done }
    },
    /** Time passes until leases are renewed, once. */
    async pass(ms: number) {
      clock.advance(ms)
      await settle()
    },
  }
}

describe('the leases of a process', () => {
  it('are renewed together, three times per lease, and so outlast any run', async () => {
    const { accept, hold, pass, renewed, store, answers } = setup()
    for (const id of ['r1', 'r2']) await accept(id)
    const held = [await hold('r1'), await hold('r2')]
    for (let times = 0; times < 9; times += 1) await pass(LEASE_MS / 3)
    expect(renewed).toEqual(Array.from({ length: 9 }, () => ['r1 1', 'r2 1']))
    expect((await store.recover(10)).overdue).toEqual([])
    for (const answer of answers.values()) answer()
    await Promise.all(held.map(({ done }) => done))
    expect(held.map(({ outcome }) => outcome.execution)).toEqual(['finished', 'finished'])
  })

  it('are no statement where there is none', async () => {
    const { accept, hold, pass, renewed, answers, host } = setup()
    await pass(LEASE_MS / 3)
    await accept('r1')
    const { done } = await hold('r1')
    expect(host.inFlight()).toBe(1)
    answers.get('r1')?.()
    await done
    expect(host.inFlight()).toBe(0)
    await pass(LEASE_MS / 3)
    expect(renewed).toEqual([])
  })

  it('are renewed at the next turn where a statement failed, which is logged', async () => {
    let failures = 1
    const { accept, hold, pass, logged, store } = setup((renew) => async (held, leaseMs) => {
      if (failures-- > 0) throw new FabriqueError('unavailable', 'away')
      return await renew(held, leaseMs)
    })
    await accept('r1')
    const { outcome } = await hold('r1')
    for (let times = 0; times < 5; times += 1) await pass(LEASE_MS / 3)
    expect((await store.recover(10)).overdue).toEqual([])
    expect(outcome.execution).toBeUndefined()
    expect(logged).toMatchObject([['warn', { err: { code: 'unavailable' } }]])
  })

  it('are renewed no more once the process has stopped', async () => {
    const { stop, settle, clock } = setup()
    await settle()
    expect(clock.sleeping()).toEqual([LEASE_MS / 3])
    stop.abort()
    await settle()
    expect(clock.sleeping()).toEqual([])
  })
})

describe('a run that was taken from its process', () => {
  /** Renewals that do not reach the record until `arrive`. */
  function away() {
    let isAway = true
    const renewing =
      (renew: Renew): Renew =>
      async (held, leaseMs) => {
        if (isAway) throw new FabriqueError('unavailable', 'away')
        return await renew(held, leaseMs)
      }
    return { renewing, arrive: () => void (isAway = false) }
  }

  it('is stopped as lost by the first renewal that hears of it, and alone', async () => {
    const { renewing, arrive } = away()
    const { accept, hold, pass, store, stops, until } = setup(renewing)
    await accept('r1')
    const lost = await hold('r1')
    for (let times = 0; times < 3; times += 1) await pass(LEASE_MS / 3)
    await store.recover(10)
    await accept('r2')
    const other = await hold('r2')
    arrive()
    await pass(LEASE_MS / 3)
    await until(() => lost.outcome.execution !== undefined)
    expect([lost.outcome.execution, other.outcome.execution]).toEqual(['lost', undefined])
    expect(stops).toEqual([['r1', 'lost']])
  })

  it('and came back to it is not stopped by the loss of the first lease, and keeps the second', async () => {
    const { renewing, arrive } = away()
    const { accept, hold, pass, store, stops, renewed, deafen, settle, answers, until } = setup(renewing)
    deafen()
    await accept('r1')
    const first = await hold('r1')
    const answerFirst = answers.get('r1')
    for (let times = 0; times < 3; times += 1) await pass(LEASE_MS / 3)
    await store.recover(10)
    const second = await hold('r1')
    const secondFence = store.read('r1')?.fence
    answerFirst?.()
    await until(() => first.outcome.execution !== undefined)
    expect(first.outcome.execution).toBe('lost')
    arrive()
    for (const list of [renewed, stops]) list.length = 0
    await pass(LEASE_MS / 3)
    expect(renewed).toEqual([[`r1 ${secondFence}`]])
    await settle()
    expect([stops, second.outcome.execution]).toEqual([[], undefined])
  })

  it('is not stopped by a renewal that was under way for an earlier lease', async () => {
    const sent = Promise.withResolvers<void>()
    const arrived = Promise.withResolvers<void>()
    let isFirst = true
    const { accept, hold, pass, host, store, answers, stops, settle } = setup((renew) => async (held, leaseMs) => {
      if (!isFirst) return await renew(held, leaseMs)
      isFirst = false
      sent.resolve()
      await arrived.promise
      return await renew(held, leaseMs)
    })
    const gates = [{ id: 'look', name: 'look', type: 'review', after: 'a' }]
    const steps = asking([
      { id: 'a', prompt: 'r1' },
      { id: 'b', prompt: 'later', needs: ['a'] },
    ])
    await accept('r1', { definition: aDefinition({ ...steps, gates }) })
    const first = await hold('r1')
    await pass(LEASE_MS / 3)
    await sent.promise
    answers.get('r1')?.()
    await first.done
    expect(first.outcome.execution).toBe('waiting')
    await store.decide('r1', { approve: true, by: 'key' })
    const second = host.execute('r1')
    await settle()
    arrived.resolve()
    await settle()
    expect(stops).toEqual([])
    answers.get('later')?.()
    expect(await second).toBe('finished')
  })
})

describe('a cancel', () => {
  it('that the record knows of reaches its run with the next renewal', async () => {
    const { accept, hold, pass, store, stops, until } = setup()
    for (const id of ['r1', 'r2']) await accept(id)
    const [cancelled, other] = [await hold('r1'), await hold('r2')]
    await store.requestCancel('r1')
    await pass(LEASE_MS / 3)
    await until(() => cancelled.outcome.execution !== undefined)
    expect([cancelled.outcome.execution, other.outcome.execution]).toEqual(['finished', undefined])
    expect([store.read('r1')?.status, stops]).toEqual(['cancelled', [['r1', 'cancel']]])
  })

  it('that is told reaches at once the runs of its tree that are executed here, and no others', async () => {
    const { accept, hold, host, store, stops, settle } = setup()
    const slots = ['s1', 's2'].map((id) => aNewRun(id, { definition: aDefinition(asking([{ id: 'a', prompt: id }])) }))
    await accept('root', { slots })
    for (const id of ['r1', 'r2']) await accept(id)
    for (const id of ['s1', 's2', 'r1', 'r2']) await hold(id)
    host.cancel('root')
    host.cancel('r2')
    host.cancel('unknown')
    await settle()
    expect(stops).toEqual([
      ['s1', 'cancel'],
      ['s2', 'cancel'],
      ['r2', 'cancel'],
    ])
    expect(['s1', 's2', 'r1', 'r2'].map((id) => store.read(id)?.status)).toEqual([
      'cancelled',
      'cancelled',
      'running',
      'cancelled',
    ])
  })
})

describe('a shutdown', () => {
  it('hands every run back, and answers when the last has returned', async () => {
    const { accept, hold, host, store, deliveries, stops } = setup()
    for (const id of ['r1', 'r2']) await accept(id)
    const held = [await hold('r1'), await hold('r2')]
    await host.shutdown()
    await Promise.all(held.map(({ done }) => done))
    expect(held.map(({ outcome }) => outcome.execution)).toEqual(['released', 'released'])
    expect(stops.map(([, reason]) => reason)).toEqual(['shutdown', 'shutdown'])
    expect(deliveries.map(({ runId }) => runId).sort()).toEqual(['r1', 'r2'])
    expect(['r1', 'r2'].map((id) => store.read(id)?.status)).toEqual(['pending', 'pending'])
    expect(host.inFlight()).toBe(0)
  })

  it('waits for a run that is slow to return', async () => {
    const { accept, hold, host, deafen, answers, settle } = setup()
    deafen()
    await accept('r1')
    await hold('r1')
    let isDown = false
    const down = host.shutdown().then(() => void (isDown = true))
    await settle()
    expect(isDown).toBe(false)
    answers.get('r1')?.()
    await down
    expect(host.inFlight()).toBe(0)
  })

  it('hands back a run whose claim was under way when it began', async () => {
    const { accept, host, store, answers } = setup()
    await accept('r1')
    const execution = host.execute('r1')
    await host.shutdown()
    expect(await execution).toBe('released')
    expect([store.read('r1')?.status, answers.size]).toEqual(['pending', 0])
  })
})

describe('an execution that breaks off', () => {
  it('is logged with its run and harms no other; its lease is not renewed', async () => {
    const { accept, hold, host, pass, logged, renewed, store } = setup()
    const { definition } = store
    store.definition = async (hash) => {
      const known = await definition(hash)
      return known?.templateId === 'test/lost' ? null : known
    }
    for (const id of ['r1', 'r2']) await accept(id)
    await accept('r3', { definition: aDefinition({ ...asking([{ id: 'a' }]), templateId: 'test/lost' }) })
    await hold('r1')
    expect(await host.execute('r3')).toBe('crashed')
    await hold('r2')
    expect(logged).toMatchObject([['error', { run_id: 'r3', err: expect.any(Error) }]])
    await pass(LEASE_MS / 3)
    expect(renewed).toEqual([['r1 1', 'r2 1']])
  })

  it('is none where the run is not to be had', async () => {
    const { accept, hold, host, logged } = setup()
    await accept('r1')
    await hold('r1')
    expect(await host.execute('r1')).toBe('lost')
    expect([host.inFlight(), logged]).toEqual([1, []])
  })
})
