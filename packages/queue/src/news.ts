// Subscriptions to the events of runs: one Redis connection per process, one channel per run that has listeners.
// Hides reference counts and re-subscription. Redis may lose messages, so listeners must also poll PostgreSQL.
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '@fabrique/engine'
import type { RunEvent } from '@fabrique/schema'
import { connectForListening } from './redis.ts'
import { queueNames } from './run-queue.ts'

const LISTENING_LIMIT_MS = 200

type Listener = (events: RunEvent[]) => void

export type News = ReturnType<typeof createNews>

/** The news of a deployment's runs. */
export function createNews(options: { redisUrl: string; prefix: string; log: Log }) {
  const names = queueNames(options.prefix)
  const redis = connectForListening(options.redisUrl, options.log)
  const channels = new Map<string, { listeners: Set<Listener>; subscribed: Promise<unknown> }>()
  const missed = (error: unknown) => options.log.debug({ err: error }, 'a subscription failed; its listeners poll')

  function notify(channel: string, events: RunEvent[]): void {
    for (const listener of channels.get(channel)?.listeners ?? []) listener(events)
  }

  redis.on('message', (channel: string, message: string) => {
    if (channels.has(channel)) notify(channel, message === '' ? [] : (JSON.parse(message) as RunEvent[]))
  })
  redis.on('ready', () => notify(names.anyRunChannel, []))

  function listen(channel: string, listener: Listener): () => void {
    const own = channels.get(channel) ?? {
      listeners: new Set<Listener>(),
      subscribed: redis.subscribe(channel).catch(missed),
    }
    channels.set(channel, own)
    own.listeners.add(listener)
    return () => {
      own.listeners.delete(listener)
      if (own.listeners.size > 0 || channels.get(channel) !== own) return
      channels.delete(channel)
      redis.unsubscribe(channel).catch(missed)
    }
  }

  return {
    /** Calls `listener` with each batch of events of the run until the returned function is called. */
    subscribe: (runId: string, listener: Listener) => listen(names.runChannel(runId), listener),
    /**
     * Calls `listener` whenever any run of the deployment may have new events: after each message, and after each
     * reconnection, before which messages may have been lost.
     */
    subscribeToAny: (listener: () => void) => listen(names.anyRunChannel, () => listener()),
    /** Resolves when the run's subscription is active, at the latest after 200 ms. Never rejects. */
    async listening(runId: string): Promise<void> {
      if (redis.status !== 'ready') return
      const active = channels.get(names.runChannel(runId))?.subscribed
      await Promise.race([active, delay(LISTENING_LIMIT_MS, undefined, { ref: false })])
    },
    async close(): Promise<void> {
      redis.disconnect()
    },
  }
}
