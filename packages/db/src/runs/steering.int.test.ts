import { aNewRun, createSequentialIds } from '@fabrique/engine/testing'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createRunReader } from './run-reader.ts'
import { createRunSteering } from './steering.ts'
import { createRunStore } from './run-store.ts'
import { createTestDb } from '../testing.ts'

async function setup() {
  const { db, drop } = await createTestDb()
  onTestFinished(drop)
  const ids = createSequentialIds()
  const store = createRunStore(db, createSequentialIds('9'))
  const accept = async (over: Parameters<typeof aNewRun>[1] = {}) => {
    const run = aNewRun(ids.next(), { priority: 50, lane: 'batch', ...over })
    await store.accept(run)
    return run.id
  }
  return { db, store, accept, steering: createRunSteering(db), reader: createRunReader(db) }
}

describe('a change of priority', () => {
  it('takes the queued children along, into the other lane, and leaves those that have begun', async () => {
    const { db, store, accept, steering } = await setup()
    const [root, queued, begun, other] = [await accept(), await accept(), await accept(), await accept()]
    await db.kysely.updateTable('runs').set({ root_run_id: root, slot_index: 0 }).where('id', '=', queued).execute()
    await db.kysely.updateTable('runs').set({ root_run_id: root, slot_index: 1 }).where('id', '=', begun).execute()
    await store.claim(begun, 'w', 60_000)
    const outcome = await steering.reprioritise('system', root, 80)
    expect(outcome?.changed.map((run) => [run.runId, run.priority, run.lane, run.formerLane]).sort()).toEqual([
      [root, 80, 'interactive', 'batch'],
      [queued, 80, 'interactive', 'batch'],
    ])
    const rows = await db.kysely.selectFrom('runs').select(['id', 'priority', 'lane']).orderBy('id').execute()
    expect(rows.map(({ id, priority, lane }) => [id, priority, lane])).toEqual([
      [root, 80, 'interactive'],
      [queued, 80, 'interactive'],
      [begun, 50, 'batch'],
      [other, 50, 'batch'],
    ])
  })

  it('is refused once the run has begun, and for a run of somebody else', async () => {
    const { store, accept, steering } = await setup()
    const run = await accept()
    expect(await steering.reprioritise('others', run, 80)).toBeNull()
    await store.claim(run, 'w', 60_000)
    expect(await steering.reprioritise('system', run, 80)).toEqual({ status: 'running', changed: [] })
  })
})

describe('runs that fit a filter', () => {
  it('are counted and listed up to the newest one at the time of the count', async () => {
    const { store, accept, steering } = await setup()
    const metadata = { tag: 'x' }
    const runs = [await accept({ metadata }), await accept({ metadata }), await accept({ metadata })]
    await accept({ metadata: { tag: 'y' } })
    await store.requestCancel(runs[1] ?? '')
    const filter = { metadata: { tag: 'x' } }
    const { newest, ...counts } = await steering.count('system', filter)
    expect([counts, newest]).toEqual([{ matched: 3, finished: 1 }, runs[2]])
    await accept({ metadata })
    const page = (before: string | null) =>
      steering.unfinishedRuns('system', filter, { newest: newest ?? '', before, limit: 1 })
    expect(await page(null)).toMatchObject([{ runId: runs[2], epoch: 0, lane: 'batch', status: 'pending' }])
    expect(await page(runs[2] ?? '')).toMatchObject([{ runId: runs[0] }])
    expect(await page(runs[0] ?? '')).toEqual([])
    expect((await steering.count('others', filter)).matched).toBe(0)
  })

  it('are found by metadata however far back they are', async () => {
    const { db, accept, reader } = await setup()
    const old = await accept({ metadata: { tag: 'old' } })
    const template = await accept()
    // More newer runs than a list goes through one by one.
    await db.query(
      '',
      `insert into runs (id, organization_id, root_run_id, workflow, workflow_version, definition_hash, instance, input,
         metadata, priority, lane, fail_fast, simulated, estimated_usd, warnings, last_seq)
       select 'Z' || n, organization_id, 'Z' || n, workflow, workflow_version, definition_hash, instance, input, metadata,
         priority, lane, fail_fast, simulated, estimated_usd, warnings, last_seq
       from runs, generate_series(10001, 15100) n where id = $1`,
      [template],
    )
    const list = (limit: number, before: string | null = null) =>
      reader.list('system', { metadata: { tag: 'old' } }, limit, before)
    expect((await list(5)).map(({ id }) => id)).toEqual([old])
    expect(await list(5, old)).toEqual([])
  })
})
