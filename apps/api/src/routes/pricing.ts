// The price list: dated versions, each rate with its source or marked as assumed.
import { FabriqueError, RateTable } from '@fabrique/schema'
import type { AppDeps } from '../deps.ts'
import { parseBody, readDocument } from '../body.ts'
import { admin, operator, type Route } from '../route.ts'

export function pricingRoutes({ pricing }: Pick<AppDeps, 'pricing'>): Route[] {
  return [
    operator.get('getPricing', '/v1/pricing', {
      summary: 'The current price list, with the source of every rate',
      answers: { 200: RateTable },
      handle: async ({ c }) => c.json(await pricing.current()),
    }),
    admin.post('publishPricing', '/v1/pricing', {
      summary: 'Publish a new price list; runs in flight keep theirs',
      body: RateTable,
      answers: { 201: RateTable },
      problems: ['already-exists'],
      async handle({ c }) {
        const table = parseBody(RateTable, await readDocument(c))
        if (!(await pricing.add(table))) {
          throw new FabriqueError(
            'already-exists',
            `There is a price list ${table.version} already, and none ever changes; name a new version.`,
          )
        }
        return c.json(table, 201)
      },
    }),
  ]
}
