// A worker's side of the queue: two BullMQ workers, one per lane, share the process's permits.
// Hides BullMQ's hazards: a run never executes twice at once in one process, and closing is bounded.
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '@fabrique/engine'
import type { Lane } from '@fabrique/schema'
import { type Job, UnrecoverableError, WaitingError, Worker } from 'bullmq'
import { bringOthersForward, wakeWorker } from './fair-order.ts'
import { createPermits } from './permits.ts'
import { connectForListening, connectForWork } from './redis.ts'
import { LANES, queueNames } from './run-queue.ts'

/** How often jobs that wait for a permit make way for jobs of other organizations. */
const MAKE_WAY_MS = 250
/** Every so many rounds all of them go back: another worker may be free, or a more urgent job may have been added. */
const ALL_BACK_EVERY = 4
/** After it put a job back, this worker fetches no other for so long: another worker shall see the job first. */
const YIELD_MS = 25

export interface ConsumerOptions {
  redisUrl: string
  prefix: string
  /** Runs that execute at once in this process, over both lanes. */
  concurrency: number
  /** Permits that the batch lane never takes. */
  reserved: number
  /** Permits of one organization in one lane of this process; default nine tenths of the lane's. */
  organizationMax?: number | undefined
  /** BullMQ delivers a silent worker's jobs again after this, default 15 s. The lease in PostgreSQL decides who executes. */
  lockMs?: number
  log: Log
  /** Executes a run until it ends or suspends; answers why it failed, or null. Must not reject for reasons of the run. */
  handle(runId: string): Promise<string | null>
  /** Called for each cancel in any process of the deployment. */
  onCancel(rootRunId: string): void
}

export interface Consumer {
  start(): void
  /** Takes no new jobs; resolves when those in flight have returned. */
  drain(): Promise<void>
  close(): Promise<void>
}

/** A consumer of both lanes, idle until `start`. */
export function createConsumer(options: ConsumerOptions): Consumer {
  const { lockMs = 15_000, log } = options
  const names = queueNames(options.prefix)
  const connection = connectForWork(options.redisUrl, log)
  const listener = connectForListening(options.redisUrl, log)
  const executions = new Map<string, Promise<string | null>>()
  const permits = createPermits(options)

  function createWorker(lane: Lane): Worker {
    const processor = async (job: Job<{ run_id: string; organization_id?: string }>, token?: string): Promise<void> => {
      const { run_id: runId, organization_id: organizationId } = job.data
      const candidate = { lane, organizationId, priority: job.priority, id: job.id ?? '' }
      if (!(await permits.acquire(candidate))) {
        await job.moveToWait(token)
        await wakeWorker(connection, worker)
        await delay(YIELD_MS)
        throw new WaitingError()
      }
      try {
        // A second delivery of a run waits for the first to return; then the claim in PostgreSQL decides.
        await executions.get(runId)
        const execution = options.handle(runId)
        executions.set(runId, execution)
        const failure = await execution
        // Only for those who look at the queue: nothing tries a run's job again.
        if (failure !== null) throw new UnrecoverableError(failure)
      } finally {
        executions.delete(runId)
        permits.release(candidate)
      }
    }
    const worker: Worker = new Worker(names.lane(lane), processor, {
      connection,
      prefix: names.prefix,
      autorun: false,
      // Not changed while it runs: BullMQ notices a higher number only when a job ends. The permits do the limiting.
      concurrency: lane === 'interactive' ? options.concurrency : Math.max(1, options.concurrency - options.reserved),
      // A worker that dies before it claims the run leaves no lease to expire: only this lock brings the job back.
      lockDuration: lockMs,
      stalledInterval: lockMs / 2,
      maxStalledCount: 1_000,
      drainDelay: lane === 'interactive' ? 1 : 2,
    })
    worker.on('error', (error) => log.debug({ err: error, lane }, 'the queue reported an error'))
    return worker
  }

  const workers = new Map(LANES.map((lane) => [lane, createWorker(lane)]))

  /**
   * Jobs that wait for a permit occupy BullMQ's concurrency, and so hide jobs of other organizations that could run.
   * Brings those to the front of the lane, and puts back as many waiting jobs as there are (or all) to make room.
   */
  async function makeWay(lane: Lane, worker: Worker, all: boolean): Promise<void> {
    const waiting = permits.waiting(lane)
    if (waiting === 0) return
    const full = permits.atTheirShare(lane)
    const others = full.length === 0 ? 0 : await bringOthersForward(connection, worker, full, waiting)
    permits.turnAway(lane, all ? waiting : others)
  }

  let rounds = 0
  function makeWayInAllLanes(): void {
    rounds += 1
    for (const [lane, worker] of workers) {
      makeWay(lane, worker, rounds % ALL_BACK_EVERY === 0).catch((error: unknown) =>
        log.debug({ err: error, lane }, 'jobs that wait for a permit could not make way'),
      )
    }
  }
  let timer: NodeJS.Timeout | undefined

  listener.on('message', (_channel, rootRunId) => options.onCancel(rootRunId))

  return {
    start() {
      listener
        .subscribe(names.cancelChannel)
        .catch((error: unknown) => log.warn({ err: error }, 'cancels are not heard at the moment'))
      for (const worker of workers.values()) {
        worker.run().catch((error: unknown) => log.error({ err: error }, 'a lane stopped'))
      }
      timer = setInterval(makeWayInAllLanes, MAKE_WAY_MS)
    },
    async drain() {
      clearInterval(timer)
      const paused = [...workers.values()].map((worker) => worker.pause())
      permits.close()
      await Promise.allSettled(paused)
    },
    async close() {
      clearInterval(timer)
      await Promise.allSettled([...workers.values()].map((worker) => worker.close(true)))
      listener.disconnect()
      connection.disconnect()
    },
  }
}
