// How the amount of a call came about, line by line, and limits that no amount can pass.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  'alter table provider_calls add column bill json',
  'alter table provider_calls drop constraint provider_calls_status_check',
  `alter table provider_calls add constraint provider_calls_status_check
    check (status in ('estimated', 'measured', 'provider_reported'))`,
  // Of new rows only: older ones may hold what was believed then.
  `alter table provider_calls add constraint provider_calls_amounts check (
    coalesce(quantity, 1) > 0 and coalesce(quantity, 1) < 1e12
    and estimated_usd >= 0 and estimated_usd < 1e6
    and coalesce(actual_usd, 0) >= 0 and coalesce(actual_usd, 0) < 1e6) not valid`,
  // For totals by month; an index of a page per range costs writes next to nothing.
  'create index provider_calls_time on provider_calls using brin (created_at)',
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
