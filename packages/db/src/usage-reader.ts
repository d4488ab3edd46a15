// What an organization has on record, for its quotas.
import { sql, type Transaction } from 'kysely'
import type { Db } from './client.ts'
import type { Tables } from './tables.ts'

export interface Usage {
  /** Root runs that have not ended. */
  openRuns: number
  /** The sizes of its artifacts; bytes that several of them share count for each. */
  storedBytes: number
}

/** Counts what the organization has. Both counts are of an index alone. */
export async function readUsage({ kysely }: Db, organizationId: string): Promise<Usage> {
  const { rows } = await sql<{ runs: string; bytes: string | null }>`select
    (select count(*) from runs where organization_id = ${organizationId} and slot_index is null
      and caller_run_id is null and status in ('pending', 'running', 'waiting')) as runs,
    (select sum(bytes) from artifacts where organization_id = ${organizationId}) as bytes`.execute(kysely)
  return { openRuns: Number(rows[0]?.runs ?? 0), storedBytes: Number(rows[0]?.bytes ?? 0) }
}

/**
 * How many of these an organization has, removed ones left out. The transaction is the only one that adds to them until
 * it ends, so that the count holds.
 */
export async function countInTurn(
  trx: Transaction<Tables>,
  table: 'schedules' | 'webhook_endpoints',
  organizationId: string,
): Promise<number> {
  await trx.selectFrom('organizations').select('id').where('id', '=', organizationId).forNoKeyUpdate().execute()
  const isLive = table === 'schedules' ? sql`true` : sql`deleted_at is null`
  const { rows } = await sql<{ count: string }>`select count(*) from ${sql.table(table)}
    where organization_id = ${organizationId} and ${isLive}`.execute(trx)
  return Number(rows[0]?.count ?? 0)
}
