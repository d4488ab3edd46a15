// A worker's side of the queue: two BullMQ workers share its slots, the interactive lane never waits for the batch one.
// Hides BullMQ's hazards: lost locks abort, a run is never executed twice at once in one process, closing is bounded.
import type { Log } from '@fabrique/engine'
import type { Lane } from '@fabrique/schema'
import { type Job, Worker } from 'bullmq'
import { connectForListening, connectForWork } from './redis.ts'
import { LANES, queueNames } from './run-queue.ts'

export interface ConsumerOptions {
  redisUrl: string
  prefix: string
  /** Runs in flight in this process, over both lanes. */
  concurrency: number
  /** Slots that the batch lane always leaves free. */
  reserved: number
  /** After this silence of a worker its jobs are delivered again (default 15 s); who executes is still the record's to say. */
  lockMs?: number
  log: Log
  /** Executes a run to its end; must not reject for reasons of the run. Called with ids only. */
  handle(runId: string): Promise<void>
  /** Hears of cancels in any process of the deployment. */
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
  const { lockMs = 15_000 } = options
  const names = queueNames(options.prefix)
  const connection = connectForWork(options.redisUrl, options.log)
  const listener = connectForListening(options.redisUrl, options.log)
  const inFlight = new Map<string, Promise<void>>()
  let interactive = 0

  function batchSlots(): number {
    return Math.max(1, options.concurrency - Math.max(options.reserved, interactive))
  }

  function worker(lane: Lane): Worker {
    // BullMQ gives a processor its signal only if it declares three parameters.
    const processor = async (job: Job<{ run_id: string }>, _token?: string, _signal?: AbortSignal): Promise<void> => {
      const runId = job.data.run_id
      if (lane === 'interactive') adjust(1)
      try {
        // A delivery that overtakes its predecessor waits for it: the claim then decides.
        await inFlight.get(runId)
        const execution = options.handle(runId)
        inFlight.set(runId, execution)
        await execution
      } finally {
        inFlight.delete(runId)
        if (lane === 'interactive') adjust(-1)
      }
    }
    const created = new Worker(names.lane(lane), processor, {
      connection,
      prefix: names.prefix,
      autorun: false,
      concurrency: lane === 'interactive' ? options.concurrency : batchSlots(),
      // The lease in PostgreSQL decides who executes. A job whose worker died before it claimed the run has no lease:
      // only this lock brings it back, so it must not be much longer than one.
      lockDuration: lockMs,
      stalledInterval: lockMs / 2,
      maxStalledCount: 1_000,
      drainDelay: lane === 'interactive' ? 1 : 5,
    })
    created.on('error', (error) => options.log.debug({ err: error, lane }, 'the queue reported an error'))
    return created
  }

  const workers = new Map(LANES.map((lane) => [lane, worker(lane)]))

  function adjust(change: number): void {
    interactive += change
    const batch = workers.get('batch')
    if (batch !== undefined) batch.concurrency = batchSlots()
  }

  listener.on('message', (_channel, rootRunId) => options.onCancel(rootRunId))

  return {
    start() {
      listener
        .subscribe(names.cancelChannel)
        .catch((error: unknown) => options.log.warn({ err: error }, 'cancels are not heard at the moment'))
      for (const each of workers.values()) {
        each.run().catch((error: unknown) => options.log.error({ err: error }, 'a lane stopped'))
      }
    },
    async drain() {
      await Promise.allSettled([...workers.values()].map((each) => each.pause()))
    },
    async close() {
      await Promise.allSettled([...workers.values()].map((each) => each.close(true)))
      listener.disconnect()
      connection.disconnect()
    },
  }
}
