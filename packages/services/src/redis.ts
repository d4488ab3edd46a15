/**
 * The embedded Redis of a home folder: found when it runs already, started from its own configuration, stopped in order.
 * Hides the pid file, ports, and the proof that the server answering is ours.
 */
import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { RunningServer } from './postgres.ts'
import { commandLineOf, endProcess, freePort, startTokenOf, until } from './process-table.ts'
import { findRedisProgram } from './redis-program.ts'
import { secretIn } from './secret-file.ts'
import { logSince, serviceError } from './service-error.ts'

const READY_TIMEOUT_MS = 60_000 // reading a large append-only file back
const HUNG_TIMEOUT_MS = 10_000
const START_ATTEMPTS = 3

/** The folder of Redis inside a home. */
interface Instance {
  folder: string
  data: string
  config: string
  pidFile: string
  log: string
  password: string
}

/** Returns the home's Redis, starting it when it does not run. Call under the home's lock. */
export async function ensureRedis(home: string, onProgress: (line: string) => void): Promise<RunningServer> {
  const instance = openInstance(home)
  const running = await findRunning(instance)
  if (running) return running
  const program = await findRedisProgram(home, onProgress)
  onProgress('Starting Redis …')
  for (let attempt = 1; ; attempt++) {
    const port = await freePort(attempt === 1 ? configuredPort(instance) : undefined)
    // The file, not the command line, carries the password: everyone may read command lines.
    writeFileSync(instance.config, configuration(instance, port), { mode: 0o600 })
    rmSync(instance.pidFile, { force: true })
    const logStart = existsSync(instance.log) ? statSync(instance.log).size : 0
    const log = openSync(instance.log, 'a', 0o600)
    // Detached: Ctrl-C in the terminal must not reach it, whoever uses it stops it in order.
    const child = spawn(program.file, [instance.config], {
      cwd: instance.data,
      env: program.env,
      detached: true,
      stdio: ['ignore', log, log],
    })
    child.once('error', () => {}) // there is no process then, which the next lines report
    child.unref()
    closeSync(log)
    const { pid } = child
    let answer: number | undefined
    const isGone = () => pid === undefined || startTokenOf(pid) === undefined
    await until(async () => isGone() || (answer = await ask(instance, port)) !== undefined, READY_TIMEOUT_MS)
    if (answer !== undefined && answer === pid) return { url: urlOf(instance, port), pid }
    const complaint = logSince(instance.log, logStart)
    if (!complaint.includes('Address already in use') || attempt === START_ATTEMPTS) {
      throw serviceError(`Redis did not start. Its log is ${instance.log}, and ends with:`, complaint)
    }
  }
}

/** Stops the home's Redis and waits until it is gone; nothing to do when it does not run. Call under the home's lock. */
export async function stopRedis(home: string): Promise<void> {
  const running = await findRunning(openInstance(home))
  if (!running) return
  // SIGTERM makes Redis write what is left of its append-only file.
  const ended = await endProcess(running.pid, [
    ['SIGTERM', 15_000],
    ['SIGKILL', 2_000],
  ])
  if (!ended) throw serviceError(`Redis (pid ${running.pid}) does not stop. Stop it with: kill -9 ${running.pid}`)
}

function openInstance(home: string): Instance {
  const folder = join(home, 'redis')
  const data = join(folder, 'data')
  mkdirSync(data, { recursive: true })
  return {
    folder,
    data,
    config: join(folder, 'redis.conf'),
    pidFile: join(folder, 'redis.pid'),
    log: join(folder, 'log'),
    password: secretIn(join(folder, 'password')),
  }
}

function configuration(instance: Instance, port: number): string {
  const settings: [string, string][] = [
    ['bind', '127.0.0.1'],
    ['port', String(port)],
    ['requirepass', instance.password],
    ['dir', JSON.stringify(instance.data)],
    ['pidfile', JSON.stringify(instance.pidFile)],
    ['daemonize', 'no'],
    ['appendonly', 'yes'],
    ['appendfsync', 'everysec'],
    ['save', '""'],
    // Any other policy lets Redis throw jobs away when memory is full.
    ['maxmemory-policy', 'noeviction'],
    // hash-max-listpack-value, by the name that 6.2 and Valkey know too. Halves the memory of a waiting BullMQ job.
    ['hash-max-ziplist-value', '512'],
  ]
  return settings.map(([name, value]) => `${name} ${value}\n`).join('')
}

function configuredPort(instance: Instance): number | undefined {
  try {
    return Number(readFileSync(instance.config, 'utf8').match(/^port (\d+)$/m)?.[1]) || undefined
  } catch {
    return undefined
  }
}

/** The running server of this folder, asked on the port of its configuration file. Removes a pid file without a server. */
async function findRunning(instance: Instance): Promise<RunningServer | undefined> {
  const port = configuredPort(instance)
  if (port === undefined) return undefined
  const title = new RegExp(`(redis|valkey)-server\\b.*127\\.0\\.0\\.1:${port}\\b`)
  let answer: number | undefined
  let pid: number | undefined
  const isSettled = await until(async () => {
    answer = await ask(instance, port)
    pid = readPid(instance.pidFile)
    return answer !== undefined || pid === undefined || !title.test(commandLineOf(pid))
  }, HUNG_TIMEOUT_MS)
  if (answer !== undefined) return { url: urlOf(instance, port), pid: answer }
  if (!isSettled)
    throw serviceError(`Redis (pid ${pid}) of ${instance.folder} does not answer. Stop it with: kill -9 ${pid}`)
  rmSync(instance.pidFile, { force: true })
  return undefined
}

function readPid(file: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(file, 'utf8'), 10) || undefined
  } catch {
    return undefined
  }
}

/**
 * The process id of the Redis on the port, if it is ours and has its data loaded; undefined otherwise.
 * Ours is what accepts our random password and keeps its data in our folder.
 */
async function ask(instance: Instance, port: number): Promise<number | undefined> {
  const redis = new Redis({
    host: '127.0.0.1',
    port,
    password: instance.password,
    lazyConnect: true,
    enableReadyCheck: false,
    connectTimeout: 2_000,
    commandTimeout: 2_000,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
  })
  redis.on('error', () => {}) // the failing call below reports it
  try {
    await redis.connect()
    const [, folder] = (await redis.config('GET', 'dir')) as string[]
    if (folder !== instance.data) return undefined
    const info = await redis.info()
    if (/^loading:1/m.test(info)) return undefined
    return Number(info.match(/^process_id:(\d+)/m)?.[1]) || undefined
  } catch {
    return undefined
  } finally {
    redis.disconnect()
  }
}

function urlOf(instance: Instance, port: number): string {
  return `redis://:${instance.password}@127.0.0.1:${port}`
}
