// Runs below runs: slots and called workflows, by who waits for whom, and what a run and those below it come to.
import { NOTHING_SPENT, type Spending } from '@fabrique/schema'
import { type Kysely, type RawBuilder, type Selectable, sql } from 'kysely'
import type { Tables } from '../tables.ts'

/** A `with` clause: `tree (id, depth)`, a run and everything below it. */
export const treeOf = (runId: string): RawBuilder<unknown> => sql`with recursive tree as (
  select id, 0 as depth from runs where id = ${runId}
  union all select r.id, depth + 1 from runs r join tree on r.awaited_by = tree.id
)`

/** A `with` clause: `tree (top, id)`, each of these runs with itself and everything below it. */
export const treesOf = (runIds: readonly string[]): RawBuilder<unknown> => sql`with recursive tree as (
  select id as top, id from runs where id = any(${runIds}::text[])
  union all select tree.top, r.id from runs r join tree on r.awaited_by = tree.id
)`

/** The slots of these runs, by index. */
export async function slotsOf(
  kysely: Kysely<Tables>,
  runIds: readonly string[],
): Promise<Selectable<Tables['runs']>[]> {
  if (runIds.length === 0) return []
  const slots = kysely.selectFrom('runs').selectAll().where('awaited_by', 'in', runIds)
  return await slots.where('slot_index', 'is not', null).orderBy('slot_index').execute()
}

/** A column for each part of a spending; the aggregate is of the calls of that part. */
const parts = (name: string, usd: string) =>
  sql.raw(`sum(${usd}) filter (where not simulated and outcome <> 'unknown') as ${name}_billed,
    sum(${usd}) filter (where simulated) as ${name}_simulated,
    sum(${usd}) filter (where not simulated and outcome = 'unknown') as ${name}_unknown`)

/** What each of these runs costs with everything below it: `actual` by the ledger, `spent` with open calls as estimated. */
export async function costsOf(
  kysely: Kysely<Tables>,
  runIds: readonly string[],
): Promise<(runId: string) => { actual: Spending; spent: Spending }> {
  const { rows } = await sql<Record<string, string | null>>`${treesOf(runIds)}
    select top, ${parts('actual', 'actual_usd')}, ${parts('spent', 'coalesce(actual_usd, estimated_usd)')}
    from provider_calls c join tree on tree.id = c.run_id group by top`.execute(kysely)
  const spending = (row: (typeof rows)[number], name: string): Spending => ({
    billed: Number(row[`${name}_billed`]),
    simulated: Number(row[`${name}_simulated`]),
    unknown: Number(row[`${name}_unknown`]),
  })
  const costs = new Map(
    rows.map((row) => [row.top, { actual: spending(row, 'actual'), spent: spending(row, 'spent') }]),
  )
  return (runId) => costs.get(runId) ?? { actual: NOTHING_SPENT, spent: NOTHING_SPENT }
}

/** The open gates of these runs and of everything below them, each with the one of these runs that it is below. */
export async function openGatesOf(
  kysely: Kysely<Tables>,
  runIds: readonly string[],
): Promise<{ top: string; run_id: string; id: string; name: string }[]> {
  const { rows } = await sql<{ top: string; run_id: string; id: string; name: string }>`${treesOf(runIds)}
    select top, g.run_id, g.id, g.name from gates g join tree on tree.id = g.run_id where g.status = 'open'
    order by g.run_id, g.id`.execute(kysely)
  return rows
}
