// An admin is the platform's: keys of other organizations that had the role go on as operators. Frozen once merged:
// change it by a new migration.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  `update api_keys set role = 'operator' where role = 'admin' and organization_id <> 'system'`,
  `alter table api_keys add constraint admins_are_of_the_platform check (role <> 'admin' or organization_id = 'system')`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
