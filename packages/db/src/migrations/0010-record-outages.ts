// What tells an outage of the record from the death of a worker. Frozen once merged: change it by a new migration.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  // The number of the last commit under the fence: one whose answer was lost is repeated, and applied once.
  `alter table runs add column commits integer not null default 0`,
  // When a reconciler last began to look: while none could, nobody could renew a lease either.
  `create table last_pass (
    one boolean primary key default true check (one),
    at timestamptz not null default now()
  )`,
  `insert into last_pass default values`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
