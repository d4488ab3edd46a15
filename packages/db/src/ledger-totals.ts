// The ledger of all runs, added up by what an invoice has lines for.
// Hides that a call whose price is an estimate has no lines: it counts with its amount and without a unit.
import type { LedgerTotal } from '@fabrique/schema'
import { sql } from 'kysely'
import type { Db } from './client.ts'

/** What calls came to that were begun in `[from, before)`, of one organization or of all (null); dearest first. */
export async function readLedgerTotals(
  db: Db,
  organizationId: string | null,
  { from, before }: { from: Date; before: Date },
): Promise<LedgerTotal[]> {
  const { rows } = await sql<Record<keyof LedgerTotal, never>>`
    select c.provider, c.model, c.bill ->> 'tier' as tier, l.unit, c.status, c.simulated, c.outcome = 'unknown' as unknown,
      count(distinct c.id)::int as calls, sum(l.quantity) as quantity, sum(coalesce(l.usd, c.actual_usd)) as usd
    from provider_calls c join runs r on r.id = c.run_id
    left join lateral json_to_recordset(c.bill -> 'lines') as l(quantity numeric, unit text, usd numeric) on true
    where c.created_at >= ${from} and c.created_at < ${before} and c.actual_usd is not null
      and (${organizationId}::text is null or r.organization_id = ${organizationId})
    group by 1, 2, 3, 4, 5, 6, 7 order by usd desc, c.model, l.unit`.execute(db.kysely)
  return rows.map((row) => ({
    ...row,
    quantity: row.quantity === null ? null : Number(row.quantity),
    usd: Number(row.usd),
  }))
}
