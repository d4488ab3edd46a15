import { aNewRun, createSequentialIds } from '@fabrique/engine/testing'
import type { RunEvent } from '@fabrique/schema'
import { sql } from 'kysely'
import { describe, expect, it, onTestFinished } from 'vitest'
import { queryIn } from './client.ts'
import { createEventLog, type LogPlace } from './event-log.ts'
import { createRunStore } from './runs/run-store.ts'
import { createTestDb } from './testing.ts'

const ORGANIZATIONS = ['system']

async function setup() {
  const { db, drop } = await createTestDb()
  onTestFinished(drop)
  const ids = createSequentialIds()
  const store = createRunStore(db, ids)
  const log = createEventLog(db)
  async function accept(organizationId = 'system') {
    const run = aNewRun(ids.next(), { organizationId })
    await store.accept(run)
    return run.id
  }
  /** A transaction that stays open: its number is taken, its events are written when asked, like a commit would. */
  async function open() {
    const begun = Promise.withResolvers<(runId: string, kind: string) => Promise<void>>()
    const end = Promise.withResolvers<void>()
    const ended = db.kysely.transaction().execute(async (trx) => {
      await sql`select pg_current_xact_id()`.execute(trx)
      begun.resolve(async (runId, kind) => {
        await queryIn(trx)(
          '',
          `with u as (update runs set last_seq = last_seq + 1 where id = $1 returning id, last_seq)
           insert into events (run_id, seq, id, kind, payload, timestamp)
           select id, last_seq, $2, $3, '{}', now() from u`,
          [runId, ids.next(), kind],
        )
      })
      await end.promise
    })
    const write = await begun.promise
    return {
      write,
      async commit() {
        end.resolve()
        await ended
      },
    }
  }
  /** Everything from a place on, as "run:seq", and the place behind it. Other tests' transactions may hold it back. */
  async function readAll(from: LogPlace, limit = 1_000) {
    const events: RunEvent[] = []
    let place = from
    for (let more = true; more; ) {
      const page = await log.read(ORGANIZATIONS, place, limit)
      events.push(...page.entries.map(({ event }) => event))
      place = page.next
      more = page.more
    }
    return { events, told: events.map(({ run_id: run, seq }) => `${run}:${seq}`), place }
  }
  return { db, log, accept, open, readAll }
}

describe('the log of all events', () => {
  it('gives what follows a place once, page by page, and only to whom it belongs', async () => {
    const { db, log, accept, readAll } = await setup()
    await db.query('', `insert into organizations (id, name) values ('others', 'Others')`, [])
    const start = await log.end()
    const a = await accept()
    await accept('others')
    const b = await accept()
    const { told, place } = await readAll(start, 1)
    expect(told).toEqual([`${a}:1`, `${a}:2`, `${b}:1`, `${b}:2`])
    expect((await readAll(place)).told).toEqual([])
    const c = await accept()
    expect((await readAll(place)).told).toEqual([`${c}:1`, `${c}:2`])
  })

  it('holds back what was written behind a transaction that still writes, so that the order never changes', async () => {
    const { log, accept, open, readAll } = await setup()
    const [a, b] = [await accept(), await accept()]
    const start = await log.end()
    const early = await open()
    const late = await open()
    await late.write(b, 'late')
    await late.commit()
    const page = await log.read(ORGANIZATIONS, start, 10)
    expect([page.entries, page.more]).toEqual([[], true])
    await early.write(a, 'early')
    await early.commit()
    const { told } = await readAll(page.next)
    expect(told).toEqual([`${a}:3`, `${b}:3`])
    expect((await readAll(start)).told).toEqual(told)
  })

  it("keeps a run's events in order though the later one's transaction began first", async () => {
    const { log, accept, open, readAll } = await setup()
    const [run, other] = [await accept(), await accept()]
    const start = await log.end()
    const first = await open()
    const between = await open()
    const second = await open()
    await second.write(run, 'fifth')
    await second.commit()
    await first.write(run, 'sixth')
    await first.commit()
    // The sixth would be certain by its own number, the fifth is not.
    const held = await log.read(ORGANIZATIONS, start, 10)
    expect(held.entries).toEqual([])
    await between.write(other, 'else')
    await between.commit()
    const { told, events } = await readAll(held.next)
    expect(told).toEqual([`${other}:3`, `${run}:3`, `${run}:4`])
    for (const [index, event] of events.entries()) {
      const found = await log.find('system', event.id, 10)
      expect((await readAll(found as LogPlace)).told).toEqual(told.slice(index + 1))
    }
  })

  it('waits a second for a transaction, then goes on without it and gives its events when it ends', async () => {
    const { log, accept, open } = await setup()
    const [a, b] = [await accept(), await accept()]
    let place = await log.end()
    const slow = await open()
    await slow.write(a, 'slow')
    const quick = await open()
    await quick.write(b, 'quick')
    await quick.commit()
    const told: string[] = []
    await expect
      .poll(
        async () => {
          const page = await log.read(ORGANIZATIONS, place, 10)
          place = page.next
          told.push(...page.entries.map(({ event }) => event.kind))
          return told
        },
        { timeout: 5_000 },
      )
      .toEqual(['quick'])
    await slow.commit()
    expect((await log.read(ORGANIZATIONS, place, 10)).entries).toEqual([])
    expect((await log.overtaken(ORGANIZATIONS)).map(({ event }) => event.kind)).toEqual(['slow'])
    expect(await log.overtaken(ORGANIZATIONS)).toEqual([])
  })

  it("finds an event for its own organization only, and says where a run's log ends", async () => {
    const { db, log, accept } = await setup()
    const run = await accept()
    const [row] = await db.query<{ id: string }>('', 'select id from events where run_id = $1 and seq = 2', [run])
    const id = row?.id ?? ''
    expect(await log.find('system', id, 0)).toMatchObject({ runId: run, seq: 2 })
    expect([await log.find('others', id, 0), await log.find('system', 'unknown', 0)]).toEqual([null, null])
    await accept()
    expect(await log.find('system', id, 1)).toBeNull()
    await db.query('', `update events set timestamp = timestamp - interval '1 hour' where id = $1`, [id])
    expect(await log.find('system', id, 9)).toBeNull()
    expect(await log.heads(['system'], [run])).toEqual(new Map([[run, { seq: 2, ended: false }]]))
    expect(await log.heads(['others'], [run])).toEqual(new Map())
  })
})
