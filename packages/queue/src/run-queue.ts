// Delivery by BullMQ: two lanes, one job per owed delivery, coalesced adds, and news by pub/sub.
// Hides Redis' absence: nothing here waits for it longer than a moment, since the record delivers again.
import type { Delivery, Log, RunQueue } from '@fabrique/engine'
import { FabriqueError, type Lane, type LaneStats, type QueueStats, type RunEvent } from '@fabrique/schema'
import { Job, Queue } from 'bullmq'
import { PRIORITY_STRIDE, placeJobs } from './fair-order.ts'
import { connectForCommands } from './redis.ts'

export const LANES: readonly Lane[] = ['interactive', 'batch']
const ENQUEUE_LIMIT_MS = 400
const BULK_MAX = 500
const ANSWER_LIMIT_MS = 800
/** Priorities 0 to 100, as BullMQ spells them: low comes first. */
const PRIORITY_MAX = 101
/** Of one priority, the jobs that are asked for their age: of each organization its oldest comes first. */
const AGED_MAX = 20
/** Finished jobs that Bull Board can still show; the history is in PostgreSQL. */
const FINISHED_KEPT = 1_000

export interface QueueNames {
  /** BullMQ's prefix, in braces: one hash slot in a cluster. */
  prefix: string
  lane(lane: Lane): string
  runChannel(runId: string): string
  /** Says that there is news of some run, and not which. */
  anyRunChannel: string
  cancelChannel: string
  marker: string
}

/** All Redis names of a deployment, from its prefix. */
export function queueNames(prefix: string): QueueNames {
  const braced = `{${prefix}}`
  return {
    prefix: braced,
    lane: (lane) => `runs-${lane}`,
    runChannel: (runId) => `${braced}:run:${runId}`,
    anyRunChannel: `${braced}:any-run`,
    cancelChannel: `${braced}:cancel`,
    marker: `${braced}:marker`,
  }
}

function jobIdOf({ runId, epoch }: Pick<Delivery, 'runId' | 'epoch'>): string {
  return `${runId}-${epoch}`
}

/** The job of a delivery. Ids only: a job's data is shown on dashboards and kept in Redis. */
function jobOf({ runId, epoch, workflow, priority, organizationId }: Delivery) {
  return {
    name: workflow,
    data: { run_id: runId, organization_id: organizationId },
    opts: {
      jobId: jobIdOf({ runId, epoch }),
      // Always set: a job without priority goes before all others, and is slow to remove.
      priority: 1 + (100 - priority),
      attempts: 1,
      removeOnComplete: { count: FINISHED_KEPT },
      removeOnFail: { count: FINISHED_KEPT },
    },
  }
}

/** A delivery whose job was handed over for another lane. */
export type MovedDelivery = Delivery & { formerLane: Lane }

export interface BullRunQueue extends RunQueue {
  /** Throws `unavailable` while Redis is away. */
  stats(): Promise<QueueStats>
  /** Moves waiting jobs behind those of their new priority. Never rejects; without Redis they stay where they are. */
  reprioritise(moved: MovedDelivery[]): Promise<void>
  /** Removes waiting jobs whose runs have ended. Never rejects: a job that stays finds nothing to do. */
  discard(deliveries: Pick<Delivery, 'runId' | 'epoch' | 'lane'>[]): Promise<void>
  /** For Bull Board. */
  queues: Queue[]
  reachable(): Promise<boolean>
  close(): Promise<void>
}

/** The queue of a deployment, as submitters and the reconciler use it. */
export function createRunQueue(options: { redisUrl: string; prefix: string; log: Log }): BullRunQueue {
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
      queue.on('error', () => {}) // The connection reports its own errors, once.
      return [lane, queue] as const
    }),
  )
  const laneQueue = (lane: Lane) => queues.get(lane) as Queue

  let waiting: { delivery: Delivery; done: () => void }[] = []
  let scheduled = false

  function flush(): void {
    scheduled = false
    const entries = waiting
    waiting = []
    for (const lane of LANES) {
      const own = entries.filter(({ delivery }) => delivery.lane === lane)
      for (let at = 0; at < own.length; at += BULK_MAX) {
        const part = own.slice(at, at + BULK_MAX)
        laneQueue(lane)
          .addBulk(part.map(({ delivery }) => jobOf(delivery)))
          .then(() => void place(lane, part))
          .catch((error: unknown) =>
            log.warn(
              { err: error, count: part.length },
              'jobs could not be handed to Redis; the reconciler will deliver them',
            ),
          )
          .finally(() => {
            for (const { done } of part) done()
          })
      }
    }
  }

  /** Without its place a job comes last, so that nobody waits for this. */
  function place(lane: Lane, entries: { delivery: Delivery }[]): Promise<void> {
    const jobs = entries.map(({ delivery }) => ({
      jobId: jobIdOf(delivery),
      priority: jobOf(delivery).opts.priority,
      organizationId: delivery.organizationId,
    }))
    return placeJobs(redis, laneQueue(lane), jobs).catch(swallow('the place of jobs'))
  }

  let news: RunEvent[] = []

  /**
   * Publishes the news of one turn of the event loop, for the runs that somebody watches: most runs nobody does, and
   * asking once costs less than telling each. Who subscribes after the question reads the record after the commit.
   */
  async function flushNews(): Promise<void> {
    const byChannel = Map.groupBy(news, (event) => names.runChannel(event.run_id))
    news = []
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

  /** Gives up on what waits for Redis: BullMQ itself waits for a connection however long that takes. */
  async function soon<T>(work: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(new Error('Redis did not answer in time')), ANSWER_LIMIT_MS)
    return await Promise.race([work, late.promise]).finally(() => clearTimeout(timer))
  }

  async function moveJob({ formerLane, ...delivery }: MovedDelivery): Promise<void> {
    const id = jobIdOf(delivery)
    const job = await Job.fromId(laneQueue(formerLane), id)
    if (job !== undefined && delivery.lane === formerLane) {
      await job.changePriority({ priority: jobOf(delivery).opts.priority })
      await place(delivery.lane, [{ delivery }])
      return
    }
    await laneQueue(formerLane).remove(id)
    await queue.enqueue([delivery])
  }

  /** When the oldest waiting job was handed over; undefined where none waits. */
  async function oldestWaitingMs(lane: Queue): Promise<number | undefined> {
    // Of one organization and priority the first is the oldest; of all of them, any of those may be.
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

  const queue: BullRunQueue = {
    queues: [...queues.values()],
    enqueue(deliveries) {
      const handed = deliveries.map(
        (delivery) =>
          new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, ENQUEUE_LIMIT_MS)
            waiting.push({
              delivery,
              done: () => {
                clearTimeout(timer)
                resolve()
              },
            })
          }),
      )
      if (!scheduled) {
        scheduled = true
        setImmediate(flush)
      }
      return Promise.all(handed).then(() => {})
    },
    async missing(deliveries) {
      try {
        const pipeline = redis.pipeline()
        for (const delivery of deliveries)
          pipeline.hmget(laneQueue(delivery.lane).toKey(jobIdOf(delivery)), 'timestamp', 'finishedOn')
        const found = ((await pipeline.exec()) ?? []).map(([, fields]) => (fields ?? []) as (string | null)[])
        // A finished job stands for nothing while its run is still owed: its worker could not claim. Its name hides the next.
        const finished = deliveries.filter((_, index) => typeof found[index]?.[1] === 'string')
        await Promise.all(finished.map((delivery) => laneQueue(delivery.lane).remove(jobIdOf(delivery))))
        return deliveries.filter((delivery, index) => found[index]?.[0] === null || finished.includes(delivery))
      } catch {
        return []
      }
    },
    async cameBackEmpty() {
      try {
        return (await redis.set(names.marker, '1', 'NX')) === 'OK'
      } catch {
        return null
      }
    },
    publish(events: RunEvent[]) {
      if (events.length === 0 || redis.status !== 'ready') return
      if (news.length === 0) setImmediate(() => void flushNews().catch(swallow('news of runs')))
      news.push(...events)
    },
    publishCancel(rootRunId) {
      redis.publish(names.cancelChannel, rootRunId).catch(swallow('a cancel'))
    },
    async reprioritise(moved) {
      await soon(Promise.all(moved.map(moveJob))).catch(swallow('a change of priority'))
    },
    async discard(deliveries) {
      const removals = deliveries.map((delivery) => laneQueue(delivery.lane).remove(jobIdOf(delivery)))
      await soon(Promise.all(removals)).catch(swallow('the removal of jobs'))
    },
    async stats() {
      try {
        const entries = LANES.map(laneQueue).map(async (lane) => [lane.name, await laneStats(lane)] as const)
        return Object.fromEntries(await soon(Promise.all(entries)))
      } catch (cause) {
        throw new FabriqueError('unavailable', 'The queue is not reachable at the moment.', { cause, retryAfterS: 2 })
      }
    },
    async reachable() {
      return await redis.ping().then(
        () => true,
        () => false,
      )
    },
    async close() {
      await Promise.allSettled([...queues.values()].map((each) => each.close()))
      redis.disconnect()
    },
  }
  return queue
}
