// Prices as data: dated versions of a rate table.
// Hides how a rate is found for a call; what a call uses is each provider's own knowledge.
import { z } from 'zod'
import { TemplateVersion } from './template.ts'

export const UNITS = [
  'input_token',
  'cached_input_token',
  'output_token',
  'image_input_token',
  'image_output_token',
  'audio_output_token',
  'image',
  'character',
  'second',
  'megapixel',
  'request',
] as const
export type Unit = (typeof UNITS)[number]

export const Rate = z
  .strictObject({
    model: z.string().min(3).max(200),
    unit: z.enum(UNITS),
    unit_price_usd: z.number().min(0).max(10_000),
    when: z.record(z.string(), z.string()).optional(),
    source: z.url().optional(),
    source_date: z.string().max(40).optional(),
    assumed: z.literal(true).optional(),
    note: z.string().max(2000).optional(),
  })
  .refine((rate) => rate.source !== undefined || rate.assumed === true, {
    message: 'must name its source, or say assumed: true',
  })
export type Rate = z.infer<typeof Rate>

export const RateTable = z.strictObject({
  version: TemplateVersion,
  currency: z.literal('USD'),
  rates: z.array(Rate).max(2000),
})
export type RateTable = z.infer<typeof RateTable>

/** An amount of one unit that a call uses or is expected to use; `facts` choose between conditional rates. */
export interface Usage {
  unit: Unit
  quantity: number
  facts?: Record<string, string>
}

/**
 * The unit price of a usage of a model, or undefined where the table has none.
 * The row whose `when` names the most of the usage's facts, all of them matching, wins; a row without `when` is the fallback.
 */
export function findRate(rates: readonly Rate[], model: string, usage: Usage): Rate | undefined {
  let best: Rate | undefined
  let bestScore = -1
  for (const rate of rates) {
    if (rate.model !== model || rate.unit !== usage.unit) continue
    const conditions = Object.entries(rate.when ?? {})
    if (!conditions.every(([fact, wanted]) => usage.facts?.[fact] === wanted)) continue
    if (conditions.length > bestScore) [best, bestScore] = [rate, conditions.length]
  }
  return best
}

/** The price of usages by a rate table, or null where one of them has no rate. */
export function priceOf(rates: readonly Rate[], model: string, usages: readonly Usage[]): number | null {
  let total = 0
  for (const usage of usages) {
    const rate = findRate(rates, model, usage)
    if (rate === undefined) return null
    total += rate.unit_price_usd * usage.quantity
  }
  return roundUsd(total)
}

/** USD to 12 decimal places: sums of token prices stay exact enough to compare. */
export function roundUsd(amount: number): number {
  return Math.round(amount * 1e12) / 1e12
}
