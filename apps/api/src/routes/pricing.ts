// The price list: dated versions, each rate with its source or marked as assumed.
import { FabriqueError, pointerTo, type Problem, RateTable } from '@fabrique/schema'
import type { AppDeps } from '../deps.ts'
import { locatedIn, parseBody, readDocument } from '../body.ts'
import { admin, operator, type Route } from '../route.ts'

export function pricingRoutes({ intake, pricing }: Pick<AppDeps, 'intake' | 'pricing'>): Route[] {
  /** What models take is compiled once here, or every template that names one would be at fault. */
  async function checkParameters({ models = [] }: RateTable): Promise<void> {
    const problems: Problem[] = []
    for (const [index, { parameters }] of models.entries()) {
      if (parameters === undefined) continue
      for (const { pointer, detail } of await intake.check(parameters))
        problems.push({
          pointer: pointerTo('models', index, 'parameters') + pointer,
          detail,
          code: 'invalid-parameters',
        })
    }
    if (problems.length > 0) throw new FabriqueError('validation-failed', 'The price list is not valid.', { problems })
  }

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
        const document = await readDocument(c)
        const table = parseBody(RateTable, document)
        await checkParameters(table).catch(locatedIn(document))
        const added = await pricing.add(table)
        if (added === null) {
          throw new FabriqueError(
            'already-exists',
            `There is a price list ${table.version} already, and none ever changes; name a new version.`,
          )
        }
        return c.json(added, 201)
      },
    }),
  ]
}
