// The ledger: one entry for each call of a provider, in the spelling of specifications.
import { z } from 'zod'
import { Instant, JsonRecord } from './json.ts'

/** One line of a ledger entry: an amount of one unit at its price. */
export const LedgerLine = z
  .object({ quantity: z.number().positive(), unit: z.string(), unitPriceUsd: z.number(), usd: z.number() })
  .meta({ id: 'LedgerLine' })
export type LedgerLine = z.infer<typeof LedgerLine>

/** What a provider said of a call that it did not answer well: bounded, without control characters, keys and prompts. */
export const ProviderError = z
  .object({
    status: z.int().exactOptional().describe('The HTTP status.'),
    code: z.string().exactOptional(),
    type: z.string().exactOptional(),
    param: z.string().exactOptional().describe('The parameter that it is about.'),
    message: z.string().exactOptional(),
    request_id: z.string().exactOptional().describe("The provider's own id of the request, for its support."),
  })
  .meta({ id: 'ProviderError', description: "The provider's own words. Admins see them." })
export type ProviderError = z.infer<typeof ProviderError>

export const LedgerEntry = z
  .object({
    id: z.string(),
    runId: z.string(),
    stepId: z.string(),
    provider: z.string(),
    providerOperation: z.string(),
    model: z.string(),
    quantity: z.number().nullable(),
    unit: z.string().describe('As of the price list; `request`, once, where a call uses several units.'),
    unitPriceUsd: z.number().nullable(),
    estimatedCostUsd: z.number(),
    actualCostUsd: z.number().nullable().describe('Null until the outcome is known; a call of unknown outcome counts.'),
    lines: z.array(LedgerLine).describe('What was used, by unit; their sum is the amount. Empty for an estimate.'),
    status: z
      .enum(['estimated', 'measured', 'provider_reported'])
      .describe('Whose figures they are: ours beforehand, ours by what was made, or the provider’s.'),
    servedModel: z.string().nullable().describe('The model that the provider says it used.'),
    tier: z.string().nullable().describe('The service tier that the provider says it charged.'),
    requestId: z.string().nullable().describe("The provider's own id of the request."),
    usage: JsonRecord.nullable().describe("The provider's usage as it came."),
    error: ProviderError.nullable(),
    outcome: z.enum(['pending', 'succeeded', 'failed', 'unknown', 'cancelled']),
    simulated: z.boolean(),
    pricingVersion: z.string(),
    createdAt: Instant,
  })
  .meta({ id: 'LedgerEntry', description: 'A call of a provider, on the books.' })
export type LedgerEntry = z.infer<typeof LedgerEntry>
export type LedgerStatus = LedgerEntry['status']

/** What calls of one kind came to. */
export const LedgerTotal = z
  .object({
    provider: z.string(),
    model: z.string(),
    tier: z.string().nullable(),
    unit: z.string().nullable().describe('Null for calls whose price is an estimate.'),
    status: LedgerEntry.shape.status,
    simulated: z.boolean(),
    unknown: z.boolean().describe('Calls whose outcome nobody knows: they may have been charged.'),
    calls: z.int(),
    quantity: z.number().nullable(),
    usd: z.number(),
  })
  .meta({ id: 'LedgerTotal' })
export type LedgerTotal = z.infer<typeof LedgerTotal>

export const LedgerTotals = z
  .object({
    from: z.iso.date(),
    until: z.iso.date(),
    currency: z.literal('USD'),
    billed: z.number(),
    simulated: z.number(),
    unknown: z.number(),
    data: z.array(LedgerTotal),
  })
  .meta({ id: 'LedgerTotals', description: 'What the calls of a time came to, to be held against an invoice.' })
