import { sql } from 'kysely'
import { expect, it, onTestFinished } from 'vitest'
import { askWritable, createDb, type Db } from './client.ts'
import { createTestDb } from './testing.ts'

/** Two processes' connections to one database. */
async function setup(): Promise<{ db: Db; other: Db }> {
  const { db, databaseUrl, drop } = await createTestDb()
  onTestFinished(() => drop())
  const other = createDb({ databaseUrl })
  onTestFinished(() => other.close())
  return { db, other }
}

const away = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (error: unknown) => (error as { code?: string }).code,
  )

it('says unavailable when a connection breaks between two statements of a transaction, and ends no process', async () => {
  const { db, other } = await setup()
  const uncaught: unknown[] = []
  const note = (error: unknown) => uncaught.push(error)
  process.on('uncaughtException', note)
  onTestFinished(() => void process.off('uncaughtException', note))
  const broken = other.kysely.transaction().execute(async (trx) => {
    const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(trx)
    const pid = rows[0]?.pid ?? 0
    await sql`select pg_terminate_backend(${pid})`.execute(db.kysely)
    await expect
      .poll(async () => (await sql`select from pg_stat_activity where pid = ${pid}`.execute(db.kysely)).rows)
      .toEqual([])
    await sql`select 1`.execute(trx)
  })
  expect(await away(broken)).toBe('unavailable')
  expect(uncaught).toEqual([])
  await sql`select 1`.execute(other.kysely)
})

it('keeps statements apart whose long names differ only at their end, on one connection', async () => {
  const { databaseUrl, drop } = await createTestDb()
  onTestFinished(() => drop())
  const db = createDb({ databaseUrl, connectionsMax: 1 })
  onTestFinished(() => db.close())
  const long = 'statement.'.repeat(7)
  const answers = []
  for (const one of ['a', 'b', 'a', 'b']) {
    answers.push(await db.query(long + one, `select '${one}' as said`, []))
  }
  expect(answers).toEqual([[{ said: 'a' }], [{ said: 'b' }], [{ said: 'a' }], [{ said: 'b' }]])
})

it('frees the locks of a process that stopped in the middle of a transaction within seconds', async () => {
  const { db, other } = await setup()
  const held = Promise.withResolvers<void>()
  const goesOn = Promise.withResolvers<void>()
  const stopped = other.kysely.transaction().execute(async (trx) => {
    await sql`select from organizations where id = 'system' for update`.execute(trx)
    held.resolve()
    await goesOn.promise
    await sql`update organizations set name = 'late' where id = 'system'`.execute(trx)
  })
  const outcome = away(stopped)
  await held.promise
  await sql`update organizations set name = 'mine' where id = 'system'`.execute(db.kysely)
  goesOn.resolve()
  expect(await outcome).toBe('unavailable')
  const { rows } = await sql`select name from organizations where id = 'system'`.execute(db.kysely)
  expect(rows).toEqual([{ name: 'mine' }])
}, 25_000)

it('says unavailable of a record that became read-only, and works again with what comes after it', async () => {
  const { db, databaseUrl, drop } = await createTestDb()
  onTestFinished(() => drop())
  const other = createDb({ databaseUrl, connectionsMax: 1 })
  onTestFinished(() => other.close())
  const name = new URL(databaseUrl).pathname.slice(1)
  const rename = () => sql`update organizations set name = 'mine' where id = 'system'`.execute(other.kysely)
  await rename()
  // As after a failover: the connections that there are lead to a server which is now a standby.
  await other.query('demote', 'set default_transaction_read_only = on', [])
  expect(await away(askWritable(other))).toBe('unavailable')
  expect(await away(other.query('rename', "update organizations set name = 'x' where id = 'system'", []))).toBe(
    'unavailable',
  )
  await askWritable(other)
  await other.query('demote', 'set default_transaction_read_only = on', [])
  expect(await away(rename())).toBe('unavailable')
  await rename()
  await sql`alter database ${sql.id(name)} set default_transaction_read_only = on`.execute(db.kysely)
  const later = createDb({ databaseUrl })
  onTestFinished(() => later.close())
  expect(await away(askWritable(later))).toBe('unavailable')
})

it('does a statement again that gave way to another in a deadlock', async () => {
  const { db, other } = await setup()
  await sql`insert into organizations (id, name) values ('a', 'a'), ('b', 'b')`.execute(db.kysely)
  const holds = Promise.withResolvers<void>()
  const waits = Promise.withResolvers<void>()
  const first = other.kysely.transaction().execute(async (trx) => {
    await sql`update organizations set name = 'first' where id = 'b'`.execute(trx)
    holds.resolve()
    await waits.promise
    await sql`update organizations set name = 'first' where id = 'a'`.execute(trx)
  })
  await holds.promise
  // Locks a, then waits for b; PostgreSQL ends whichever of the two notices first.
  const second = db.query(
    'both',
    "with a as (update organizations set name = 'second' where id = 'a' returning id), w as (select pg_sleep(0) from a) update organizations set name = 'second' where id = 'b' and exists (select from w)",
    [],
  )
  await expect
    .poll(async () => (await sql`select from pg_locks where not granted`.execute(other.kysely)).rows.length)
    .toBeGreaterThan(0)
  waits.resolve()
  const [one, two] = await Promise.allSettled([first, second])
  expect(two.status).toBe('fulfilled')
  expect(one.status === 'fulfilled' || (one.reason as { code?: string }).code === 'unavailable').toBe(true)
})
