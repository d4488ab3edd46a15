// A worker's side of the queue: two BullMQ workers share its slots, the interactive lane never waits for the batch one.
// Hides BullMQ's hazards: lost locks abort, a run is never executed twice at once in one process, closing is bounded.
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '@fabrique/engine'
import type { Lane } from '@fabrique/schema'
import { type Job, WaitingError, Worker } from 'bullmq'
import { bringOthersForward, wakeWorker } from './fair-order.ts'
import { connectForListening, connectForWork } from './redis.ts'
import { LANES, queueNames } from './run-queue.ts'
import { createSlots } from './slots.ts'

/** How often jobs that wait in hand make way for those of other organizations. */
const MAKE_WAY_MS = 250
/** Every so many times all of them are put back: another worker may have room, or something more urgent may have come. */
const ALL_BACK_EVERY = 4
/** A slot fetches nothing for so long after it put a job back, so that other workers see it first. */
const YIELD_MS = 25

export interface ConsumerOptions {
  redisUrl: string
  prefix: string
  /** Runs in flight in this process, over both lanes. */
  concurrency: number
  /** Slots that the batch lane always leaves free. */
  reserved: number
  /** Runs in flight of one organization in one lane of this process; default nine tenths of the lane's slots. */
  organizationMax?: number | undefined
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
  const slots = createSlots(options)

  function worker(lane: Lane): Worker {
    // BullMQ gives a processor its signal only if it declares three parameters.
    const processor = async (
      job: Job<{ run_id: string; organization_id?: string }>,
      token?: string,
      _signal?: AbortSignal,
    ): Promise<void> => {
      const { run_id: runId, organization_id: organizationId } = job.data
      const candidate = { lane, organizationId, priority: job.priority, id: job.id ?? '' }
      if (!(await slots.enter(candidate))) {
        await job.moveToWait(token)
        await wakeWorker(connection, created)
        await delay(YIELD_MS)
        throw new WaitingError()
      }
      try {
        // A delivery that overtakes its predecessor waits for it: the claim then decides.
        await inFlight.get(runId)
        const execution = options.handle(runId)
        inFlight.set(runId, execution)
        await execution
      } finally {
        inFlight.delete(runId)
        slots.leave(candidate)
      }
    }
    const created: Worker = new Worker(names.lane(lane), processor, {
      connection,
      prefix: names.prefix,
      autorun: false,
      // Constant: BullMQ would notice a higher number only when a job ends. What has no slot yet waits in hand.
      concurrency: lane === 'interactive' ? options.concurrency : Math.max(1, options.concurrency - options.reserved),
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

  /**
   * An organization without room keeps at most its jobs in hand from running. That they occupy BullMQ's slots must not
   * hide the others' jobs behind them: those are brought forward, and as many of these are put back for them.
   */
  async function makeWay(lane: Lane, each: Worker, all: boolean): Promise<void> {
    const held = slots.held(lane)
    if (held === 0) return
    const full = slots.full(lane)
    const others = full.length === 0 ? 0 : await bringOthersForward(connection, each, full, held)
    slots.turnAway(lane, all ? held : others)
  }

  let rounds = 0
  function makeWayEverywhere(): void {
    rounds += 1
    for (const [lane, each] of workers) {
      makeWay(lane, each, rounds % ALL_BACK_EVERY === 0).catch((error: unknown) =>
        options.log.debug({ err: error, lane }, 'jobs in hand could not make way'),
      )
    }
  }
  let making: NodeJS.Timeout | undefined

  listener.on('message', (_channel, rootRunId) => options.onCancel(rootRunId))

  return {
    start() {
      listener
        .subscribe(names.cancelChannel)
        .catch((error: unknown) => options.log.warn({ err: error }, 'cancels are not heard at the moment'))
      for (const each of workers.values()) {
        each.run().catch((error: unknown) => options.log.error({ err: error }, 'a lane stopped'))
      }
      making = setInterval(makeWayEverywhere, MAKE_WAY_MS)
    },
    async drain() {
      clearInterval(making)
      const paused = [...workers.values()].map((each) => each.pause())
      slots.shut()
      await Promise.allSettled(paused)
    },
    async close() {
      clearInterval(making)
      await Promise.allSettled([...workers.values()].map((each) => each.close(true)))
      listener.disconnect()
      connection.disconnect()
    },
  }
}
