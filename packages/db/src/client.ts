// The connection to PostgreSQL: pool, query builder, migrations, and what its errors mean to callers.
// Hides pg and kysely from the rest of the system.
import { FabriqueError } from '@fabrique/schema'
import { Kysely, PostgresDialect } from 'kysely'
import { Migrator } from 'kysely/migration'
import pg from 'pg'
import { migrations } from './migrations/index.ts'
import type { Tables } from './tables.ts'

export interface Db {
  kysely: Kysely<Tables>
  /** Runs one prepared statement; `name` must be unique to `text`. */
  query<Row extends pg.QueryResultRow>(name: string, text: string, values: unknown[]): Promise<Row[]>
  close(): Promise<void>
}

// SQLSTATE classes: 08 connection, 53 resources, 57P shutdown and start-up; and what Node says of a dead socket.
const AWAY = /^(08|53|57P)|^ECONN|^EPIPE|^ENOTFOUND|^ETIMEDOUT|^EHOSTUNREACH/

/** True for errors that say "not now": the connection, not the statement, is the fault. */
function isAway(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string }
  return AWAY.test(code ?? '') || /Connection terminated|timeout exceeded when trying to connect/.test(message ?? '')
}

/** `unavailable` for a lost connection, the error itself otherwise. */
export function translated(error: unknown): unknown {
  if (!isAway(error)) return error
  return new FabriqueError('unavailable', 'The database is not reachable at the moment; nothing was changed.', {
    cause: error,
    retryAfterS: 2,
  })
}

/**
 * Opens a pool of at most `connectionsMax` (default 8: coalesced writes need about four, reads the rest).
 * Connects on first use; `onError` hears of idle connections that broke.
 */
export function createDb(options: {
  databaseUrl: string
  connectionsMax?: number
  onError?: (error: Error) => void
}): Db {
  const pool = new pg.Pool({
    connectionString: options.databaseUrl,
    max: options.connectionsMax ?? 8,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    application_name: 'fabrique',
  })
  pool.on('error', (error) => options.onError?.(error))
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  return {
    kysely,
    async query(name, text, values) {
      try {
        return (await pool.query({ name, text, values })).rows
      } catch (error) {
        throw translated(error)
      }
    },
    async close() {
      await kysely.destroy()
      // kysely ends only a pool that it has used itself.
      if (!pool.ended) await pool.end()
    },
  }
}

/** Brings the schema up to date. Safe to call from many processes at once. */
export async function migrate(db: Db): Promise<void> {
  const migrator = new Migrator({ db: db.kysely, provider: { getMigrations: async () => migrations } })
  const { error } = await migrator.migrateToLatest()
  if (error !== undefined) throw translated(error)
}
