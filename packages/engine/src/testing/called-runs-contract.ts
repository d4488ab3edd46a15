// The part of the run store's contract that is about runs which wait for others, gates with a time, caps of the day,
// and what a run takes over; `runStoreContract` runs it with the rest.
import { isTerminalKind } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { contentHash } from '../template/compile.ts'
import type { ChildRun, ClaimedRun, NewRun, RunStore, Transition } from '../ports.ts'
import { aCall, aCheckpoint, aDefinition, anArtifact, anEnd, aNewRun, aTransition } from './factories.ts'
import type { RunStoreSetup } from './run-store-setup.ts'
import { createSequentialIds } from './sequential-ids.ts'

interface Tools extends RunStoreSetup {
  accepted(over?: Partial<NewRun>): Promise<NewRun>
  claimed(runId: string): Promise<ClaimedRun>
  openReview(runId: string, gateIds?: string[]): Promise<ClaimedRun>
  loseWorkers(runId: string, times: number): Promise<void>
}

const LEASE_MS = 60_000
const DAY_MS = 24 * 3_600_000
const COMPLETED = { status: 'completed', output: { done: true }, simulated: false } as const
type Caller = Pick<NewRun, 'id' | 'organizationId' | 'metadata' | 'priority' | 'lane' | 'failFast'> & {
  rootRunId?: string
}
const SUSPENDED = { status: 'suspended', wakeInMs: 30_000 } as const

/** Defines these tests; `setup` opens a store for each. */
export function calledRunsContract(name: string, setup: () => Promise<Tools>): void {
  async function family() {
    const tools = await setup()
    const { store, accepted, claimed } = tools
    const ids = createSequentialIds('7')

    /** A run that a step of this one calls. */
    function aChild(caller: Caller, callerKey = 'd'): ChildRun {
      const { organizationId, rootRunId = caller.id, metadata, priority, lane, failFast } = caller
      const definition = aDefinition({ templateId: 'test/called' })
      return {
        id: ids.next(),
        rootRunId,
        organizationId,
        metadata,
        priority,
        lane,
        failFast,
        callerKey,
        workflow: 'test/called',
        workflowVersion: '2026.01.01',
        definitionHash: contentHash(definition),
        definition,
        instance: { intake: { prompt: callerKey }, regenerate: {}, variantIndex: null, variants: 1, capUsd: 2 },
        input: { prompt: callerKey },
        simulated: false,
        estimatedUsd: 0.25,
      }
    }

    async function commits(transition: Transition): Promise<void> {
      expect((await store.commit(transition)).outcome).toBe('committed')
    }

    /** A run that is suspended, and the run that it has called. */
    async function suspended(end: Transition['end'] = SUSPENDED, over: Partial<NewRun> = {}) {
      const caller = await accepted(over)
      const { fence } = await claimed(caller.id)
      const child = aChild(caller)
      await commits(aTransition(caller.id, fence, { children: [child] }))
      await commits(anEnd(caller.id, fence, end as NonNullable<Transition['end']>))
      return { caller, child, fence }
    }

    async function ends(runId: string, calls: Transition['calls'] = []): Promise<void> {
      const { fence } = await claimed(runId)
      await commits(anEnd(runId, fence, COMPLETED, { calls }))
    }
    return { ...tools, aChild, commits, suspended, ends }
  }

  describe(`${name}: calling runs`, () => {
    it('accepts a called run together with what records the call', async () => {
      const { store, read, accepted, claimed, aChild, commits } = await family()
      const caller = await accepted({ priority: 90, lane: 'interactive', metadata: { order: 7 }, failFast: false })
      const { fence } = await claimed(caller.id)
      const [first, second] = [aChild(caller, 'd[0]'), aChild(caller, 'd[1]')]
      await commits(aTransition(caller.id, fence, { children: [first, second], checkpoints: [aCheckpoint('a')] }))
      const { children } = await store.history(caller.id)
      expect(children.toSorted((a, b) => (a.id < b.id ? -1 : 1))).toEqual(
        [first, second].map(({ id, callerKey }) => ({
          id,
          callerKey,
          workflow: 'test/called',
          status: 'pending',
          output: null,
          error: null,
          simulated: false,
          artifacts: [],
          openGates: [],
          spent: { billed: 0, simulated: 0, unknown: 0 },
          capUsd: 2,
        })),
      )
      expect(await store.definition(first.definitionHash)).toEqual(first.definition)
      expect((await read(first.id)).events).toMatchObject([
        { seq: 1, kind: 'workflow.run.created', root_run_id: caller.id },
        { seq: 2, kind: 'workflow.run.queued' },
      ])
      expect(await claimed(first.id)).toMatchObject({
        rootRunId: caller.id,
        awaitedBy: caller.id,
        organizationId: 'system',
        instance: first.instance,
        metadata: { order: 7 },
        priority: 90,
        lane: 'interactive',
        failFast: false,
        resumed: false,
      })
    })

    it('accepts none under a fence that is lost, or once a cancel stands', async () => {
      const { store, accepted, claimed, aChild } = await family()
      const [lost, cancelled] = [await accepted(), await accepted()]
      const { fence } = await claimed(lost.id)
      await store.release(lost.id, fence)
      const [first, second] = [aChild(lost), aChild(cancelled)]
      expect(await store.commit(aTransition(lost.id, fence, { children: [first] }))).toEqual({ outcome: 'lost' })
      const held = await claimed(cancelled.id)
      await store.requestCancel(cancelled.id)
      const late = aTransition(cancelled.id, held.fence, { children: [second] })
      expect(await store.commit(late)).toEqual({ outcome: 'cancelled' })
      for (const { id } of [first, second]) expect(await store.claim(id, 'w', LEASE_MS)).toBeNull()
      expect([await store.children(lost.id), await store.children(cancelled.id)]).toEqual([[], []])
    })

    it('delivers a called run that nobody handed over', async () => {
      const { store, advance, suspended } = await family()
      const { child } = await suspended()
      await advance(11_000)
      expect((await store.recover(100)).overdue.map(({ runId }) => runId)).toContain(child.id)
    })

    it('counts what a called run and its own called runs have spent, and shows their files and gates', async () => {
      const { store, claimed, aChild, commits, suspended } = await family()
      const { caller, child } = await suspended()
      const held = await claimed(child.id)
      const below = aChild({ ...child, rootRunId: caller.id }, 'e')
      const gates = [{ id: 'look', name: 'Look', type: 'review', status: 'open' as const, detail: null }]
      await commits(
        aTransition(child.id, held.fence, {
          children: [below],
          artifacts: [anArtifact('a1')],
          calls: [aCall('c1', { outcome: 'succeeded', actualUsd: 0.1 })],
        }),
      )
      await commits(anEnd(child.id, held.fence, SUSPENDED))
      const lowest = await claimed(below.id)
      await commits(aTransition(below.id, lowest.fence, { calls: [aCall('c2')] }))
      await commits(anEnd(below.id, lowest.fence, { status: 'waiting', wakeInMs: null }, { gates }))
      expect(await store.children(caller.id)).toMatchObject([
        {
          id: child.id,
          status: 'running',
          spent: { billed: 0.35, simulated: 0, unknown: 0 },
          artifacts: [anArtifact('a1')],
          openGates: [{ id: 'look', name: 'Look', runId: below.id }],
        },
      ])
    })
  })

  describe(`${name}: suspended`, () => {
    it('lets nobody’s lease run out, and is claimed by nobody', async () => {
      const { store, advance, read, suspended } = await family()
      const { caller } = await suspended({ status: 'suspended', wakeInMs: null })
      expect((await read(caller.id)).status).toBe('running')
      expect(await store.claim(caller.id, 'w2', LEASE_MS)).toBeNull()
      for (let pass = 0; pass < 4; pass += 1) {
        await advance(LEASE_MS * 2)
        expect((await store.recover(100)).overdue.map(({ runId }) => runId)).not.toContain(caller.id)
      }
      expect((await read(caller.id)).status).toBe('running')
    })

    it('is woken once, by whoever comes first', async () => {
      const { store, claimed, suspended } = await family()
      const { caller, fence } = await suspended()
      const told = await Promise.all(Array.from({ length: 10 }, () => store.notify([caller.id])))
      const woken = told.flatMap(({ deliveries }) => deliveries)
      expect(woken).toMatchObject([{ runId: caller.id }])
      expect(woken[0]?.epoch).toBeGreaterThan(0)
      expect((await store.notify([caller.id])).deliveries).toEqual([])
      const again = await claimed(caller.id)
      expect(again.resumed).toBe(true)
      expect(again.fence).toBeGreaterThan(fence)
      expect((await store.notify([caller.id])).deliveries, 'one at work needs no waking').toEqual([])
    })

    it('wakes nothing that is over, queued or cancelled', async () => {
      const { store, accepted, suspended } = await family()
      const queued = await accepted()
      const { caller } = await suspended()
      await store.requestCancel(caller.id)
      const told = await store.notify([queued.id, caller.id, createSequentialIds('5').next()])
      expect(told).toEqual({ deliveries: [], events: [], cancelled: [] })
    })

    it.each([
      ['suspended', 30_000],
      ['waiting', 30_000],
      ['waiting', 400 * DAY_MS],
    ] as const)('%s is looked at when %i ms are over, and not before', async (status, wakeInMs) => {
      const { store, advance, claimed, suspended } = await family()
      const { caller } = await suspended({ status, wakeInMs })
      await advance(wakeInMs - 1_000)
      expect((await store.recover(100)).overdue.map(({ runId }) => runId)).not.toContain(caller.id)
      await advance(2_000)
      await store.recover(100)
      expect((await claimed(caller.id)).resumed).toBe(true)
    })

    it('is woken when the run that it called is settled without a worker', async () => {
      const { store, loseWorkers, claimed, suspended } = await family()
      const { caller, child } = await suspended({ status: 'suspended', wakeInMs: null })
      await loseWorkers(child.id, 3)
      await claimed(caller.id)
      expect(await store.children(caller.id)).toMatchObject([
        { status: 'failed', error: { code: 'worker-crash-limit' } },
      ])
    })
  })

  describe(`${name}: steering trees`, () => {
    it('decides a gate below on the run at the top, once', async () => {
      const { store, openReview, suspended } = await family()
      const { caller, child } = await suspended()
      await openReview(child.id, ['look'])
      const decisions = await Promise.all(
        Array.from({ length: 10 }, (_, n) => store.decide(caller.id, { approve: n % 2 === 0, by: 'key' })),
      )
      expect(decisions.filter((delivery) => delivery !== null)).toMatchObject([{ runId: child.id }])
      expect((await store.history(child.id)).gates[0]?.status).toMatch(/approved|rejected/)
    })

    it('decides the run’s own gate before one below', async () => {
      const { store, openReview, accepted, claimed, aChild, commits } = await family()
      const caller = await accepted()
      const { fence } = await claimed(caller.id)
      const child = aChild(caller)
      const gates = [{ id: 'own', name: 'own', type: 'review', status: 'open' as const, detail: null }]
      await commits(aTransition(caller.id, fence, { children: [child] }))
      await commits(anEnd(caller.id, fence, { status: 'waiting', wakeInMs: null }, { gates }))
      await openReview(child.id, ['below'])
      expect(await store.decide(caller.id, { approve: true, by: 'key' })).toMatchObject({ runId: caller.id })
      expect(await store.decide(caller.id, { approve: true, gateId: 'below', by: 'key' })).toMatchObject({
        runId: child.id,
      })
      expect(await store.decide(caller.id, { approve: true, by: 'key' })).toBeNull()
    })

    it('has a caller that waits for a decision look soon after it, whoever should have told it of the end', async () => {
      const { store, openReview, accepted, claimed, aChild, commits, ends, advance } = await family()
      const caller = await accepted()
      const { fence } = await claimed(caller.id)
      const child = aChild(caller)
      await commits(aTransition(caller.id, fence, { children: [child] }))
      await openReview(child.id, ['look'])
      await commits(anEnd(caller.id, fence, { status: 'waiting', wakeInMs: 3_600_000 }))
      await store.decide(caller.id, { approve: true, by: 'key' })
      await ends(child.id)
      await advance(31_000)
      expect((await store.recover(100)).overdue.map(({ runId }) => runId)).toContain(caller.id)
    })

    it('cancels a whole tree: what is executed is marked, and what waits for it ends after it, with its whole cost', async () => {
      const { store, read, claimed, suspended } = await family()
      const { caller, child } = await suspended()
      const held = await claimed(child.id)
      await store.commit(aTransition(child.id, held.fence, { calls: [aCall('c1')] }))
      const { settled, active } = await store.requestCancel(caller.id)
      expect(active).toEqual([child.id])
      expect(settled).toEqual([])
      expect(await store.renew([{ runId: child.id, fence: held.fence }], LEASE_MS)).toEqual({
        lost: [],
        cancelled: [child.id],
      })
      const settledCall = aCall('c1', { outcome: 'cancelled', actualUsd: 0.4 })
      await store.commit(anEnd(child.id, held.fence, { status: 'cancelled' }, { calls: [settledCall] }))
      const { events: told } = await store.notify([caller.id])
      expect(told).toMatchObject([{ run_id: caller.id, payload: { cost: { actual: 0.4 } } }])
      for (const { id } of [caller, child]) {
        const { status, events } = await read(id)
        expect(status).toBe('cancelled')
        expect(events.filter(({ kind }) => isTerminalKind(kind))).toHaveLength(1)
      }
    })

    it('ends a cancelled run whose called run has ended without telling it', async () => {
      const { store, read, claimed, suspended, advance } = await family()
      const { caller, child } = await suspended()
      const held = await claimed(child.id)
      await store.requestCancel(caller.id)
      await advance(31_000)
      await store.recover(100)
      expect((await read(caller.id)).status).toBe('running')
      await store.renew([{ runId: child.id, fence: held.fence }], LEASE_MS)
      await store.commit(anEnd(child.id, held.fence, { status: 'cancelled' }))
      expect((await store.recover(100)).events).toMatchObject([{ run_id: caller.id, kind: 'workflow.run.cancelled' }])
    })

    it('ends what a run has called when the run itself is given up, and that after it', async () => {
      const { store, read, accepted, claimed, loseWorkers, aChild, commits, advance } = await family()
      const caller = await accepted()
      const { fence } = await claimed(caller.id)
      const [queued, atWork] = [aChild(caller, 'd[0]'), aChild(caller, 'd[1]')]
      await commits(aTransition(caller.id, fence, { children: [queued, atWork] }))
      await store.release(caller.id, fence)
      await loseWorkers(caller.id, 2)
      await claimed(caller.id)
      await advance(LEASE_MS + 1_000)
      const held = await claimed(atWork.id)
      const { cancelled, events } = await store.recover(100)
      expect(cancelled).toEqual([atWork.id])
      expect(events.map(({ run_id, kind }) => [run_id, kind])).toEqual([[queued.id, 'workflow.run.cancelled']])
      expect((await read(queued.id)).status).toBe('cancelled')
      const spends = aTransition(atWork.id, held.fence, { calls: [aCall('c1')] })
      expect(await store.commit(spends)).toEqual({ outcome: 'cancelled' })
      await store.commit(anEnd(atWork.id, held.fence, { status: 'cancelled' }))
      expect((await store.recover(100)).events).toMatchObject([{ run_id: caller.id, kind: 'workflow.run.failed' }])
    })

    it('counts once what a queued tree has spent when it is settled together', async () => {
      const { store, claimed, suspended } = await family()
      const { caller, child } = await suspended()
      const held = await claimed(child.id)
      await store.commit(aTransition(child.id, held.fence, { calls: [aCall('c1')] }))
      await store.release(child.id, held.fence)
      const { settled } = await store.requestCancel(caller.id)
      expect(settled.map(({ payload }) => payload.cost)).toMatchObject([{ actual: 0.25 }, { actual: 0.25 }])
      expect((await store.history(child.id)).calls).toMatchObject([{ outcome: 'unknown', actualUsd: 0.25 }])
    })

    it('cancels what a run has called, and leaves that run alone', async () => {
      const { store, read, accepted, claimed, aChild, commits } = await family()
      const caller = await accepted()
      const { fence } = await claimed(caller.id)
      const [queued, atWork, over] = [aChild(caller, 'd[0]'), aChild(caller, 'd[1]'), aChild(caller, 'd[2]')]
      await commits(aTransition(caller.id, fence, { children: [queued, atWork, over] }))
      await claimed(atWork.id)
      await commits(anEnd(over.id, (await claimed(over.id)).fence, COMPLETED))
      const { settled, active } = await store.cancelChildren(caller.id)
      expect(active).toEqual([atWork.id])
      expect(settled.map(({ run_id }) => run_id)).toEqual([queued.id])
      expect((await read(caller.id)).status).toBe('running')
      expect((await read(over.id)).status).toBe('completed')
      expect((await store.commit(aTransition(caller.id, fence, { checkpoints: [aCheckpoint('a')] }))).outcome).toBe(
        'committed',
      )
    })
  })

  describe(`${name}: gates with a time`, () => {
    async function reviewed(inMs = 60_000, approve = true) {
      const tools = await family()
      const run = await tools.accepted()
      const { fence } = await tools.claimed(run.id)
      const gate = { id: 'look', name: 'look', type: 'review', status: 'open' as const, detail: null }
      const gates = [{ ...gate, expiry: { inMs, approve } }]
      await tools.commits(anEnd(run.id, fence, { status: 'waiting', wakeInMs: inMs }, { gates }))
      return { ...tools, run }
    }

    it.each([true, false])('count down by the record’s clock, and remember the default %s', async (approve) => {
      const { store, advance, run } = await reviewed(60_000, approve)
      await advance(20_000)
      const [gate] = (await store.history(run.id)).gates
      expect(gate?.expiry?.approve).toBe(approve)
      expect(gate?.expiry?.inMs).toBeGreaterThan(30_000)
      expect(gate?.expiry?.inMs).toBeLessThanOrEqual(40_000)
    })

    it('are counted in whole milliseconds, so that a run can rest for what is left of them', async () => {
      const { store, run, claimed, commits } = await reviewed()
      await store.notify([run.id])
      const { fence } = await claimed(run.id)
      const inMs = (await store.history(run.id)).gates[0]?.expiry?.inMs ?? 0
      expect(Number.isInteger(inMs)).toBe(true)
      await commits(anEnd(run.id, fence, { status: 'waiting', wakeInMs: inMs }))
    })

    it('are a person’s until then, and nobody’s afterwards', async () => {
      const { store, advance, run, claimed } = await reviewed()
      await advance(61_000)
      expect(await store.decide(run.id, { approve: true, by: 'key' })).toBeNull()
      await store.recover(100)
      await claimed(run.id)
      expect((await store.history(run.id)).gates[0]?.expiry?.inMs).toBeLessThanOrEqual(0)
    })

    it('keep their time when they are written again', async () => {
      const { store, advance, run, claimed, commits } = await reviewed()
      await advance(61_000)
      await store.recover(100)
      const { fence } = await claimed(run.id)
      const gates = [{ id: 'look', name: 'look', type: 'review', status: 'approved' as const, detail: 'in time' }]
      await commits(anEnd(run.id, fence, COMPLETED, { gates }))
      expect((await store.history(run.id)).gates).toMatchObject([{ status: 'approved', detail: 'in time' }])
    })
  })

  describe(`${name}: caps of a day`, () => {
    const CAPS = [{ workflow: 'test/example', maxUsd: 2.5 }]

    async function spending() {
      const tools = await family()
      async function held(over: Partial<NewRun> = {}) {
        const run = await tools.accepted(over)
        return await tools.claimed(run.id)
      }
      const begin = (store: RunStore, run: ClaimedRun, callId: string, dayCaps = CAPS, estimatedUsd = 0.25) =>
        store.commit(aTransition(run.id, run.fence, { calls: [aCall(callId, { estimatedUsd })], dayCaps }))
      return { ...tools, held, begin }
    }

    it('let exactly as many calls begin as they have room for, of 50 at once from several processes', async () => {
      const { store, beside, held, begin } = await spending()
      const stores = [store, beside(), beside()]
      const runs: ClaimedRun[] = []
      for (let n = 0; n < 50; n += 1) runs.push(await held())
      const outcomes = await Promise.all(
        runs.map((run, n) => begin(stores[n % stores.length] as RunStore, run, `${run.id}.c`)),
      )
      expect(outcomes.filter(({ outcome }) => outcome === 'committed')).toHaveLength(10)
      const refused = outcomes.filter(({ outcome }) => outcome === 'over-budget')
      expect(refused).toHaveLength(40)
      expect(refused[0]).toEqual({ outcome: 'over-budget', cap: CAPS[0], spentUsd: 2.5 })
      expect(await store.spentToday('system', 'test/example')).toBe(2.5)
      const begun = await Promise.all(runs.map(async ({ id }) => (await store.history(id)).calls.length))
      expect(begun.reduce((sum, count) => sum + count, 0)).toBe(10)
    })

    it('give back what a call was to cost and did not', async () => {
      const { store, held, begin } = await spending()
      const run = await held()
      for (let n = 0; n < 20; n += 1) {
        expect((await begin(store, run, `c${n}`)).outcome, `call ${n}`).toBe('committed')
        const settled = aCall(`c${n}`, { outcome: 'succeeded', actualUsd: 0.1 })
        await store.commit(aTransition(run.id, run.fence, { calls: [settled], dayCaps: CAPS }))
      }
      expect(await store.spentToday('system', 'test/example')).toBeCloseTo(2, 9)
    })

    it('give it back as well when the call is settled by what calls another workflow', async () => {
      const { store, held, begin, aChild } = await spending()
      const run = await held()
      await begin(store, run, 'c1')
      const settled = aCall('c1', { outcome: 'succeeded', actualUsd: 0.1 })
      await store.commit(aTransition(run.id, run.fence, { calls: [settled], children: [aChild(run)], dayCaps: CAPS }))
      expect(await store.spentToday('system', 'test/example')).toBe(0.1)
    })

    it('add up in decimal numbers', async () => {
      const { store, held, begin } = await spending()
      const run = await held()
      const caps = [{ workflow: 'test/example', maxUsd: 0.3 }]
      for (const id of ['c1', 'c2', 'c3'])
        expect((await begin(store, run, id, caps, 0.1)).outcome, id).toBe('committed')
      expect((await begin(store, run, 'c4', caps, 0.000001)).outcome).toBe('over-budget')
    })

    it('are of one organization, one workflow and one day', async () => {
      const { store, held, begin, advance } = await spending()
      const caps = [{ workflow: 'test/example', maxUsd: 0.25 }]
      const other = [{ workflow: 'test/other', maxUsd: 0.25 }]
      expect((await begin(store, await held(), 'c1', caps)).outcome).toBe('committed')
      expect((await begin(store, await held(), 'c2', caps)).outcome).toBe('over-budget')
      expect((await begin(store, await held(), 'c3', other)).outcome).toBe('committed')
      expect(await store.spentToday('somebody else', 'test/example')).toBe(0)
      await advance(DAY_MS)
      expect(await store.spentToday('system', 'test/example')).toBe(0)
      // Nobody's lease outlives a day: the next day's run is a new one.
      expect((await begin(store, await held(), 'c4', caps)).outcome).toBe('committed')
    })

    it('of several workflows hold together: a refusal leaves nothing reserved under any', async () => {
      const { store, held, begin } = await spending()
      const caps = [
        { workflow: 'test/example', maxUsd: 10 },
        { workflow: 'test/other', maxUsd: 0.25 },
      ]
      const run = await held()
      expect((await begin(store, run, 'c1', caps)).outcome).toBe('committed')
      expect((await begin(store, run, 'c2', caps)).outcome).toBe('over-budget')
      expect(await store.spentToday('system', 'test/example')).toBe(0.25)
      expect(await store.spentToday('system', 'test/other')).toBe(0.25)
    })

    it('are not given back by a holder whose run is another’s by now', async () => {
      const { store, held, begin, claimed } = await spending()
      const stale = await held()
      await store.release(stale.id, stale.fence)
      expect((await begin(store, await claimed(stale.id), 'c1')).outcome).toBe('committed')
      expect(await begin(store, stale, 'c1')).toEqual({ outcome: 'lost' })
      expect(await store.spentToday('system', 'test/example')).toBe(0.25)
    })

    it('reserve nothing for a call that is refused for another reason', async () => {
      const { store, held, begin } = await spending()
      const run = await held()
      await store.release(run.id, run.fence)
      expect(await begin(store, run, 'c1')).toEqual({ outcome: 'lost' })
      expect(await store.spentToday('system', 'test/example')).toBe(0)
    })
  })

  describe(`${name}: taking over`, () => {
    it('puts what a run takes over on record together with it', async () => {
      const { store, accepted, claimed } = await setup()
      const inherited = {
        checkpoints: [
          aCheckpoint('a', { attempt: 0, output: { text: 'ü', artifact: { id: 'a1' } }, simulated: true }),
          aCheckpoint('b', { attempt: 0, status: 'skipped', output: null }),
        ],
        artifacts: [anArtifact('a1', { stepKey: 'a', simulated: true })],
      }
      const run = await accepted({ inherited })
      const { checkpoints, artifacts, calls } = await store.history(run.id)
      expect(checkpoints.toSorted((a, b) => (a.key < b.key ? -1 : 1))).toEqual(inherited.checkpoints)
      expect(artifacts).toEqual(inherited.artifacts)
      expect(calls).toEqual([])
      expect((await claimed(run.id)).resumed).toBe(false)
    })

    it('takes over nothing for a repeat or a misuse of a key', async () => {
      const { store } = await setup()
      const ids = createSequentialIds('6')
      const inherited = (id: string) => ({ checkpoints: [aCheckpoint('a')], artifacts: [anArtifact(id)] })
      const first = aNewRun(ids.next(), { idempotency: { key: 'k', digest: 'd' }, inherited: inherited('a1') })
      const again = aNewRun(ids.next(), { idempotency: { key: 'k', digest: 'd' }, inherited: inherited('a2') })
      const other = aNewRun(ids.next(), { idempotency: { key: 'k', digest: 'x' }, inherited: inherited('a3') })
      expect((await store.accept(first)).outcome).toBe('accepted')
      expect(await store.accept(again)).toEqual({ outcome: 'replayed', runId: first.id })
      expect(await store.accept(other)).toEqual({ outcome: 'mismatch' })
      for (const { id } of [again, other]) expect((await store.history(id)).checkpoints).toEqual([])
    })
  })
}
