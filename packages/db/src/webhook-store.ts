// Webhook endpoints and the deliveries owed to them; a trigger on the events makes the deliveries (migration 0003).
// Hides how workers share what is due, and that an endpoint may go while something is being sent to it.
import { randomBytes } from 'node:crypto'
import type { Ids } from '@fabrique/engine'
import {
  type CreatedWebhook,
  type DeliveryStatus,
  type EventKind,
  type RotatedWebhook,
  type WebhookChange,
  type WebhookDelivery,
  type WebhookResource,
  WEBHOOKS_MAX,
} from '@fabrique/schema'
import type { DeliveryStore, DueDelivery } from '@fabrique/webhooks'
import { type ExpressionBuilder, type Selectable, sql } from 'kysely'
import type { Db } from './client.ts'
import { camelCased, snakeCased, withTimesAsText } from './row-shape.ts'
import type { Tables } from './tables.ts'
import { countInTurn } from './usage-reader.ts'

type Endpoint = Selectable<Tables['webhook_endpoints']>
type Delivery = Selectable<Tables['webhook_deliveries']>

/** What everybody sees of an endpoint: all but its secrets. */
const ENDPOINT_COLUMNS = [
  'id',
  'url',
  'event_filter',
  'max_retries',
  'disabled_at',
  'disabled_reason',
  'failing_since',
  'created_at',
] as const
const ATTEMPTS_KEPT = 20
const FORMER_SECRET_HOURS = 24

// Healthy endpoints first, and organizations in turns: of one with fifty due and one with one, the second is among the
// first two. The counts are of claims that stand, in all processes; two at once may exceed them by one round.
const CLAIM = `
with held as (
  select w.organization_id, count(*) as claims from webhook_deliveries c
  join webhook_endpoints w on w.id = c.endpoint_id where c.claimed_until > now() group by 1
), due as (
  select d.*, w.organization_id, w.failing_since is not null as failing, row_number() over (
    partition by w.organization_id order by w.failing_since is not null, d.next_attempt_at) as turn
  from webhook_endpoints w
  cross join lateral (
    select endpoint_id, event_id, next_attempt_at from webhook_deliveries
    where endpoint_id = w.id and status = 'pending' and next_attempt_at <= now()
    order by next_attempt_at
    limit greatest(0, (case when w.failing_since is null and w.id <> all($5::text[]) then $2::int else 1 end) - (
      select count(*) from webhook_deliveries c where c.endpoint_id = w.id and c.claimed_until > now()))
    for update skip locked
  ) d
  where w.disabled_at is null
), taken as (
  select due.* from due left join held using (organization_id)
  where turn <= $4::int - coalesce(claims, 0)
  order by failing, turn, next_attempt_at limit $1
)
update webhook_deliveries d set fence = fence + 1, claimed_until = now() + $3::int * interval '1 ms',
  next_attempt_at = now() + $3::int * interval '1 ms'
from taken, webhook_endpoints w
where d.endpoint_id = taken.endpoint_id and d.event_id = taken.event_id and w.id = d.endpoint_id
returning d.endpoint_id, d.event_id, d.body, d.failures, d.fence, w.url, w.max_retries, w.secret,
  case when w.former_until > now() then w.former_secret end as former_secret, now() as claimed_at`

const RECORD = `
with d as (
  update webhook_deliveries set attempts = attempts + 1, claimed_until = null, last_status = $5, last_error = $6,
    status = $4, failures = failures + (case when $4 = 'delivered' then 0 else 1 end),
    next_attempt_at = case when $4 = 'pending' then now() + $8::bigint * interval '1 ms' end,
    finished_at = case when $4 = 'pending' then null else now() end
  where endpoint_id = $1 and event_id = $2 and fence = $3 and status = 'pending'
  returning attempts
), a as (
  insert into webhook_attempts (endpoint_id, event_id, number, status, error, duration_ms)
  select $1, $2, attempts, $5, $6, $7 from d on conflict do nothing
), p as (
  delete from webhook_attempts
  where endpoint_id = $1 and event_id = $2 and number <= (select attempts - ${ATTEMPTS_KEPT} from d)
)
update webhook_endpoints set
  failing_since = case when $4 = 'delivered' then null else coalesce(failing_since, now()) end,
  disabled_at = case when $4 = 'disabled' then coalesce(disabled_at, now()) else disabled_at end,
  disabled_reason = case when $4 = 'disabled' then 'The receiver answered 410 Gone.' else disabled_reason end
where id = $1 and exists (select 1 from d) and ((failing_since is null) <> ($4 = 'delivered') or $4 = 'disabled')`

const SETTLE_DISABLED = `
update webhook_deliveries d set status = 'disabled', next_attempt_at = null, finished_at = now()
from webhook_endpoints w where w.disabled_at is not null and d.endpoint_id = w.id and d.status = 'pending'`

type ClaimRow = Pick<Delivery, 'endpoint_id' | 'event_id' | 'body' | 'failures' | 'fence'> &
  Pick<Endpoint, 'url' | 'max_retries' | 'secret' | 'former_secret'> & { claimed_at: Date }

/** The PostgreSQL record of deliveries, for dispatchers. */
export function createDeliveryStore(db: Db): DeliveryStore {
  async function settleDisabled(): Promise<void> {
    await db.query('webhooks.settleDisabled', SETTLE_DISABLED, [])
  }
  return {
    settleDisabled,
    async claim({ limit, perOrganization, perEndpoint, slow, leaseMs }) {
      const bounds = [limit, perEndpoint, leaseMs, perOrganization, slow]
      const rows = await db.query<ClaimRow>('webhooks.claim', CLAIM, bounds)
      return rows.map(
        ({ secret, former_secret, ...row }): DueDelivery => ({
          ...camelCased(row),
          secrets: former_secret === null ? [secret] : [secret, former_secret],
        }),
      )
    },
    async record({ endpointId, eventId, fence }, { status, error, durationMs }, verdict) {
      const next = { delivered: 'delivered', exhausted: 'exhausted', gone: 'disabled', retry: 'pending' } as const
      await db.query('webhooks.record', RECORD, [
        endpointId,
        eventId,
        fence,
        next[verdict.is],
        status,
        error,
        durationMs,
        verdict.is === 'retry' ? verdict.delayMs : 0,
      ])
      if (verdict.is === 'gone') await settleDisabled()
    },
  }
}

export type WebhookStore = ReturnType<typeof createWebhookStore>

/** The PostgreSQL webhook store, for the API. An endpoint that the organization does not have is null. */
export function createWebhookStore(db: Db, ids: Ids) {
  /** The organization's endpoints that were not removed, or the one of this id. */
  const live = (organizationId: string, id?: string) => (eb: ExpressionBuilder<Tables, 'webhook_endpoints'>) =>
    eb.and({ organization_id: organizationId, ...(id === undefined ? {} : { id }), deleted_at: null })
  const find = (organizationId: string, id?: string) =>
    db.kysely.selectFrom('webhook_endpoints').select(ENDPOINT_COLUMNS).where(live(organizationId, id)).orderBy('id')
  const update = (organizationId: string, id: string) =>
    db.kysely.updateTable('webhook_endpoints').where(live(organizationId, id))

  return {
    /** The secret is in the answer and nowhere else afterwards. Null where the organization has as many as it may. */
    async create(
      organizationId: string,
      endpoint: { url: string; eventFilter: EventKind[]; maxRetries: number },
    ): Promise<CreatedWebhook | null> {
      return await db.kysely.transaction().execute(async (trx) => {
        if ((await countInTurn(trx, 'webhook_endpoints', organizationId)) >= WEBHOOKS_MAX) return null
        const row = await trx
          .insertInto('webhook_endpoints')
          .values({
            ...snakeCased(endpoint),
            id: `wh_${ids.next()}`,
            organization_id: organizationId,
            secret: newSecret(),
          })
          .returning([...ENDPOINT_COLUMNS, 'secret'])
          .executeTakeFirstOrThrow()
        return endpointResource(row)
      })
    },
    async list(organizationId: string): Promise<WebhookResource[]> {
      return (await find(organizationId).execute()).map(endpointResource)
    },
    async get(organizationId: string, id: string): Promise<WebhookResource | null> {
      const row = await find(organizationId, id).executeTakeFirst()
      return row === undefined ? null : endpointResource(row)
    },
    async change(organizationId: string, id: string, change: WebhookChange): Promise<WebhookResource | null> {
      const row = await update(organizationId, id)
        .set({
          url: change.url,
          event_filter: change.event_filter,
          max_retries: change.max_retries,
          ...(change.enabled === true ? { disabled_at: null, disabled_reason: null, failing_since: null } : {}),
          ...(change.enabled === false
            ? {
                disabled_at: sql<Date>`coalesce(disabled_at, now())`,
                disabled_reason: sql<string>`coalesce(disabled_reason, 'Disabled by its owner.')`,
              }
            : {}),
          // An empty change is one too.
          id,
        })
        .returning(ENDPOINT_COLUMNS)
        .executeTakeFirst()
      if (row === undefined) return null
      if (change.enabled === false) await createDeliveryStore(db).settleDisabled()
      return endpointResource(row)
    },
    /** A new secret; the one before it is honoured for another 24 hours, an older one no longer. */
    async rotate(organizationId: string, id: string): Promise<RotatedWebhook | null> {
      const rotated = await update(organizationId, id)
        .set({
          secret: newSecret(),
          former_secret: sql`secret`,
          former_until: sql<Date>`now() + ${FORMER_SECRET_HOURS} * interval '1 hour'`,
        })
        .returning([...ENDPOINT_COLUMNS, 'secret', 'former_until'])
        .executeTakeFirst()
      if (rotated?.former_until == null) return null
      const { former_until: until, ...row } = rotated
      return { ...endpointResource(row), former_secret_expires_at: until.toISOString() }
    },
    /** Forgets the endpoint, its secrets and its deliveries. False where there is none. */
    async remove(organizationId: string, id: string): Promise<boolean> {
      return await db.kysely.transaction().execute(async (trx) => {
        const { numUpdatedRows } = await trx
          .updateTable('webhook_endpoints')
          .set({
            deleted_at: sql<Date>`now()`,
            disabled_at: sql<Date>`coalesce(disabled_at, now())`,
            secret: '',
            former_secret: null,
          })
          .where(live(organizationId, id))
          .executeTakeFirst()
        if (numUpdatedRows === 0n) return false
        await trx.deleteFrom('webhook_attempts').where('endpoint_id', '=', id).execute()
        await trx.deleteFrom('webhook_deliveries').where('endpoint_id', '=', id).execute()
        return true
      })
    },
    /** Newest first, behind `before`. */
    async deliveries(
      organizationId: string,
      id: string,
      { limit, before, status }: { limit: number; before: string | null; status?: DeliveryStatus | undefined },
    ): Promise<WebhookDelivery[] | null> {
      if ((await find(organizationId, id).executeTakeFirst()) === undefined) return null
      let query = db.kysely
        .selectFrom('webhook_deliveries as d')
        .select(['event_id as id', 'endpoint_id as webhook_id', 'kind', 'run_id', 'status', 'attempts'])
        .select(['next_attempt_at', 'last_status', 'last_error', 'created_at', 'finished_at'])
        .select(
          sql<WebhookDelivery['log']>`(
            select coalesce(json_agg(json_build_object('number', a.number, 'at', to_char(a.at at time zone 'UTC',
              'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'status', a.status, 'error', a.error, 'duration_ms', a.duration_ms)
              order by a.number desc), '[]')
            from webhook_attempts a where a.endpoint_id = d.endpoint_id and a.event_id = d.event_id)`.as('log'),
        )
        .where('endpoint_id', '=', id)
        .orderBy('event_id', 'desc')
        .limit(limit)
      if (before !== null) query = query.where('event_id', '<', before)
      if (status !== undefined) query = query.where('status', '=', status)
      return (await query.execute()).map(withTimesAsText)
    },
    /** Makes a delivery due now, with all its retries, unless it is just being sent. */
    async redeliver(organizationId: string, id: string, deliveryId: string): Promise<'due' | 'unknown' | 'disabled'> {
      const endpoint = await find(organizationId, id).executeTakeFirst()
      if (endpoint === undefined) return 'unknown'
      const delivery = { endpoint_id: id, event_id: deliveryId }
      const row = await db.kysely
        .selectFrom('webhook_deliveries')
        .select('event_id')
        .where((eb) => eb.and(delivery))
        .executeTakeFirst()
      if (row === undefined) return 'unknown'
      if (endpoint.disabled_at !== null) return 'disabled'
      await db.kysely
        .updateTable('webhook_deliveries')
        .set({
          status: 'pending',
          failures: 0,
          finished_at: null,
          next_attempt_at: sql<Date>`case when claimed_until > now() then next_attempt_at else now() end`,
        })
        .where((eb) => eb.and(delivery))
        .execute()
      return 'due'
    },
  }
}

/** 256 random bits, as Standard Webhooks writes them. */
function newSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`
}

function endpointResource<Row extends { disabled_at: Date | null }>(row: Row) {
  return { ...withTimesAsText(row), enabled: row.disabled_at === null }
}
