// Runs below runs: slots and called workflows, by who waits for whom.
import { type RawBuilder, sql } from 'kysely'

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
