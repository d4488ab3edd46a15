// What tells the run that ends its workers from those that were beside it. Frozen once merged: change it by a new migration.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  `alter table runs add column claimed_at timestamptz`,
  // Runs that lost their worker, for as long as they may lose another: few, and asked for at every claim of one.
  `create index runs_suspect on runs (claimed_at) where lost_leases > 0 and phase in ('queued', 'executing')`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
