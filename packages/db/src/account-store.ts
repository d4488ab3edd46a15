// Organizations, API keys and access tokens. Keys and tokens are random, stored as SHA-256 and a short prefix, and shown once.
// Hides how a key is made and found; a revoked or expired key is found by nobody.
import { createHash, randomBytes, randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Ids } from '@fabrique/engine'
import {
  type ApiKey,
  KEY_PREFIX_LENGTH,
  type NewAccessToken,
  type NewApiKey,
  type Organization,
  type Role,
} from '@fabrique/schema'
import { sql } from 'kysely'
import type { Db } from './client.ts'
import { snakeCased, withTimesAsText } from './row-shape.ts'

/** The platform's own; only its keys may have the role `admin`. */
export const SYSTEM_ORGANIZATION = 'system'

export interface Principal {
  keyId: string
  organizationId: string
  role: Role
  /** The token that it came with instead of the key: it only reads, and only this run where it names one. */
  token: { id: string; runId: string | null } | null
  /** The session of the operator app that it came with, which may do what its key may. */
  session?: { id: string }
}

const KEY_COLUMNS = ['id', 'organization_id', 'role', 'name', 'prefix', 'expires_at', 'created_at'] as const
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

const TOKENS_PER_KEY_MAX = 10_000

/** Of a row k of api_keys. */
export const KEY_IS_VALID = 'k.revoked_at is null and (k.expires_at is null or k.expires_at > now())'
const TOKENS = `access_tokens t join api_keys k on k.id = t.key_id where t.expires_at > now() and ${KEY_IS_VALID}`

/** A new secret: `fab_`, or another prefix for a token, session or link, 32 random base62 characters (190 bits), and a checksum that spots a truncated copy. */
export function newSecret(prefix: 'fab_' | 'fabt_' | 'fabs_' | 'fabl_' = 'fab_'): string {
  const body = Array.from({ length: 32 }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')
  return `${prefix}${body}${crc32(body).toString(16).padStart(8, '0')}`
}

/** What of a secret is stored. */
export function digestOf(secret: string): string {
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
          prefix: secret.slice(0, KEY_PREFIX_LENGTH),
          digest: digestOf(secret),
        })
        // The bootstrap key may come back by its environment variable: the same secret is the same key, alive again.
        .onConflict((conflict) => conflict.column('digest').doUpdateSet({ revoked_at: null }))
        .returning(KEY_COLUMNS)
        .executeTakeFirstOrThrow()
      return { ...withTimesAsText(row), key: secret }
    },
    /** Those that were not revoked, newest first; `before` is the id of the last of the page before. */
    async listKeys(
      filter: { organization_id?: string | undefined; prefix?: string | undefined },
      limit: number,
      before: string | null,
    ): Promise<ApiKey[]> {
      let query = db.kysely
        .selectFrom('api_keys')
        .select(KEY_COLUMNS)
        .where('revoked_at', 'is', null)
        .orderBy('id', 'desc')
        .limit(limit)
      if (filter.organization_id !== undefined) query = query.where('organization_id', '=', filter.organization_id)
      if (filter.prefix !== undefined) query = query.where('prefix', '=', filter.prefix)
      if (before !== null) query = query.where('id', '<', before)
      return (await query.execute()).map(withTimesAsText)
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
      const isToken = secret.startsWith('fabt_')
      type Row = { id: string; organization_id: string; role: Role; token_id?: string; run_id?: string | null }
      const [row] = await db.query<Row>(
        isToken ? 'tokens.authenticate' : 'keys.authenticate',
        isToken
          ? `select k.id, k.organization_id, k.role, t.id as token_id, t.run_id from ${TOKENS} and t.digest = $1`
          : `select k.id, k.organization_id, k.role from api_keys k where k.digest = $1 and ${KEY_IS_VALID}`,
        [digestOf(secret)],
      )
      if (row === undefined) return null
      const { id: keyId, organization_id: organizationId, role, token_id: id, run_id: runId = null } = row
      if (id === undefined) return { keyId, organizationId, role, token: null }
      return { keyId, organizationId, role: 'operator', token: { id, runId } }
    },
    /** Which of these keys and tokens are neither revoked nor expired. */
    async valid(credentialIds: readonly string[]): Promise<Set<string>> {
      const rows = await db.query<{ id: string }>(
        'keys.valid',
        `select k.id from api_keys k where k.id = any($1) and ${KEY_IS_VALID}
         union all select t.id from ${TOKENS} and t.id = any($1)`,
        [credentialIds],
      )
      return new Set(rows.map(({ id }) => id))
    },
    /** A token of the key; null where the key has its maximum of unexpired ones. */
    async createToken({
      keyId,
      runId,
      ttlS,
    }: {
      keyId: string
      runId: string | null
      ttlS: number
    }): Promise<NewAccessToken | null> {
      await db.query('tokens.forget', 'delete from access_tokens where expires_at < now()', [])
      const token = newSecret('fabt_')
      const [row] = await db.query<{ id: string; expires_at: Date }>(
        'tokens.create',
        `insert into access_tokens (id, key_id, run_id, digest, expires_at)
         select $1, $2, $3, $4, now() + $5::int * interval '1 s'
         where (select count(*) from access_tokens where key_id = $2) < ${TOKENS_PER_KEY_MAX}
         returning id, expires_at`,
        [`tok_${ids.next()}`, keyId, runId, digestOf(token), ttlS],
      )
      if (row === undefined) return null
      const scope = runId === null ? 'read' : 'run'
      return { id: row.id, token, scope, run_id: runId, expires_at: row.expires_at.toISOString() }
    },
    /** False where the organization has no such token. */
    async revokeToken(organizationId: string, id: string): Promise<boolean> {
      const rows = await db.query(
        'tokens.revoke',
        `delete from access_tokens t using api_keys k
         where t.id = $2 and k.id = t.key_id and k.organization_id = $1 returning t.id`,
        [organizationId, id],
      )
      return rows.length > 0
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
