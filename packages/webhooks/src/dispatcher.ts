// The loop that brings due deliveries to their receivers, in every worker process, for as long as it lives.
// Hides pace and fairness: a receiver that is slow or away holds a place or two, and delays no other's deliveries.
import type { Clock, Log } from '@fabrique/engine'
import { LRUCache } from 'lru-cache'
import type { Attempt, Sender } from './send.ts'

/** A delivery that this process has taken. Its id is that of its event, within its endpoint. */
export interface DueDelivery {
  endpointId: string
  eventId: string
  url: string
  body: string
  /** The current secret first; the former one too while it is still honoured. */
  secrets: string[]
  maxRetries: number
  /** Failed attempts since it was made or last asked for again. */
  failures: number
  /** The number of this claim: an outcome of an older one is not recorded. */
  fence: number
  /** The record's time at the claim. */
  claimedAt: Date
}

/** What follows from an attempt. `gone`: the receiver wants nothing more, ever. */
export type Verdict = { is: 'delivered' | 'exhausted' | 'gone' } | { is: 'retry'; delayMs: number }

/** The record of deliveries. Every method is safe to call from many processes at once. */
export interface DeliveryStore {
  /**
   * Takes due deliveries for `leaseMs`, at most `limit`, organizations in turns. At a time there are at most
   * `perOrganization` of one organization, and `perEndpoint` of one endpoint (one, where it fails or is among `slow`).
   * What is not recorded by then is due again.
   */
  claim(request: {
    limit: number
    perOrganization: number
    perEndpoint: number
    slow: string[]
    leaseMs: number
  }): Promise<DueDelivery[]>
  record(delivery: DueDelivery, attempt: Attempt, verdict: Verdict): Promise<void>
  /** Ends what is still owed to endpoints that were disabled meanwhile. */
  settleDisabled(): Promise<void>
}

/** Well below a second from the event to the first attempt; an idle look costs a few microseconds an endpoint. */
const POLL_MS = 500
const SETTLE_EVERY_MS = 60_000
const IN_FLIGHT_MAX = 200
/** Those of four organizations fill a process, and each of them has fifty endpoints at most. */
const PER_ORGANIZATION_MAX = 50
const PER_ENDPOINT_MAX = 8
/** An endpoint whose last answer took longer gets one place until it answers faster. */
const SLOW_MS = 2_000
const SLOW_KEPT = 1_000
/** Longer than an attempt can take, so that a living process is never doubled. */
const LEASE_MS = 15_000

const SECOND_MS = 1_000
/** After the first failure, the second, and so on; from then on daily. */
const RETRY_DELAYS_MS = [3, 30, 120, 600, 3_600, 21_600, 86_400].map((seconds) => seconds * SECOND_MS)
const JITTER = 0.2

/**
 * The pause after so many failures (1 and up), in ms: 3 s, 30 s, 2 min, 10 min, 1 h, 6 h, then daily, each a fifth more or
 * less, so that a receiver that comes back is not met by everything at once.
 */
export function retryDelayMs(failures: number, random: () => number = Math.random): number {
  const delayMs = RETRY_DELAYS_MS[Math.min(failures, RETRY_DELAYS_MS.length) - 1] ?? SECOND_MS
  return Math.round(delayMs * (1 - JITTER + 2 * JITTER * random()))
}

/** What to do after this attempt. A receiver may ask for a longer pause than the schedule's, not for a shorter one. */
export function judge(
  { failures, maxRetries }: Pick<DueDelivery, 'failures' | 'maxRetries'>,
  { status, error, retryAfterMs }: Attempt,
  random: () => number = Math.random,
): Verdict {
  if (error === null) return { is: 'delivered' }
  if (status === 410) return { is: 'gone' }
  if (failures >= maxRetries) return { is: 'exhausted' }
  return { is: 'retry', delayMs: Math.max(retryDelayMs(failures + 1, random), retryAfterMs) }
}

/** A dispatcher over the record. Any number may run at once; rows are taken with SKIP LOCKED, so they share the work. */
export function createDispatcher(deps: {
  store: DeliveryStore
  sender: Sender
  clock: Clock
  log: Log
  killpoint?: (name: string) => void
}) {
  const { store, sender, clock, log } = deps
  const underWay = new Set<Promise<void>>()
  const slow = new LRUCache<string, true>({ max: SLOW_KEPT })

  async function deliver(delivery: DueDelivery): Promise<void> {
    const { eventId, url, body, secrets, claimedAt } = delivery
    const attempt = await sender.send({ id: eventId, url, body, secrets, sentAt: claimedAt })
    if (attempt.durationMs > SLOW_MS) slow.set(delivery.endpointId, true)
    else slow.delete(delivery.endpointId)
    deps.killpoint?.('D1')
    const verdict = judge(delivery, attempt)
    await store.record(delivery, attempt, verdict)
    if (verdict.is === 'delivered' || verdict.is === 'retry') return
    const { endpointId: webhook_id } = delivery
    log.warn(
      { webhook_id, event_id: eventId, status: attempt.status, verdict: verdict.is },
      'a webhook delivery failed',
    )
  }

  async function claim(): Promise<DueDelivery[]> {
    const limit = IN_FLIGHT_MAX - underWay.size
    if (limit === 0) return []
    const bounds = { limit, perOrganization: PER_ORGANIZATION_MAX, perEndpoint: PER_ENDPOINT_MAX, leaseMs: LEASE_MS }
    return await store.claim({ ...bounds, slow: [...slow.keys()] }).catch((err: unknown) => {
      log.warn({ err }, 'webhook deliveries could not be looked up; the next look tries again')
      return []
    })
  }

  return {
    /** Delivers until stopped, then lets the attempts under way end: at most as long as one may take. */
    async run(stopped: AbortSignal): Promise<void> {
      let wake = () => {}
      stopped.addEventListener('abort', () => wake())
      let settledAtMs = Number.NEGATIVE_INFINITY
      while (!stopped.aborted) {
        // Armed before the look: an attempt that ends during it may have made room for another.
        const pause = new AbortController()
        wake = () => pause.abort('woken')
        if (clock.nowMs() - settledAtMs >= SETTLE_EVERY_MS) {
          settledAtMs = clock.nowMs()
          await store.settleDisabled().catch((err: unknown) => log.warn({ err }, 'disabled webhooks were not settled'))
        }
        for (const delivery of await claim()) {
          const attempt: Promise<void> = deliver(delivery)
            .catch((err: unknown) => {
              log.warn({ err, event_id: delivery.eventId }, 'a webhook attempt was not recorded; it will be repeated')
            })
            .finally(() => {
              underWay.delete(attempt)
              wake()
            })
          underWay.add(attempt)
        }
        if (!stopped.aborted) await clock.sleep(POLL_MS, pause.signal).catch(() => {})
      }
      await Promise.all(underWay)
    },
  }
}
