// Organizations and API keys. Keys are random, stored as SHA-256 and a short prefix, and shown once.
// Hides how a key is made and found; a revoked or expired key is found by nobody.
import { createHash, randomBytes, randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Ids } from '@fabrique/engine'
import type { ApiKey, NewApiKey, Organization, Role } from '@fabrique/schema'
import { sql } from 'kysely'
import type { Db } from './client.ts'
import { snakeCased, withTimesAsText } from './row-shape.ts'

export const SYSTEM_ORGANIZATION = 'system'

export interface Principal {
  keyId: string
  organizationId: string
  role: Role
}

const KEY_COLUMNS = ['id', 'organization_id', 'role', 'name', 'prefix', 'expires_at', 'created_at'] as const
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** A new secret: `fab_`, 32 random base62 characters (190 bits), and a checksum that spots a truncated copy. */
export function newSecret(): string {
  const body = Array.from({ length: 32 }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')
  return `fab_${body}${crc32(body).toString(16).padStart(8, '0')}`
}

function digestOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

export type AccountStore = ReturnType<typeof createAccountStore>

/** The PostgreSQL account store. */
export function createAccountStore(db: Db, ids: Ids) {
  return {
    async createOrganization(name: string): Promise<Organization> {
      const id = `org_${randomBytes(9).toString('hex')}`
      const row = await db.kysely
        .insertInto('organizations')
        .values({ id, name })
        .returningAll()
        .executeTakeFirstOrThrow()
      return withTimesAsText(row)
    },
    async listOrganizations(): Promise<Organization[]> {
      const rows = await db.kysely.selectFrom('organizations').selectAll().orderBy('created_at').limit(1000).execute()
      return rows.map(withTimesAsText)
    },
    /** The secret is in `key` and nowhere else afterwards. Null where there is no such organization. */
    async createKey(
      key: { role: Role; organizationId: string; name: string | null; expiresAt: Date | null },
      secret: string = newSecret(),
    ): Promise<NewApiKey | null> {
      const known = await db.kysely
        .selectFrom('organizations')
        .select('id')
        .where('id', '=', key.organizationId)
        .executeTakeFirst()
      if (known === undefined) return null
      const row = await db.kysely
        .insertInto('api_keys')
        .values({
          ...snakeCased(key),
          id: `key_${ids.next()}`,
          prefix: secret.slice(0, 10),
          digest: digestOf(secret),
        })
        // The bootstrap key may come back by its environment variable: the same secret is the same key, alive again.
        .onConflict((conflict) => conflict.column('digest').doUpdateSet({ revoked_at: null }))
        .returning(KEY_COLUMNS)
        .executeTakeFirstOrThrow()
      return { ...withTimesAsText(row), key: secret }
    },
    async listKeys(): Promise<ApiKey[]> {
      const rows = await db.kysely
        .selectFrom('api_keys')
        .select(KEY_COLUMNS)
        .where('revoked_at', 'is', null)
        .orderBy('created_at')
        .limit(1000)
        .execute()
      return rows.map(withTimesAsText)
    },
    async revokeKey(id: string): Promise<boolean> {
      const { numUpdatedRows } = await db.kysely
        .updateTable('api_keys')
        .set({ revoked_at: sql`now()` })
        .where('id', '=', id)
        .where('revoked_at', 'is', null)
        .executeTakeFirst()
      return numUpdatedRows > 0n
    },
    /** Who holds this secret now, or null; one answer for unknown, revoked and expired. */
    async authenticate(secret: string): Promise<Principal | null> {
      const [row] = await db.query<{ id: string; organization_id: string; role: Role }>(
        'keys.authenticate',
        `select id, organization_id, role from api_keys
         where digest = $1 and revoked_at is null and (expires_at is null or expires_at > now())`,
        [digestOf(secret)],
      )
      return row === undefined ? null : { keyId: row.id, organizationId: row.organization_id, role: row.role }
    },
    /** True when no admin key was ever made: the moment to make the first. */
    async needsBootstrap(): Promise<boolean> {
      const row = await db.kysely
        .selectFrom('api_keys')
        .select('id')
        .where('role', '=', 'admin')
        .limit(1)
        .executeTakeFirst()
      return row === undefined
    },
  }
}
