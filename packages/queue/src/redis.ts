// Connections to Redis: one for commands that must not hang, one for workers that must not give up, one for listening.
// Hides ioredis' waiting rules, which by default make a submit wait for ever while Redis is down.
import { Redis, type RedisOptions } from 'ioredis'
import type { Log } from '@fabrique/engine'

const COMMAND_TIMEOUT_MS = 500

/** Comes back quickly after an outage: at most 2 s between attempts. */
function retryStrategy(attempt: number): number {
  return Math.min(attempt * 200, 2_000)
}

function connect(redisUrl: string, options: RedisOptions, name: string, log: Log): Redis {
  const redis = new Redis(redisUrl, { retryStrategy, connectionName: `fabrique-${name}`, ...options })
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
