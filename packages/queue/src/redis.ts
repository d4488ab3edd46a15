// Connections to Redis: one for commands that must not hang, one for workers that must not give up, one for listening.
// Hides ioredis' waiting rules, which by default make a submit wait for ever while Redis is down, and wait for ever for
// an answer on a connection that the network has forgotten.
import { Redis, type RedisOptions } from 'ioredis'
import type { Log } from '@fabrique/engine'

const COMMAND_TIMEOUT_MS = 500
const CONNECT_TIMEOUT_MS = 3_000
/**
 * Each connection asks for a sign of life this often, and is made anew where none came before the next time. Longer than
 * any command waits: a worker that has no job blocks for at most two seconds.
 */
const BEAT_MS = 3_000

/** Comes back quickly after an outage: at most 2 s between attempts. */
function retryStrategy(attempt: number): number {
  return Math.min(attempt * 200, 2_000)
}

/**
 * Lets a connection notice that it has gone silent, and so the copies of it that BullMQ makes for blocking commands.
 * It is closed then, and ioredis makes it anew and sends again what was not answered.
 */
function living(redis: Redis): Redis {
  redis.on('connect', () => {
    const { stream } = redis
    let heard = stream.bytesRead
    const beat = () => {
      if (stream.bytesRead === heard) stream.destroy(new Error(`Redis was silent for ${BEAT_MS} ms`))
      heard = stream.bytesRead
      if (redis.status === 'ready') redis.ping().catch(() => {})
    }
    // Immediates come after what has arrived was read: a process that was busy does not blame the connection.
    const timer = setInterval(() => setImmediate(beat), BEAT_MS).unref()
    stream.once('close', () => clearInterval(timer))
  })
  redis.duplicate = (override) => living(new Redis({ ...redis.options, ...override }))
  return redis
}

function connect(redisUrl: string, options: RedisOptions, name: string, log: Log): Redis {
  const common = { retryStrategy, connectTimeout: CONNECT_TIMEOUT_MS, keepAlive: BEAT_MS }
  const redis = living(new Redis(redisUrl, { ...common, connectionName: `fabrique-${name}`, ...options }))
  let isLogged = false
  redis.on('error', (error: Error) => {
    // ioredis repeats the same refusal for every attempt; the first one says it all.
    if (!isLogged)
      log.warn({ connection: name, err: error }, 'Redis is not reachable; runs are kept and delivered later')
    isLogged = true
  })
  redis.on('ready', () => {
    isLogged = false
  })
  return redis
}

/** Fails within half a second instead of waiting for Redis to come back. */
export function connectForCommands(redisUrl: string, log: Log): Redis {
  return connect(
    redisUrl,
    { maxRetriesPerRequest: 1, enableOfflineQueue: false, commandTimeout: COMMAND_TIMEOUT_MS },
    'commands',
    log,
  )
}

/**
 * Waits for Redis however long it takes, as BullMQ's workers demand. The commands of one turn of the event loop share
 * a write; one that a broken connection rejects is a job that is not acknowledged, which is delivered again.
 */
export function connectForWork(redisUrl: string, log: Log): Redis {
  return connect(redisUrl, { maxRetriesPerRequest: null, enableAutoPipelining: true }, 'work', log)
}

/** For subscriptions; they are renewed after every reconnection. */
export function connectForListening(redisUrl: string, log: Log): Redis {
  return connect(redisUrl, { maxRetriesPerRequest: null }, 'listen', log)
}
