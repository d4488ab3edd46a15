// Listening to runs: one subscriber connection per process, one Redis channel per run that somebody watches.
// Hides reference counts and re-subscription; what it says may be lost, so listeners also look at the record.
import type { Log } from '@fabrique/engine'
import type { RunEvent } from '@fabrique/schema'
import { connectForListening } from './redis.ts'
import { queueNames } from './run-queue.ts'

export interface News {
  /** Calls `listener` with each batch of events of the run until the returned function is called. */
  subscribe(runId: string, listener: (events: RunEvent[]) => void): () => void
  close(): Promise<void>
}

/** The news of a deployment's runs. */
export function createNews(options: { redisUrl: string; prefix: string; log: Log }): News {
  const names = queueNames(options.prefix)
  const redis = connectForListening(options.redisUrl, options.log)
  const listeners = new Map<string, Set<(events: RunEvent[]) => void>>()
  const missed = (error: unknown) => options.log.debug({ err: error }, 'a subscription failed; its listeners poll')

  redis.on('message', (channel: string, message: string) => {
    const own = listeners.get(channel)
    if (own === undefined) return
    const events = JSON.parse(message) as RunEvent[]
    for (const listener of own) listener(events)
  })

  return {
    subscribe(runId, listener) {
      const channel = names.runChannel(runId)
      const own = listeners.get(channel) ?? new Set()
      if (own.size === 0) {
        listeners.set(channel, own)
        redis.subscribe(channel).catch(missed)
      }
      own.add(listener)
      return () => {
        own.delete(listener)
        if (own.size > 0 || listeners.get(channel) !== own) return
        listeners.delete(channel)
        redis.unsubscribe(channel).catch(missed)
      }
    },
    async close() {
      redis.disconnect()
    },
  }
}
