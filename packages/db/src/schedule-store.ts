// Schedules as rows, and who of many workers deals with one that is due.
// Hides that only PostgreSQL's clock counts, and that a holder which was silent for too long writes nothing any more.
import type { DueSchedule, NewSchedule, ScheduleStore, StoredSchedule } from '@fabrique/engine'
import { SCHEDULES_MAX } from '@fabrique/schema'
import { type Selectable, sql } from 'kysely'
import type { Db } from './client.ts'
import { camelCased, snakeCased } from './row-shape.ts'
import { countInTurn } from './usage-reader.ts'
import type { Tables } from './tables.ts'

type Row = Selectable<Tables['schedules']>

const CLAIM_DUE = `
with d as (
  select id from schedules where due_at <= now() order by due_at limit $1 for update skip locked
)
update schedules s set fence = s.fence + 1, due_at = now() + $2::int * interval '1 ms'
from d where s.id = d.id
returning s.*, now() as now, not exists (
  select 1 from runs r where r.id = s.last_run_id and r.status in ('pending', 'running', 'waiting')) as previous_finished`

/** The PostgreSQL schedule store. */
export function createScheduleStore(db: Db): ScheduleStore {
  return {
    async create(schedule: NewSchedule) {
      return await db.kysely.transaction().execute(async (trx) => {
        if ((await countInTurn(trx, 'schedules', schedule.organizationId)) >= SCHEDULES_MAX) return null
        const row = await trx
          .insertInto('schedules')
          .values({
            ...snakeCased(schedule),
            run_spec: JSON.stringify(schedule.runSpec),
            due_at: schedule.enabled ? sql<Date>`now()` : null,
            last_error: JSON.stringify(null),
          })
          .returningAll()
          .executeTakeFirstOrThrow()
        return stored(row)
      })
    },
    async get(organizationId, id) {
      const row = await db.kysely
        .selectFrom('schedules')
        .selectAll()
        .where((eb) => eb.and({ organization_id: organizationId, id }))
        .executeTakeFirst()
      return row === undefined ? null : stored(row)
    },
    async list(organizationId, limit, before) {
      let query = db.kysely
        .selectFrom('schedules')
        .selectAll()
        .where('organization_id', '=', organizationId)
        .orderBy('id', 'desc')
        .limit(limit)
      if (before !== null) query = query.where('id', '<', before)
      return (await query.execute()).map(stored)
    },
    async change(organizationId, id, { runSpec, enabled, ...change }) {
      const isOver = enabled !== undefined || change.cron !== undefined || change.timezone !== undefined
      const row = await db.kysely
        .updateTable('schedules')
        .set({
          ...change,
          ...(runSpec === undefined ? {} : { run_spec: JSON.stringify(runSpec) }),
          ...(enabled === undefined ? {} : { enabled }),
          ...(isOver ? { done_until: sql<Date>`now()` } : {}),
          // A firing that was taken up goes on under its key; a pause ends it.
          ...(enabled === false ? { firing_at: null } : {}),
          due_at: sql<Date | null>`case when ${enabled ?? sql.ref('enabled')} then now() end`,
          fence: sql<number>`fence + 1`,
        })
        .where('organization_id', '=', organizationId)
        .where('id', '=', id)
        .returningAll()
        .executeTakeFirst()
      return row === undefined ? null : stored(row)
    },
    async noteRun(organizationId, id, runId) {
      await db.kysely
        .updateTable('schedules')
        .set({ last_run_id: runId, last_fired_at: sql<Date>`now()`, last_error: JSON.stringify(null) })
        .where('organization_id', '=', organizationId)
        .where('id', '=', id)
        .execute()
    },
    async remove(organizationId, id) {
      const { numDeletedRows } = await db.kysely
        .deleteFrom('schedules')
        .where((eb) => eb.and({ organization_id: organizationId, id }))
        .executeTakeFirst()
      return numDeletedRows > 0n
    },
    async claimDue(limit, leaseMs) {
      const rows = await db.query<Row & { now: Date; previous_finished: boolean }>('schedules.claimDue', CLAIM_DUE, [
        limit,
        leaseMs,
      ])
      return rows.map(
        ({ now, previous_finished: previousFinished, ...row }): DueSchedule => ({
          schedule: stored(row),
          fence: row.fence,
          now,
          previousFinished,
        }),
      )
    },
    async update(id, fence, change) {
      const { numUpdatedRows } = await db.kysely
        .updateTable('schedules')
        .set({
          ...snakeCased(change),
          // Kysely leaves out what is undefined, as every absent part of a change is.
          last_error: change.lastError === undefined ? undefined : JSON.stringify(change.lastError),
        })
        .where((eb) => eb.and({ id, fence }))
        .executeTakeFirst()
      return numUpdatedRows > 0n
    },
  }
}

function stored(row: Row): StoredSchedule {
  const { due_at: _, fence: __, ...own } = row
  return camelCased(own)
}
