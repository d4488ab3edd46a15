// The price list: dated versions, each rate with its source or marked as assumed.
import { FabriqueError, RateTable } from '@fabrique/schema'
import type { AppDeps } from '../deps.ts'
import { readDocument } from '../body.ts'
import { parseBody } from '../parse-body.ts'
import { defineRoute, type Route } from '../route.ts'

export function pricingRoutes({ pricing }: Pick<AppDeps, 'pricing'>): Route[] {
  const tag = 'pricing'
  return [
    defineRoute({
      method: 'get',
      path: '/v1/pricing',
      access: 'operator',
      docs: { summary: 'The current price list', tag, answers: { 200: 'The list, with the source of every rate.' } },
      handle: async ({ c }) => c.json(await pricing.current()),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/pricing',
      access: 'admin',
      docs: {
        summary: 'Publish a new price list; runs in flight keep theirs',
        tag,
        body: RateTable,
        answers: { 201: 'The list, now current.', 409: 'That version exists.' },
      },
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
