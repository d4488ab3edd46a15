// Prices as data: dated versions of a table of rates and models.
// Hides how a rate is found for what a call used; what a call uses is each provider's own knowledge.
import { z } from 'zod'
import { TemplateVersion } from './template.ts'

/**
 * What calls are charged by, with the unit whose rate stands in where a model has none of its own: a cached token without
 * a price of its own costs as much as any other. A unit with null must be priced itself.
 */
const STAND_INS = {
  input_token: null,
  cached_input_token: 'input_token',
  cache_write_input_token: 'input_token',
  output_token: null,
  /** Only where a provider charges for it apart; most count it as output. */
  reasoning_token: 'output_token',
  image_input_token: 'input_token',
  cached_image_input_token: 'image_input_token',
  image_output_token: null,
  audio_input_token: null,
  cached_audio_input_token: 'audio_input_token',
  audio_output_token: null,
  image: null,
  video: null,
  character: null,
  second: null,
  compute_second: null,
  megapixel: null,
  request: null,
  web_search_call: null,
  file_search_call: null,
} as const
export type Unit = keyof typeof STAND_INS
export const UNITS = Object.keys(STAND_INS) as Unit[]

/** How a condition on a fact is written, and when it holds. */
interface Condition {
  form: RegExp
  must: string
  holds(wanted: string, is: string | number): boolean
}
const EXACTLY: Condition = {
  form: /^[\x21-\x7e]{1,80}$/,
  must: 'be up to 80 characters without spaces',
  holds: (wanted, is) => String(is) === wanted,
}
const COMPARED: Condition = {
  form: /^[<>]=?\d{1,9}$/,
  must: 'be a comparison such as ">272000"',
  holds(wanted, is) {
    const [number, limit] = [Number(is), Number(wanted.replace(/^\D+/, ''))]
    if (number === limit) return wanted.includes('=')
    return wanted.startsWith('>') ? number > limit : number < limit
  },
}
const WITHIN: Condition = {
  form: /^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/,
  must: 'be a window such as "00:30-16:30"',
  holds(wanted, is) {
    const [time, [from = '', to = '']] = [String(is), wanted.split('-')]
    return from <= to ? from <= time && time < to : from <= time || time < to
  },
}
const CONDITIONS = {
  quality: EXACTLY,
  size: EXACTLY,
  resolution: EXACTLY,
  duration: EXACTLY,
  audio: { ...EXACTLY, form: /^(true|false)$/, must: 'be "true" or "false"' },
  service_tier: EXACTLY,
  /** Of the whole prompt, cached tokens among them. */
  prompt_tokens: COMPARED,
  /** When the call is sent, for its estimate, and when it ends, for its price. A window may pass midnight; its end is not in it. */
  utc_time: WITHIN,
} satisfies Record<string, Condition>
/** What a price can depend on: the facts of a call that the engine knows or the provider reports. */
export type Fact = keyof typeof CONDITIONS
export const FACTS = Object.keys(CONDITIONS) as Fact[]
/** The facts of a usage: `prompt_tokens` as a number, `utc_time` as `HH:MM`, the others as requests and answers name them. */
export type Facts = Partial<Record<Fact, string | number>>

const ModelName = z.string().min(3).max(200)
const ORIGIN = {
  source: z.url().optional(),
  source_date: z.string().max(40).optional(),
  assumed: z.literal(true).optional(),
  note: z.string().max(2000).optional(),
}
const hasOrigin = (row: { source?: string | undefined; assumed?: true | undefined }) =>
  row.source !== undefined || row.assumed === true
const ORIGIN_MISSING = { message: 'must name its source, or say assumed: true' }

const When = z.record(z.string(), z.string()).superRefine((when, { addIssue }) => {
  for (const [fact, wanted] of Object.entries(when)) {
    if (!isFact(fact)) {
      const message = `"${fact}" is no fact of a call that a price can depend on; the facts are ${FACTS.join(', ')}`
      addIssue({ code: 'custom', path: [fact], message })
    } else if (!CONDITIONS[fact].form.test(wanted)) {
      addIssue({ code: 'custom', path: [fact], message: `must ${CONDITIONS[fact].must}` })
    }
  }
})

function isFact(name: string): name is Fact {
  return Object.hasOwn(CONDITIONS, name)
}

export const Rate = z
  .strictObject({
    model: ModelName,
    unit: z.enum(UNITS),
    unit_price_usd: z.number().min(0).max(10_000),
    when: When.optional(),
    ...ORIGIN,
  })
  .refine(hasOrigin, ORIGIN_MISSING)
export type Rate = z.infer<typeof Rate>

/** What a model makes, or does with what it is given. */
const CAPABILITIES = ['text', 'image', 'speech', 'video', 'matte', 'media', 'moderation'] as const

/** A model's life and manners, beside its prices. */
export const ModelRow = z
  .strictObject({
    model: ModelName,
    family: z.string().max(80).optional(),
    endpoint: z.string().max(200).optional().describe("The provider's own name for it."),
    capability: z.enum(CAPABILITIES),
    operation: z.string().max(80).optional(),
    parameters: z
      .record(z.string(), z.json())
      .optional()
      .describe(
        'JSON Schema of what `params` or `args` may hold; closed by additionalProperties where it is complete.',
      ),
    mapped: z
      .record(
        z.string().max(80),
        z.strictObject({ to: z.string().min(1).max(80), values: z.record(z.string().max(200), z.json()).optional() }),
      )
      .optional()
      .describe('Parameters of other models in its own words, for steps that name several models.'),
    defaults: z
      .record(z.string(), z.union([z.string().max(200), z.number(), z.boolean()]))
      .optional()
      .describe(
        'What an estimate takes where a request says nothing: max_output_tokens, reasoning_effort, seconds, size, …',
      ),
    time_limit_s: z.int().min(1).max(86_400).optional().describe('How long the provider may take for one request.'),
    since: z.iso.date().optional(),
    until: z.iso.date().optional().describe('Its last day, in UTC.'),
    successor: ModelName.optional(),
    ...ORIGIN,
  })
  .refine(hasOrigin, ORIGIN_MISSING)
export type ModelRow = z.infer<typeof ModelRow>

export const RateTable = z.strictObject({
  version: TemplateVersion,
  currency: z.literal('USD'),
  rates: z.array(Rate).max(2000),
  models: z.array(ModelRow).max(500).optional().describe('Absent: those of the price list before this one.'),
})
export type RateTable = z.infer<typeof RateTable>

/** An amount of one unit that a call uses or is expected to use; `facts` choose between conditional rates. */
export interface Usage {
  unit: Unit
  quantity: number
  facts?: Facts
}

/** More of a unit than any call can use. */
export const QUANTITY_MAX = 1e9

/** Whether a number can be an amount: finite, not negative, and not beyond what any call can use. */
export function isQuantity(quantity: unknown): quantity is number {
  return typeof quantity === 'number' && quantity >= 0 && quantity <= QUANTITY_MAX
}

/**
 * The rate of a usage of a model, or undefined where the table has none.
 * The row whose conditions all hold and that has the most of them wins, the earlier one of equals; a row without `when` is
 * the fallback. A unit that the model has no row for is charged as its stand-in.
 */
export function findRate(rates: readonly Rate[], model: string, usage: Usage): Rate | undefined {
  for (let unit: Unit | null = usage.unit; unit !== null; unit = STAND_INS[unit]) {
    let best: Rate | undefined
    let bestScore = -1
    for (const rate of rates) {
      if (rate.model !== model || rate.unit !== unit) continue
      const conditions = Object.entries(rate.when ?? {})
      if (conditions.length <= bestScore) continue
      if (conditions.every(([fact, wanted]) => holds(fact, wanted, usage.facts)))
        [best, bestScore] = [rate, conditions.length]
    }
    if (best !== undefined) return best
  }
  return undefined
}

function holds(fact: string, wanted: string, facts: Facts = {}): boolean {
  const is = isFact(fact) ? facts[fact] : undefined
  return is !== undefined && CONDITIONS[fact as Fact].holds(wanted, is)
}

/** What one usage of a call costs. */
export interface PricedLine {
  quantity: number
  unit: Unit
  unitPriceUsd: number
  usd: number
}

/**
 * A line for each usage of a call, for a bill that anyone can recompute. What was not used has none.
 * Null where a usage has no rate, or a quantity that no call can have.
 */
export function linesOf(rates: readonly Rate[], model: string, usages: readonly Usage[]): PricedLine[] | null {
  const lines: PricedLine[] = []
  for (const usage of usages) {
    const { quantity, unit } = usage
    if (!isQuantity(quantity)) return null
    if (quantity === 0) continue
    const rate = findRate(rates, model, usage)
    if (rate === undefined) return null
    const { unit_price_usd: unitPriceUsd } = rate
    lines.push({ quantity, unit, unitPriceUsd, usd: roundUsd(unitPriceUsd * quantity) })
  }
  return lines
}

/** The price of usages by a rate table: the sum of their lines, or null where they cannot be priced. */
export function priceOf(rates: readonly Rate[], model: string, usages: readonly Usage[]): number | null {
  const lines = linesOf(rates, model, usages)
  return lines && sumOfLines(lines)
}

export function sumOfLines(lines: readonly PricedLine[]): number {
  return roundUsd(lines.reduce((total, { usd }) => total + usd, 0))
}

/** USD to 12 decimal places: sums of token prices stay exact enough to compare. */
export function roundUsd(amount: number): number {
  return Math.round(amount * 1e12) / 1e12
}
