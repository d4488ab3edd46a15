// Drain: N runs of one step, of three, or bundles of five, accepted and enqueued beforehand, executed by one worker until PostgreSQL says all have ended.
// Hides how each contender is loaded behind a closed lane, and whose clock counts.
import { setTimeout as delay } from 'node:timers/promises'
import { SYSTEM_ORGANIZATION } from '@fabrique/db'
import { FlowProducer } from 'bullmq'
import { FLOOR_JOB } from './jobs.ts'
import { readServerCosts, type ServerCosts } from './server-costs.ts'
import { FLOOR_PREFIX, type FloorMode, type Stage } from './stage.ts'
import { type Load, LOADS } from './templates.ts'

const POLL_MS = 100
const TIMEOUT_MS = 300_000
const IN_FLIGHT = 500

/** Runs per second of our own worker, by the record's started_at and finished_at, and what each cost the servers. */
export async function drainOurs(
  stage: Stage,
  load: Load,
  count: number,
): Promise<{ perSecond: number; costs: ServerCosts }> {
  const { size, document } = LOADS[load]
  await stage.hold()
  const from = stage.nextId()
  let submitted = 0
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (submitted < count) {
        submitted += 1
        await stage.submitter.submit({
          organizationId: SYSTEM_ORGANIZATION,
          admin: true,
          document: document(submitted),
        })
      }
    }),
  )
  const to = stage.nextId()
  await settle()
  const before = await readServerCosts(stage)
  await stage.open()
  const { startedMs, finishedMs } = await allEnded(stage, from, to, count * size)
  const after = await readServerCosts(stage)
  const costOf = (what: keyof ServerCosts) => (after[what] - before[what]) / count
  return {
    perSecond: (count * 1_000) / (finishedMs - startedMs),
    costs: {
      workerUs: costOf('workerUs'),
      postgresUs: costOf('postgresUs'),
      redisUs: costOf('redisUs'),
      walBytes: costOf('walBytes'),
    },
  }
}

/** Jobs per second of a floor worker, by its own clock. */
export async function drainFloor(stage: Stage, mode: FloorMode, load: Load, count: number): Promise<number> {
  const { queue, drained } = stage.floor[mode]
  await queue.pause()
  const ids = Array.from({ length: count }, () => stage.nextId())
  if (mode === 'naive')
    await stage.db.query('bench.load', 'insert into bench_runs (id) select unnest($1::text[])', [ids])
  const flows = new FlowProducer({ connection: stage.redis, prefix: FLOOR_PREFIX })
  for (let at = 0; at < count; at += 500) {
    const jobs = ids
      .slice(at, at + 500)
      .map((id) => ({ name: load, data: { run_id: id }, opts: { ...FLOOR_JOB, jobId: id } }))
    if (LOADS[load].size === 1) await queue.addBulk(jobs)
    else await flows.addBulk(jobs.map((job) => ({ ...job, queueName: mode, children: childrenOf(mode, load) })))
  }
  await flows.close()
  await settle()
  const elapsed = drained(count * LOADS[load].size)
  await queue.resume()
  return (count * 1_000) / (await elapsed)
}

function childrenOf(queueName: string, load: Load) {
  const child = { name: 'child', queueName, data: {}, opts: FLOOR_JOB }
  return Array.from({ length: LOADS[load].size - 1 }, () => child)
}

/** The tables of the naive contender. */
export async function prepareNaive(stage: Stage): Promise<void> {
  await stage.db.query(
    'bench.runs',
    `create table bench_runs (id text primary key, status text not null default 'pending', created_at timestamptz not null default now(),
     started_at timestamptz, finished_at timestamptz)`,
    [],
  )
  await stage.db.query(
    'bench.events',
    'create table bench_events (id bigserial primary key, run_id text not null, kind text not null, payload jsonb not null)',
    [],
  )
}

/** Waits until `count` runs between two ids have ended; one that did not complete is an error. */
export async function allEnded(
  stage: Stage,
  from: string,
  to: string,
  count: number,
): Promise<{ startedMs: number; finishedMs: number }> {
  const deadlineMs = Date.now() + TIMEOUT_MS
  for (;;) {
    const [row] = await stage.db.query<{ ended: number; bad: number; started: number; finished: number }>(
      'bench.ended',
      `select count(*) filter (where status in ('completed', 'failed', 'cancelled'))::int as ended,
         count(*) filter (where status in ('failed', 'cancelled'))::int as bad,
         extract(epoch from min(started_at))::float8 * 1000 as started,
         extract(epoch from max(finished_at))::float8 * 1000 as finished
       from runs where id > $1 and id < $2`,
      [from, to],
    )
    if (row !== undefined && row.bad > 0) throw new Error(`${row.bad} runs did not complete`)
    if (row?.ended === count) return { startedMs: row.started, finishedMs: row.finished }
    if (Date.now() > deadlineMs) throw new Error(`only ${row?.ended} of ${count} runs ended in time`)
    await delay(POLL_MS)
  }
}

/** Lets what loading left behind (commits of news, garbage) pass before the clock starts. */
async function settle(): Promise<void> {
  await delay(200)
}
