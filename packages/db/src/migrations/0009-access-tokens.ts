// Access tokens: what a browser is given instead of a key. Frozen once merged: change it by a new migration.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  `create table access_tokens (
    id text primary key,
    -- A token lives no longer than its key.
    key_id text not null references api_keys(id) on delete cascade,
    -- The one run that it reads, with what is below it; null for all of the organization.
    run_id text collate "C",
    digest text not null unique,
    expires_at timestamptz not null,
    created_at timestamptz not null default now()
  )`,
  `create index access_tokens_expiry on access_tokens (expires_at)`,
  `create index access_tokens_of_key on access_tokens (key_id)`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
