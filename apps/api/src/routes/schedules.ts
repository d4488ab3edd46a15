// Schedules: run-specs that are submitted again and again. Everything here belongs to the key's own organization.
import { createSchedule, scheduleResource } from '@fabrique/engine'
import { RunId, ScheduleRequest } from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { located, readDocument } from '../body.ts'
import { notFound } from '../errors.ts'
import { parseBody } from '../parse-body.ts'
import { defineRoute, type Route } from '../route.ts'

export function scheduleRoutes({
  clock,
  ids,
  schedules,
  submitter,
}: Pick<AppDeps, 'clock' | 'ids' | 'schedules' | 'submitter'>): Route[] {
  const tag = 'schedules'
  const now = () => new Date(clock.nowMs())
  return [
    defineRoute({
      method: 'post',
      path: '/v1/schedules',
      access: 'operator',
      docs: {
        summary: 'Submit a run-spec again and again, by a cron expression',
        tag,
        body: ScheduleRequest,
        answers: { 201: 'The schedule, with the next times that it comes due.' },
      },
      async handle({ c, principal }) {
        const document = await readDocument(c)
        const request = parseBody(ScheduleRequest, document)
        const owner = { organizationId: principal.organizationId, admin: principal.role === 'admin' }
        const created = await createSchedule({ store: schedules, submitter, ids, clock }, owner, request).catch(
          (error: unknown) => located(error, document),
        )
        return c.json(scheduleResource(created, now()), 201, { location: `/v1/schedules/${created.id}` })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/schedules',
      access: 'operator',
      query: z.strictObject({
        limit: z.coerce.number().int().min(1).max(100).default(20),
        // The cursor is the last id of a page, and every id here is a ULID.
        cursor: RunId.optional(),
      }),
      docs: {
        summary: 'List schedules, newest first',
        tag,
        answers: { 200: 'A page of schedules and the cursor of the next.' },
      },
      async handle({ c, principal, query }) {
        const found = await schedules.list(principal.organizationId, query.limit + 1, query.cursor ?? null)
        const page = found.slice(0, query.limit)
        return c.json({
          data: page.map((schedule) => scheduleResource(schedule, now(), 1)),
          next_cursor: found.length > query.limit ? (page.at(-1)?.id ?? null) : null,
        })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/schedules/:id',
      access: 'operator',
      docs: { summary: 'A schedule, with its next times', tag, answers: { 200: 'The schedule.' } },
      async handle({ c, principal, param }) {
        const schedule = await schedules.get(principal.organizationId, param('id'))
        if (schedule === null) throw notFound('schedule')
        return c.json(scheduleResource(schedule, now()))
      },
    }),
    defineRoute({
      method: 'delete',
      path: '/v1/schedules/:id',
      access: 'operator',
      docs: { summary: 'Remove a schedule; its runs stay', tag, answers: { 204: 'It fires no more.' } },
      async handle({ c, principal, param }) {
        if (!(await schedules.remove(principal.organizationId, param('id')))) throw notFound('schedule')
        return c.body(null, 204)
      },
    }),
  ]
}
