// Rate tables as dated versions. The newest is current; none ever changes.
// Hides the cache: a table is read once, only which one is current is asked again.
import { FabriqueError, type RateTable } from '@fabrique/schema'
import type { Db } from './client.ts'
import { createSingleFlight } from './single-flight.ts'

export type PricingStore = ReturnType<typeof createPricingStore>

/** The PostgreSQL pricing store. */
export function createPricingStore(db: Db) {
  let known: RateTable | undefined
  const head = createSingleFlight(async () => {
    // By when it was published: a list may be corrected by another of the same day.
    const [row] = await db.query<{ version: string }>(
      'pricing.head',
      'select version from pricing_versions order by created_at desc, version desc limit 1',
      [],
    )
    if (row === undefined) throw new FabriqueError('unavailable', 'No price list has been published yet.')
    return row.version
  })
  return {
    /** The current table; throws `unavailable` on a record that was never seeded. */
    async current(): Promise<RateTable> {
      const version = await head('')
      if (known?.version === version) return known
      const [row] = await db.query<{ document: RateTable }>(
        'pricing.get',
        'select document from pricing_versions where version = $1',
        [version],
      )
      if (row === undefined) throw new Error(`the price list ${version} is gone`)
      known = row.document
      return row.document
    },
    /** Adds a version, which becomes current; null if it exists already. One without models takes over those before it. */
    async add(table: RateTable): Promise<RateTable | null> {
      const [before] =
        table.models === undefined
          ? await db.query<{ models: RateTable['models'] }>(
              'pricing.models',
              `select document -> 'models' as models from pricing_versions where document -> 'models' is not null
               order by created_at desc, version desc limit 1`,
              [],
            )
          : []
      const whole = { ...table, ...before }
      const { numInsertedOrUpdatedRows = 0n } = await db.kysely
        .insertInto('pricing_versions')
        .values({ version: table.version, document: JSON.stringify(whole) })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst()
      return numInsertedOrUpdatedRows > 0n ? whole : null
    },
  }
}
