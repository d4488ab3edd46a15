// What runs have spent, with everything below them: one statement for all that ask.
import { NOTHING_SPENT, type Spending } from '@fabrique/schema'
import { type Kysely, sql, type Transaction } from 'kysely'
import type { Tables } from '../tables.ts'
import { treesOf } from './tree.ts'

/** By run; `pending` calls count at their estimate, or not at all. */
export async function spendingOfRuns(
  db: Kysely<Tables> | Transaction<Tables>,
  runIds: readonly string[],
  pending: 'estimated' | 'free',
): Promise<(runId: string) => Spending> {
  const usd = sql.raw(pending === 'estimated' ? 'coalesce(actual_usd, estimated_usd)' : 'coalesce(actual_usd, 0)')
  const { rows } = await sql<{ top: string } & Record<keyof Spending, string | null>>`${treesOf(runIds)}
    select top, sum(${usd}) filter (where not simulated and outcome <> 'unknown') as billed,
      sum(${usd}) filter (where simulated) as simulated,
      sum(${usd}) filter (where not simulated and outcome = 'unknown') as unknown
    from provider_calls c join tree on tree.id = c.run_id group by top`.execute(db)
  const found = new Map(
    rows.map(({ top, billed, simulated, unknown }) => [
      top,
      { billed: Number(billed), simulated: Number(simulated), unknown: Number(unknown) },
    ]),
  )
  return (runId) => found.get(runId) ?? NOTHING_SPENT
}
