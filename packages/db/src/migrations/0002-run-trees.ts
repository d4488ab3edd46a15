// Runs that wait for their slots or for runs that they called, gates that decide themselves, and what was spent under a day's cap.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  // The run that waits for this one. Who has it set is not listed by itself.
  `alter table runs add column awaited_by text collate "C"`,
  // How many slots a run consists of; null for a run that is executed itself.
  `alter table runs add column slots smallint`,
  `create index runs_awaited on runs (awaited_by) where awaited_by is not null`,
  `alter table gates add column expires_at timestamptz, add column on_expiry text check (on_expiry in ('approve', 'reject'))`,
  // One row per call and cap, from the intent on: what a call may cost is reserved by the row that books it.
  `create table capped_calls (
    organization_id text not null,
    workflow text not null collate "C",
    day date not null,
    call_id text not null collate "C",
    usd numeric not null,
    primary key (organization_id, workflow, day, call_id) include (usd)
  )`,
  `create index capped_calls_call on capped_calls (call_id)`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
