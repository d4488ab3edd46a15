import type { Definition } from '@fabrique/engine'
import {
  aCall,
  aCheckpoint,
  aDefinition,
  aNewRun,
  aTransition,
  createSequentialIds,
  runStoreContract,
} from '@fabrique/engine/testing'
import type { JsonValue, RunError, RunEvent, RunStatus } from '@fabrique/schema'
import { sql } from 'kysely'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createDb, type Db } from '../client.ts'
import { createRunStore } from './run-store.ts'
import { createTestDb } from '../testing.ts'

async function open() {
  const { db, databaseUrl, drop } = await createTestDb()
  const others: Db[] = []
  return {
    db,
    databaseUrl,
    store: createRunStore(db, createSequentialIds('9')),
    beside() {
      const other = createDb({ databaseUrl })
      others.push(other)
      return createRunStore(other, createSequentialIds(String(others.length)))
    },
    // The record compares its own clock with what is written in it: time passes by moving the record into the past.
    async advance(ms: number) {
      const passed = sql`${ms} * interval '1 ms'`
      await db.kysely
        .updateTable('runs')
        .set({ due_at: sql`due_at - ${passed}`, claimed_at: sql`claimed_at - ${passed}` })
        .execute()
      await db.kysely
        .updateTable('gates')
        .set({ expires_at: sql`expires_at - ${passed}` })
        .execute()
      await sql`update capped_calls set day = day - ${Math.floor(ms / 86_400_000)}::int`.execute(db.kysely)
      await db.kysely
        .updateTable('idempotency_keys')
        .set({ created_at: sql`created_at - ${passed}` })
        .execute()
    },
    async read(runId: string): Promise<{ status: RunStatus; error: RunError | null; events: RunEvent[] }> {
      const run = await db.kysely
        .selectFrom('runs')
        .select(['status', 'error', 'root_run_id'])
        .where('id', '=', runId)
        .executeTakeFirstOrThrow()
      const rows = await db.kysely
        .selectFrom('events')
        .select(['id', 'seq', 'kind', 'run_id', 'node_key', 'payload', 'timestamp'])
        .where('run_id', '=', runId)
        .orderBy('seq')
        .execute()
      const events = rows.map(({ node_key, timestamp, ...row }) => ({
        ...row,
        kind: row.kind as RunEvent['kind'],
        root_run_id: run.root_run_id,
        ...(node_key === null ? {} : { node_key }),
        timestamp: timestamp.toISOString(),
      }))
      return { status: run.status, error: run.error, events }
    },
    async dispose() {
      await Promise.all(others.map((other) => other.close()))
      await drop()
    },
  }
}

runStoreContract('the run store in PostgreSQL', open)

describe('the run store in PostgreSQL', () => {
  async function setup() {
    const opened = await open()
    onTestFinished(() => opened.dispose())
    return opened
  }

  it('settles a cancelled run even if the process died between marking and settling it', async () => {
    const { db, store, read, advance } = await setup()
    const ids = createSequentialIds()
    const [pending, waiting] = [aNewRun(ids.next()), aNewRun(ids.next())]
    for (const run of [pending, waiting]) await store.accept(run)
    await store.claim(waiting.id, 'w', 60_000)
    const gates = [{ id: 'g', name: 'g', type: 'review', status: 'open' as const, detail: null }]
    await store.commit(aTransition(waiting.id, 1, { gates, end: { status: 'waiting', wakeInMs: null } }))
    // A trigger that fails the second step stands for the death between the two.
    await db.kysely.executeQuery(
      sql`create function die() returns trigger language plpgsql as
          $$ begin raise exception 'died' using errcode = '57P01'; end $$`.compile(db.kysely),
    )
    await db.kysely.executeQuery(
      sql`create trigger die before insert on events for each row when (new.kind = 'workflow.run.cancelled')
          execute function die()`.compile(db.kysely),
    )
    for (const run of [pending, waiting]) await expect(store.requestCancel(run.id)).rejects.toThrow()
    await db.kysely.executeQuery(sql`drop trigger die on events`.compile(db.kysely))
    await advance(3_600_000)
    await store.recover(100)
    // Either the cancel was carried through, or it never happened and the run goes on; nothing in between.
    await store.decide(waiting.id, { approve: true, by: 'key' })
    for (const run of [pending, waiting]) {
      const { status } = await read(run.id)
      expect(status === 'cancelled' || (await store.claim(run.id, 'w', 60_000)) !== null).toBe(true)
    }
  })

  it('accepts one run per key over two processes', async () => {
    const { db, store } = await setup()
    const other = createRunStore(db, createSequentialIds('8'))
    const [a, b] = [createSequentialIds('1'), createSequentialIds('2')]
    const idempotency = { key: 'k', digest: 'd' }
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        n % 2 === 0
          ? store.accept(aNewRun(a.next(), { idempotency }))
          : other.accept(aNewRun(b.next(), { idempotency })),
      ),
    )
    expect(outcomes.filter(({ outcome }) => outcome === 'accepted')).toHaveLength(1)
    expect(outcomes.filter(({ outcome }) => outcome === 'replayed')).toHaveLength(49)
    expect(await db.kysely.selectFrom('runs').select('id').execute()).toHaveLength(1)
  })

  it('lets one bad run of a shared statement fail alone', async () => {
    const { store } = await setup()
    const ids = createSequentialIds()
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) =>
        store.accept(aNewRun(ids.next(), n === 7 ? { organizationId: 'no such organization' } : {})),
      ),
    )
    expect(outcomes.map(({ status }) => status)).toEqual(
      Array.from({ length: 20 }, (_, n) => (n === 7 ? 'rejected' : 'fulfilled')),
    )
  })

  it('accepts a definition after the run that brought it first was rolled back', async () => {
    const { store } = await setup()
    const ids = createSequentialIds()
    const definition = aDefinition({ templateId: 'test/new' })
    const checkpoints = [aCheckpoint('a', { status: 'broken' as never })]
    const broken = aNewRun(ids.next(), { definition, inherited: { checkpoints, artifacts: [] } })
    await expect(store.accept(broken)).rejects.toThrow()
    expect((await store.accept(aNewRun(ids.next(), { definition }))).outcome).toBe('accepted')
  })

  it('accepts runs at once whose slots bring the same new definitions in another order', async () => {
    const { store, beside } = await setup()
    const other = beside()
    const ids = createSequentialIds()
    const aRun = (definitions: Definition[]) => {
      const slots = definitions.map((definition) => aNewRun(ids.next(), { definition }))
      return aNewRun(ids.next(), { slots })
    }
    await Promise.all([store.accept(aNewRun(ids.next())), other.accept(aNewRun(ids.next()))])
    for (let round = 0; round < 20; round += 1) {
      const definitions = Array.from({ length: 60 }, (_, n) => aDefinition({ templateId: `test/${round}/${n}` }))
      await Promise.all([store.accept(aRun(definitions)), other.accept(aRun(definitions.toReversed()))])
    }
  })

  it('writes each of many concurrent transitions to its own run', async () => {
    const { store } = await setup()
    const ids = createSequentialIds()
    const runs = Array.from({ length: 150 }, () => aNewRun(ids.next()))
    await Promise.all(runs.map((run) => store.accept(run)))
    const claims = await Promise.all(runs.map(({ id }) => store.claim(id, 'w', 60_000)))
    await Promise.all(
      claims.map(async (claim, n) => {
        if (claim === null) throw new Error('not claimed')
        const call = aCall(`${claim.id}.c`, { outcome: 'succeeded', actualUsd: n })
        const written = { checkpoints: [aCheckpoint('only', { output: { n } })], calls: n % 3 === 0 ? [call] : [] }
        await store.commit(aTransition(claim.id, claim.fence, written))
      }),
    )
    for (const [n, { id }] of runs.entries()) {
      const { checkpoints, calls } = await store.history(id)
      expect(checkpoints.map(({ output }) => output)).toEqual([{ n }])
      expect(calls.map(({ actualUsd }) => actualUsd)).toEqual(n % 3 === 0 ? [n] : [])
    }
  })

  it('refuses claims once its database is closed', async () => {
    const { db, store } = await setup()
    await store.claim('x', 'w', 1_000)
    await db.close()
    await expect(store.claim('x', 'w', 1_000)).rejects.toThrow()
  })

  it('says unavailable, not what broke, when the server is away', async () => {
    const away = createDb({ databaseUrl: 'postgres://nobody@127.0.0.1:1/none' })
    onTestFinished(() => away.close())
    await expect(createRunStore(away, createSequentialIds()).claim('x', 'w', 1_000)).rejects.toMatchObject({
      code: 'unavailable',
    })
  })
})

describe('leases over an outage of the record', () => {
  async function setup() {
    const { store, db, dispose, beside, advance } = await open()
    onTestFinished(dispose)
    await store.accept(aNewRun('r'))
    const claim = await store.claim('r', 'w', 10_000)
    const held = [{ runId: 'r', fence: claim?.fence ?? 0 }]
    const isHeld = async () => (await store.renew(held, 10_000)).lost.length === 0
    return { store, db, beside, advance, isHeld }
  }

  it('stand still while no reconciler could look, and run out while one could', async () => {
    const { store, db, advance, isHeld } = await setup()
    await store.recover(100, 1_000)
    await advance(20_000)
    await sql`update last_pass set at = at - interval '20 s'`.execute(db.kysely)
    await store.recover(100, 1_000)
    expect(await isHeld()).toBe(true)
    await advance(20_000)
    await store.recover(100, 1_000)
    expect(await isHeld()).toBe(false)
  })

  it('do not run out behind a locked table, whoever looks first when it is free', async () => {
    const { store, db, beside, advance, isHeld } = await setup()
    await store.recover(100, 1_000)
    await advance(9_800)
    const locked = Promise.withResolvers<void>()
    const unlock = Promise.withResolvers<void>()
    const locking = db.kysely.transaction().execute(async (trx) => {
      await sql`lock table runs in access exclusive mode`.execute(trx)
      locked.resolve()
      await unlock.promise
      // Until the lease is over by the record's clock.
      await sql`select pg_sleep(2)`.execute(trx)
    })
    await locked.promise
    const passes = [store, beside(), beside()].map((one) => one.recover(100, 1_000))
    await expect
      .poll(async () => (await sql`select from pg_locks where not granted`.execute(db.kysely)).rows.length)
      .toBeGreaterThan(2)
    unlock.resolve()
    await locking
    await beside().recover(100, 1_000)
    await Promise.all(passes)
    expect(await isHeld()).toBe(true)
  })
})

it.each([
  ['a NUL in a text', { gates: [{ id: 'g', name: 'g', type: 'safety', status: 'failed' as const, detail: 'no\0' }] }],
  ['an answer nested without end', { checkpoints: [aCheckpoint('a', { output: nested(100_000) })] }],
])('says of %s that it cannot be stored, and of that alone among concurrent transitions', async (_, poison) => {
  const { store, dispose } = await open()
  onTestFinished(dispose)
  const runs = ['bad', 'good 1', 'good 2']
  const fences = new Map<string, number>()
  for (const id of runs) {
    await store.accept(aNewRun(id))
    fences.set(id, (await store.claim(id, 'w', 60_000))?.fence ?? 0)
  }
  const outcomes = await Promise.all(
    runs.map((id) =>
      store.commit(aTransition(id, fences.get(id) ?? 0, id === 'bad' ? poison : { calls: [aCall(id)] })),
    ),
  )
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(['unstorable', 'committed', 'committed'])
})

function nested(levels: number): JsonValue {
  let value: JsonValue = 'deep'
  for (let level = 0; level < levels; level += 1) value = [value]
  return value
}
