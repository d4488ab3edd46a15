// What every run store must hold, as tests: an adapter's own test file is one call of this.
// Hides nothing of the adapter; it is used through the port, and looked at through `read`.
import { isTerminalKind, type RunEvent } from '@fabrique/schema'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ClaimedRun, NewRun } from '../ports.ts'
import { aCall, aCheckpoint, anArtifact, aNewRun, anEnd, anEvent, aTransition } from './factories.ts'
import { calledRunsContract } from './called-runs-contract.ts'
import { createSequentialIds } from './sequential-ids.ts'
import type { RunStoreSetup } from './run-store-setup.ts'
import { slotsContract } from './slots-contract.ts'

const LEASE_MS = 60_000
const PAST_LEASE_MS = LEASE_MS + 1_000

/** Defines the contract's tests for the store that `open` makes; each test opens its own. */
export function runStoreContract(name: string, open: () => Promise<RunStoreSetup>): void {
  async function setup() {
    const opened = await open()
    onTestFinished(() => opened.dispose())
    const { store } = opened
    const ids = createSequentialIds()
    async function accepted(over: Partial<NewRun> = {}): Promise<NewRun> {
      const run = aNewRun(ids.next(), over)
      expect((await store.accept(run)).outcome).toBe('accepted')
      return run
    }
    async function claimed(runId: string): Promise<ClaimedRun> {
      const claim = await store.claim(runId, 'w1', LEASE_MS)
      if (claim === null) throw new Error('the run could not be claimed')
      return claim
    }
    async function openReview(runId: string, gateIds: string[] = ['review']): Promise<ClaimedRun> {
      const claim = await claimed(runId)
      const gates = gateIds.map((id) => ({ id, name: id, type: 'review', status: 'open' as const, detail: null }))
      const outcome = await store.commit(anEnd(runId, claim.fence, { status: 'waiting', wakeInMs: null }, { gates }))
      expect(outcome.outcome).toBe('committed')
      return claim
    }
    /** Claims and loses the run `times` times. */
    async function loseWorkers(runId: string, times: number): Promise<void> {
      for (let loss = 0; loss < times; loss += 1) {
        await claimed(runId)
        await opened.advance(PAST_LEASE_MS)
        await store.recover(100)
      }
    }
    return { ...opened, accepted, claimed, openReview, loseWorkers }
  }

  const COMPLETED = { status: 'completed', output: { done: true }, simulated: false } as const
  const FAILED = { status: 'failed', error: { code: 'x', message: 'no' }, simulated: false } as const
  const CANCELLED = { status: 'cancelled' } as const

  function expectOneEnd(events: RunEvent[]): void {
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1))
    expect(events.filter(({ kind }) => isTerminalKind(kind))).toHaveLength(1)
    expect(isTerminalKind(events.at(-1)?.kind ?? 'workflow.run.created')).toBe(true)
  }

  calledRunsContract(name, setup)
  slotsContract(name, setup)

  describe(`${name}: accepting`, () => {
    it('makes the run, its definition and its first events true at once', async () => {
      const { store, read, accepted } = await setup()
      const run = await accepted()
      const { status, events } = await read(run.id)
      expect(status).toBe('pending')
      expect(events.map(({ seq, kind }) => [seq, kind])).toEqual([
        [1, 'workflow.run.created'],
        [2, 'workflow.run.queued'],
      ])
      expect(await store.definition(run.definitionHash)).toEqual(run.definition)
      expect(await store.definition('0'.repeat(64))).toBeNull()
    })

    it('answers exactly the events that the record has', async () => {
      const { store, read } = await setup()
      const run = aNewRun(createSequentialIds('1').next())
      const outcome = await store.accept(run)
      expect(outcome).toEqual({ outcome: 'accepted', runId: run.id, events: (await read(run.id)).events })
    })

    it('makes one run of 50 concurrent submits with one key', async () => {
      const { store } = await setup()
      const ids = createSequentialIds('1')
      const idempotency = { key: 'order-7', digest: 'd1' }
      const outcomes = await Promise.all(
        Array.from({ length: 50 }, () => store.accept(aNewRun(ids.next(), { idempotency }))),
      )
      expect(outcomes.filter(({ outcome }) => outcome === 'accepted')).toHaveLength(1)
      expect(outcomes.filter(({ outcome }) => outcome === 'replayed')).toHaveLength(49)
      expect(new Set(outcomes.map((outcome) => ('runId' in outcome ? outcome.runId : null))).size).toBe(1)
    })

    it('refuses a key that stands for another spec, and keeps no trace of that run', async () => {
      const { store, accepted } = await setup()
      await accepted({ idempotency: { key: 'k', digest: 'd1' } })
      const other = aNewRun(createSequentialIds('1').next(), { idempotency: { key: 'k', digest: 'd2' } })
      expect(await store.accept(other)).toEqual({ outcome: 'mismatch' })
      expect(await store.claim(other.id, 'w1', LEASE_MS)).toBeNull()
    })

    it('forgets a key after 24 hours, not before', async () => {
      const { store, advance, accepted } = await setup()
      const idempotency = { key: 'k', digest: 'd1' }
      const run = await accepted({ idempotency })
      await advance(23 * 3_600_000)
      const again = aNewRun(createSequentialIds('1').next(), { idempotency })
      expect(await store.accept(again)).toEqual({ outcome: 'replayed', runId: run.id })
      await advance(2 * 3_600_000)
      expect((await store.accept(again)).outcome).toBe('accepted')
    })
  })

  describe(`${name}: holding`, () => {
    it('gives a run to one of 20 concurrent claims', async () => {
      const { store, accepted } = await setup()
      const { id } = await accepted()
      const claims = await Promise.all(Array.from({ length: 20 }, (_, n) => store.claim(id, `w${n}`, LEASE_MS)))
      expect(claims.filter((claim) => claim !== null)).toHaveLength(1)
    })

    it('tells the holder what it runs, and writes the start once', async () => {
      const { store, read, accepted, claimed } = await setup()
      const run = await accepted({ metadata: { order: 7 }, state: { a: [1] }, failFast: false })
      const first = await claimed(run.id)
      expect(first).toMatchObject({
        id: run.id,
        rootRunId: run.id,
        organizationId: 'system',
        workflow: run.workflow,
        failFast: false,
        definitionHash: run.definitionHash,
        instance: run.instance,
        metadata: { order: 7 },
        state: { a: [1] },
        resumed: false,
      })
      await store.release(run.id, first.fence)
      const second = await claimed(run.id)
      expect(second.resumed).toBe(true)
      expect(second.fence).toBeGreaterThan(first.fence)
      const kinds = (await read(run.id)).events.map(({ kind }) => kind)
      expect(kinds.filter((kind) => kind === 'workflow.run.started')).toHaveLength(1)
    })

    it('claims nothing that is unknown, executing, waiting or ended', async () => {
      const { store, accepted, claimed, openReview } = await setup()
      const [held, waiting, over] = [await accepted(), await accepted(), await accepted()]
      await claimed(held.id)
      await openReview(waiting.id)
      await store.requestCancel(over.id)
      const unknown = createSequentialIds('1').next()
      for (const id of [held.id, waiting.id, over.id, unknown]) {
        expect(await store.claim(id, 'w2', LEASE_MS)).toBeNull()
      }
    })

    it('keeps a renewed lease, and names what was lost and what should stop', async () => {
      const { store, advance, accepted, claimed } = await setup()
      const runs = [await accepted(), await accepted(), await accepted()]
      const held = []
      for (const { id } of runs) held.push({ runId: id, fence: (await claimed(id)).fence })
      const [kept, lost, cancelled] = held as [(typeof held)[0], (typeof held)[0], (typeof held)[0]]
      await advance(LEASE_MS / 2)
      await store.release(lost.runId, lost.fence)
      await store.requestCancel(cancelled.runId)
      expect(await store.renew(held, LEASE_MS)).toEqual({ lost: [lost.runId], cancelled: [cancelled.runId] })
      await advance(LEASE_MS - 1_000)
      await store.recover(100)
      expect(await store.renew([kept], LEASE_MS)).toEqual({ lost: [], cancelled: [] })
    })

    it('returns a run whose lease ran out, and the old holder can write nothing more', async () => {
      const { store, advance, read, accepted, claimed } = await setup()
      const { id } = await accepted()
      const zombie = await claimed(id)
      await advance(PAST_LEASE_MS)
      expect((await store.recover(100)).overdue.map(({ runId }) => runId)).toEqual([id])
      const before = { run: await read(id), history: await store.history(id) }
      const everything = anEnd(id, zombie.fence, COMPLETED, {
        checkpoints: [aCheckpoint('only')],
        calls: [aCall('c1')],
        artifacts: [anArtifact('a1')],
        gates: [{ id: 'g', name: 'g', type: 'review', status: 'open', detail: null }],
      })
      expect(await store.commit(everything)).toEqual({ outcome: 'lost' })
      const holder = await claimed(id)
      expect(await store.commit(everything)).toEqual({ outcome: 'lost' })
      expect(await store.release(id, zombie.fence)).toBeNull()
      expect(await store.renew([{ runId: id, fence: zombie.fence }], LEASE_MS)).toEqual({ lost: [id], cancelled: [] })
      expect({ run: await read(id), history: await store.history(id) }).toEqual({
        run: { ...before.run, status: 'running' },
        history: before.history,
      })
      expect((await store.commit(anEnd(id, holder.fence, COMPLETED))).outcome).toBe('committed')
    })

    it('hands a run back without charging it a lost lease', async () => {
      const { store, accepted, claimed, read, loseWorkers } = await setup()
      const { id } = await accepted()
      await loseWorkers(id, 2)
      for (let hand = 0; hand < 5; hand += 1) {
        const { fence } = await claimed(id)
        const delivery = await store.release(id, fence)
        expect(delivery).toMatchObject({ runId: id, workflow: 'test/example', priority: 50, lane: 'batch' })
      }
      expect((await read(id)).status).toBe('pending')
    })

    it('names every delivery of a run anew', async () => {
      const { store, accepted, claimed, openReview } = await setup()
      const { id } = await accepted()
      const first = await store.release(id, (await claimed(id)).fence)
      await openReview(id)
      const second = await store.decide(id, { approve: true, by: 'key' })
      expect(first?.epoch).toBeGreaterThan(0)
      expect(second?.epoch).toBeGreaterThan(first?.epoch ?? Infinity)
    })
  })

  describe(`${name}: committing`, () => {
    it('writes a transition whole and gives it back as history', async () => {
      const { store, read, accepted, claimed } = await setup()
      const { id } = await accepted()
      const { fence } = await claimed(id)
      const written = {
        checkpoints: [aCheckpoint('only', { output: { text: 'ü', list: [1, null] }, simulated: true })],
        calls: [aCall('c1', { outcome: 'succeeded', status: 'provider_reported', actualUsd: 0.000001 })],
        artifacts: [anArtifact('a1', { durationMs: null })],
        gates: [{ id: 'g', name: 'G', type: 'review', status: 'passed' as const, detail: null }],
      }
      const outcome = await store.commit(aTransition(id, fence, { ...written, events: [anEvent('only')] }))
      expect(await store.history(id)).toEqual({ ...written, children: [] })
      const { events } = await read(id)
      expect(outcome).toEqual({ outcome: 'committed', events: events.slice(-1) })
      expect(events.at(-1)).toMatchObject({ seq: 4, node_key: 'only', run_id: id, root_run_id: id })
    })

    it('applies a transition once that is repeated since its answer was lost, also where it ended the run', async () => {
      const { store, read, accepted, claimed } = await setup()
      const run = await accepted()
      const { fence } = await claimed(run.id)
      const transitions = [
        aTransition(run.id, fence, { events: [anEvent('a')], calls: [aCall('c')] }),
        aTransition(run.id, fence, { calls: [aCall('c', { outcome: 'succeeded', actualUsd: 0.2 })] }),
        anEnd(run.id, fence, COMPLETED),
      ]
      for (const transition of transitions) {
        expect((await store.commit(transition)).outcome).toBe('committed')
        const before = await read(run.id)
        expect(await store.commit(transition)).toEqual({ outcome: 'committed', events: [] })
        expect(await read(run.id)).toEqual(before)
      }
      // One that arrives after its successor, as from a connection that was given up.
      for (const late of transitions) await store.commit(late)
      expect((await store.history(run.id)).calls).toMatchObject([{ outcome: 'succeeded', actualUsd: 0.2 }])
      expectOneEnd((await read(run.id)).events)
    })

    it('numbers the transitions of each holder anew', async () => {
      const { store, accepted, claimed } = await setup()
      const run = await accepted()
      for (let holder = 0; holder < 2; holder += 1) {
        const { fence } = await claimed(run.id)
        const { outcome } = await store.commit(aTransition(run.id, fence, { number: 1, events: [anEvent('a')] }))
        expect(outcome).toBe('committed')
        await store.release(run.id, fence)
      }
    })

    it('keeps the first of two checkpoints of one step', async () => {
      const { store, accepted, claimed } = await setup()
      const { id } = await accepted()
      const { fence } = await claimed(id)
      for (const output of ['first', 'second']) {
        await store.commit(aTransition(id, fence, { checkpoints: [aCheckpoint('only', { output })] }))
      }
      expect((await store.history(id)).checkpoints.map(({ output }) => output)).toEqual(['first'])
    })

    it('keeps null as the output of a checkpoint', async () => {
      const { store, accepted, claimed } = await setup()
      const { id } = await accepted()
      const { fence } = await claimed(id)
      const checkpoint = aCheckpoint('only', { status: 'failed', output: null, error: { code: 'x', message: 'no' } })
      await store.commit(aTransition(id, fence, { checkpoints: [checkpoint] }))
      expect((await store.history(id)).checkpoints).toEqual([checkpoint])
    })

    it('settles a call in place', async () => {
      const { store, accepted, claimed } = await setup()
      const { id } = await accepted()
      const { fence } = await claimed(id)
      const call = aCall('c1')
      const settled = aCall('c1', { outcome: 'succeeded', requestId: 'r', actualUsd: 0.5 })
      await store.commit(aTransition(id, fence, { calls: [call] }))
      await store.commit(aTransition(id, fence, { calls: [settled] }))
      expect((await store.history(id)).calls).toEqual([settled])
    })

    it('numbers the events of many runs without gaps under concurrent commits', async () => {
      const { store, read, accepted, claimed } = await setup()
      const held: ClaimedRun[] = []
      for (let n = 0; n < 12; n += 1) held.push(await claimed((await accepted()).id))
      const commits = held.flatMap(({ id, fence }) =>
        Array.from({ length: 15 }, (_, n) =>
          store.commit(aTransition(id, fence, { events: [anEvent(`${n}a`), anEvent(`${n}b`)] })),
        ),
      )
      const outcomes = await Promise.all(commits)
      expect(outcomes.every(({ outcome }) => outcome === 'committed')).toBe(true)
      const expected = Array.from({ length: 15 }, (_, n) => [`${n}a`, `${n}b`]).flat()
      for (const { id } of held) {
        const { events } = await read(id)
        expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: 33 }, (_, n) => n + 1))
        expect(events.slice(3).map(({ node_key }) => node_key)).toEqual(expected)
      }
      expect(
        new Set((await Promise.all(held.map(({ id }) => read(id)))).flatMap((r) => r.events.map((e) => e.id))).size,
      ).toBe(12 * 33)
    })

    it('never changes an end, and has one terminal event, whatever is tried at once', async () => {
      const { store, advance, read, accepted, claimed } = await setup()
      for (let round = 0; round < 5; round += 1) {
        const { id } = await accepted()
        const { fence } = await claimed(id)
        await Promise.all([
          store.commit(anEnd(id, fence, COMPLETED)),
          store.commit(anEnd(id, fence, FAILED)),
          store.requestCancel(id),
          store.commit(anEnd(id, fence, CANCELLED)),
          store.commit(anEnd(id, fence, COMPLETED)),
        ])
        const ended = await read(id)
        expectOneEnd(ended.events)
        expect(ended.events.at(-1)?.kind).toBe(`workflow.run.${ended.status}`)
        await store.requestCancel(id)
        await store.commit(anEnd(id, fence, FAILED))
        await store.commit(aTransition(id, fence, { events: [anEvent('late')] }))
        await advance(PAST_LEASE_MS)
        await store.recover(100)
        expect(await store.claim(id, 'w2', LEASE_MS)).toBeNull()
        expect(await store.decide(id, { approve: true, by: 'key' })).toBeNull()
        expect(await read(id)).toEqual(ended)
      }
    })

    it('refuses to spend, park or complete once a cancel stands, but books what happened', async () => {
      const { store, read, accepted, claimed } = await setup()
      const { id } = await accepted()
      const { fence } = await claimed(id)
      const sent = aCall('c1')
      await store.commit(aTransition(id, fence, { calls: [sent] }))
      expect(await store.requestCancel(id)).toEqual({ settled: [], active: [id] })

      const spend = aTransition(id, fence, { calls: [aCall('c2')] })
      expect(await store.commit(spend)).toEqual({ outcome: 'cancelled' })
      for (const end of [COMPLETED, FAILED, { status: 'waiting', wakeInMs: null } as const]) {
        const refused = anEnd(id, fence, end, { checkpoints: [aCheckpoint('only')] })
        expect(await store.commit(refused)).toEqual({ outcome: 'cancelled' })
      }
      expect(await store.history(id)).toMatchObject({ checkpoints: [], calls: [sent] })

      const found = { ...sent, requestId: 'r-1' }
      expect((await store.commit(aTransition(id, fence, { calls: [found] }))).outcome).toBe('committed')
      const booked = { ...found, outcome: 'succeeded' as const, actualUsd: 0.25 }
      const late = aTransition(id, fence, { calls: [booked], checkpoints: [aCheckpoint('only')] })
      expect((await store.commit(late)).outcome).toBe('committed')
      expect((await store.commit(anEnd(id, fence, CANCELLED))).outcome).toBe('committed')
      expect(await store.history(id)).toMatchObject({ checkpoints: [aCheckpoint('only')], calls: [booked] })
      expect((await read(id)).status).toBe('cancelled')
    })
  })

  describe(`${name}: steering`, () => {
    it('settles a cancelled run at once where nobody executes it', async () => {
      const { store, read, accepted, openReview } = await setup()
      const [pending, waiting] = [await accepted({ state: { a: 1 } }), await accepted()]
      await openReview(waiting.id)
      for (const { id } of [pending, waiting]) {
        const { settled, active } = await store.requestCancel(id)
        const { status, events } = await read(id)
        expect(active).toEqual([])
        expect(status).toBe('cancelled')
        expectOneEnd(events)
        expect(settled).toEqual(events.slice(-1))
      }
      expect((await read(pending.id)).events.at(-1)?.payload).toMatchObject({ status: 'cancelled', state: { a: 1 } })
      expect(await store.requestCancel(pending.id)).toEqual({ settled: [], active: [] })
    })

    it('closes the gates that nobody decided when their run ends, and books its open calls', async () => {
      const { store, accepted, openReview } = await setup()
      const run = await accepted()
      const { fence } = await openReview(run.id, ['one', 'two'])
      await store.decide(run.id, { approve: true, gateId: 'one', by: 'key' })
      const again = await store.claim(run.id, 'w2', LEASE_MS)
      await store.commit(aTransition(run.id, again?.fence ?? 0, { calls: [aCall('c')] }))
      await store.release(run.id, again?.fence ?? 0)
      await store.requestCancel(run.id)
      const { gates, calls } = await store.history(run.id)
      expect(Object.fromEntries(gates.map(({ id, status }) => [id, status]))).toEqual({
        one: 'approved',
        two: 'closed',
      })
      expect(calls).toMatchObject([{ outcome: 'unknown', actualUsd: 0.25 }])
      expect(again?.fence).toBeGreaterThan(fence)
    })

    it('settles a cancelled run whose holder died, when its lease is over', async () => {
      const { store, advance, read, accepted, claimed } = await setup()
      const { id } = await accepted()
      await claimed(id)
      await store.requestCancel(id)
      expect((await store.recover(100)).events).toEqual([])
      await advance(PAST_LEASE_MS)
      const { events, overdue } = await store.recover(100)
      expect(overdue).toEqual([])
      expect(events.map(({ kind }) => kind)).toEqual(['workflow.run.cancelled'])
      expectOneEnd((await read(id)).events)
    })

    it('lets one of 20 concurrent decisions win', async () => {
      const { store, accepted, claimed, openReview } = await setup()
      const { id } = await accepted()
      await openReview(id)
      const decisions = await Promise.all(
        Array.from({ length: 20 }, (_, n) => store.decide(id, { approve: n % 2 === 0, by: `key ${n}` })),
      )
      expect(decisions.filter((delivery) => delivery !== null)).toHaveLength(1)
      const [gate] = (await store.history(id)).gates
      expect(gate?.status).toBe(
        decisions.findIndex((delivery) => delivery !== null) % 2 === 0 ? 'approved' : 'rejected',
      )
      expect((await claimed(id)).resumed).toBe(true)
    })

    it('decides the gate that is named, and none that is not open', async () => {
      const { store, accepted, openReview } = await setup()
      const { id } = await accepted()
      expect(await store.decide(id, { approve: true, by: 'key' })).toBeNull()
      await openReview(id, ['g1', 'g2'])
      expect(await store.decide(id, { approve: true, gateId: 'g3', by: 'key' })).toBeNull()
      expect(await store.decide(id, { approve: false, gateId: 'g2', comment: 'too dark', by: 'key' })).not.toBeNull()
      const { gates } = await store.history(id)
      expect(
        gates
          .map(({ id: gate, status, detail }) => [gate, status, detail])
          .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)),
      ).toEqual([
        ['g1', 'open', null],
        ['g2', 'rejected', 'too dark'],
      ])
      expect(await store.decide(id, { approve: true, gateId: 'g2', by: 'key' })).toBeNull()
    })
  })

  describe(`${name}: recovering`, () => {
    it('fails a run that lost its third worker in a row without a checkpoint', async () => {
      const { store, advance, read, accepted, claimed, loseWorkers } = await setup()
      const { id } = await accepted()
      await loseWorkers(id, 2)
      expect((await read(id)).status).toBe('pending')
      const { fence } = await claimed(id)
      await store.commit(aTransition(id, fence, { calls: [aCall('c1')] }))
      await advance(PAST_LEASE_MS)
      const { events } = await store.recover(100)
      const { status, error, events: all } = await read(id)
      expect(status).toBe('failed')
      expect(error?.code).toBe('worker-crash-limit')
      expect(events).toEqual(all.slice(-1))
      expectOneEnd(all)
      // Nobody will ask for that call any more: it may have been charged, and counts as spent.
      expect((await store.history(id)).calls).toEqual([aCall('c1', { outcome: 'unknown', actualUsd: 0.25 })])
      expect(events[0]?.payload).toMatchObject({ cost: { actual: 0.25 } })
    })

    it('lets runs that lost a worker begin one after another, the last one first', async () => {
      const { store, advance, accepted, claimed } = await setup()
      const runs = [await accepted(), await accepted(), await accepted()]
      for (const { id } of runs) await claimed(id)
      const [first, second, last] = runs.map(({ id }) => id) as [string, string, string]
      const delivered = async () => (await store.recover(100)).overdue.map(({ runId }) => runId)
      await advance(PAST_LEASE_MS)
      expect(await delivered()).toEqual([last])
      const held = await claimed(last)
      expect([await delivered(), await store.claim(second, 'w2', LEASE_MS)]).toEqual([[], null])
      await advance(6_000)
      expect(await delivered()).toEqual([second])
      const other = await claimed(second)
      expect(await delivered()).toEqual([])
      // One that has finished a step is none of them any more.
      await store.commit(aTransition(second, other.fence, { checkpoints: [aCheckpoint('a')] }))
      expect(await delivered()).toEqual([first])
      await store.release(last, held.fence)
    })

    it('leaves a run that lost two workers alone with its third, and gives up no other for it', async () => {
      const { store, read, advance, accepted, claimed } = await setup()
      const runs = [await accepted(), await accepted(), await accepted()]
      for (const { id } of runs) await claimed(id)
      const [first, second, deadly] = runs.map(({ id }) => id) as [string, string, string]
      const delivered = async () => (await store.recover(100)).overdue.map(({ runId }) => runId)
      for (let deaths = 1; deaths < 3; deaths += 1) {
        await advance(PAST_LEASE_MS)
        expect(await delivered()).toEqual([deadly])
        await claimed(deadly)
      }
      await advance(10_000)
      expect(await delivered()).toEqual([])
      await advance(PAST_LEASE_MS)
      expect(await delivered()).toEqual([second])
      expect((await read(deadly)).error).toMatchObject({ code: 'worker-crash-limit' })
      for (const id of [second, first]) {
        const { fence } = await claimed(id)
        expect((await store.commit(anEnd(id, fence, COMPLETED))).outcome).toBe('committed')
        if (id === second) expect(await delivered()).toEqual([first])
      }
    })

    it('starts counting lost workers anew after a checkpoint', async () => {
      const { store, read, accepted, claimed, loseWorkers, advance } = await setup()
      const { id } = await accepted()
      await loseWorkers(id, 2)
      const { fence } = await claimed(id)
      await store.commit(aTransition(id, fence, { checkpoints: [aCheckpoint('first')] }))
      await advance(PAST_LEASE_MS)
      await store.recover(100)
      await loseWorkers(id, 1)
      expect((await read(id)).status).toBe('pending')
    })

    it('returns an overdue pending run once per interval', async () => {
      const { store, advance, accepted } = await setup()
      const run = await accepted({ priority: 90 })
      const delivery = {
        runId: run.id,
        organizationId: 'system',
        epoch: 0,
        workflow: run.workflow,
        priority: 90,
        lane: 'interactive',
      }
      expect((await store.recover(100)).overdue).toEqual([])
      await advance(11_000)
      expect((await store.recover(100)).overdue).toEqual([delivery])
      expect((await store.recover(100)).overdue).toEqual([])
      await advance(31_000)
      expect((await store.recover(100)).overdue).toEqual([delivery])
    })

    it('shares the overdue runs among concurrent passes, each at most to its limit', async () => {
      const { store, advance, accepted } = await setup()
      const runs = await Promise.all(Array.from({ length: 30 }, () => accepted()))
      await advance(11_000)
      const passes = await Promise.all(Array.from({ length: 4 }, () => store.recover(5)))
      const rest = await store.recover(100)
      const returned = [...passes, rest].flatMap(({ overdue }) => overdue.map(({ runId }) => runId))
      expect(passes.every(({ overdue }) => overdue.length <= 5)).toBe(true)
      expect(returned.sort()).toEqual(runs.map(({ id }) => id).sort())
    })

    it('makes every pending run due when the queue came back empty, and no other', async () => {
      const { store, advance, accepted, claimed, openReview } = await setup()
      const [pending, held, waiting] = [await accepted(), await accepted(), await accepted()]
      await claimed(held.id)
      await openReview(waiting.id)
      await store.requeueAll()
      await advance(1)
      expect((await store.recover(100)).overdue.map(({ runId }) => runId)).toEqual([pending.id])
    })
  })
}
