import type { NewRun } from '@fabrique/engine'
import { aNewRun, anEnd, createSequentialIds } from '@fabrique/engine/testing'
import { isTerminalKind } from '@fabrique/schema'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Db } from '../client.ts'
import { createTestDb } from '../testing.ts'
import { createNotices } from './notices.ts'
import { createRunStore } from './run-store.ts'

const COMPLETED = { status: 'completed', output: {}, simulated: false } as const
const FAILED = { status: 'failed', error: { code: 'x', message: 'no' }, simulated: false } as const

/** The same database; `onBegin` is called when a transaction is begun. */
function withTransactions(db: Db, onBegin: () => void): Db {
  const kysely = new Proxy(db.kysely, {
    get(target, name) {
      if (name === 'transaction') onBegin()
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  return { ...db, kysely }
}

describe('notices', () => {
  async function setup() {
    const { db, drop } = await createTestDb()
    onTestFinished(drop)
    const ids = createSequentialIds('8')
    let transactions = 0
    // What claims say of beginnings is lost here: a test gives the notices that it is about.
    const lost = () => {
      throw new Error('lost')
    }
    const store = createRunStore(withTransactions(db, lost), createSequentialIds('9'))
    return {
      db,
      store,
      notices: createNotices(
        withTransactions(db, () => (transactions += 1)),
        ids,
      ),
      transactions: () => transactions,
      async bundle(size: number): Promise<NewRun> {
        const slots = Array.from({ length: size }, () => aNewRun(ids.next()))
        const root = aNewRun(ids.next(), { slots })
        await store.accept(root)
        return root
      },
      async ends(runId: string, end: typeof COMPLETED | typeof FAILED) {
        const claim = await store.claim(runId, 'w', 60_000)
        await store.commit(anEnd(runId, claim?.fence ?? 0, end))
      },
    }
  }

  it('of a hundred slots that end at once share transactions, and only one of them hears of the end', async () => {
    const { notices, transactions, bundle, ends } = await setup()
    const roots = [await bundle(50), await bundle(50)]
    await Promise.all(roots.flatMap(({ slots }) => slots.map(({ id }) => ends(id, COMPLETED))))
    const heard = await Promise.all(roots.flatMap(({ id, slots }) => slots.map(() => notices.changed(id))))
    const told = heard.flatMap(({ events }) => events)
    expect(told.filter(({ kind }) => isTerminalKind(kind)).map(({ run_id }) => run_id)).toEqual(
      roots.map(({ id }) => id),
    )
    expect(told).toHaveLength(2 * (1 + 50 + 50 + 1))
    expect(transactions()).toBeLessThanOrEqual(2)
  })

  it('let the one who can reach the workers hear what is to be stopped, also where a beginning was told before', async () => {
    const { store, notices, bundle, ends } = await setup()
    const root = await bundle(2)
    const [failing, active] = root.slots
    await store.claim(active?.id ?? '', 'w', 60_000)
    await ends(failing?.id ?? '', FAILED)
    const [begun, first, second] = await Promise.all([
      notices.begun(root.id),
      notices.changed(root.id),
      notices.changed(root.id),
    ])
    expect([begun, first.cancelled, second]).toEqual([[], [root.id], { deliveries: [], events: [], cancelled: [] }])
  })

  it('of a beginning change nothing that workers have to hear of', async () => {
    const { db, notices, bundle, ends } = await setup()
    const root = await bundle(2)
    await ends(root.slots[0]?.id ?? '', FAILED)
    expect(await notices.begun(root.id)).toEqual([])
    const [row] = await db.query('status', 'select status from runs where id = $1', [root.id])
    expect(row).toEqual({ status: 'pending' })
  })

  it('say when a bundle began, also where no beginning was told before its end', async () => {
    const { db, notices, bundle, ends } = await setup()
    const root = await bundle(2)
    for (const { id } of root.slots) await ends(id, COMPLETED)
    const { events } = await notices.changed(root.id)
    expect(events[0]?.kind).toBe('workflow.run.started')
    const [row] = await db.query('begun', 'select status, started_at is not null as begun from runs where id = $1', [
      root.id,
    ])
    expect(row).toEqual({ status: 'completed', begun: true })
  })

  it('are repeated one by one where a transaction fails, and only the bad one is lost', async () => {
    const { db, notices, bundle, ends } = await setup()
    const [good, bad] = [await bundle(1), await bundle(1)]
    for (const { slots } of [good, bad]) await ends(slots[0]?.id ?? '', COMPLETED)
    await db.query('break', `alter table events add constraint broken check (run_id <> '${bad.id}') not valid`, [])
    const [ended, broken] = await Promise.allSettled([notices.changed(good.id), notices.changed(bad.id)])
    expect(ended).toMatchObject({ status: 'fulfilled' })
    expect(broken).toMatchObject({ status: 'rejected' })
    await db.query('mend', 'alter table events drop constraint broken', [])
    expect((await notices.changed(bad.id)).events.at(-1)?.kind).toBe('workflow.run.completed')
  })
})
