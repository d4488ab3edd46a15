// Schedules: run-specs that are submitted again and again. Everything here belongs to the key's own organization.
import { createSchedule, scheduleResource } from '@fabrique/engine'
import { page, RunId, ScheduleRequest, ScheduleResource } from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { locatedIn, parseBody, readDocument } from '../body.ts'
import { found, removed } from '../found.ts'
import { pageOf, paging } from '../paging.ts'
import { operator, type Route } from '../route.ts'
import { SUBMIT_PROBLEMS } from './runs.ts'

export function scheduleRoutes({
  clock,
  ids,
  schedules,
  submitter,
}: Pick<AppDeps, 'clock' | 'ids' | 'schedules' | 'submitter'>): Route[] {
  const now = () => new Date(clock.nowMs())
  return [
    operator.post('createSchedule', '/v1/schedules', {
      summary: 'Submit a run-spec again and again, by a cron expression',
      body: ScheduleRequest,
      answers: { 201: ScheduleResource },
      problems: SUBMIT_PROBLEMS,
      headers: ['Location'],
      async handle({ c, principal }) {
        const document = await readDocument(c)
        const request = parseBody(ScheduleRequest, document)
        const owner = { organizationId: principal.organizationId, admin: principal.role === 'admin' }
        const created = await createSchedule({ store: schedules, submitter, ids, clock }, owner, request).catch(
          locatedIn(document),
        )
        return c.json(scheduleResource(created, now()), 201, { location: `/v1/schedules/${created.id}` })
      },
    }),
    operator.get('listSchedules', '/v1/schedules', {
      // Every id here is a ULID, like a run's.
      query: z.strictObject(paging(RunId)),
      summary: 'List schedules, newest first',
      answers: { 200: page(ScheduleResource) },
      async handle({ c, principal, query }) {
        const found = await schedules.list(principal.organizationId, query.limit + 1, query.cursor ?? null)
        const shown = found.map((schedule) => scheduleResource(schedule, now(), 1))
        return c.json(pageOf(shown, query.limit))
      },
    }),
    operator.get('getSchedule', '/v1/schedules/:id', {
      summary: 'A schedule, with its next times',
      answers: { 200: ScheduleResource },
      handle: found('schedule', schedules.get, (schedule) => scheduleResource(schedule, now())),
    }),
    operator.delete('deleteSchedule', '/v1/schedules/:id', {
      summary: 'Remove a schedule; its runs stay',
      answers: { 204: null },
      handle: removed('schedule', schedules.remove),
    }),
  ]
}
