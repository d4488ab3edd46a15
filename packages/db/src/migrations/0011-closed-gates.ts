// Gates that nobody decided before their run ended are closed. Frozen once merged: change it by a new migration.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  `alter table gates drop constraint gates_status_check`,
  `alter table gates add constraint gates_status_check
    check (status in ('passed', 'failed', 'open', 'approved', 'rejected', 'closed'))`,
  `update gates set status = 'closed', changed_at = now() from runs
    where runs.id = gates.run_id and gates.status = 'open' and runs.status in ('completed', 'failed', 'cancelled')`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
