/**
 * The embedded PostgreSQL of a home folder: made on first use, found when it runs already, stopped in order.
 * Hides initdb, pid files that outlived their server, ports, and the proof that the server answering is ours.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { makePrivate, secretIn, textIn } from './home-file.ts'
import { choosePostgresSeat, clusterFolderOf, giveTo, handOver, type PostgresSeat } from './postgres-seat.ts'
import { findProcesses, startTokenOf, until } from './process-table.ts'
import { run, type ServerProcess, startServer, stopServer } from './program.ts'
import { reasonOf, serviceError } from './service-error.ts'

/** A server that runs and was proved to be ours. */
export interface RunningServer {
  url: string
  pid: number
  /** As the superuser, to the same database; PostgreSQL only. */
  adminUrl?: string
}

const MAJOR = '18'
/** Made by initdb, and used for nothing but to set up what the other owns. */
const SUPERUSER = 'fabrique'
const USER = 'fabrique_app'
const DATABASE = 'fabrique'
const READY_TIMEOUT_MS = 120_000 // recovery after a crash replays up to max_wal_size
const LEFTOVER_TIMEOUT_MS = 15_000
const NOTICE_EVERY_MS = 5_000
const CONNECT_TIMEOUT_MS = 5_000

/** For many short transactions from a few processes on a small machine. fsync and synchronous_commit stay on. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  shared_buffers: '256MB',
  max_wal_size: '2GB',
  random_page_cost: '1.1',
  jit: 'off',
  // Containers have 64 MB of /dev/shm, which parallel queries outgrow; our queries are short anyway.
  max_parallel_workers_per_gather: '0',
  // Queue-like tables change all the time: vacuum often and a little.
  autovacuum_naptime: '15s',
  autovacuum_vacuum_scale_factor: '0.05',
  log_line_prefix: '%m [%p] ',
}

type Cluster = ReturnType<typeof openCluster>

/** Returns the home's PostgreSQL, starting (and creating) it when it does not run. Call under the home's lock. */
export async function ensurePostgres(home: string, onProgress: (line: string) => void): Promise<RunningServer> {
  const cluster = openCluster(home)
  const running = await findRunning(cluster)
  if (running) return await prove(cluster, running, onProgress)

  const token = cluster.name.slice(cluster.name.indexOf('-') + 1)
  const seat = await choosePostgresSeat({ folder: cluster.folder, token, onProgress })
  const data = join(seat.folder, 'data')
  if (!hasCluster(data)) {
    onProgress('Creating the PostgreSQL database (once) …')
    await createCluster(cluster, seat)
  }
  await handOver(data, seat.owner)
  rmSync(join(data, 'postmaster.pid'), { force: true }) // findRunning made sure that it is stale
  onProgress('Starting PostgreSQL …')
  return await prove(cluster, await start(cluster, seat, onProgress), onProgress)
}

/** Stops the home's PostgreSQL and waits until it is gone; nothing to do when it does not run. Under the home's lock. */
export async function stopPostgres(home: string): Promise<void> {
  const cluster = openCluster(home)
  const running = await findRunning(cluster)
  if (!running) return
  // SIGINT is PostgreSQL's fast shutdown: it ends the sessions and writes a checkpoint. SIGQUIT leaves recovery to do.
  await stopServer('PostgreSQL', running.pid, [
    ['SIGINT', 30_000],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 2_000],
  ])
}

/** The folder of PostgreSQL inside a home, with the secrets that tell this cluster from any other. */
function openCluster(home: string) {
  const folder = join(home, 'postgres')
  makePrivate(folder, { isPassedThrough: true })
  return {
    folder,
    log: join(folder, 'log'),
    name: `fabrique-${secretIn(join(folder, 'name'), 6)}`,
    superPassword: secretIn(join(folder, 'password')),
    password: secretIn(join(folder, 'app-password')),
  }
}

/**
 * The live postmaster of the cluster, by its pid file and its command line together.
 * Waits for what a killed postmaster left running, because a second server on the same data would destroy it.
 */
async function findRunning(cluster: Cluster): Promise<ServerProcess | undefined> {
  const pidFile = join(clusterFolderOf(cluster.folder), 'data', 'postmaster.pid')
  // The name is on the postmaster's command line and in the titles of its backends.
  const ours = new RegExp(`(cluster_name=|postgres: )${cluster.name}\\b`)
  let found: ServerProcess | undefined
  let live: number[] = []
  const settled = await until(() => {
    live = findProcesses(ours)
    found = readPidFile(pidFile)
    return live.length === 0 || (found !== undefined && live.includes(found.pid))
  }, LEFTOVER_TIMEOUT_MS)
  if (!settled) {
    throw serviceError(
      `A PostgreSQL that was killed is still busy with ${cluster.folder}. Stop it with: kill ${live.join(' ')}`,
    )
  }
  return live.length > 0 ? found : undefined
}

function readPidFile(file: string): (ServerProcess & { isReady: boolean }) | undefined {
  // Line 1 is the pid, line 4 the port, line 8 the state. https://www.postgresql.org/docs/18/storage-file-layout.html
  const lines = textIn(file).split('\n')
  const [pid, port] = [Number(lines[0]), Number(lines[3])]
  return pid > 0 && port > 0 ? { pid, port, isReady: lines[7]?.trim() === 'ready' } : undefined
}

function hasCluster(data: string): boolean {
  if (!existsSync(data) || readdirSync(data).length === 0) return false
  const version = textIn(join(data, 'PG_VERSION')).trim()
  if (!version) throw serviceError(`${data} is not a PostgreSQL data folder. Move it away, then try again.`)
  if (version !== MAJOR) {
    throw serviceError(
      `${data} was made by PostgreSQL ${version}, and this is ${MAJOR}. Dump it with the old version, or move it away to start afresh.`,
    )
  }
  return true
}

/** Builds the cluster aside and renames it, so that a crash half-way leaves nothing that looks like data. */
async function createCluster(cluster: Cluster, seat: PostgresSeat): Promise<void> {
  const fresh = join(seat.folder, 'data.new')
  const passwordFile = join(seat.folder, 'initdb-password')
  rmSync(fresh, { recursive: true, force: true })
  rmSync(passwordFile, { force: true })
  mkdirSync(fresh, { mode: 0o700 })
  writeFileSync(passwordFile, cluster.superPassword, { mode: 0o600 })
  try {
    giveTo(seat.owner, fresh, passwordFile)
    const { file, args, options } = seat.command('initdb', [
      `--pgdata=${fresh}`,
      `--username=${SUPERUSER}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      // The builtin provider sorts the same on every machine, whatever locales it has installed.
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--locale=C',
    ])
    await run(file, args, options).catch((error: unknown) => {
      const line = `PostgreSQL could not create its data in ${seat.folder}. Is there room, and is it writable?`
      throw serviceError(line, reasonOf(error))
    })
    renameSync(fresh, join(seat.folder, 'data'))
  } finally {
    rmSync(passwordFile, { force: true })
  }
}

async function start(cluster: Cluster, seat: PostgresSeat, onProgress: (line: string) => void): Promise<ServerProcess> {
  const portFile = join(cluster.folder, 'port')
  const data = join(seat.folder, 'data')
  const noticed = setInterval(
    () => onProgress('PostgreSQL is still starting (recovering from a crash?) …'),
    NOTICE_EVERY_MS,
  )
  return await startServer({
    name: 'PostgreSQL',
    log: cluster.log,
    lastPort: Number(textIn(portFile)),
    call(port) {
      writeFileSync(portFile, String(port), { mode: 0o600 })
      const settings = Object.entries({ ...SETTINGS, port, cluster_name: cluster.name })
      return seat.command('postgres', ['-D', data, ...settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])])
    },
    async isUp({ pid }) {
      const isGone = () => startTokenOf(pid) === undefined
      const isReady = () => readPidFile(join(data, 'postmaster.pid'))?.isReady === true
      return (await until(() => isGone() || isReady(), READY_TIMEOUT_MS)) && !isGone()
    },
    passes: /Address already in use|pre-existing shared memory block/,
  }).finally(() => clearInterval(noticed))
}

/**
 * Shows that the server on the port is ours: it accepts our random password and carries our cluster's name.
 * Creates the role and the database where they are missing, also after a crash between initdb and their creation.
 */
async function prove(
  cluster: Cluster,
  { port, pid }: ServerProcess,
  onProgress: (line: string) => void,
): Promise<RunningServer> {
  const noticed = setInterval(() => onProgress('Waiting for PostgreSQL …'), NOTICE_EVERY_MS)
  const urlOf = (database: string, user = SUPERUSER, password = cluster.superPassword) =>
    `postgres://${user}:${password}@127.0.0.1:${port}/${database}`
  let reason: unknown
  const isProved = await until(async () => {
    try {
      await askPostgres(urlOf('postgres'), async (client) => {
        const { rows } = await client.query<{ name: string; role: boolean; owner: string | null }>(
          `select current_setting('cluster_name') as name, to_regrole($1) is not null as role,
             (select pg_get_userbyid(datdba) from pg_database where datname = $2) as owner`,
          [USER, DATABASE],
        )
        const [found] = rows
        if (found?.name !== cluster.name) throw new Error('another server answers')
        if (!found.role) await client.query(`create role ${USER} login password '${cluster.password}'`)
        if (found.owner === null) await client.query(`create database ${DATABASE} owner ${USER}`)
        else if (found.owner !== USER) await handOverDatabase(urlOf(DATABASE))
      })
      return true
    } catch (error) {
      reason = error
      // 57P03: starting up or in recovery. Anything else will not change by waiting, unless the server is gone.
      if (isStarting(error) && startTokenOf(pid) !== undefined) return false
      throw serviceError(
        `The PostgreSQL on port ${port} does not let us in: ${reasonOf(error)}. Stop it (kill ${pid}) and try again; its log is ${cluster.log}.`,
      )
    }
  }, READY_TIMEOUT_MS).finally(() => clearInterval(noticed))
  if (!isProved)
    throw serviceError(`PostgreSQL (pid ${pid}) does not get ready: ${reasonOf(reason)}. Its log is ${cluster.log}.`)
  return { url: urlOf(DATABASE, USER, cluster.password), adminUrl: urlOf(DATABASE), pid }
}

/**
 * Gives a database that the superuser owns, as those of earlier versions are, to the role that has no other rights.
 * In one transaction, object by object: what initdb's own role owns cannot be reassigned at once.
 */
async function handOverDatabase(url: string): Promise<void> {
  await askPostgres(url, async (client) => {
    await client.query(`do $$
      declare command text;
      begin
        for command in
          select format('alter table %s owner to ${USER}', c.oid::regclass) from pg_class c
          where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S')
            and not exists (select from pg_depend where objid = c.oid and deptype in ('a', 'i'))
          union all
          select format('alter routine %s owner to ${USER}', oid::regprocedure) from pg_proc
          where pronamespace = 'public'::regnamespace
          union all
          select format('alter type %s owner to ${USER}', oid::regtype) from pg_type
          where typnamespace = 'public'::regnamespace and typtype in ('e', 'd')
        loop
          execute command;
        end loop;
        alter database ${DATABASE} owner to ${USER};
      end $$`)
  })
}

/** One connection to a PostgreSQL, for as long as the work takes. */
export async function askPostgres(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  client.on('error', () => {}) // the failing call reports it
  try {
    await client.connect()
    await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}

function isStarting(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === '57P03' || error.code === 'ECONNREFUSED')
}
