import type { RunEvent } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { Delivery, RunQueue } from '../ports.ts'
import { aNewRun, aTransition } from '../testing/factories.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { createMemoryRunStore } from '../testing/memory-run-store.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { createReconciler } from './reconcile.ts'

const LEASE_MS = 60_000
const OVERDUE_MS = 31_000

/** A reconciler over a record and a queue that loses what the test takes out of `queued`. */
function setup() {
  const clock = createFakeClock()
  const store = createMemoryRunStore({ clock, ids: createSequentialIds('9') })
  const queued: Delivery[] = []
  const published: RunEvent[] = []
  const cancelled: string[] = []
  const logged: string[] = []
  /** What the queue says of itself: true once after it lost everything, null while it cannot be reached. */
  const state = { cameBack: false as boolean | null, failures: 0, enqueues: 0 }
  const queue: Pick<RunQueue, 'cameBackEmpty' | 'missing' | 'enqueue' | 'publish' | 'publishCancel'> = {
    async cameBackEmpty() {
      if (state.failures-- > 0) throw new Error('broken')
      const { cameBack } = state
      if (cameBack === true) state.cameBack = false
      return cameBack
    },
    missing: async (deliveries) =>
      state.cameBack === null
        ? []
        : deliveries.filter(({ runId, epoch }) => !queued.some((job) => job.runId === runId && job.epoch === epoch)),
    async enqueue(deliveries) {
      state.enqueues += 1
      queued.push(...deliveries)
    },
    publish: (events) => void published.push(...events),
    publishCancel: (rootRunId) => void cancelled.push(rootRunId),
  }
  const log = {
    debug: () => void logged.push('debug'),
    info() {},
    warn: () => void logged.push('warn'),
    error() {},
  }
  const reconciler = createReconciler({ store, queue, clock, log })
  return {
    clock,
    store,
    queued,
    published,
    cancelled,
    logged,
    state,
    reconciler,
    accept: async (...ids: string[]) => {
      for (const id of ids) await store.accept(aNewRun(id))
    },
    delivered: () => queued.map(({ runId, epoch }) => `${runId}-${epoch}`),
    /** Lets everything happen that can happen without time. */
    async settle() {
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

describe('a pass', () => {
  it('delivers again what is overdue and that no job stands for, and nothing else', async () => {
    const { accept, queued, clock, reconciler, delivered } = setup()
    await accept('lost', 'queued')
    queued.push({
      runId: 'queued',
      organizationId: 'system',
      epoch: 0,
      workflow: 'test/example',
      priority: 50,
      lane: 'batch',
    })
    expect([await reconciler.runOnce(), delivered()]).toEqual([0, ['queued-0']])
    clock.advance(OVERDUE_MS)
    expect([await reconciler.runOnce(), delivered()]).toEqual([2, ['queued-0', 'lost-0']])
    expect(await reconciler.runOnce(), 'it is looked at again later').toBe(0)
  })

  it('delivers under its next epoch a run whose worker has lost the lease', async () => {
    const { accept, store, clock, reconciler, delivered } = setup()
    await accept('r1')
    await store.claim('r1', 'w', LEASE_MS)
    clock.advance(LEASE_MS)
    await reconciler.runOnce()
    expect([store.read('r1')?.status, delivered()]).toEqual(['pending', ['r1-1']])
  })

  it('publishes what time has ended', async () => {
    const { accept, store, clock, reconciler, published } = setup()
    await accept('r1')
    for (let losses = 0; losses < 3; losses += 1) {
      await store.claim('r1', 'w', LEASE_MS)
      clock.advance(LEASE_MS)
      await reconciler.runOnce()
    }
    expect(store.read('r1')?.status).toBe('failed')
    expect(published.map(({ run_id, kind }) => [run_id, kind])).toEqual([['r1', 'workflow.run.failed']])
  })

  it('has the workers stop what a run called that is given up', async () => {
    const { accept, store, clock, reconciler, cancelled } = setup()
    await accept('r1')
    const { fence } = (await store.claim('r1', 'w1', LEASE_MS)) ?? { fence: 0 }
    const child = { ...aNewRun('called'), rootRunId: 'r1', callerKey: 'd' }
    await store.commit(aTransition('r1', fence, { children: [child] }))
    await store.claim('called', 'w2', 10 * LEASE_MS)
    for (let losses = 0; losses < 3; losses += 1) {
      expect(cancelled).toEqual([])
      clock.advance(LEASE_MS)
      await reconciler.runOnce()
      await store.claim('r1', 'w1', LEASE_MS)
    }
    expect(cancelled).toHaveLength(1)
  })

  it('asks the queue for nothing where nothing is overdue', async () => {
    const { accept, reconciler, state } = setup()
    await accept('r1')
    await reconciler.runOnce()
    expect(state.enqueues).toBe(0)
  })

  it('hands nothing over where every overdue run has its job', async () => {
    const { accept, reconciler, clock, state } = setup()
    await accept('r1')
    clock.advance(OVERDUE_MS)
    await reconciler.runOnce()
    clock.advance(OVERDUE_MS)
    expect(await reconciler.runOnce()).toBe(1)
    expect(state.enqueues).toBe(1)
  })
})

describe('a queue that came back without its jobs', () => {
  it('gets every pending run at once, and only once', async () => {
    const { accept, reconciler, state, delivered } = setup()
    await accept('r1', 'r2')
    state.cameBack = true
    expect([await reconciler.runOnce(), delivered()]).toEqual([2, ['r1-0', 'r2-0']])
    expect(await reconciler.runOnce()).toBe(0)
  })

  it('gets what came due while it was away as soon as it can be reached', async () => {
    const { accept, reconciler, state, clock, delivered } = setup()
    await accept('r1')
    state.cameBack = null
    clock.advance(OVERDUE_MS)
    await reconciler.runOnce()
    expect(delivered()).toEqual([])
    state.cameBack = false
    await reconciler.runOnce()
    expect(delivered()).toEqual(['r1-0'])
    expect(await reconciler.runOnce(), 'from then on it is as before').toBe(0)
  })
})

describe('a reconciler at work', () => {
  it('passes once in every interval, until it is stopped', async () => {
    const { accept, reconciler, clock, settle, delivered } = setup()
    const stop = new AbortController()
    const running = reconciler.run(5_000, stop.signal)
    await settle()
    expect(clock.sleeping()).toEqual([5_000])
    await accept('r1')
    for (let passed = 0; passed < OVERDUE_MS; passed += 5_000) {
      clock.advance(5_000)
      await settle()
    }
    expect(delivered()).toEqual(['r1-0'])
    stop.abort()
    await running
    expect(clock.sleeping()).toEqual([])
  })

  it('goes on after a pass that failed, which is logged', async () => {
    const { accept, reconciler, clock, settle, state, logged, delivered } = setup()
    await accept('r1')
    clock.advance(OVERDUE_MS)
    state.failures = 1
    const stop = new AbortController()
    const running = reconciler.run(5_000, stop.signal)
    await settle()
    expect([logged, delivered(), clock.sleeping()]).toEqual([['warn'], [], [5_000]])
    clock.advance(5_000)
    await settle()
    expect(delivered()).toEqual(['r1-0'])
    stop.abort()
    await running
  })

  it('passes again at once while a pass is full', async () => {
    const { accept, reconciler, clock, settle, delivered } = setup()
    await accept(...Array.from({ length: 1_001 }, (_, n) => `r${n}`))
    clock.advance(OVERDUE_MS)
    const stop = new AbortController()
    const running = reconciler.run(5_000, stop.signal)
    await settle()
    expect(delivered()).toHaveLength(1_001)
    stop.abort()
    await running
  })

  it('does not begin where it is stopped already', async () => {
    const { reconciler, state } = setup()
    state.cameBack = true
    await reconciler.run(5_000, AbortSignal.abort())
    expect(state.cameBack).toBe(true)
  })
})
