// Sessions of the operator app, each with a key behind it, and links that begin one. Their secrets are stored as SHA-256.
// Hides what ends a session: time without input, its age, a sign-out, the end of its key.
import type { Ids } from '@fabrique/engine'
import type { Role, WebSession } from '@fabrique/schema'
import { digestOf, KEY_IS_VALID, newSecret, type Principal } from './account-store.ts'
import type { Db } from './client.ts'

/** Without input for so long, a session ends; polling is no input. */
const IDLE = "interval '2 hours'"
/** The longest that a session lives. */
const LONGEST = "interval '24 hours'"
const SESSIONS = `web_sessions s join api_keys k on k.id = s.key_id
  where s.seen_at > now() - ${IDLE} and s.created_at > now() - ${LONGEST} and ${KEY_IS_VALID}`

export type SessionStore = ReturnType<typeof createSessionStore>

/** The PostgreSQL store of sessions. */
export function createSessionStore(db: Db, ids: Ids) {
  return {
    /** Begins a session of the key; answers the secret that its cookie holds. */
    async create(keyId: string): Promise<string> {
      await db.query('sessions.forget', `delete from web_sessions where created_at < now() - ${LONGEST}`, [])
      const secret = newSecret('fabs_')
      await db.query('sessions.create', 'insert into web_sessions (id, key_id, digest) values ($1, $2, $3)', [
        `ses_${ids.next()}`,
        keyId,
        digestOf(secret),
      ])
      return secret
    },
    /** Who is signed in by this secret, or null; one answer for unknown, idle, old and ended with its key. */
    async authenticate(secret: string): Promise<Principal | null> {
      const [row] = await db.query<{ id: string; key_id: string; organization_id: string; role: Role }>(
        'sessions.authenticate',
        `select s.id, s.key_id, k.organization_id, k.role from ${SESSIONS} and s.digest = $1`,
        [digestOf(secret)],
      )
      if (row === undefined) return null
      return {
        keyId: row.key_id,
        organizationId: row.organization_id,
        role: row.role,
        token: null,
        session: { id: row.id },
      }
    },
    /** The session of this secret as its page shows it, or null. */
    async describe(secret: string): Promise<WebSession | null> {
      const [row] = await db.query<WebSession & { idle_at: Date; expires_at: Date }>(
        'sessions.describe',
        `select k.role, json_build_object('id', o.id, 'name', o.name) as organization,
          json_build_object('id', k.id, 'name', k.name, 'prefix', k.prefix) as key,
          s.seen_at + ${IDLE} as idle_at, s.created_at + ${LONGEST} as expires_at
         from organizations o, ${SESSIONS} and o.id = k.organization_id and s.digest = $1`,
        [digestOf(secret)],
      )
      if (row === undefined) return null
      return { ...row, idle_at: row.idle_at.toISOString(), expires_at: row.expires_at.toISOString() }
    },
    /** Notes that somebody is at the page. False where there is no such session. */
    async touch(secret: string): Promise<boolean> {
      const rows = await db.query(
        'sessions.touch',
        `update web_sessions set seen_at = now() where id in (select s.id from ${SESSIONS} and s.digest = $1) returning id`,
        [digestOf(secret)],
      )
      return rows.length > 0
    },
    async end(secret: string): Promise<void> {
      await db.query('sessions.end', 'delete from web_sessions where digest = $1', [digestOf(secret)])
    },
    /** Which of these sessions have not ended. */
    async valid(sessionIds: readonly string[]): Promise<Set<string>> {
      const rows = await db.query<{ id: string }>('sessions.valid', `select s.id from ${SESSIONS} and s.id = any($1)`, [
        sessionIds,
      ])
      return new Set(rows.map(({ id }) => id))
    },
    /** A link's secret, which begins one session of the key within `ttlS` seconds. */
    async createLink(keyId: string, ttlS: number): Promise<string> {
      await db.query('links.forget', 'delete from sign_in_links where expires_at < now()', [])
      const secret = newSecret('fabl_')
      await db.query(
        'links.create',
        `insert into sign_in_links (digest, key_id, expires_at) values ($1, $2, now() + $3::int * interval '1 s')`,
        [digestOf(secret), keyId, ttlS],
      )
      return secret
    },
    /** Uses a link up; answers its key, or null where it is unknown, used, too old, or its key has ended. */
    async redeem(link: string): Promise<string | null> {
      const [row] = await db.query<{ key_id: string }>(
        'links.redeem',
        `delete from sign_in_links l using api_keys k
         where l.digest = $1 and l.expires_at > now() and k.id = l.key_id and ${KEY_IS_VALID} returning l.key_id`,
        [digestOf(link)],
      )
      return row?.key_id ?? null
    },
  }
}
