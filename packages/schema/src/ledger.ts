// The ledger: one entry for each call of a provider, in the spelling of specifications.
import { z } from 'zod'
import { Instant } from './json.ts'

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
    status: z.enum(['estimated', 'provider_reported']),
    outcome: z.enum(['pending', 'succeeded', 'failed', 'unknown', 'cancelled']),
    simulated: z.boolean(),
    pricingVersion: z.string(),
    createdAt: Instant,
  })
  .meta({ id: 'LedgerEntry', description: 'A call of a provider, on the books.' })
export type LedgerEntry = z.infer<typeof LedgerEntry>
export type LedgerStatus = LedgerEntry['status']
