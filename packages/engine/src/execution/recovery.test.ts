// Tier 0 of the fault tests: the engine core under a seeded scheduler that decides, before and after every port call,
// who goes on, who dies, who sleeps past the lease, and which deliveries are lost or repeated. It prints its seed.
import { isTerminal, isTerminalKind } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { ProviderRequest } from '../catalog.ts'
import { createEngine } from './execute.ts'
import { StepFailure } from '../failure.ts'
import type { Clock, RunStore, Transition } from '../ports.ts'
import type { Definition } from '../specification.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { parseUnitKey, unitKeyOf } from '../unit-key.ts'
import { answerTo, asking, createTestEngine, pinned } from '../testing/test-engine.ts'

const LEASE_MS = 30_000
const FAULTS_MAX = 25
const STEPS_MAX = 20_000
const WORKERS = 3

/** Deterministic numbers in [0, 1) (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

interface Worker {
  dead: boolean
  /** Not scheduled before this moment: a process that is stopped, its lease running out. */
  asleepUntilMs: number
  parked: (() => void)[]
  executions: number
}

const PARTS = 3

/** Calls a workflow twice at once beside a step of its own, and asks about what came of it. */
function calling(called: Definition): Definition {
  return aDefinition({
    ...asking([
      { id: 'a' },
      { id: 'd', kind: 'call', forEach: { items: ['x', 'y'] }, input: { prompt: '{item}' }, prompt: undefined },
      { id: 'e', prompt: '{steps.d.output[1].b.text?} {steps.a.output.text}', needs: ['d'] },
    ]),
    subWorkflows: { d: pinned(called) },
  })
}

/** Everything that one scenario does, decided by its seed alone. */
async function scenario(seed: number) {
  const random = createRandom(seed)
  const chance = (probability: number) => random() < probability
  const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(random() * items.length)]

  const paid: string[] = []
  const violations: string[] = []
  const requests = new Map<string, string>()
  const { store, clock, artifacts, deps, deliveries } = createTestEngine({
    call: async (request) => await provide(request),
  })

  async function provide({ callId, request, resumeId, onRequestId, model, signal }: ProviderRequest) {
    if (signal.aborted) throw new StepFailure('timeout', 'stopped')
    if (resumeId === null) {
      paid.push(callId)
      if (model.name === 'acme/queued') {
        const id = `request-${requests.size + 1}`
        requests.set(id, callId)
        await onRequestId(id)
      } else if (chance(0.1)) throw new StepFailure('server', 'try again', { billed: 'yes' })
    } else if (requests.get(resumeId) !== callId) violations.push(`${callId} resumed the request of another call`)
    if (signal.aborted) throw new StepFailure('timeout', 'stopped', { billed: 'unknown' })
    return answerTo(request)
  }

  /** A worker's view of the world: each port call waits for its turn, and so does its answer. */
  function startWorker(): Worker & { deliver(runId: string): void } {
    const turn = () =>
      new Promise<void>((resolve) => {
        worker.parked.push(resolve)
      })
    const slow = <Arguments extends unknown[], Result>(call: (...given: Arguments) => Promise<Result>) => {
      return async (...given: Arguments): Promise<Result> => {
        await turn()
        const result = await call(...given).then(
          (value) => ({ value }),
          (error: unknown) => ({ error }),
        )
        await turn()
        if ('error' in result) throw result.error
        return result.value
      }
    }
    const slowStore: RunStore = { ...store }
    slowStore.claim = slow(store.claim)
    slowStore.definition = slow(store.definition)
    slowStore.history = slow(store.history)
    slowStore.release = slow(store.release)
    slowStore.children = slow(store.children)
    slowStore.notify = slow(store.notify)
    slowStore.cancelChildren = slow(store.cancelChildren)
    slowStore.commit = slow(async (transition: Transition) => {
      const before = store.read(transition.runId)
      const outcome = await store.commit(transition)
      if (before?.fence !== transition.fence) {
        if (outcome.outcome !== 'lost')
          violations.push(`a write of fence ${transition.fence} of ${transition.runId} landed`)
        if (JSON.stringify(store.read(transition.runId)) !== JSON.stringify(before))
          violations.push('it changed the run')
      }
      return outcome
    })
    const slowClock: Clock = { nowMs: clock.nowMs, sleep: clock.sleep }
    const engine = createEngine({
      ...deps,
      store: slowStore,
      clock: slowClock,
      leaseMs: LEASE_MS,
      artifacts: {
        put: slow(artifacts.put),
        get: slow(artifacts.get),
        open: slow(artifacts.open),
        stage: slow(artifacts.stage),
        staged: slow(artifacts.staged),
        unstage: slow(artifacts.unstage),
        ready: slow(artifacts.ready),
        sweep: slow(artifacts.sweep),
      },
      providers: { call: slow((_simulated: boolean, request: ProviderRequest) => provide(request)) },
    })
    const signals = new Set<AbortController>()
    const worker = {
      dead: false,
      asleepUntilMs: 0,
      parked: [] as (() => void)[],
      executions: 0,
      signals,
      deliver(runId: string) {
        const controller = new AbortController()
        signals.add(controller)
        worker.executions += 1
        engine
          .execute(runId, controller.signal)
          .catch((error: unknown) => violations.push(`an execution broke off: ${String(error)}`))
          .finally(() => {
            worker.executions -= 1
            signals.delete(controller)
          })
          .catch(() => {})
      },
      shutdown() {
        for (const controller of signals) controller.abort('shutdown')
      },
    }
    workers.push(worker)
    return worker
  }

  const workers: (Worker & { deliver(runId: string): void; shutdown(): void })[] = []
  const ids = createSequentialIds()
  for (let n = 0; n < WORKERS; n += 1) startWorker()

  const definitions = [
    aDefinition(asking([{ id: 'a' }, { id: 'b', prompt: '{steps.a.output.text}' }])),
    aDefinition({
      ...asking([{ id: 'a' }, { id: 'b' }, { id: 'c', needs: ['a', 'b'] }], ['acme/queued']),
      gates: [{ id: 'look', name: 'look', type: 'review' }],
    }),
    aDefinition(asking([{ id: 'a' }, { id: 'b', needs: ['a'] }], ['acme/one', 'acme/queued'])),
    aDefinition(
      asking([
        { id: 'a', forEach: { items: ['x', 'y', 'z'], concurrency: 2 }, prompt: 'do {item}' },
        { id: 'b', kind: 'parts', count: PARTS, prompt: '{steps.a.output[2].text}' },
      ]),
    ),
    calling(aDefinition(asking([{ id: 'a' }, { id: 'b', prompt: '{steps.a.output.text}' }]))),
    calling(
      aDefinition({ ...asking([{ id: 'a' }]), gates: [{ id: 'look', name: 'look', type: 'review', after: 'a' }] }),
    ),
  ]
  const runIds: string[] = []
  for (let n = 0; n < 4; n += 1) {
    const definition = pick(definitions)
    if (definition === undefined) throw new Error('there are definitions')
    const run = aNewRun(ids.next(), { definition, failFast: chance(0.5) })
    runIds.push(run.id)
    await store.accept(run)
    deliveries.push({
      runId: run.id,
      organizationId: 'system',
      epoch: 0,
      workflow: run.workflow,
      priority: 50,
      lane: 'batch',
    })
  }

  const awake = () => workers.filter(({ dead, asleepUntilMs }) => !dead && asleepUntilMs <= clock.nowMs())
  const settled = () =>
    store.runIds().every((id) => {
      const status = store.read(id)?.status
      return status === 'waiting' || (status !== undefined && isTerminal(status))
    })

  async function passTime(ms: number): Promise<void> {
    clock.advance(ms)
    // Nobody renews a lease here: slow workers lose theirs, which is one more way to become a zombie.
    const { overdue } = await store.recover(100)
    deliveries.push(...overdue)
  }

  let faults = 0
  async function fault(): Promise<void> {
    faults += 1
    const worker = pick(awake())
    const runId = pick(store.runIds())
    if (worker === undefined || runId === undefined) return
    const kind = random()
    if (kind < 0.3) {
      worker.dead = true
      startWorker()
    } else if (kind < 0.5) {
      worker.asleepUntilMs = clock.nowMs() + LEASE_MS * 1.5
      await passTime(LEASE_MS + 1)
    } else if (kind < 0.6) deliveries.splice(Math.floor(random() * deliveries.length), 1)
    else if (kind < 0.75) {
      for (let n = 0; n < 3; n += 1) pick(awake())?.deliver(runId)
    } else if (kind < 0.85) {
      worker.shutdown()
    } else if (kind < 0.9) await store.requestCancel(runId)
    else await store.decide(runId, { approve: chance(0.7), by: 'key' })
  }

  let steps = 0
  for (; steps < STEPS_MAX; steps += 1) {
    const busy = awake().filter(({ parked }) => parked.length > 0)
    const idle = busy.length === 0 && deliveries.length === 0
    if (faults >= FAULTS_MAX && idle && settled() && workers.every(({ dead, parked }) => dead || parked.length === 0))
      break
    if (faults < FAULTS_MAX && chance(idle ? 0.5 : 0.04)) await fault()
    else if (deliveries.length > 0 && chance(0.3)) {
      const delivery = deliveries.shift()
      if (delivery !== undefined) pick(awake())?.deliver(delivery.runId)
    } else if (busy.length > 0) {
      const parked = pick(busy)?.parked ?? []
      parked.splice(Math.floor(random() * parked.length), 1)[0]?.()
    } else await passTime(LEASE_MS / 4)
    // All that follows from one step happens before the next is chosen.
    await new Promise((resolve) => setImmediate(resolve))
  }

  if (steps === STEPS_MAX) violations.push(`no rest after ${STEPS_MAX} steps`)
  const booked = new Set<string>()
  for (const id of store.runIds()) {
    const run = store.read(id)
    const { calls, checkpoints } = await store.history(id)
    if (run === null) throw new Error('the run is gone')
    const problem = (text: string) => violations.push(`${id}: ${text}`)
    const ends = run.events.filter(({ kind }) => isTerminalKind(kind))
    if (isTerminal(run.status)) {
      if (ends.length !== 1) problem(`${ends.length} terminal events`)
      if (run.events.at(-1)?.kind !== `workflow.run.${run.status}`) problem('its end is not its last event')
      const open = calls.filter(({ outcome }) => outcome === 'pending')
      if (open.length > 0) problem(`${open.length} calls never settled in a run that is ${run.status}`)
      if (calls.some(({ actualUsd }) => actualUsd === null)) problem('a cost was never booked')
    } else if (run.status !== 'waiting') problem(`neither over nor waiting, but ${run.status}`)
    else if (ends.length > 0) problem('a waiting run has ended')
    if (run.events.some(({ seq }, index) => seq !== index + 1)) problem('its events have gaps')
    const finished = run.events.filter(({ kind }) => kind === 'workflow.node.completed').map(({ node_key }) => node_key)
    if (new Set(finished).size !== finished.length) problem('a step was completed twice')
    for (const [stepKey, own] of Map.groupBy(calls, (call) => call.stepKey)) {
      // Each claim but the first is an interruption; a failure that may be retried is told by its event.
      const charged = paid.filter((callId) => own.some((call) => call.id === callId))
      const retries = own.filter(({ outcome }) => outcome === 'failed').length
      const parts = checkpoints.filter(({ key }) => parseUnitKey(key)?.part !== undefined && unitKeyOf(key) === stepKey)
      if (charged.length > run.fence + retries + parts.length) problem(`${stepKey} was paid ${charged.length} times`)
    }
    for (const call of calls) booked.add(call.id)
  }
  if (new Set(paid).size !== paid.length) violations.push('one call was sent twice')
  violations.push(...paid.filter((id) => !booked.has(id)).map((id) => `${id} was paid without being on the books`))
  return {
    violations,
    statuses: runIds.map((id) => store.read(id)?.status),
    fences: runIds.map((id) => store.read(id)?.fence),
  }
}

describe('runs under crashes, zombies, lost and repeated deliveries', () => {
  const first = Number(process.env.FABRIQUE_TEST_SEED ?? 1)
  const count = process.env.FABRIQUE_TEST_SEED === undefined ? 250 : 1

  it('all end once, without gaps, without a stale write, and paid no more often than they were interrupted', async () => {
    const statuses = new Map<string, number>()
    let claims = 0
    for (let seed = first; seed < first + count; seed += 1) {
      const { violations, statuses: ended, fences } = await scenario(seed)
      expect(violations, `FABRIQUE_TEST_SEED=${seed}`).toEqual([])
      for (const status of ended) statuses.set(status ?? 'gone', (statuses.get(status ?? 'gone') ?? 0) + 1)
      claims += fences.reduce<number>((sum, fence) => sum + (fence ?? 0), 0)
    }
    // The faults must really have happened for the above to mean anything.
    if (count > 1) {
      expect([...statuses.keys()].sort()).toEqual(['cancelled', 'completed', 'failed', 'waiting'])
      expect(claims).toBeGreaterThan(count * 4 * 1.5)
    }
  })

  it('are the same history again for the same seed', async () => {
    expect(await scenario(7)).toEqual(await scenario(7))
  })
})
