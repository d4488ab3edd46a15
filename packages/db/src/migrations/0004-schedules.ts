// Schedules: what is submitted again and again, and how far each has come.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  `create table schedules (
    id text primary key collate "C",
    organization_id text not null references organizations(id),
    drafts boolean not null,
    name text,
    cron text not null,
    timezone text not null,
    run_spec json not null,
    overlap text not null check (overlap in ('skip', 'queue', 'cancel_other')),
    enabled boolean not null,
    done_until timestamptz not null default now(),
    -- Taken up and not dealt with: whoever looks next goes on with this instant.
    firing_at timestamptz,
    -- When somebody has to look; null where nothing will ever come due.
    due_at timestamptz,
    fence integer not null default 0,
    last_fired_at timestamptz,
    last_run_id text collate "C",
    last_skipped_at timestamptz,
    last_error json,
    created_at timestamptz not null default now()
  )`,
  `create index schedules_listed on schedules (organization_id, id desc)`,
  `create index schedules_due on schedules (due_at) where due_at is not null`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
