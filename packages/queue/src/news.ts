// Listening to runs: one subscriber connection per process, one Redis channel per run that somebody watches.
// Hides reference counts and re-subscription; what it says may be lost, so listeners also look at the record.
import type { Log } from '@fabrique/engine'
import type { RunEvent } from '@fabrique/schema'
import { connectForListening } from './redis.ts'
import { queueNames } from './run-queue.ts'

export interface News {
  /** Calls `listener` with each batch of events of the run until the returned function is called. */
  subscribe(runId: string, listener: (events: RunEvent[]) => void): () => void
  /**
   * Calls `listener` whenever there is news of any run of the deployment, and again after each connection, since some
   * may have been missed before it.
   */
  subscribeToAny(listener: () => void): () => void
  /** Resolves when what is published from now on reaches the listeners; never rejects, and waits 200 ms at most. */
  listening(runId: string): Promise<void>
  close(): Promise<void>
}

const LISTENING_LIMIT_MS = 200

type Listener = (events: RunEvent[]) => void

/** The news of a deployment's runs. */
export function createNews(options: { redisUrl: string; prefix: string; log: Log }): News {
  const names = queueNames(options.prefix)
  const redis = connectForListening(options.redisUrl, options.log)
  const channels = new Map<string, { listeners: Set<Listener>; subscribed: Promise<unknown> }>()
  const missed = (error: unknown) => options.log.debug({ err: error }, 'a subscription failed; its listeners poll')

  function tell(channel: string, events: RunEvent[]): void {
    for (const listener of channels.get(channel)?.listeners ?? []) listener(events)
  }

  redis.on('message', (channel: string, message: string) => {
    if (channels.has(channel)) tell(channel, message === '' ? [] : (JSON.parse(message) as RunEvent[]))
  })
  redis.on('ready', () => tell(names.anyRunChannel, []))

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
    subscribe: (runId, listener) => listen(names.runChannel(runId), listener),
    subscribeToAny: (listener) => listen(names.anyRunChannel, () => listener()),
    async listening(runId) {
      if (redis.status !== 'ready') return
      const late = Promise.withResolvers<void>()
      const timer = setTimeout(late.resolve, LISTENING_LIMIT_MS)
      await Promise.race([channels.get(names.runChannel(runId))?.subscribed, late.promise])
      clearTimeout(timer)
    },
    async close() {
      redis.disconnect()
    },
  }
}
