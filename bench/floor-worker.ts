// A worker process of the floor: raw BullMQ no-op jobs, or what most people would write on top of it with PostgreSQL.
// Hides nothing: told a count, it answers the time from the first start to the last end of that many jobs.
import { createDb } from '@fabrique/db'
import { type Job, Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { CONCURRENCY, FLOOR_PREFIX, type FloorMode } from './stage.ts'

const CLAIM = `update bench_runs set status = 'running', started_at = now() where id = $1 and status = 'pending' returning id`
const FINISH = `with u as (
  update bench_runs set status = 'completed', finished_at = now() where id = $1 and status = 'running' returning id
) insert into bench_events (run_id, kind, payload) select id, 'completed', '{"status":"completed"}' from u`

const mode = process.argv[2] as FloorMode
const db = createDb({ databaseUrl: process.env.DATABASE_URL ?? '', connectionsMax: 20 })

let expected = 0
let ended = 0
let startedMs = 0

async function perform(job: Job): Promise<void> {
  const id = String(job.id)
  if (startedMs === 0) startedMs = performance.now()
  if (job.name === 'steps') for (let step = 1; step <= 3; step += 1) await job.updateData({ run_id: id, step })
  if (mode === 'naive') {
    await db.query('claim', CLAIM, [id])
    await db.query('finish', FINISH, [id])
  }
  ended += 1
  if (ended === expected) process.send?.({ elapsedMs: performance.now() - startedMs })
}

const worker = new Worker(mode, perform, {
  connection: new Redis(process.env.REDIS_URL ?? '', { maxRetriesPerRequest: null }),
  prefix: FLOOR_PREFIX,
  concurrency: CONCURRENCY,
  lockDuration: 60_000,
})
worker.on('error', (error) => console.error(error))
await worker.waitUntilReady()

process.on('message', (count: number) => {
  expected = count
  ended = 0
  startedMs = 0
})
process.on('disconnect', () => process.exit())
process.send?.('ready')
