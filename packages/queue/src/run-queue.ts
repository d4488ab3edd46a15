// Deliveries of runs by BullMQ, one job for each in one of two lanes, and their events by pub/sub.
// Hides that Redis may be away: nothing waits for it longer than a second, because the reconciler delivers again what
// PostgreSQL says is due.
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import type { Delivery, Log, RunQueue } from '@fabrique/engine'
import { FabriqueError, type Lane, type LaneStats, type QueueStats, type RunEvent } from '@fabrique/schema'
import { Job, Queue } from 'bullmq'
import { PRIORITY_STRIDE, placeJobs } from './fair-order.ts'
import { connectForCommands } from './redis.ts'

export const LANES: readonly Lane[] = ['interactive', 'batch']
const ENQUEUE_LIMIT_MS = 400
const BULK_MAX = 500
const ANSWER_LIMIT_MS = 800
/** BullMQ's priorities, of which low comes first, are 1 to 101 for our 100 to 0. */
const PRIORITY_MAX = 101
/** How many jobs at the head of each priority are asked for their age. */
const AGED_MAX = 20
/** Finished jobs that Bull Board can still show; the history is in PostgreSQL. */
const FINISHED_KEPT = 1_000

/** All Redis names of a deployment, from its prefix. */
export function queueNames(prefix: string) {
  const braced = `{${prefix}}`
  return {
    /** BullMQ's prefix, in braces: one hash slot in a cluster. */
    prefix: braced,
    lane: (lane: Lane) => `runs-${lane}`,
    runChannel: (runId: string) => `${braced}:run:${runId}`,
    /** Says that some run has new events, and not which. */
    anyRunChannel: `${braced}:any-run`,
    cancelChannel: `${braced}:cancel`,
    marker: `${braced}:marker`,
  }
}

function jobIdOf({ runId, epoch }: Pick<Delivery, 'runId' | 'epoch'>): string {
  return `${runId}-${epoch}`
}

/** The job of a delivery. Its data are only ids, because dashboards show them and Redis keeps them. */
function jobOf({ runId, epoch, workflow, priority, organizationId }: Delivery) {
  return {
    name: workflow,
    data: { run_id: runId, organization_id: organizationId },
    opts: {
      jobId: jobIdOf({ runId, epoch }),
      // Never 0: BullMQ takes jobs of that priority before all others, and removes them slowly.
      priority: PRIORITY_MAX - priority,
      attempts: 1,
      removeOnComplete: { count: FINISHED_KEPT },
      removeOnFail: { count: FINISHED_KEPT },
    },
  }
}

/** A delivery with its new priority and lane, and the lane that its job was added to. */
export type MovedDelivery = Delivery & { formerLane: Lane }

export type BullRunQueue = ReturnType<typeof createRunQueue>

/** The queue of a deployment, as submitters and the reconciler use it. */
export function createRunQueue(options: { redisUrl: string; prefix: string; log: Log }) {
  const { log } = options
  const names = queueNames(options.prefix)
  const redis = connectForCommands(options.redisUrl, log)
  const queues = new Map(
    LANES.map((lane) => {
      const queue = new Queue(names.lane(lane), {
        connection: redis,
        prefix: names.prefix,
        streams: { events: { maxLen: 1_000 } },
      })
      queue.on('error', () => {}) // `connectForCommands` logs the connection's errors.
      return [lane, queue] as const
    }),
  )
  const laneQueue = (lane: Lane) => queues.get(lane) as Queue

  let unsent: Delivery[] = []
  let sending: Promise<void> | undefined

  /** Adds the jobs of all deliveries of one turn of the event loop together. Never rejects. */
  async function send(): Promise<void> {
    await nextTurn()
    const deliveries = unsent
    unsent = []
    sending = undefined
    await Promise.all(
      LANES.flatMap((lane) => {
        const own = deliveries.filter((delivery) => delivery.lane === lane)
        const parts = Array.from({ length: Math.ceil(own.length / BULK_MAX) }, (_, index) =>
          own.slice(index * BULK_MAX, (index + 1) * BULK_MAX),
        )
        return parts.map((part) => addJobs(lane, part))
      }),
    )
  }

  async function addJobs(lane: Lane, deliveries: Delivery[]): Promise<void> {
    try {
      await laneQueue(lane).addBulk(deliveries.map(jobOf))
      // Not awaited: until it has its place a job is the last of its priority.
      void place(lane, deliveries)
    } catch (error) {
      log.warn({ err: error, count: deliveries.length }, 'jobs were not added; the reconciler will deliver their runs')
    }
  }

  /** Gives jobs their organizations' turns. Never rejects. */
  function place(lane: Lane, deliveries: Delivery[]): Promise<void> {
    const jobs = deliveries.map((delivery) => ({
      jobId: jobIdOf(delivery),
      priority: jobOf(delivery).opts.priority,
      organizationId: delivery.organizationId,
    }))
    return placeJobs(redis, laneQueue(lane), jobs).catch(swallow('the place of jobs'))
  }

  let unpublished: RunEvent[] = []

  /**
   * Publishes the events of one turn of the event loop, but only of runs that have subscribers: most have none, and one
   * question for all channels costs less than a message for each. A subscriber that comes after the question finds the
   * events in PostgreSQL, where they were committed before.
   */
  async function publishAll(): Promise<void> {
    const byChannel = Map.groupBy(unpublished, (event) => names.runChannel(event.run_id))
    unpublished = []
    const counts = (await redis.pubsub('NUMSUB', names.anyRunChannel, ...byChannel.keys())) as (string | number)[]
    const pipeline = redis.pipeline()
    for (let at = 0; at < counts.length; at += 2) {
      if (Number(counts[at + 1]) === 0) continue
      const channel = String(counts[at])
      const own = byChannel.get(channel)
      pipeline.publish(channel, own === undefined ? '' : JSON.stringify(own))
    }
    if (pipeline.length > 0) await pipeline.exec()
  }

  /** The answer, or a rejection after 800 ms: BullMQ by itself waits for a connection however long that takes. */
  async function soon<T>(answer: Promise<T>): Promise<T> {
    const late = delay(ANSWER_LIMIT_MS, undefined, { ref: false }).then(() => {
      throw new Error('Redis did not answer in time')
    })
    return await Promise.race([answer, late])
  }

  async function moveJob({ formerLane, ...delivery }: MovedDelivery): Promise<void> {
    const id = jobIdOf(delivery)
    const job = await Job.fromId(laneQueue(formerLane), id)
    if (job !== undefined && delivery.lane === formerLane) {
      await job.changePriority({ priority: jobOf(delivery).opts.priority })
      await place(delivery.lane, [delivery])
      return
    }
    await laneQueue(formerLane).remove(id)
    await queue.enqueue([delivery])
  }

  /** When the oldest waiting job was added; undefined where none waits. */
  async function oldestWaitingMs(lane: Queue): Promise<number | undefined> {
    // Within one organization and priority the first job is the oldest. Across organizations any of those firsts may be,
    // so ask each: they stand at the head of their priority.
    const firsts = redis.pipeline().lindex(lane.toKey('wait'), -1)
    for (let priority = 1; priority <= PRIORITY_MAX; priority += 1) {
      const [from, to] = [priority * PRIORITY_STRIDE, (priority + 1) * PRIORITY_STRIDE]
      firsts.zrangebyscore(lane.toKey('prioritized'), from, `(${to}`, 'LIMIT', 0, AGED_MAX)
    }
    const ids = ((await firsts.exec()) ?? []).flatMap(([, found]) => (found ?? []) as string | string[])
    const times = redis.pipeline()
    for (const id of ids) times.hget(lane.toKey(id), 'timestamp')
    const known = ((await times.exec()) ?? []).flatMap(([, at]) => (typeof at === 'string' ? [Number(at)] : []))
    return known.length === 0 ? undefined : Math.min(...known)
  }

  async function laneStats(lane: Queue): Promise<LaneStats> {
    const [counts, oldestMs] = await Promise.all([
      lane.getJobCounts('prioritized', 'waiting', 'delayed', 'active'),
      oldestWaitingMs(lane),
    ])
    const backlog = (counts.prioritized ?? 0) + (counts.waiting ?? 0) + (counts.delayed ?? 0)
    const age = oldestMs === undefined ? 0 : Math.max(0, Math.round((Date.now() - oldestMs) / 1000))
    return { backlog, active: counts.active ?? 0, oldest_age_s: age }
  }

  function swallow(what: string) {
    return (error: unknown) => log.debug({ err: error }, `${what} was not sent; Redis is away`)
  }

  const queue = {
    /** For Bull Board. */
    queues: [...queues.values()],
    async enqueue(deliveries: Delivery[]): Promise<void> {
      unsent.push(...deliveries)
      sending ??= send()
      await Promise.race([sending, delay(ENQUEUE_LIMIT_MS, undefined, { ref: false })])
    },
    async missing(deliveries: Delivery[]): Promise<Delivery[]> {
      try {
        const pipeline = redis.pipeline()
        for (const delivery of deliveries)
          pipeline.hmget(laneQueue(delivery.lane).toKey(jobIdOf(delivery)), 'timestamp', 'finishedOn')
        const found = ((await pipeline.exec()) ?? []).map(([, fields]) => (fields ?? []) as (string | null)[])
        // The run is due although its job has finished: its worker could not claim it. BullMQ would ignore a new job of
        // the same id, so remove the old one.
        const finished = deliveries.filter((_, index) => typeof found[index]?.[1] === 'string')
        await Promise.all(finished.map((delivery) => laneQueue(delivery.lane).remove(jobIdOf(delivery))))
        return deliveries.filter((delivery, index) => found[index]?.[0] === null || finished.includes(delivery))
      } catch {
        return []
      }
    },
    async cameBackEmpty(): Promise<boolean | null> {
      try {
        return (await redis.set(names.marker, '1', 'NX')) === 'OK'
      } catch {
        return null
      }
    },
    publish(events: RunEvent[]): void {
      if (events.length === 0 || redis.status !== 'ready') return
      if (unpublished.length === 0) setImmediate(() => void publishAll().catch(swallow('the events of runs')))
      unpublished.push(...events)
    },
    publishCancel(rootRunId: string): void {
      redis.publish(names.cancelChannel, rootRunId).catch(swallow('a cancel'))
    },
    /** Moves waiting jobs to their new priority and lane. Never rejects; without Redis they stay where they are. */
    async reprioritise(moved: MovedDelivery[]): Promise<void> {
      await soon(Promise.all(moved.map(moveJob))).catch(swallow('a change of priority'))
    },
    /** Removes waiting jobs of ended runs. Never rejects: a worker that takes such a job finds nothing to do. */
    async discard(deliveries: Pick<Delivery, 'runId' | 'epoch' | 'lane'>[]): Promise<void> {
      const removals = deliveries.map((delivery) => laneQueue(delivery.lane).remove(jobIdOf(delivery)))
      await soon(Promise.all(removals)).catch(swallow('the removal of jobs'))
    },
    /** Throws `unavailable` while Redis is away. */
    async stats(): Promise<QueueStats> {
      try {
        const entries = LANES.map(laneQueue).map(async (lane) => [lane.name, await laneStats(lane)] as const)
        return Object.fromEntries(await soon(Promise.all(entries)))
      } catch (cause) {
        throw new FabriqueError('unavailable', 'The queue is not reachable at the moment.', { cause, retryAfterS: 2 })
      }
    },
    /** Rejects while Redis does not answer. */
    ask: () => redis.ping(),
    async close(): Promise<void> {
      await Promise.allSettled([...queues.values()].map((each) => each.close()))
      redis.disconnect()
    },
  }
  return queue satisfies RunQueue
}
