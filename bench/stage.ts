// What every case plays on: private services, the real API and one real worker, and floor workers beside them.
// Hides the throw-away home, the seeded templates, and how a lane is held back until its runs are in place.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import {
  createDb,
  createPricingStore,
  createRunStore,
  createTemplateStore,
  type Db,
  newSecret,
  SYSTEM_ORGANIZATION,
} from '@fabrique/db'
import { contentHash, createSubmitter, type Submitter } from '@fabrique/engine'
import { type BullRunQueue, createRunQueue, LANES, queueNames } from '@fabrique/queue'
import { definitionOf, type JsonObject, Template, textOf } from '@fabrique/schema'
import { discardHome, openServices } from '@fabrique/services'
import { createProviderMode, createStandardCatalog } from '@fabrique/steps'
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import { freePort } from '../scripts/ports.ts'
import { checkout, createSupervisor, stopRequested } from '../scripts/supervisor.ts'
import { FAST, SLOW, templateDocument, THREE_STEPS } from './templates.ts'

const HOST = '127.0.0.1'
export const CONCURRENCY = 300
/** BullMQ's prefix for everything that is not ours. */
export const FLOOR_PREFIX = '{floor}'
const PREFIX = 'bench'
const CLEAR_POLL_MS = 50

export type FloorMode = 'bullmq' | 'naive'

export interface FloorWorker {
  queue: Queue
  /** Resolves with the milliseconds from the first start to the last end of `count` jobs; call before they can run. */
  drained(count: number): Promise<number>
}

export interface Stage {
  db: Db
  redis: Redis
  port: number
  /** Of an admin. */
  key: string
  apiPid: number
  workerPid: number
  queue: BullRunQueue
  /** Accepts and enqueues in this process, by the same code as the API's. */
  submitter: Submitter
  nextId(): string
  floor: Record<FloorMode, FloorWorker>
  /** Jobs can be added to our lanes, and none is taken, until `open`. */
  hold(): Promise<void>
  open(): Promise<void>
  /** Forgets what waits, in the lanes and in the record, and resolves when what is at work has ended; lanes are open then. */
  clear(): Promise<void>
  close(): Promise<void>
}

const QUIET = { debug() {}, info() {}, warn: console.error, error: console.error }

/** Opens the stage. `profileFolder` makes API and worker write CPU profiles there when they stop. */
export async function openStage(options: {
  providerUrl: string
  profileFolder: string | undefined
  onProgress: (line: string) => void
}): Promise<Stage> {
  const home = join(checkout, '.fabrique', `bench-${process.pid}`)
  mkdirSync(home, { recursive: true })
  const releases: (() => unknown)[] = [() => discardHome(home)]
  const close = async () => {
    for (const release of releases.splice(0).reverse()) await release()
  }
  void stopRequested(() => void close().finally(() => process.exit(130)))
  try {
    return { ...(await build(options, home, releases)), close }
  } catch (error) {
    await close()
    throw error
  }
}

async function build(
  { providerUrl, profileFolder, onProgress }: Parameters<typeof openStage>[0],
  home: string,
  releases: (() => unknown)[],
): Promise<Omit<Stage, 'close'>> {
  const services = await openServices({ home, onProgress })
  releases.push(() => services.release())
  const redisUrl = services.redisUrl ?? ''
  const key = newSecret()
  const port = await freePort(HOST)
  const supervisor = createSupervisor({
    env: {
      ...process.env,
      FABRIQUE_HOME: home,
      DATABASE_URL: services.databaseUrl,
      REDIS_URL: redisUrl,
      REDIS_PREFIX: PREFIX,
      FABRIQUE_ADMIN_KEY: key,
      FABRIQUE_PROVIDERS: 'auto',
      OPENAI_API_KEY: 'bench',
      OPENAI_BASE_URL: providerUrl,
      LOG_LEVEL: 'warn',
      HOST,
      PORT: String(port),
      CONCURRENCY: String(CONCURRENCY),
      ...(profileFolder === undefined ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profileFolder}` }),
    },
    onLine: (name, line) => onProgress(`${name}: ${line}`),
  })
  releases.push(() => supervisor.stop())
  onProgress('Starting the API, a worker and two floor workers …')
  const api = supervisor.start('api', 'apps/api/src/main.ts')
  await supervisor.ready(`http://${HOST}:${port}/readyz`)

  const db = createDb({ databaseUrl: services.databaseUrl })
  releases.push(() => db.close())
  const redis = new Redis(redisUrl, { maxRetriesPerRequest: null })
  releases.push(() => redis.disconnect())
  const templates = createTemplateStore(db)
  const known = new Map<string, Template>()
  for (const which of [FAST, THREE_STEPS, SLOW]) {
    const document = templateDocument(which)
    known.set(which, Template.parse(document))
    await templates.create(SYSTEM_ORGANIZATION, {
      id: which,
      document,
      visibility: 'internal',
      freeze: { version: textOf(document.version), definitionHash: contentHash(definitionOf(document)) },
    })
  }
  const worker = supervisor.start('worker', 'apps/worker/src/main.ts')
  const names = queueNames(PREFIX)
  const lanes = LANES.map((lane) => new Queue(names.lane(lane), { connection: redis, prefix: names.prefix }))
  releases.push(() => Promise.all(lanes.map((lane) => lane.close())))

  const nextId = createIds()
  const queue = createRunQueue({ redisUrl, prefix: PREFIX, log: QUIET })
  releases.push(() => queue.close())
  const pricing = await createPricingStore(db).current()
  const submitter = createSubmitter({
    store: createRunStore(db, { next: nextId }),
    queue,
    sources: {
      findRunnable: async (id) => known.get(id) ?? null,
      pricing: async () => pricing,
      earlierRun: async () => null,
    },
    intake: { validate: async (_hash, _schema, value: JsonObject) => ({ problems: [], value, undeclared: [] }) },
    catalog: createStandardCatalog(),
    mode: createProviderMode({ mode: 'auto', settings: { openai: { apiKey: 'bench', baseUrl: providerUrl } } }),
    ids: { next: nextId },
    clock: { nowMs: Date.now },
  })

  const floorEnv = { ...process.env, REDIS_URL: redisUrl, DATABASE_URL: services.databaseUrl }
  const openFloor = async (mode: FloorMode) => {
    const child = fork(join(import.meta.dirname, 'floor-worker.ts'), [mode], { env: floorEnv })
    releases.push(() => stopChild(child))
    await once(child, 'message')
    const queueOfMode = new Queue(mode, { connection: redis, prefix: FLOOR_PREFIX })
    releases.push(() => queueOfMode.close())
    return floorWorker(child, queueOfMode)
  }
  const hold = async () => void (await Promise.all(lanes.map((lane) => lane.pause())))
  const open = async () => void (await Promise.all(lanes.map((lane) => lane.resume())))
  return {
    db,
    redis,
    port,
    key,
    apiPid: api.pid ?? 0,
    workerPid: worker.pid ?? 0,
    queue,
    submitter,
    nextId,
    floor: { bullmq: await openFloor('bullmq'), naive: await openFloor('naive') },
    hold,
    open,
    async clear() {
      await hold()
      await db.query(
        'bench.forget',
        `update runs set status = 'cancelled', finished_at = now(), due_at = null where status = 'pending'`,
        [],
      )
      await Promise.all(lanes.map((lane) => lane.drain()))
      await open()
      for (;;) {
        const [row] = await db.query<{ left: number }>(
          'bench.left',
          `select count(*)::int as left from runs where status = 'running'`,
          [],
        )
        if (row?.left === 0) return
        await delay(CLEAR_POLL_MS)
      }
    },
  }
}

function floorWorker(child: ChildProcess, queue: Queue): FloorWorker {
  return {
    queue,
    async drained(count) {
      child.send(count)
      const [message] = (await once(child, 'message')) as [{ elapsedMs: number }]
      return message.elapsedMs
    },
  }
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.disconnect()
  await once(child, 'exit')
}

/** Run ids of this process: ULIDs that rise, so that the runs of a round are a range. */
function createIds(): () => string {
  const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
  const base32 = (value: number, length: number) => {
    let text = ''
    for (let rest = value; text.length < length; rest = Math.floor(rest / 32)) text = ALPHABET[rest % 32] + text
    return text
  }
  let lastMs = 0
  let counter = 0
  return () => {
    lastMs = Math.max(lastMs, Date.now())
    counter += 1
    return `${base32(lastMs, 10)}${base32(process.pid, 6)}${base32(counter, 10)}`
  }
}
