// Runs below runs: slots and called workflows, by who waits for whom, and what a run and those below it come to.
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

/** What each of these runs costs with everything below it: `actual` by the ledger, `spent` with open calls as estimated. */
export async function costsOf(
  kysely: Kysely<Tables>,
  runIds: readonly string[],
): Promise<(runId: string) => { actual: number; spent: number }> {
  const { rows } = await sql<{ top: string; actual: string | null; spent: string }>`${treesOf(runIds)}
    select top, sum(actual_usd) as actual, sum(coalesce(actual_usd, estimated_usd)) as spent
    from provider_calls c join tree on tree.id = c.run_id group by top`.execute(kysely)
  const costs = new Map(rows.map(({ top, actual, spent }) => [top, { actual: Number(actual), spent: Number(spent) }]))
  return (runId) => costs.get(runId) ?? { actual: 0, spent: 0 }
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
