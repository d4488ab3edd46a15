// Schedules: run-specs that are submitted again and again. Everything here belongs to the key's own organization.
import { changeSchedule, createSchedule, fireSchedule, scheduleResource } from '@fabrique/engine'
import {
  page,
  parseDocument,
  RunId,
  RunResource,
  ScheduleChange,
  ScheduleRequest,
  ScheduleResource,
} from '@fabrique/schema'
import { z } from 'zod'
import type { Principal } from '@fabrique/db'
import type { AppDeps } from '../deps.ts'
import { locatedIn, parseBody, readDocument, unreadable } from '../body.ts'
import { found, orNotFound, removed } from '../found.ts'
import { idempotencyKeyOf } from '../request-headers.ts'
import { pageOf, paging } from '../paging.ts'
import { operator, type Route } from '../route.ts'
import { acceptedHeaders, SUBMIT_PROBLEMS } from './runs.ts'

export function scheduleRoutes({
  clock,
  ids,
  reader,
  schedules,
  submitter,
}: Pick<AppDeps, 'clock' | 'ids' | 'reader' | 'schedules' | 'submitter'>): Route[] {
  const now = () => new Date(clock.nowMs())
  const ownerOf = ({ organizationId, role }: Principal) => ({ organizationId, admin: role === 'admin' })
  return [
    operator.post('createSchedule', '/v1/schedules', {
      summary: 'Submit a run-spec again and again, by a cron expression',
      body: ScheduleRequest,
      answers: { 201: ScheduleResource },
      problems: [...SUBMIT_PROBLEMS, 'quota-exceeded'],
      headers: ['Location'],
      async handle({ c, principal }) {
        const document = await readDocument(c)
        const request = parseBody(ScheduleRequest, document)
        const deps = { store: schedules, submitter, ids, clock }
        const created = await createSchedule(deps, ownerOf(principal), request).catch(locatedIn(document))
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
    operator.patch('changeSchedule', '/v1/schedules/:id', {
      summary: 'Change a schedule by JSON merge-patch (RFC 7396); `enabled` pauses and resumes it',
      body: ScheduleChange,
      answers: { 200: ScheduleResource },
      problems: SUBMIT_PROBLEMS,
      async handle({ c, principal, param }) {
        const current = orNotFound(await schedules.get(principal.organizationId, param('id')), 'schedule')
        const document = await readDocument(c)
        const parse = (merged: unknown) => {
          // Patches add up, and the limits of a document hold for what comes of them.
          const whole = parseDocument(Buffer.from(JSON.stringify(merged)), 'json')
          if (!whole.ok) throw unreadable(whole)
          return parseBody(ScheduleRequest, { ...document, value: whole.document.value })
        }
        const deps = { store: schedules, submitter, clock }
        const changed = await changeSchedule(deps, ownerOf(principal), current, document.value, parse).catch(
          locatedIn(document),
        )
        return c.json(scheduleResource(orNotFound(changed, 'schedule'), now()))
      },
    }),
    operator.post('fireSchedule', '/v1/schedules/:id/fire', {
      summary: 'Submit the run-spec of a schedule once, now, paused or not',
      answers: { 202: RunResource },
      problems: SUBMIT_PROBLEMS,
      submits: true,
      headers: ['Idempotency-Key', 'Location', 'Idempotent-Replayed'],
      async handle({ c, principal, param }) {
        const schedule = orNotFound(await schedules.get(principal.organizationId, param('id')), 'schedule')
        const outcome = await fireSchedule({ store: schedules, submitter }, schedule, idempotencyKeyOf(c))
        return c.json(await reader.get(principal.organizationId, outcome.runId), 202, acceptedHeaders(outcome))
      },
    }),
    operator.delete('deleteSchedule', '/v1/schedules/:id', {
      summary: 'Remove a schedule; its runs stay',
      answers: { 204: null },
      handle: removed('schedule', schedules.remove),
    }),
  ]
}
