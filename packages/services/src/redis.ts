/**
 * The embedded Redis of a home folder: found when it runs already, started from its own configuration, stopped in order.
 * Hides the pid file, ports, and the proof that the server answering is ours.
 */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis, type RedisOptions } from 'ioredis'
import { makePrivate, secretIn, textIn } from './home-file.ts'
import type { RunningServer } from './postgres.ts'
import { commandLineOf, startTokenOf, until } from './process-table.ts'
import { startServer, stopServer } from './program.ts'
import { findRedisProgram } from './redis-program.ts'
import { serviceError } from './service-error.ts'

const READY_TIMEOUT_MS = 60_000 // reading a large append-only file back
const HUNG_TIMEOUT_MS = 10_000

type Instance = ReturnType<typeof openInstance>

/** Returns the home's Redis, starting it when it does not run. Call under the home's lock. */
export async function ensureRedis(home: string, onProgress: (line: string) => void): Promise<RunningServer> {
  const instance = openInstance(home)
  const running = await findRunning(instance)
  if (running) return running
  const program = await findRedisProgram(home, onProgress)
  onProgress('Starting Redis …')
  const { pid, port } = await startServer({
    name: 'Redis',
    log: instance.log,
    lastPort: configuredPort(instance),
    call(port) {
      // The file, not the command line, carries the password: everyone may read command lines.
      writeFileSync(instance.config, configuration(instance, port), { mode: 0o600 })
      rmSync(instance.pidFile, { force: true })
      return { file: program.file, args: [instance.config], options: { cwd: instance.data, env: program.env } }
    },
    async isUp({ pid, port }) {
      let answer: number | undefined
      await until(
        async () => startTokenOf(pid) === undefined || (answer = await ask(instance, port)) !== undefined,
        READY_TIMEOUT_MS,
      )
      return answer === pid
    },
    passes: /Address already in use/,
  })
  return { url: urlOf(instance, port), pid }
}

/** Stops the home's Redis and waits until it is gone; nothing to do when it does not run. Call under the home's lock. */
export async function stopRedis(home: string): Promise<void> {
  const running = await findRunning(openInstance(home))
  if (!running) return
  // SIGTERM makes Redis write what is left of its append-only file.
  await stopServer('Redis', running.pid, [
    ['SIGTERM', 15_000],
    ['SIGKILL', 2_000],
  ])
}

/** The folder of Redis inside a home. */
function openInstance(home: string) {
  const folder = join(home, 'redis')
  const data = join(folder, 'data')
  makePrivate(folder)
  makePrivate(data)
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

/** 0 where it was never started. */
function configuredPort(instance: Instance): number {
  return Number(/^port (\d+)$/m.exec(textIn(instance.config))?.[1] ?? 0)
}

/** The running server of this folder, asked on the port of its configuration file. Removes a pid file without a server. */
async function findRunning(instance: Instance): Promise<RunningServer | undefined> {
  const port = configuredPort(instance)
  if (port === 0) return undefined
  const title = new RegExp(`(redis|valkey)-server\\b.*127\\.0\\.0\\.1:${port}\\b`)
  let answer: number | undefined
  let pid: number | undefined
  const isSettled = await until(async () => {
    answer = await ask(instance, port)
    pid = Number.parseInt(textIn(instance.pidFile), 10) || undefined
    return answer !== undefined || pid === undefined || !title.test(commandLineOf(pid))
  }, HUNG_TIMEOUT_MS)
  if (answer !== undefined) return { url: urlOf(instance, port), pid: answer }
  if (!isSettled)
    throw serviceError(`Redis (pid ${pid}) of ${instance.folder} does not answer. Stop it with: kill -9 ${pid}`)
  rmSync(instance.pidFile, { force: true })
  return undefined
}

/**
 * The process id of the Redis on the port, if it is ours and has its data loaded; undefined otherwise.
 * Ours is what accepts our random password and keeps its data in our folder.
 */
async function ask(instance: Instance, port: number): Promise<number | undefined> {
  return await askRedis(urlOf(instance, port), { enableReadyCheck: false, timeoutMs: 2_000 }, async (redis) => {
    const [, folder] = (await redis.config('GET', 'dir')) as string[]
    if (folder !== instance.data) return undefined
    const info = await redis.info()
    if (/^loading:1/m.test(info)) return undefined
    return Number(info.match(/^process_id:(\d+)/m)?.[1]) || undefined
  }).catch(() => undefined)
}

/** One connection to a Redis, for as long as the work takes. Rejects with what was wrong with the connection, if anything. */
export async function askRedis<T>(
  url: string,
  { timeoutMs, ...options }: RedisOptions & { timeoutMs: number },
  work: (redis: Redis) => Promise<T>,
): Promise<T> {
  const redis = new Redis(url, {
    ...options,
    lazyConnect: true,
    connectTimeout: timeoutMs,
    commandTimeout: timeoutMs,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
  })
  let broken: unknown
  redis.on('error', (error) => {
    broken = error // says why; the failing call only says that the connection is closed
  })
  try {
    await redis.connect()
    return await work(redis)
  } catch (error) {
    throw broken ?? error
  } finally {
    redis.disconnect()
  }
}

function urlOf(instance: Instance, port: number): string {
  return `redis://:${instance.password}@127.0.0.1:${port}`
}
