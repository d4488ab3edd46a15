// The ledger of all runs: what a month has cost, in the words of an invoice.
import { FabriqueError, LedgerTotals, spendingOf } from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { operator, type Route } from '../route.ts'

const DAY_MS = 86_400_000
/** Of a range: more than any invoice covers, and not more than one statement should read. */
const DAYS_MAX = 400

export function ledgerRoutes({ ledgerTotals }: Pick<AppDeps, 'ledgerTotals'>): Route[] {
  return [
    operator.get('getLedgerTotals', '/v1/ledger', {
      summary: 'What calls of a time came to, by provider, model, tier and unit; for an admin, of all organizations',
      query: z.strictObject({
        from: z.iso.date().describe('The first day, in UTC.'),
        until: z.iso.date().describe('The last day, in UTC.'),
      }),
      answers: { 200: LedgerTotals },
      async handle({ c, principal, query }) {
        const [from, before] = [new Date(query.from), new Date(Date.parse(query.until) + DAY_MS)]
        const days = (before.getTime() - from.getTime()) / DAY_MS
        if (days < 1 || days > DAYS_MAX)
          throw new FabriqueError('bad-query', `The time must be of 1 to ${DAYS_MAX} days, and end after it begins.`)
        const data = await ledgerTotals(principal.role === 'admin' ? null : principal.organizationId, { from, before })
        const spent = data.map(({ unknown, simulated, usd }) => ({
          outcome: unknown ? ('unknown' as const) : ('succeeded' as const),
          simulated,
          actualUsd: usd,
          estimatedUsd: usd,
        }))
        return c.json({
          from: query.from,
          until: query.until,
          currency: 'USD',
          ...spendingOf(spent),
          data,
        })
      },
    }),
  ]
}
