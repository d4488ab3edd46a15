// The connection to PostgreSQL: pool, query builder, migrations, and what its errors mean to callers.
// Hides pg, and from other packages kysely too.
import { createHash } from 'node:crypto'
import { Socket } from 'node:net'
import type { Log } from '@fabrique/engine'
import { FabriqueError } from '@fabrique/schema'
import {
  CompiledQuery,
  Kysely,
  PostgresDialect,
  type PostgresPool,
  type PostgresPoolClient,
  type Transaction,
} from 'kysely'
import { Migrator } from 'kysely/migration'
import pg from 'pg'
import { isAway, isConflict, rethrow, SILENT } from './away.ts'
import { migrations } from './migrations/index.ts'
import type { Tables } from './tables.ts'

export interface Db {
  kysely: Kysely<Tables>
  /** Runs one prepared statement; `name` must be unique to `text`. */
  query<Row extends pg.QueryResultRow>(name: string, text: string, values: unknown[]): Promise<Row[]>
  close(): Promise<void>
}

/** No statement of ours takes a second: one that does waits for a lock, and is better tried again. */
const STATEMENT_TIMEOUT_MS = 4_000
/** A migration may rewrite much data, and waits for the process that does so already. */
const MIGRATION_TIMEOUT_MS = 600_000
/** The server gives up before: what is not answered by then was lost by the network. */
const SILENCE_MS = 1_000
/** A process that stopped in the middle of a transaction must not keep its locks: others wait for them, and for less than 4 s. */
const IDLE_IN_TRANSACTION_MS = 3_000

type Rethrow = (error: unknown) => never

/** The pool as kysely is given it: what it throws is translated here, so that no query has to think of it. */
function translating(pool: pg.Pool, rethrow: Rethrow): PostgresPool {
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect().catch(rethrow)
      let broken = false
      const query = (text: string, values: unknown[]) =>
        client.query(text, values).catch((error: unknown) => {
          broken ||= isAway(error) && !isConflict(error)
          rethrow(error)
        })
      return {
        // Its other signature is for cursors, which need a library that is not here.
        query: query as unknown as PostgresPoolClient['query'],
        // The next one may lead to another server: after a failover this one's is read-only for ever.
        release: (destroy) => client.release(destroy === true || broken),
      }
    },
  }
}

/**
 * Opens a pool of at most `connectionsMax` (default 8: coalesced writes need about four, reads the rest).
 * Connects on first use; `log` hears of idle connections that broke. The server gives a statement up after `limitMs`
 * (default 4,000). An answer that is not there a second later will not come: all connections are then made anew.
 */
export function createDb(options: {
  databaseUrl: string
  connectionsMax?: number
  limitMs?: number
  log?: Pick<Log, 'warn'>
}): Db {
  const { limitMs = STATEMENT_TIMEOUT_MS } = options
  const sockets = new Set<Socket>()
  const pool = new pg.Pool({
    connectionString: options.databaseUrl,
    max: options.connectionsMax ?? 8,
    connectionTimeoutMillis: 3_000,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 3_000,
    statement_timeout: limitMs,
    query_timeout: limitMs + SILENCE_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
    application_name: 'fabrique',
    stream() {
      const socket = new Socket()
      sockets.add(socket)
      return socket.once('close', () => sockets.delete(socket))
    },
  })
  function translated(error: unknown): never {
    if ((error as Error).message === SILENT) {
      // Whatever silenced this connection silenced the others too, idle ones included: each would cost its user as long.
      for (const socket of sockets) socket.destroy(new Error('Connection terminated: another was silent'))
    }
    rethrow(error)
  }
  pool.on('error', (err) => options.log?.warn({ err }, 'a database connection broke'))
  // The pool listens only to the idle ones. One that breaks between two statements of a transaction would end the
  // process; its next statement says it too.
  pool.on('connect', (client) => client.on('error', () => {}))
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: translating(pool, translated) }) })
  return {
    kysely,
    async query<Row extends pg.QueryResultRow>(name: string, text: string, values: unknown[]) {
      // A statement that fails leaves nothing behind, and its connection is not used again.
      const { rows } = await untilNoConflict(() => pool.query<Row>({ name: preparedName(name), text, values })).catch(
        translated,
      )
      return rows
    },
    async close() {
      await kysely.destroy()
      // kysely ends only a pool that it has used itself.
      if (!pool.ended) await pool.end()
    },
  }
}

/** PostgreSQL cuts names off behind this many bytes, and would take statements with the same beginning for one. */
const NAME_BYTES_MAX = 63

function preparedName(name: string): string {
  return name.length <= NAME_BYTES_MAX ? name : createHash('sha256').update(name).digest('base64url')
}

/** `Db.query` inside a transaction, where a statement is not kept prepared. */
export function queryIn(trx: Transaction<Tables>): Db['query'] {
  return async <Row extends pg.QueryResultRow>(_name: string, text: string, values: unknown[]) =>
    (await trx.executeQuery<Row>(CompiledQuery.raw(text, values))).rows
}

const TRIES_MAX = 4

/** Does the work again where it gave way to another, as where both lock the same rows in another order. */
async function untilNoConflict<Result>(work: () => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work()
    } catch (error) {
      if (!isConflict(error) || tries === TRIES_MAX) throw error
    }
  }
}

/** A transaction over many runs; begun again where it met a deadlock. */
export async function inTransaction<Result>(
  db: Db,
  work: (trx: Transaction<Tables>) => Promise<Result>,
): Promise<Result> {
  return await untilNoConflict(() => db.kysely.transaction().execute(work))
}

/** Brings the schema of a database up to date. Safe to call from many processes at once. */
export async function migrate(databaseUrl: string): Promise<void> {
  const db = createDb({ databaseUrl, connectionsMax: 1, limitMs: MIGRATION_TIMEOUT_MS })
  try {
    const migrator = new Migrator({ db: db.kysely, provider: { getMigrations: async () => migrations } })
    const { error } = await migrator.migrateToLatest()
    if (error !== undefined) rethrow(error)
  } finally {
    await db.close()
  }
}

/** Resolves where the record can be written now; rejects where it does not answer, is a standby or is read-only. */
export async function askWritable(db: Pick<Db, 'query'>): Promise<void> {
  const asked = "select pg_is_in_recovery() or current_setting('transaction_read_only')::bool as refused"
  const [row] = await db.query<{ refused: boolean }>('record.askWritable', asked, [])
  if (row?.refused !== false) throw new FabriqueError('unavailable', 'The database is read-only at the moment.')
}
