// The order in which transactions wrote events, so that an organization's stream can be read on and resumed exactly.
// Earlier events have no place in it: a stream goes back an hour at most.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  'alter table events add column xact bigint',
  'alter table events alter column xact set default (pg_current_xact_id()::text::bigint)',
  'create index events_in_order on events (xact) where xact is not null',
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
