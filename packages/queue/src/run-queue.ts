// Delivery by BullMQ: two lanes, one job per owed delivery, coalesced adds, and news by pub/sub.
// Hides Redis' absence: nothing here waits for it longer than a moment, since the record delivers again.
import type { Delivery, Log, RunQueue } from '@fabrique/engine'
import type { Lane, RunEvent } from '@fabrique/schema'
import { Queue } from 'bullmq'
import { connectForCommands } from './redis.ts'

export const LANES: readonly Lane[] = ['interactive', 'batch']
const ENQUEUE_LIMIT_MS = 400
const BULK_MAX = 500
/** Finished jobs that Bull Board can still show; the history is in PostgreSQL. */
const FINISHED_KEPT = 1_000

export interface QueueNames {
  /** BullMQ's prefix, in braces: one hash slot in a cluster. */
  prefix: string
  lane(lane: Lane): string
  runChannel(runId: string): string
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
    cancelChannel: `${braced}:cancel`,
    marker: `${braced}:marker`,
  }
}

function jobIdOf({ runId, epoch }: Pick<Delivery, 'runId' | 'epoch'>): string {
  return `${runId}-${epoch}`
}

/** The job of a delivery. Ids only: a job's data is shown on dashboards and kept in Redis. */
function jobOf({ runId, epoch, workflow, priority }: Delivery) {
  return {
    name: workflow,
    data: { run_id: runId },
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

export interface LaneStats {
  backlog: number
  active: number
  oldest_age_s: number
}

export interface BullRunQueue extends RunQueue {
  stats(): Promise<Record<string, LaneStats>>
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

  let news: RunEvent[] = []

  /**
   * Publishes the news of one turn of the event loop, for the runs that somebody watches: most runs nobody does, and
   * asking once costs less than telling each. Who subscribes after the question reads the record after the commit.
   */
  async function flushNews(): Promise<void> {
    const byChannel = Map.groupBy(news, (event) => names.runChannel(event.run_id))
    news = []
    const counts = (await redis.pubsub('NUMSUB', ...byChannel.keys())) as (string | number)[]
    const pipeline = redis.pipeline()
    for (let at = 0; at < counts.length; at += 2) {
      if (Number(counts[at + 1]) === 0) continue
      const channel = String(counts[at])
      pipeline.publish(channel, JSON.stringify(byChannel.get(channel)))
    }
    if (pipeline.length > 0) await pipeline.exec()
  }

  function swallow(what: string) {
    return (error: unknown) => log.debug({ err: error }, `${what} was not sent; Redis is away`)
  }

  return {
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
    async stats() {
      const entries = await Promise.all(
        LANES.map(async (lane) => {
          const queue = laneQueue(lane)
          const counts = await queue.getJobCounts('prioritized', 'waiting', 'delayed', 'active')
          const [oldest] = await queue.getJobs(['prioritized', 'waiting'], 0, 0, true)
          const backlog = (counts.prioritized ?? 0) + (counts.waiting ?? 0) + (counts.delayed ?? 0)
          const age = oldest === undefined ? 0 : Math.max(0, Math.round((Date.now() - oldest.timestamp) / 1000))
          return [queue.name, { backlog, active: counts.active ?? 0, oldest_age_s: age }] as const
        }),
      )
      return Object.fromEntries(entries)
    },
    async reachable() {
      return await redis.ping().then(
        () => true,
        () => false,
      )
    },
    async close() {
      await Promise.allSettled([...queues.values()].map((queue) => queue.close()))
      redis.disconnect()
    },
  }
}
