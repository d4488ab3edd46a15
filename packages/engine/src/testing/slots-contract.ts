// The part of the run store's contract that is about runs of slots; `runStoreContract` runs it with the rest.
import { isTerminalKind } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { contentHash } from '../template/compile.ts'
import type { ClaimedRun, NewRun, NewSlot, Transition } from '../ports.ts'
import { aCall, aCheckpoint, aDefinition, anArtifact, anEnd, aNewRun, aTransition } from './factories.ts'
import type { RunStoreSetup } from './run-store-setup.ts'
import { createSequentialIds } from './sequential-ids.ts'

interface Tools extends RunStoreSetup {
  accepted(over?: Partial<NewRun>): Promise<NewRun>
  claimed(runId: string): Promise<ClaimedRun>
  openReview(runId: string, gateIds?: string[]): Promise<ClaimedRun>
}

const LEASE_MS = 60_000
const COMPLETED = { status: 'completed', output: { done: true }, simulated: false } as const
const FAILED = { status: 'failed', error: { code: 'x', message: 'no' }, simulated: false } as const
const CANCELLED = { status: 'cancelled' } as const

/** Defines these tests; `setup` opens a store for each. */
export function slotsContract(name: string, setup: () => Promise<Tools>): void {
  async function bundle(
    count: number,
    over: Partial<NewRun> = {},
    ofSlot: (index: number) => Partial<NewSlot> = () => ({}),
  ) {
    const tools = await setup()
    const { store, accepted, claimed } = tools
    const ids = createSequentialIds('7')
    const slots = Array.from({ length: count }, (_, index): NewSlot => {
      const definition = aDefinition({ templateId: `test/slot-${index % 2}` })
      return {
        id: ids.next(),
        workflow: definition.templateId,
        workflowVersion: definition.templateVersion,
        definitionHash: contentHash(definition),
        definition,
        instance: { intake: { index }, regenerate: {}, variantIndex: null, variants: 1 },
        input: { index },
        simulated: false,
        estimatedUsd: 0.25,
        warnings: [],
        inherited: null,
        ...ofSlot(index),
      }
    })
    const root = await accepted({ slots, ...over })

    async function ends(runId: string, end: Transition['end'], written: Partial<Transition> = {}) {
      const { fence } = await claimed(runId)
      const committed = await store.commit(anEnd(runId, fence, end as NonNullable<Transition['end']>, written))
      expect(committed.outcome).toBe('committed')
    }

    /** The run and its log as they are, the log without a gap and with nothing behind an end. */
    async function standing(runId = root.id) {
      const run = await tools.read(runId)
      expect(run.events.map(({ seq }) => seq)).toEqual(run.events.map((_, index) => index + 1))
      const terminal = run.events.findIndex(({ kind }) => isTerminalKind(kind))
      if (terminal >= 0) expect(terminal).toBe(run.events.length - 1)
      return { ...run, nodes: run.events.flatMap(({ kind, node_key }) => (node_key ? [`${kind} ${node_key}`] : [])) }
    }
    return {
      ...tools,
      root,
      slots: root.slots,
      slotId: (index: number) => (root.slots[index] as NewSlot).id,
      ends,
      standing,
    }
  }

  describe(`${name}: runs of slots`, () => {
    it('puts a run, its slots and all that they need on record at once', async () => {
      const { store, root, slots, standing, claimed } = await bundle(3, {
        priority: 90,
        lane: 'interactive',
        failFast: false,
        metadata: { order: 7 },
      })
      expect((await standing()).events.map(({ kind }) => kind)).toEqual(['workflow.run.created', 'workflow.run.queued'])
      for (const slot of slots) {
        expect((await standing(slot.id)).events).toMatchObject([
          { kind: 'workflow.run.created', root_run_id: root.id },
          { kind: 'workflow.run.queued', root_run_id: root.id },
        ])
        expect(await store.definition(slot.definitionHash)).toEqual(slot.definition)
        expect(await claimed(slot.id)).toMatchObject({
          rootRunId: root.id,
          awaitedBy: root.id,
          workflow: slot.workflow,
          organizationId: 'system',
          instance: slot.instance,
          metadata: { order: 7 },
          priority: 90,
          lane: 'interactive',
          failFast: false,
          resumed: false,
        })
      }
    })

    it('never gives the run itself to a worker, and delivers every slot that nobody handed over', async () => {
      const { store, root, slots, advance } = await bundle(3)
      expect(await store.claim(root.id, 'w', LEASE_MS)).toBeNull()
      await advance(11_000)
      const { overdue } = await store.recover(100)
      expect(overdue.map(({ runId }) => runId).sort()).toEqual(slots.map(({ id }) => id).sort())
      await store.requeueAll()
      await advance(40_000)
      expect((await store.recover(100)).overdue.map(({ runId }) => runId)).not.toContain(root.id)
    })

    it('takes over finished steps and the decisions on them into the slot that they belong to', async () => {
      const inherited = {
        checkpoints: [aCheckpoint('a', { attempt: 0 })],
        artifacts: [anArtifact('a1')],
        gates: [{ id: 'look', name: 'Look', type: 'review', status: 'approved' as const, detail: null }],
      }
      const { store, slotId } = await bundle(2, {}, (index) => (index === 1 ? { inherited } : {}))
      expect((await store.history(slotId(0))).checkpoints).toEqual([])
      expect(await store.history(slotId(1))).toMatchObject(inherited)
    })

    it('says once that a slot began or ended, however often it is told', async () => {
      const { store, root, slotId, ends, standing } = await bundle(2)
      await ends(slotId(0), COMPLETED)
      await Promise.all(Array.from({ length: 10 }, () => store.notify([root.id])))
      const once = await standing()
      expect(once.status).toBe('running')
      expect(once.nodes).toEqual(['workflow.node.started slots/0', 'workflow.node.completed slots/0'])
      expect((await store.notify([root.id])).events).toEqual([])
      expect((await standing()).events).toEqual(once.events)
    })

    it('ends once when twenty slots end at the same moment', async () => {
      const { store, beside, root, slots, claimed, standing } = await bundle(20)
      const stores = [store, beside(), beside()]
      const claims = []
      for (const { id } of slots) claims.push(await claimed(id))
      const told = await Promise.all(
        claims.map(async ({ id, fence }, index) => {
          const own = stores[index % stores.length] as typeof store
          expect((await own.commit(anEnd(id, fence, COMPLETED))).outcome).toBe('committed')
          return await own.notify([root.id])
        }),
      )
      const { status, nodes, events } = await standing()
      expect(status).toBe('completed')
      expect(nodes.filter((node) => node.startsWith('workflow.node.completed')).sort()).toEqual(
        slots.map((_, index) => `workflow.node.completed slots/${index}`).sort(),
      )
      expect(new Set(nodes).size).toBe(nodes.length)
      const ended = told
        .flatMap((one) => one.events)
        .filter(({ kind, run_id }) => isTerminalKind(kind) && run_id === root.id)
      expect(ended).toEqual(events.slice(-1))
      expect((await store.notify([root.id])).events).toEqual([])
    })

    it('cancels, with the first failure, what nobody executes in the same moment and marks the others', async () => {
      const { store, read, root, slotId, claimed, openReview, ends, standing } = await bundle(4)
      await openReview(slotId(1))
      const active = await claimed(slotId(2))
      await ends(slotId(0), FAILED)
      const { cancelled, events } = await store.notify([root.id])
      expect(cancelled).toEqual([root.id])
      expect(
        events
          .filter(({ kind }) => kind === 'workflow.run.cancelled')
          .map(({ run_id }) => run_id)
          .sort(),
      ).toEqual([slotId(1), slotId(3)].sort())
      expect(await Promise.all([1, 2, 3].map(async (index) => (await read(slotId(index))).status))).toEqual([
        'cancelled',
        'running',
        'cancelled',
      ])
      expect(await store.claim(slotId(3), 'w', LEASE_MS)).toBeNull()
      expect((await standing()).status).toBe('running')
      // What the active one comes to in the end is booked, and changes nothing.
      const booked = { calls: [aCall('late', { outcome: 'succeeded', actualUsd: 0.25 })] }
      expect((await store.commit(anEnd(active.id, active.fence, COMPLETED, booked))).outcome).toBe('cancelled')
      expect((await store.commit(anEnd(active.id, active.fence, CANCELLED, booked))).outcome).toBe('committed')
      await store.notify([root.id])
      const ended = await standing()
      expect(ended).toMatchObject({ status: 'failed', error: { code: 'x', node_key: 'slots/0' } })
      expect(ended.nodes.filter((node) => node.includes('skipped'))).toHaveLength(3)
      expect((await store.history(active.id)).calls).toEqual(booked.calls)
      expect((await store.commit(anEnd(active.id, active.fence, COMPLETED))).outcome).toBe('lost')
      await store.notify([root.id])
      expect((await standing()).events).toEqual(ended.events)
    })

    it('without fail_fast goes on after a failure, and keeps what completed', async () => {
      const { store, root, slotId, ends, standing } = await bundle(3, { failFast: false })
      await ends(slotId(1), FAILED)
      expect((await store.notify([root.id])).cancelled).toEqual([])
      await ends(slotId(0), COMPLETED)
      await ends(slotId(2), COMPLETED)
      await store.notify([root.id])
      const { status, error, events } = await standing()
      expect({ status, error }).toEqual({ status: 'completed', error: null })
      expect(events.at(-1)?.payload).toMatchObject({ partial: true })
    })

    it('is cancelled with everything that has not ended, queued or at work', async () => {
      const { store, root, slotId, claimed, ends, standing } = await bundle(3)
      await ends(slotId(0), COMPLETED)
      await store.notify([root.id])
      const active = await claimed(slotId(1))
      const { active: atWork } = await store.requestCancel(root.id)
      expect(atWork).toEqual([slotId(1)])
      expect((await standing(slotId(2))).status).toBe('cancelled')
      await store.commit(anEnd(active.id, active.fence, CANCELLED))
      await store.notify([root.id])
      expect(await standing()).toMatchObject({ status: 'cancelled', error: null })
      expect(await store.requestCancel(root.id)).toEqual({ settled: [], active: [] })
    })

    it('is cancelled at once where none of its slots is at work', async () => {
      const { store, root, slots, standing } = await bundle(3)
      const { settled, active } = await store.requestCancel(root.id)
      expect(active).toEqual([])
      const ended = settled.filter(({ kind }) => isTerminalKind(kind)).map(({ run_id }) => run_id)
      expect(ended.sort()).toEqual([root.id, ...slots.map(({ id }) => id)].sort())
      expect((await standing()).status).toBe('cancelled')
    })

    it('whose slots have all ended by themselves is not cancelled any more', async () => {
      const { store, root, slotId, ends, standing } = await bundle(2)
      await ends(slotId(0), COMPLETED)
      await ends(slotId(1), COMPLETED)
      expect(await store.requestCancel(root.id)).toEqual({ settled: [], active: [] })
      await store.notify([root.id])
      expect((await standing()).status).toBe('completed')
    })

    it('lets one slot be cancelled, with what it has called, and goes on', async () => {
      const { store, root, slotId, claimed, ends, standing } = await bundle(2)
      const { fence } = await claimed(slotId(0))
      const definition = aDefinition({ templateId: 'test/called' })
      const called = { ...aNewRun(createSequentialIds('5').next(), { definition }), rootRunId: root.id, callerKey: 'd' }
      await store.commit(aTransition(slotId(0), fence, { children: [called] }))
      await store.commit(anEnd(slotId(0), fence, { status: 'suspended', wakeInMs: 30_000 }))
      expect((await store.requestCancel(slotId(0))).active).toEqual([])
      expect((await standing(called.id)).status).toBe('cancelled')
      expect((await standing(slotId(0))).status).toBe('cancelled')
      expect((await standing()).status).toBe('running')
      await ends(slotId(1), COMPLETED)
      await store.notify([root.id])
      expect((await standing()).events.at(-1)?.payload).toMatchObject({ status: 'completed', partial: true })
    })

    it('waits when nothing but decisions is open, and they are made on the run, one after another', async () => {
      const { store, root, slotId, openReview, ends, standing } = await bundle(3)
      await openReview(slotId(0))
      await store.notify([root.id])
      expect((await standing()).status).toBe('running')
      await openReview(slotId(1))
      await ends(slotId(2), COMPLETED)
      await store.notify([root.id])
      expect((await standing()).status).toBe('waiting')
      const decided = []
      for (let index = 0; index < 3; index += 1) decided.push(await store.decide(root.id, { approve: true, by: 'key' }))
      expect(decided.map((delivery) => delivery?.runId ?? 'none').sort()).toEqual([slotId(0), slotId(1), 'none'].sort())
      for (const index of [0, 1]) await ends(slotId(index), COMPLETED)
      await store.notify([root.id])
      expect((await standing()).status).toBe('completed')
    })

    it('is brought up to date by time alone where the news of its last slot was lost', async () => {
      const { store, advance, slotId, ends, standing } = await bundle(2)
      for (const index of [0, 1]) await ends(slotId(index), COMPLETED)
      // The news of the first beginning is written beside all this: a pass may find the run's row taken, and the next does it.
      for (let pass = 0; pass < 10 && (await standing()).status !== 'completed'; pass += 1) {
        await advance(31_000)
        await store.recover(100)
      }
      expect((await standing()).status).toBe('completed')
    })

    it('fails with the slot that loses its third worker, and stops the others', async () => {
      const { store, root, advance, slotId, claimed, standing } = await bundle(2)
      for (let loss = 0; loss < 3; loss += 1) {
        await claimed(slotId(0))
        await advance(LEASE_MS + 1_000)
        await store.recover(100)
      }
      await store.notify([root.id])
      expect((await standing(slotId(1))).status).toBe('cancelled')
      expect(await standing()).toMatchObject({
        status: 'failed',
        error: { code: 'worker-crash-limit', node_key: 'slots/0' },
      })
    })
  })
}
