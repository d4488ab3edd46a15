// For tests only: a database of one's own, cloned from a migrated template within milliseconds.
// Hides how parallel test files agree on one template, and that databases outlive nobody.
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { createDb, type Db, migrate } from './client.ts'

export interface TestDb {
  db: Db
  databaseUrl: string
  /** Closes `db` and drops the database, whoever else is still connected. */
  drop(): Promise<void>
}

const TEMPLATE_LOCK = 7_204_311

/**
 * A migrated, otherwise empty database on the server of `serverUrl` (default: TEST_DATABASE_URL, which `npm test` sets).
 * The template is made by the first caller of any process and kept under a name that changes with the migrations.
 */
export async function createTestDb(serverUrl: string | undefined = process.env.TEST_DATABASE_URL): Promise<TestDb> {
  if (serverUrl === undefined) throw new Error('TEST_DATABASE_URL is not set: run npm test')
  const url = (database: string) => Object.assign(new URL(serverUrl), { pathname: `/${database}` }).href
  const name = `fabrique_test_${randomBytes(8).toString('hex')}`
  await onServer(serverUrl, async (server) => {
    const template = await ensureTemplate(server, url)
    await server.query(`create database ${name} template ${template}`)
  })
  const db = createDb({ databaseUrl: url(name) })
  return {
    db,
    databaseUrl: url(name),
    async drop() {
      await db.close()
      await onServer(serverUrl, (server) => server.query(`drop database if exists ${name} with (force)`))
    },
  }
}

async function onServer<T>(serverUrl: string, work: (server: pg.Client) => Promise<T>): Promise<T> {
  const server = new pg.Client({ connectionString: serverUrl })
  await server.connect()
  try {
    return await work(server)
  } finally {
    await server.end()
  }
}

/** The template's name; it bears it only once it is complete, so that a killed test run leaves nothing half made. */
async function ensureTemplate(server: pg.Client, url: (database: string) => string): Promise<string> {
  const name = `fabrique_template_${migrationsHash()}`
  const exists = async (database: string) =>
    (await server.query('select 1 from pg_database where datname = $1', [database])).rows.length > 0
  if (await exists(name)) return name
  await server.query('select pg_advisory_lock($1)', [TEMPLATE_LOCK])
  try {
    if (await exists(name)) return name
    const draft = `${name}_draft`
    await server.query(`drop database if exists ${draft} with (force)`)
    await server.query(`create database ${draft}`)
    await migrate(url(draft))
    await server.query(`alter database ${draft} rename to ${name}`)
    return name
  } finally {
    await server.query('select pg_advisory_unlock($1)', [TEMPLATE_LOCK])
  }
}

function migrationsHash(): string {
  const folder = join(import.meta.dirname, 'migrations')
  const hash = createHash('sha256')
  for (const file of readdirSync(folder).sort()) hash.update(file).update(readFileSync(join(folder, file)))
  return hash.digest('hex').slice(0, 16)
}
