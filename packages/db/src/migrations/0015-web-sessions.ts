// Sign-in to the operator app: sessions of browsers, and links that each begin one. Frozen once merged: change it by a
// new migration.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  `create table web_sessions (
    id text primary key,
    -- A session ends with its key.
    key_id text not null references api_keys(id) on delete cascade,
    digest text not null unique,
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
  )`,
  `create index web_sessions_age on web_sessions (created_at)`,
  `create index web_sessions_of_key on web_sessions (key_id)`,
  `create table sign_in_links (
    digest text primary key,
    key_id text not null references api_keys(id) on delete cascade,
    expires_at timestamptz not null
  )`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
