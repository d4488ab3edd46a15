import { isTerminal, type RunEvent, type Step, textOf } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { StepFailure } from '../failure.ts'
import { contentHash } from '../template/compile.ts'
import { forecast } from '../template/forecast.ts'
import type { NewRun, NewSlot } from '../ports.ts'
import { type EndedRun, type RetryDeps, retryRun } from './retry-run.ts'
import type { Definition } from '../specification.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { answerTo, asking, createTestCatalog, createTestEngine, drive, pinned } from '../testing/test-engine.ts'

const aLine = (...steps: (Partial<Step> & { id: string })[]) => aDefinition(asking(steps))

/** As it was accepted, with what its steps were expected to cost. */
function priced<Run extends NewSlot>(run: Run): Run {
  return { ...run, instance: { ...run.instance, priced: forecast(createTestCatalog(), run.definition, run.instance) } }
}

/** A worker and an API over one record, and a provider that refuses what is in `broken`. */
function setup() {
  const asked: string[] = []
  const broken = new Set<string>()
  const withdrawn = new Set<string>()
  const world = createTestEngine({
    async call({ request }) {
      const prompt = textOf(request.prompt)
      asked.push(prompt)
      if (broken.has(prompt)) throw new StepFailure('refused', 'no')
      return answerTo(request)
    },
  })
  const { store, deliveries } = world
  const ids = createSequentialIds()
  const accepted = new Map<string, NewRun>()

  async function execute(plain: NewRun): Promise<string> {
    const run = { ...priced(plain), slots: plain.slots.map(priced) }
    accepted.set(run.id, run)
    await store.accept(run)
    const owed = run.slots.length === 0 ? [run] : run.slots
    for (const { id, workflow } of owed)
      deliveries.push({ runId: id, organizationId: 'system', epoch: 0, workflow, priority: 50, lane: 'batch' })
    await drive(world)
    return run.id
  }

  const statusOf = (runId: string) => store.read(runId)?.status ?? 'pending'
  const endedRun = async (_organization: string, runId: string): Promise<EndedRun | null> => {
    const run = accepted.get(runId)
    if (run === undefined) return null
    const slots = run.slots.map((slot) => ({ ...slot, status: statusOf(slot.id) }))
    return { ...run, status: statusOf(runId), within: null, slots }
  }
  const deps: RetryDeps = {
    store: { ...store, accept: async (run) => (accepted.set(run.id, run), await store.accept(run)) },
    queue: world.deps.queue,
    endedRun,
    ids,
    findRunnable: async (id) => (withdrawn.has(id) ? null : ({} as never)),
  }
  return {
    ...world,
    asked,
    broken,
    withdrawn,
    ids,
    accepted,
    deps,
    execute,
    run: (definition: Definition, over: Partial<NewRun> = {}) => execute(aNewRun(ids.next(), { definition, ...over })),
    /** Retries the run and executes what follows; what was asked before is forgotten. */
    async retry(runId: string, idempotencyKey?: string) {
      asked.length = 0
      const request = {
        organizationId: 'system',
        admin: false,
        runId,
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      }
      const outcome = await retryRun(deps, request)
      await drive(world)
      if (outcome.outcome === 'unknown') throw new Error('there is no such run')
      return outcome.runId
    },
  }
}

const LINE = aLine({ id: 'a' }, { id: 'b', needs: ['a'] }, { id: 'c', prompt: 'end {steps.b.output.text}' })

describe('a retry', () => {
  it('runs and pays only what was not finished, and leaves the earlier run as it was', async () => {
    const { run, retry, broken, asked, store, accepted } = setup()
    broken.add('do b')
    const metadata = { order: 7 }
    const first = await run(LINE, { metadata, state: { x: 1 }, priority: 90, lane: 'interactive' })
    const before = [store.read(first), await store.history(first)]
    broken.clear()
    const second = await retry(first)
    expect(asked).toEqual(['do b', 'end done: do b'])
    expect(store.read(second)).toMatchObject({ status: 'completed', output: { c: { text: 'done: end done: do b' } } })
    expect(store.read(second)?.events.at(-1)?.payload).toMatchObject({ cost: { actual: 0.5 } })
    expect(accepted.get(second)).toMatchObject({
      retryOf: first,
      estimatedUsd: 0.5,
      definitionHash: accepted.get(first)?.definitionHash,
      metadata,
      state: { x: 1 },
      priority: 90,
      lane: 'interactive',
    })
    const { checkpoints } = await store.history(second)
    expect(checkpoints.map(({ key, attempt }) => `${key} ${attempt}`).sort()).toEqual(['a 0', 'b 1', 'c 1'])
    expect([store.read(first), await store.history(first)]).toEqual(before)
  })

  it('can be retried itself, and takes over what the runs before it have finished', async () => {
    const { run, retry, broken, asked, store } = setup()
    broken.add('do b')
    const second = await retry(await run(LINE))
    expect(asked).toEqual(['do b'])
    broken.clear()
    const third = await retry(second)
    expect(asked).toEqual(['do b', 'end done: do b'])
    expect(store.read(third)?.status).toBe('completed')
  })

  it('takes over the items of a list and the parts of a step that were finished', async () => {
    const { run, retry, broken, asked, store } = setup()
    broken.add('item 2').add('talk 2')
    const definition = aLine(
      { id: 'list', prompt: 'item {item}', forEach: { items: [1, 2, 3], concurrency: 1 } },
      { id: 'talk', kind: 'parts', prompt: 'talk', count: 3 },
    )
    const first = await run(definition, { failFast: false })
    broken.clear()
    const second = await retry(first)
    expect(asked.toSorted()).toEqual(['item 2', 'item 3', 'talk 2', 'talk 3'])
    expect(store.read(second)?.output).toMatchObject({ talk: { texts: [1, 2, 3].map((n) => `done: talk ${n}`) } })
  })

  it('makes anew what a gate has refused, with all its parts', async () => {
    const { run, retry, asked, store } = setup()
    const definition = {
      ...aLine({ id: 'a', prompt: 'a stain' }, { id: 'b' }),
      gates: [{ id: 'g', name: 'g', type: 'clean' }],
    }
    const first = await run(definition, { failFast: false })
    expect(store.read(first)?.status).toBe('failed')
    await retry(first)
    expect(asked).toEqual(['a stain'])
  })

  it('of a run that was cancelled before it began does everything', async () => {
    const { store, retry, asked, ids, accepted } = setup()
    const run = aNewRun(ids.next(), { definition: LINE })
    accepted.set(run.id, run)
    await store.accept(run)
    await store.requestCancel(run.id)
    const second = await retry(run.id)
    expect(asked).toHaveLength(3)
    expect(store.read(second)?.status).toBe('completed')
  })

  it('asks for a review of a step again only if it was not approved', async () => {
    const { run, retry, broken, store, deliveries, ...world } = setup()
    broken.add('do b')
    const gates = [{ id: 'look', name: 'look', type: 'review', after: 'a' }]
    const first = await run({ ...aLine({ id: 'a' }, { id: 'b', needs: ['a'] }), gates })
    const decided = await store.decide(first, { approve: true, by: 'key' })
    if (decided !== null) deliveries.push(decided)
    await drive({ ...world, deliveries })
    expect(store.read(first)?.status).toBe('failed')
    broken.clear()
    expect(store.read(await retry(first))?.status).toBe('completed')
  })

  it('asks again for a review that was rejected, without paying again', async () => {
    const { run, retry, asked, store, deliveries, ...world } = setup()
    const first = await run({ ...aLine({ id: 'a' }), gates: [{ id: 'look', name: 'look', type: 'review' }] })
    const decided = await store.decide(first, { approve: false, by: 'key' })
    if (decided !== null) deliveries.push(decided)
    await drive({ ...world, deliveries })
    expect(store.read(first)?.status).toBe('failed')
    expect(store.read(await retry(first))?.status).toBe('waiting')
    expect(asked).toEqual([])
  })
})

describe('a retry of what calls workflows', () => {
  const called = aLine({ id: 'x' }, { id: 'y', needs: ['x'] })
  const calling = (definition: Definition) => ({
    ...aLine({ id: 'd', kind: 'call', prompt: undefined, input: {} }, { id: 'e', needs: ['d'] }),
    subWorkflows: { d: pinned(definition) },
  })

  it('does not pay again what the called run had finished', async () => {
    const { run, retry, broken, asked, store } = setup()
    broken.add('do y')
    const first = await run(calling(called))
    expect(store.read(first)?.status).toBe('failed')
    broken.clear()
    const second = await retry(first)
    expect(asked).toEqual(['do y', 'do e'])
    expect(store.read(second)?.status).toBe('completed')
    const [child] = await store.children(second)
    expect((await store.history(child?.id ?? '')).checkpoints.map(({ key, attempt }) => `${key} ${attempt}`)).toEqual([
      'x 0',
      'y 1',
    ])
  })

  it('nor what a run that the called run had called had finished', async () => {
    const { run, retry, broken, asked, store } = setup()
    broken.add('do y')
    const first = await run(calling(calling(called)))
    broken.clear()
    const second = await retry(first)
    expect(asked).toEqual(['do y', 'do e', 'do e'])
    expect(store.read(second)?.status).toBe('completed')
  })

  it('nor after a retry that came to nothing, before or after it called again', async () => {
    const { run, retry, broken, asked, store, deps, deliveries, ...world } = setup()
    broken.add('do y')
    const first = await run(calling(called))
    const cancelled = async (runId: string, executed: boolean) => {
      const again = await retryRun(deps, { organizationId: 'system', admin: false, runId })
      if (again.outcome === 'unknown') throw new Error('there is no such run')
      const owed = deliveries.splice(0)
      // Called once more, and cancelled before the called run is delivered.
      if (executed) for (const { runId: id } of owed) await world.engine.execute(id, new AbortController().signal)
      deliveries.length = 0
      await store.requestCancel(again.runId)
      return again.runId
    }
    const third = await cancelled(await cancelled(first, false), true)
    expect(store.read(third)?.status).toBe('cancelled')
    expect(await store.children(third)).toMatchObject([{ status: 'cancelled' }])
    broken.clear()
    expect(store.read(await retry(third))?.status).toBe('completed')
    expect(asked).toEqual(['do y', 'do e'])
  })

  it('takes over a called run that had completed as its step', async () => {
    const { run, retry, broken, asked, store } = setup()
    broken.add('do e')
    const first = await run(calling(called))
    broken.clear()
    const second = await retry(first)
    expect(asked).toEqual(['do e'])
    expect(await store.children(second)).toEqual([])
  })
})

describe('a retry of a run of slots', () => {
  it('takes over completed slots whole, their approved reviews too, and goes on with the others', async () => {
    const { retry, broken, asked, store, deliveries, accepted, ids, ...world } = setup()
    const deliver = async (...runs: Pick<NewSlot, 'id' | 'workflow'>[]) => {
      for (const { id, workflow } of runs)
        deliveries.push({ runId: id, organizationId: 'system', epoch: 0, workflow, priority: 50, lane: 'batch' })
      await drive({ ...world, deliveries })
    }
    const definition = aLine({ id: 'a', prompt: 'a {intake.n}' }, { id: 'b', prompt: 'b {intake.n}', needs: ['a'] })
    const reviewed = { ...definition, gates: [{ id: 'look', name: 'look', type: 'review' }] }
    const slots = [reviewed, definition, definition].map((one, n): NewSlot => {
      const run = aNewRun(ids.next(), { definition: one })
      return priced({ ...run, instance: { ...run.instance, intake: { n } } })
    })
    const root = aNewRun(ids.next(), { slots })
    accepted.set(root.id, root)
    await store.accept(root)
    const [done, failing] = slots as [NewSlot, NewSlot, NewSlot]
    await deliver(done)
    const decided = await store.decide(root.id, { approve: true, by: 'key' })
    if (decided !== null) deliveries.push(decided)
    broken.add('b 1')
    await deliver(failing)
    expect(slots.map(({ id }) => store.read(id)?.status)).toEqual(['completed', 'failed', 'cancelled'])
    expect(store.read(root.id)?.status).toBe('failed')

    broken.clear()
    const second = await retry(root.id)
    expect(asked.toSorted()).toEqual(['a 2', 'b 1', 'b 2'])
    expect(store.read(second)?.status).toBe('completed')
    expect(accepted.get(second)?.slots.map(({ estimatedUsd }) => estimatedUsd)).toEqual([0, 0.25, 0.5])
    const kinds = store.read(second)?.events.map(({ kind }) => kind)
    expect(kinds?.filter((kind) => kind === 'workflow.node.completed')).toHaveLength(3)
    expect(kinds).not.toContain('workflow.run.waiting')
  })
})

describe('what cannot be retried', () => {
  it.each(['completed', 'running', 'waiting', 'pending'] as const)('a run that is %s', async (status) => {
    const { deps } = setup()
    const run = aNewRun('r', { definition: LINE })
    const endedRun = async () => ({ ...run, status, within: null, slots: [] })
    const tried = retryRun({ ...deps, endedRun }, { organizationId: 'system', admin: false, runId: 'r' })
    await expect(tried).rejects.toMatchObject({
      code: 'not-retryable',
      message: expect.stringContaining(isTerminal(status) ? 'nothing left' : 'cancel it first'),
    })
  })

  it.each([
    [{ runId: 'root', slotIndex: 3 }, /"slots\/3" of the run root; retry that one/],
    [{ runId: 'root', slotIndex: null }, /called by a step of the run root; retry that one/],
  ])('a part of another run: %j', async (within, words) => {
    const { deps } = setup()
    const endedRun = async () => ({
      ...aNewRun('r', { definition: LINE }),
      status: 'failed' as const,
      within,
      slots: [],
    })
    const tried = retryRun({ ...deps, endedRun }, { organizationId: 'system', admin: false, runId: 'r' })
    await expect(tried).rejects.toMatchObject({ code: 'not-retryable', message: expect.stringMatching(words) })
  })

  it('a run that the organization does not have', async () => {
    const { deps } = setup()
    expect(await retryRun(deps, { organizationId: 'system', admin: false, runId: 'nobody' })).toEqual({
      outcome: 'unknown',
    })
  })

  it('a run whose rest is over the budget of the day', async () => {
    const { run, retry, broken } = setup()
    broken.add('do b')
    const first = await run({ ...LINE, budgetPolicy: { maxPerDayUsd: 0.7 } })
    await expect(retry(first)).rejects.toMatchObject({ code: 'budget-exceeded' })
  })
})

describe('a retry with an Idempotency-Key', () => {
  it('is made once, and the key is nobody else’s', async () => {
    const { run, retry, broken, deps } = setup()
    broken.add('do b')
    const [first, other] = [await run(LINE), await run(LINE)]
    const second = await retry(first, 'k')
    expect(await retry(first, 'k')).toBe(second)
    expect(await retryRun(deps, { organizationId: 'system', admin: false, runId: first, idempotencyKey: 'k' })).toEqual(
      {
        outcome: 'replayed',
        runId: second,
      },
    )
    await expect(retry(other, 'k')).rejects.toMatchObject({ code: 'idempotency-mismatch' })
    expect(await retry(first, 'k2')).not.toBe(second)
  })
})

describe('an accepted retry', () => {
  it('is announced by its first events and delivered once, with the priority and lane of the earlier run', async () => {
    const { run, deps, broken, deliveries } = setup()
    broken.add('do b')
    const first = await run(LINE, { priority: 90, lane: 'interactive' })
    const published: RunEvent[] = []
    const queue = { ...deps.queue, publish: (events: RunEvent[]) => void published.push(...events) }
    const outcome = await retryRun({ ...deps, queue }, { organizationId: 'system', admin: false, runId: first })
    if (outcome.outcome !== 'accepted') throw new Error('not accepted')
    const { runId } = outcome
    expect(published.map(({ kind, run_id }) => [kind, run_id])).toEqual([
      ['workflow.run.created', runId],
      ['workflow.run.queued', runId],
    ])
    expect(deliveries).toEqual([
      {
        runId,
        organizationId: 'system',
        epoch: 0,
        workflow: 'test/example',
        priority: 90,
        lane: 'interactive',
      },
    ])
  })

  it('carries no calls of an earlier run where that one made none', async () => {
    const { run, retry, broken, accepted } = setup()
    broken.add('do a')
    const second = accepted.get(await retry(await run(LINE)))
    expect([second?.instance.inherited, second?.instance.earlierCalls]).toEqual([true, undefined])
  })

  it('is estimated by what is left of a step: a list whose step is not finished counts whole', async () => {
    const { run, retry, broken, accepted } = setup()
    broken.add('item 2')
    const definition = aLine({ id: 'list', prompt: 'item {item}', forEach: { items: [1, 2], concurrency: 1 } })
    const second = await retry(await run(definition, { failFast: false }))
    expect(accepted.get(second)?.estimatedUsd).toBe(0.5)
  })
})

describe('a retry and the budget of a run', () => {
  it.each([
    [0.5, 'accepted'],
    [0.4, 'budget-exceeded'],
  ])('of $%d for what is left is %s', async (maxPerRunUsd, expected) => {
    const { run, deps, broken } = setup()
    broken.add('do b')
    const first = await run({ ...LINE, budgetPolicy: { maxPerRunUsd } })
    const tried = retryRun(deps, { organizationId: 'system', admin: false, runId: first })
    const became = await tried.then(
      ({ outcome }) => outcome,
      ({ code }: { code: string }) => code,
    )
    expect(became).toBe(expected)
  })
})

describe('a retry of a workflow that was withdrawn', () => {
  it('is refused as a submit is', async () => {
    const { run, deps, broken, withdrawn, accepted } = setup()
    broken.add('do b')
    const first = await run(LINE)
    const workflow = accepted.get(first)?.workflow ?? ''
    withdrawn.add(workflow)
    await expect(retryRun(deps, { organizationId: 'system', admin: false, runId: first })).rejects.toMatchObject({
      code: 'not-found',
      message: `There is no workflow "${workflow}" that this key can run.`,
    })
  })
})

describe('two retries that race under one Idempotency-Key', () => {
  it('are one run where they are for the same, which is delivered once', async () => {
    const { run, deps, broken, deliveries } = setup()
    broken.add('do b')
    const runId = await run(LINE)
    const request = { organizationId: 'system', admin: false, runId, idempotencyKey: 'k' }
    const outcomes = await Promise.all([retryRun(deps, request), retryRun(deps, request)])
    expect(outcomes.map(({ outcome }) => outcome).sort()).toEqual(['accepted', 'replayed'])
    expect(new Set(outcomes.map((one) => (one.outcome === 'unknown' ? '' : one.runId))).size).toBe(1)
    expect(deliveries).toHaveLength(1)
  })

  it('are refused to the later where they are for different runs', async () => {
    const { run, deps, broken, deliveries } = setup()
    broken.add('do b')
    const runs = [await run(LINE), await run(LINE)]
    const tried = await Promise.allSettled(
      runs.map((runId) => retryRun(deps, { organizationId: 'system', admin: false, runId, idempotencyKey: 'k' })),
    )
    expect(tried.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    expect(tried[1]).toMatchObject({ reason: { code: 'idempotency-mismatch' } })
    expect(deliveries).toHaveLength(1)
  })

  it('answer neither where the key stands for something else', async () => {
    const { run, deps, broken } = setup()
    broken.add('do b')
    const runId = await run(LINE)
    const acceptedUnder = async () => ({ runId, digest: contentHash(['submit', runId]) })
    const tried = retryRun(
      { ...deps, store: { ...deps.store, acceptedUnder } },
      { organizationId: 'system', admin: false, runId, idempotencyKey: 'k' },
    )
    await expect(tried).rejects.toMatchObject({ code: 'idempotency-mismatch' })
  })
})
