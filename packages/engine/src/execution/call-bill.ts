// What a call costs, in the columns of its ledger row: as expected before it is sent, by the facts once it is over.
// Hides which facts are believed, and what is booked where there are none.
import { type Facts, findRate, linesOf, type ProviderError, type Rate, sumOfLines, type Usage } from '@fabrique/schema'
import type { StepFailure } from '../failure.ts'
import type { Bill, CallFacts, CallRecord } from '../ports.ts'

/** No call costs more: a usage that comes to more is not believed. */
const CALL_USD_MAX = 100_000
const STATUS_OF = { reported: 'provider_reported', measured: 'measured', expected: 'estimated' } as const

/** The prices of a run, and the time, which some of them depend on. */
export interface Prices {
  rates: readonly Rate[]
  nowMs: number
}

/** Usages with what all of a call have in common: the time of day that providers charge by, as it is sent and as it ends. */
export function timed(nowMs: number, usages: readonly Usage[], common: Facts = {}): Usage[] {
  const utc_time = new Date(nowMs).toISOString().slice(11, 16)
  return usages.map((usage) => ({ ...usage, facts: { ...usage.facts, ...common, utc_time } }))
}

/** The ledger's three columns for what was used: one usage as it is, several as one request of their sum. */
export function bookedAs(rates: readonly Rate[], model: string, usages: readonly Usage[], totalUsd: number) {
  const [only, ...more] = usages.filter(({ quantity }) => quantity > 0)
  if (only === undefined || more.length > 0) return { quantity: 1, unit: 'request' as const, unitPriceUsd: totalUsd }
  const rate = findRate(rates, model, only)
  return { quantity: only.quantity, unit: only.unit, unitPriceUsd: rate?.unit_price_usd ?? null }
}

/** The columns of a call that is over: by the facts where they can be priced, else nothing or the estimate. */
export function booking(
  prices: Prices,
  record: CallRecord,
  facts: CallFacts | undefined,
  billed: StepFailure['billed'],
  error?: ProviderError,
): Partial<CallRecord> {
  const priced = pricedFacts(prices, record, facts)
  const bill: Bill = { lines: priced?.lines ?? [] }
  if (facts?.servedModel !== undefined) bill.servedModel = facts.servedModel
  if (facts?.tier !== undefined) bill.tier = facts.tier
  if (facts?.reported !== undefined) bill.usage = facts.reported
  if (error !== undefined) bill.error = error
  const requestId = record.requestId ?? facts?.requestId ?? error?.request_id ?? null
  if (priced === null) return { bill, requestId, actualUsd: billed === 'no' ? 0 : record.estimatedUsd }
  return {
    bill,
    requestId,
    status: STATUS_OF[facts?.basis ?? 'reported'],
    ...bookedAs(prices.rates, priced.model, priced.usages, priced.totalUsd),
    actualUsd: priced.totalUsd,
  }
}

/** A call whose answer no execution will ask for: it may have been charged, so it counts as spent. */
export function asUnknown(call: CallRecord): CallRecord {
  return { ...call, outcome: 'unknown', actualUsd: call.estimatedUsd }
}

/** What the facts come to, line by line; null where they say nothing that can be believed and priced. */
function pricedFacts({ rates, nowMs }: Prices, record: CallRecord, facts: CallFacts | undefined) {
  if (facts === undefined || facts.usage.length === 0) return null
  const usages = timed(nowMs, facts.usage, facts.tier === undefined ? {} : { service_tier: facts.tier })
  for (const model of chargedAs(record, facts)) {
    const lines = linesOf(rates, model, usages)
    if (lines === null) continue
    const totalUsd = sumOfLines(lines)
    return totalUsd > CALL_USD_MAX ? null : { model, usages, lines, totalUsd }
  }
  return null
}

/** The models whose prices may be meant, the likeliest first: the one that was served, its dated version, the one that was asked. */
function chargedAs({ provider, model }: CallRecord, { servedModel }: CallFacts): string[] {
  if (servedModel === undefined) return [model]
  const served = `${provider}/${servedModel}`
  return [served, served.replace(/-\d{4}-\d{2}-\d{2}$/, ''), model]
}
