// Lists of root runs that stay fast with a filter: each condition of its own has an index that ends in the list's order.
import { type Kysely, sql } from 'kysely'

const ROOTS = 'slot_index is null and caller_run_id is null'

const STATEMENTS = [
  `create index runs_by_status on runs (organization_id, status, id desc) where ${ROOTS}`,
  `create index runs_by_workflow on runs (organization_id, workflow, id desc) where ${ROOTS}`,
  // Most runs have no metadata, and pay nothing for this one.
  `create index runs_by_metadata on runs using gin (metadata jsonb_path_ops) where ${ROOTS} and metadata <> '{}'`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
