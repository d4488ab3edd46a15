// Rate tables as dated versions. The newest is current; none ever changes.
// Hides nothing else: what a price means is `schema/pricing.ts`.
import { FabriqueError, type RateTable } from '@fabrique/schema'
import { type Db, translated } from './client.ts'

export interface PricingStore {
  /** The current table; throws `unavailable` on a record that was never seeded. */
  current(): Promise<RateTable>
  /** Adds a version; false if that version exists already. */
  add(table: RateTable): Promise<boolean>
}

/** The PostgreSQL pricing store. */
export function createPricingStore(db: Db): PricingStore {
  return {
    async current() {
      // By when it was published: a dated version may be corrected by another of the same day.
      const [row] = await db.query<{ document: RateTable }>(
        'pricing.current',
        'select document from pricing_versions order by created_at desc, version desc limit 1',
        [],
      )
      if (row === undefined) throw new FabriqueError('unavailable', 'No price list has been published yet.')
      return row.document
    },
    async add(table) {
      const row = await db.kysely
        .insertInto('pricing_versions')
        .values({ version: table.version, document: JSON.stringify(table) })
        .onConflict((conflict) => conflict.doNothing())
        .returning('version')
        .executeTakeFirst()
        .catch((error: unknown) => {
          throw translated(error)
        })
      return row !== undefined
    },
  }
}
