import { createSequentialIds, aNewRun } from '@fabrique/engine/testing'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createRunStore } from './runs/run-store.ts'
import { createScheduleStore } from './schedule-store.ts'
import { createTestDb } from './testing.ts'

const LEASE_MS = 30_000

async function setup() {
  const { db, drop } = await createTestDb()
  onTestFinished(drop)
  const ids = createSequentialIds()
  const store = createScheduleStore(db)
  const create = async (enabled = true) => {
    const made = await store.create({
      id: ids.next(),
      organizationId: 'system',
      drafts: false,
      name: null,
      cron: '0 9 * * *',
      timezone: 'UTC',
      runSpec: { workflow: 'w', b: 1, a: 2 },
      overlap: 'skip',
      enabled,
    })
    if (made === null) throw new Error('no schedule was made')
    return made
  }
  return { db, ids, store, create }
}

describe('a schedule in PostgreSQL', () => {
  it('comes back as it was written, to its organization only', async () => {
    const { store, create } = await setup()
    const made = await create()
    expect(await store.get('system', made.id)).toEqual(made)
    expect(Object.keys(made.runSpec)).toEqual(['workflow', 'b', 'a'])
    expect([await store.get('others', made.id), await store.remove('others', made.id)]).toEqual([null, false])
    const next = await create()
    expect((await store.list('system', 1, null)).map(({ id }) => id)).toEqual([next.id])
    expect((await store.list('system', 5, next.id)).map(({ id }) => id)).toEqual([made.id])
  })

  it('that is due is given to one of many holders that ask at once', async () => {
    const { store, create } = await setup()
    for (let n = 0; n < 10; n += 1) await create()
    await create(false)
    const handed = (await Promise.all(Array.from({ length: 8 }, () => store.claimDue(3, LEASE_MS)))).flat()
    expect(handed).toHaveLength(10)
    expect(new Set(handed.map(({ schedule }) => schedule.id)).size).toBe(10)
    expect(await store.claimDue(20, LEASE_MS)).toEqual([])
  })

  it('is given to another holder after the lease, and the first one then writes nothing', async () => {
    const { store, create } = await setup()
    const { id } = await create()
    const [first] = await store.claimDue(1, 0)
    const [second] = await store.claimDue(1, LEASE_MS)
    expect(second?.fence).toBeGreaterThan(first?.fence ?? Number.POSITIVE_INFINITY)
    expect(await store.update(id, first?.fence ?? 0, { dueAt: null, lastRunId: 'stale' })).toBe(false)
    const at = new Date('2026-03-01T09:00:00Z')
    const lastError = { code: 'missed', message: 'm', errors: [], instant: at.toISOString() }
    const change = { doneUntil: at, firingAt: at, lastFiredAt: at, lastRunId: 'r', lastSkippedAt: at, lastError }
    expect(await store.update(id, second?.fence ?? 0, { dueAt: null, ...change })).toBe(true)
    expect(await store.get('system', id)).toMatchObject(change)
    await store.update(id, second?.fence ?? 0, { dueAt: null, lastError: null })
    expect(await store.get('system', id)).toMatchObject({ lastError: null, lastRunId: 'r' })
  })

  it('knows whether its previous run has finished', async () => {
    const { db, ids, store, create } = await setup()
    const runs = createRunStore(db, createSequentialIds('9'))
    const run = aNewRun(ids.next())
    await runs.accept(run)
    const { id } = await create()
    const look = async () => {
      const [due] = await store.claimDue(1, 0)
      return due
    }
    const due = await look()
    expect(due?.previousFinished).toBe(true)
    await store.update(id, due?.fence ?? 0, { dueAt: new Date(0), lastRunId: run.id })
    expect((await look())?.previousFinished).toBe(false)
    await runs.requestCancel(run.id)
    expect((await look())?.previousFinished).toBe(true)
  })

  it('that is paused never comes due, and resumed or edited makes up for nothing that came due before', async () => {
    const { db, store, create } = await setup()
    const { id } = await create()
    const old = new Date('2026-01-01T00:00:00Z')
    const due = async () => (await db.kysely.selectFrom('schedules').select('due_at').executeTakeFirstOrThrow()).due_at
    const [held] = await store.claimDue(1, LEASE_MS)
    await store.update(id, held?.fence ?? 0, { dueAt: old, doneUntil: old, firingAt: old })
    const paused = await store.change('system', id, { enabled: false })
    expect([paused?.enabled, paused?.firingAt, await due()]).toEqual([false, null, null])
    expect(await store.change('system', id, { name: 'still' })).toMatchObject({ name: 'still', enabled: false })
    expect(await store.claimDue(20, LEASE_MS)).toEqual([])
    for (const edit of [{ enabled: true }, { cron: '0 10 * * *' }, { timezone: 'Asia/Tokyo' }]) {
      await db.kysely.updateTable('schedules').set({ done_until: old }).execute()
      const changed = await store.change('system', id, edit)
      expect(changed).toMatchObject(edit)
      expect(changed?.doneUntil.getTime()).toBeGreaterThan(old.getTime())
      const [given] = await store.claimDue(1, LEASE_MS)
      expect(given?.schedule.id).toBe(id)
    }
    expect(await store.change('others', id, { enabled: true })).toBeNull()
  })

  it('that is changed is taken from the worker at it, which then writes nothing; its firing goes on', async () => {
    const { store, create } = await setup()
    const { id } = await create()
    const [held] = await store.claimDue(1, LEASE_MS)
    const at = new Date('2026-03-01T09:00:00Z')
    await store.update(id, held?.fence ?? 0, { dueAt: null, firingAt: at })
    await store.change('system', id, { runSpec: { workflow: 'v', z: 1, a: 2 }, overlap: 'queue', drafts: true })
    expect(await store.update(id, held?.fence ?? 0, { dueAt: null, firingAt: null })).toBe(false)
    const [next] = await store.claimDue(1, LEASE_MS)
    expect(next?.schedule).toMatchObject({ firingAt: at, overlap: 'queue', drafts: true })
    expect(JSON.stringify(next?.schedule.runSpec)).toBe('{"workflow":"v","z":1,"a":2}')
    await store.noteRun('others', id, 'foreign')
    await store.noteRun('system', id, 'r9')
    expect(await store.get('system', id)).toMatchObject({ lastRunId: 'r9', lastError: null })
  })
})
