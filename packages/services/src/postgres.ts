/**
 * The embedded PostgreSQL of a home folder: made on first use, found when it runs already, stopped in order.
 * Hides initdb, pid files that outlived their server, ports, and the proof that the server answering is ours.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { closeSync, chownSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { choosePostgresSeat, clusterFolderOf, handOver, type PostgresSeat } from './postgres-seat.ts'
import { endProcess, findProcesses, freePort, startTokenOf, until } from './process-table.ts'
import { secretIn } from './secret-file.ts'
import { logSince, reasonOf, serviceError } from './service-error.ts'

/** A server that runs and was proved to be ours. */
export interface RunningServer {
  url: string
  pid: number
}

const MAJOR = '18'
const USER = 'fabrique'
const DATABASE = 'fabrique'
const READY_TIMEOUT_MS = 120_000 // recovery after a crash replays up to max_wal_size
const LEFTOVER_TIMEOUT_MS = 15_000
const START_ATTEMPTS = 3

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

/** The folder of PostgreSQL inside a home, with the secrets that tell this cluster from any other. */
interface Cluster {
  folder: string
  log: string
  name: string
  password: string
}

/** Returns the home's PostgreSQL, starting (and creating) it when it does not run. Call under the home's lock. */
export async function ensurePostgres(home: string, onProgress: (line: string) => void): Promise<RunningServer> {
  const cluster = openCluster(home)
  const running = await findRunning(cluster)
  if (running) return await prove(cluster, running.port, running.pid, onProgress)

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
  return await start(cluster, seat, onProgress)
}

/** Stops the home's PostgreSQL and waits until it is gone; nothing to do when it does not run. Under the home's lock. */
export async function stopPostgres(home: string): Promise<void> {
  const cluster = openCluster(home)
  const running = await findRunning(cluster)
  if (!running) return
  // SIGINT is PostgreSQL's fast shutdown: it ends the sessions and writes a checkpoint. SIGQUIT leaves recovery to do.
  const ended = await endProcess(running.pid, [
    ['SIGINT', 30_000],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 2_000],
  ])
  if (!ended) throw serviceError(`PostgreSQL (pid ${running.pid}) does not stop. Stop it with: kill -9 ${running.pid}`)
}

function openCluster(home: string): Cluster {
  const folder = join(home, 'postgres')
  mkdirSync(folder, { recursive: true })
  return {
    folder,
    log: join(folder, 'log'),
    name: `fabrique-${secretIn(join(folder, 'name'), 6)}`,
    password: secretIn(join(folder, 'password')),
  }
}

/**
 * The live postmaster of the cluster, by its pid file and its command line together.
 * Waits for what a killed postmaster left running, because a second server on the same data would destroy it.
 */
async function findRunning(cluster: Cluster): Promise<{ pid: number; port: number } | undefined> {
  const pidFile = join(clusterFolderOf(cluster.folder), 'data', 'postmaster.pid')
  // The name is on the postmaster's command line and in the titles of its backends.
  const ours = new RegExp(`(cluster_name=|postgres: )${cluster.name}\\b`)
  let found: { pid: number; port: number } | undefined
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

function readPidFile(file: string): { pid: number; port: number } | undefined {
  try {
    // Line 1 is the pid, line 4 the port, line 8 the state. https://www.postgresql.org/docs/18/storage-file-layout.html
    const lines = readFileSync(file, 'utf8').split('\n')
    const [pid, port] = [Number(lines[0]), Number(lines[3])]
    return pid > 0 && port > 0 ? { pid, port } : undefined
  } catch {
    return undefined
  }
}

function isReady(file: string): boolean {
  try {
    return readFileSync(file, 'utf8').split('\n')[7]?.trim() === 'ready'
  } catch {
    return false
  }
}

function hasCluster(data: string): boolean {
  if (!existsSync(data) || readdirSync(data).length === 0) return false
  let version: string | undefined
  try {
    version = readFileSync(join(data, 'PG_VERSION'), 'utf8').trim()
  } catch {
    throw serviceError(`${data} is not a PostgreSQL data folder. Move it away, then try again.`)
  }
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
  writeFileSync(passwordFile, cluster.password, { mode: 0o600 })
  if (seat.owner) {
    chownSync(fresh, seat.owner.uid, seat.owner.gid)
    chownSync(passwordFile, seat.owner.uid, seat.owner.gid)
  }
  try {
    const { file, args, options } = seat.command('initdb', [
      `--pgdata=${fresh}`,
      `--username=${USER}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      // The builtin provider sorts the same on every machine, whatever locales it has installed.
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--locale=C',
    ])
    const child = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text))
    const code = await new Promise<number | null>((resolve) => {
      child.once('error', (error) => {
        output += reasonOf(error)
        resolve(null)
      })
      child.once('close', resolve)
    })
    if (code !== 0)
      throw serviceError(
        `PostgreSQL could not create its data in ${seat.folder}. Is there room, and is it writable?`,
        output,
      )
    renameSync(fresh, join(seat.folder, 'data'))
  } finally {
    rmSync(passwordFile, { force: true })
  }
}

async function start(cluster: Cluster, seat: PostgresSeat, onProgress: (line: string) => void): Promise<RunningServer> {
  const portFile = join(cluster.folder, 'port')
  for (let attempt = 1; ; attempt++) {
    // The same port as last time, if it is free: whoever noted the address can keep it.
    const port = await freePort(attempt === 1 ? readPort(portFile) : undefined)
    writeFileSync(portFile, String(port))
    const logStart = existsSync(cluster.log) ? statSync(cluster.log).size : 0
    const child = launch(cluster, seat, port)
    const pidFile = join(seat.folder, 'data', 'postmaster.pid')
    const isUp = await waitUntilReady(child, pidFile, onProgress)
    if (isUp) return await prove(cluster, port, Number(child.pid), onProgress)
    const log = logSince(cluster.log, logStart)
    const isTransient = /Address already in use|pre-existing shared memory block/.test(log)
    if (!isTransient || attempt === START_ATTEMPTS) {
      throw serviceError(`PostgreSQL did not start. Its log is ${cluster.log}, and ends with:`, log)
    }
  }
}

function readPort(file: string): number | undefined {
  try {
    return Number(readFileSync(file, 'utf8')) || undefined
  } catch {
    return undefined
  }
}

function launch(cluster: Cluster, seat: PostgresSeat, port: number): ChildProcess {
  const settings = { ...SETTINGS, port: String(port), cluster_name: cluster.name }
  const { file, args, options } = seat.command('postgres', [
    '-D',
    join(seat.folder, 'data'),
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ])
  const log = openSync(cluster.log, 'a', 0o600)
  // Detached: Ctrl-C in the terminal must not reach it, whoever uses it stops it in order.
  const child = spawn(file, args, { ...options, detached: true, stdio: ['ignore', log, log] })
  child.once('error', () => {}) // reported by waitUntilReady: there is no process then
  child.unref()
  closeSync(log)
  return child
}

async function waitUntilReady(
  child: ChildProcess,
  pidFile: string,
  onProgress: (line: string) => void,
): Promise<boolean> {
  const { pid } = child
  if (pid === undefined) return false
  const noticed = setInterval(() => onProgress('PostgreSQL is still starting (recovering from a crash?) …'), 5_000)
  try {
    const isSettled = await until(() => startTokenOf(pid) === undefined || isReady(pidFile), READY_TIMEOUT_MS)
    return isSettled && startTokenOf(pid) !== undefined
  } finally {
    clearInterval(noticed)
  }
}

/**
 * Shows that the server on the port is ours: it accepts our random password and carries our cluster's name.
 * Creates the database where a crash came between initdb and its creation.
 */
async function prove(
  cluster: Cluster,
  port: number,
  pid: number,
  onProgress: (line: string) => void,
): Promise<RunningServer> {
  const noticed = setInterval(() => onProgress('Waiting for PostgreSQL …'), 5_000)
  let reason: unknown
  const isProved = await until(async () => {
    const client = new pg.Client({
      host: '127.0.0.1',
      port,
      user: USER,
      password: cluster.password,
      database: 'postgres',
      connectionTimeoutMillis: 5_000,
    })
    client.on('error', () => {}) // the failing call reports it
    try {
      await client.connect()
      const { rows } = await client.query<{ name: string; exists: boolean }>(
        `select current_setting('cluster_name') as name, exists (select from pg_database where datname = $1) as exists`,
        [DATABASE],
      )
      if (rows[0]?.name !== cluster.name) throw new Error('another server answers')
      if (!rows[0].exists) await client.query(`create database ${DATABASE}`)
      return true
    } catch (error) {
      reason = error
      // 57P03: starting up or in recovery. Anything else will not change by waiting, unless the server is gone.
      if (isStarting(error) && startTokenOf(pid) !== undefined) return false
      throw serviceError(
        `The PostgreSQL on port ${port} does not let us in: ${reasonOf(error)}. Stop it (kill ${pid}) and try again; its log is ${cluster.log}.`,
      )
    } finally {
      await client.end().catch(() => {})
    }
  }, READY_TIMEOUT_MS).finally(() => clearInterval(noticed))
  if (!isProved)
    throw serviceError(`PostgreSQL (pid ${pid}) does not get ready: ${reasonOf(reason)}. Its log is ${cluster.log}.`)
  return { url: `postgres://${USER}:${cluster.password}@127.0.0.1:${port}/${DATABASE}`, pid }
}

function isStarting(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === '57P03' || error.code === 'ECONNREFUSED')
}
