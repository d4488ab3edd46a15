/**
 * Finds or starts the PostgreSQL and Redis that Fabrique needs, private to a home folder.
 * Hides who else uses them: several processes of one home share the servers, and the last one stops them.
 */
import { existsSync, realpathSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { checkPostgres, checkRedis } from './external-services.ts'
import { makePrivate } from './home-file.ts'
import { withLock } from './home-lock.ts'
import { ensurePostgres, type RunningServer, stopPostgres } from './postgres.ts'
import { discardCluster } from './postgres-seat.ts'
import { startTokenOf } from './process-table.ts'
import { ensureRedis, stopRedis } from './redis.ts'
import { reasonOf, serviceError } from './service-error.ts'
import { enterUser, neededServices, type ServiceName } from './user-register.ts'

export { isProcessAlive } from './process-table.ts'
export { askPostgres } from './postgres.ts'
export { isServiceError } from './service-error.ts'

/** Services that answer. */
export interface Services {
  databaseUrl: string
  /** The same database as a superuser of it, for tests; the given address where one was given. */
  adminDatabaseUrl: string
  redisUrl: string | undefined
  /** Gives them back; the last user of the home stops what was started. Safe to call twice. Leaves the data. */
  release(): Promise<void>
}

/** What to open. An address that is given is used as it is, and nothing is started for it. */
export interface ServicesOptions {
  /** The data folder (FABRIQUE_HOME); made when missing. */
  home: string
  databaseUrl?: string | undefined
  redisUrl?: string | undefined
  /** Default: both. */
  need?: ServiceName[]
  /** Starts a server again, on its old port, when it dies while this process uses it. Default: false. */
  keepAlive?: boolean
  /** Told what takes time, a line each. */
  onProgress?: (line: string) => void
}

const SERVERS = {
  postgres: { title: 'PostgreSQL', check: checkPostgres, ensure: ensurePostgres, stop: stopPostgres },
  redis: { title: 'Redis', check: checkRedis, ensure: ensureRedis, stop: stopRedis },
}
const WATCH_INTERVAL_MS = 500

/**
 * Opens PostgreSQL and Redis: the addresses given, else the home's own servers, found running or started now.
 * Rejects with a one-line error (`isServiceError`) that says what to do. Concurrent calls, also of other processes,
 * wait for each other; a server whose owner was killed is found and used.
 */
export async function openServices(options: ServicesOptions): Promise<Services> {
  const { databaseUrl, redisUrl, need = ['postgres', 'redis'], onProgress = () => {} } = options
  const given = { postgres: databaseUrl, redis: redisUrl }
  for (const name of need) if (given[name]) await SERVERS[name].check(given[name])
  const embedded = need.filter((name) => !given[name])
  if (embedded.length === 0)
    return {
      databaseUrl: databaseUrl ?? '',
      adminDatabaseUrl: databaseUrl ?? '',
      redisUrl: redisUrl || undefined,
      release: async () => {},
    }

  const home = openHome(options.home)
  const lockFile = lockFileOf(home)
  const usersFolder = join(home, 'users')

  const servers = await withLock(lockFile, async () => {
    const leave = enterUser(usersFolder, embedded)
    try {
      const ensure = async (name: ServiceName) => [name, await SERVERS[name].ensure(home, onProgress)] as const
      return { leave, running: new Map(await allSettled(embedded.map(ensure))) }
    } catch (error) {
      leave()
      await stopUnneeded(home, usersFolder, embedded).catch(() => {}) // the first failure is the one to tell
      throw error
    }
  }).catch((error) => {
    throw explainFileError(error, home)
  })
  const released = new AbortController()
  const watching = options.keepAlive && keepAlive(home, servers.running, onProgress, released.signal)

  let release: Promise<void> | undefined
  return {
    databaseUrl: databaseUrl || (servers.running.get('postgres')?.url ?? ''),
    adminDatabaseUrl: databaseUrl || (servers.running.get('postgres')?.adminUrl ?? ''),
    redisUrl: redisUrl || servers.running.get('redis')?.url,
    release() {
      release ??= (async () => {
        released.abort()
        await watching
        await withLock(lockFile, async () => {
          servers.leave()
          await stopUnneeded(home, usersFolder, embedded)
        })
      })()
      return release
    },
  }
}

/**
 * Removes a throw-away home with everything in it, also what had to lie elsewhere; stops servers that still run there.
 * For homes that nobody uses any more. Nothing to do when there is none.
 */
export async function discardHome(folder: string): Promise<void> {
  if (!existsSync(folder)) return
  const home = openHome(folder)
  await withLock(lockFileOf(home), async () => {
    for (const [name, server] of Object.entries(SERVERS)) {
      if (existsSync(join(home, name))) await server.stop(home)
    }
  })
  discardCluster(join(home, 'postgres'))
  rmSync(home, { recursive: true, force: true })
}

function lockFileOf(home: string): string {
  return join(home, 'services.lock')
}

function openHome(folder: string): string {
  try {
    makePrivate(folder, { isPassedThrough: true })
    return realpathSync(folder)
  } catch (error) {
    throw serviceError(
      `The data folder cannot be used: ${reasonOf(error)}. Set FABRIQUE_HOME to a folder that can be written.`,
    )
  }
}

/** Turns the file errors that a user can mend into a line; everything else stays as it is. */
function explainFileError(error: unknown, home: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOSPC')
    return serviceError(`There is no space left for ${home}. Make room, or set FABRIQUE_HOME to another disk.`)
  if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS') return error
  return serviceError(
    `${reasonOf(error)}. Was ${home} made by another user? Hand it over (sudo chown -R $(id -u) ${home}), or set FABRIQUE_HOME to another folder.`,
  )
}

async function stopUnneeded(home: string, usersFolder: string, names: ServiceName[]): Promise<void> {
  const needed = neededServices(usersFolder)
  const idle = names.filter((name) => !needed.has(name))
  await allSettled(idle.map((name) => SERVERS[name].stop(home)))
}

/** All settle before a failure is told: nothing may go on starting or stopping behind our back. */
async function allSettled<T>(work: Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work)
  return await Promise.all(work)
}

/** Looks after the servers until stopped. A server that cannot come back is tried again at every look. */
async function keepAlive(
  home: string,
  running: Map<ServiceName, RunningServer>,
  onProgress: (line: string) => void,
  stopped: AbortSignal,
): Promise<void> {
  const tokens = new Map([...running].map(([name, { pid }]) => [name, startTokenOf(pid)]))
  const look = async () => {
    for (const [name, server] of running) {
      if (startTokenOf(server.pid) === tokens.get(name)) continue
      onProgress(`${SERVERS[name].title} died: starting it again`)
      const again = await withLock(lockFileOf(home), () => SERVERS[name].ensure(home, onProgress))
      if (again.url !== server.url) onProgress(`It has a new address, since its port was taken: restart to use it.`)
      running.set(name, again)
      tokens.set(name, startTokenOf(again.pid))
    }
  }
  const pause = () => delay(WATCH_INTERVAL_MS, true, { signal: stopped, ref: false }).catch(() => false)
  while (await pause()) await look().catch((error) => onProgress(reasonOf(error)))
}
