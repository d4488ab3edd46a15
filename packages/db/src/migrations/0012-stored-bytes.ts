// What an organization has stored, added up from an index alone. Frozen once merged: change it by a new migration.
import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create index artifacts_stored on artifacts (organization_id) include (bytes)`.execute(db)
}
