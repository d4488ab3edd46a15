// What one organization may ask of the installation, so that it takes nothing from the others.
// Hides the counting: submits by this process, what is on record by looks that are a few seconds old.
import type { Usage } from '@fabrique/db'
import { FabriqueError } from '@fabrique/schema'
import { LRUCache } from 'lru-cache'
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'

export interface QuotaLimits {
  submitsPerMinute: number
  /** Runs that have not ended, slots and called runs not counted. */
  openRuns: number
  storedBytes: number
}

export interface Quotas {
  /**
   * Counts one submit of the organization. Throws `quota-exceeded` where it has made its submits of the minute, or has as
   * many open runs or stored bytes as it may; `tell` is given the headers of the answer either way.
   */
  takeSubmit(
    organizationId: string,
    tell?: (header: 'RateLimit' | 'RateLimit-Policy', value: string) => void,
  ): Promise<void>
}

const MINUTE_S = 60
const USAGE_AGE_MS = 5_000
const ORGANIZATIONS_KEPT = 10_000
/** Runs end and files are removed in their own time. */
const RETRY_AFTER_S = 60

/** Quotas of submits; `usageOf` reads what an organization has on record. */
export function createQuotas(
  { submitsPerMinute, openRuns, storedBytes }: QuotaLimits,
  usageOf: (organizationId: string) => Promise<Usage>,
): Quotas {
  const submits = new RateLimiterMemory({ points: submitsPerMinute, duration: MINUTE_S })
  // An old count is used while a new one is read: nobody waits for it but the first.
  const usages = new LRUCache<string, Usage>({
    max: ORGANIZATIONS_KEPT,
    ttl: USAGE_AGE_MS,
    allowStale: true,
    allowStaleOnFetchRejection: true,
    fetchMethod: usageOf,
  })
  return {
    async takeSubmit(organizationId, tell) {
      const state = await submits.consume(organizationId).catch((refused: unknown) => {
        if (refused instanceof RateLimiterRes) return refused
        throw refused
      })
      const isOver = state.consumedPoints > submitsPerMinute
      const resetS = Math.max(1, Math.ceil(state.msBeforeNext / 1000))
      tell?.('RateLimit-Policy', `"submits";q=${submitsPerMinute};w=${MINUTE_S}`)
      tell?.('RateLimit', `"submits";r=${state.remainingPoints};t=${resetS}`)
      if (isOver) throw exceeded(`more than ${submitsPerMinute} submits a minute; submit the rest later`, resetS)
      // Without the record there is no count, and no run either.
      const usage = await usages.fetch(organizationId).catch(() => undefined)
      if (usage === undefined) return
      if (usage.openRuns >= openRuns)
        throw exceeded(`${openRuns} runs that have not ended; wait for some, or cancel them`, RETRY_AFTER_S)
      if (usage.storedBytes >= storedBytes)
        throw exceeded(`${storedBytes} bytes of stored files; ask the operator of this server for more`, RETRY_AFTER_S)
    },
  }
}

function exceeded(what: string, retryAfterS: number): FabriqueError {
  return new FabriqueError('quota-exceeded', `The organization has ${what}.`, { retryAfterS })
}
