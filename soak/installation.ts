// One whole installation for the soak: `npm run up` with its own services, each reached through a wire that can be cut.
// Hides how the processes of a supervisor and of the services are found, and that the supervisor is started again.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createDb, type Db } from '@fabrique/db'
import { discardHome, openServices } from '@fabrique/services'
import { Redis } from 'ioredis'
import { freePort } from '../scripts/ports.ts'
import { checkout } from '../scripts/supervisor.ts'
import { ask } from './workload.ts'
import { createWire, type Wire } from '../test/wire.ts'

const HOST = '127.0.0.1'
const READY_MS_MAX = 120_000
const POLL_MS = 100
const UNNAMED = ''

export interface Installation {
  url: string
  adminKey: string
  home: string
  databaseUrl: string
  /** The ways of API and workers to the services. */
  wires: { postgres: Wire; redis: Wire }
  /** Straight to the services, past the wires. */
  query<Row extends Record<string, unknown>>(sql: string, values?: unknown[]): Promise<Row[]>
  redis: Redis
  /** The processes of now, by their program; the supervisor's children only. */
  pids(program: 'api' | 'worker'): number[]
  supervisorPid(): number
  postmasterPid(): Promise<number>
  redisPid(): Promise<number>
  /** Resolves when `/readyz` answers 200; false where it does not within two minutes. */
  ready(): Promise<boolean>
  close(): Promise<void>
}

export async function openInstallation(options: {
  folder: string
  workers: number
  env: NodeJS.ProcessEnv
}): Promise<Installation> {
  const { folder, workers, env } = options
  const home = join(folder, 'home')
  mkdirSync(home, { recursive: true })
  const log = createWriteStream(join(folder, 'log.txt'))
  const say = (line: string) => void log.write(`${line}\n`)
  const services = await openServices({ home, keepAlive: true, onProgress: say })
  const redisUrl = services.redisUrl ?? ''
  const wires = { postgres: await createWire(services.databaseUrl), redis: await createWire(redisUrl) }
  const adminKey = `fab_soak${'0'.repeat(28)}`
  const port = await freePort(HOST)
  const url = `http://${HOST}:${port}`
  const db: Db = createDb({ databaseUrl: services.adminDatabaseUrl, connectionsMax: 2, limitMs: 60_000 })
  const redis = new Redis(redisUrl, { maxRetriesPerRequest: null })
  redis.on('error', (error) => say(`soak: ${error.message}`))
  let isClosing = false
  let supervisor: ChildProcess

  function start(): ChildProcess {
    const child = spawn(process.execPath, ['scripts/up.ts'], {
      cwd: checkout,
      env: {
        ...process.env,
        ...env,
        FABRIQUE_HOME: home,
        FABRIQUE_ADMIN_KEY: adminKey,
        DATABASE_URL: wires.postgres.url,
        REDIS_URL: wires.redis.url,
        HOST,
        PORT: String(port),
        WORKERS: String(workers),
      },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    for (const stream of [child.stdout, child.stderr]) stream?.pipe(log, { end: false })
    child.once('exit', (code, signal) => {
      say(`soak: the supervisor ended (${signal ?? code})`)
      // The port is free once its API has noticed.
      if (!isClosing) setTimeout(() => (supervisor = start()), 1_000)
    })
    return child
  }

  async function ready(): Promise<boolean> {
    const deadline = performance.now() + READY_MS_MAX
    while (performance.now() < deadline) {
      if ((await ask(`${url}/readyz`, adminKey))?.status === 200) return true
      await delay(POLL_MS)
    }
    return false
  }

  supervisor = start()
  const installation: Installation = {
    url,
    adminKey,
    home,
    databaseUrl: services.databaseUrl,
    wires,
    redis,
    query: (sql, values = []) => db.query(UNNAMED, sql, values),
    pids: (program) =>
      childrenOf(supervisor.pid ?? 0).filter((pid) => commandOf(pid).includes(`apps/${program}/src/main.ts`)),
    supervisorPid: () => supervisor.pid ?? 0,
    async postmasterPid() {
      const [row] = await installation.query<{ pid: number }>('select pg_backend_pid() as pid')
      return parentOf(row?.pid ?? 0)
    },
    async redisPid() {
      return Number(/process_id:(\d+)/.exec(await redis.info('server'))?.[1])
    },
    ready,
    async close() {
      isClosing = true
      supervisor.kill('SIGTERM')
      if (supervisor.exitCode === null) await once(supervisor, 'exit')
      redis.disconnect()
      await db.close()
      for (const wire of Object.values(wires)) await wire.close()
      await services.release()
      await discardHome(home)
      log.end()
    },
  }
  if (!(await ready())) throw new Error(`Fabrique was not ready; see ${join(folder, 'log.txt')}.`)
  return installation
}

function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((one) => one > 0 && parentOf(one) === pid)
}

function parentOf(pid: number): number {
  const stat = readProc(pid, 'stat')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0)
}

function commandOf(pid: number): string {
  return readProc(pid, 'cmdline')
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return ''
  }
}
