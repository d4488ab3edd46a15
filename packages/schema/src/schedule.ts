// Schedules: a run-spec that is submitted again and again, by a cron expression in a time zone.
// Hides what counts as an expression and as a zone; when one comes due is the engine's to say.
import { z } from 'zod'
import { Problem } from './error.ts'
import { Instant, JsonRecord } from './json.ts'

/** What becomes of a firing while the run of the previous one is unfinished. */
export const OVERLAPS = ['skip', 'queue', 'cancel_other'] as const
export type Overlap = (typeof OVERLAPS)[number]

/** Schedules of one organization. */
export const SCHEDULES_MAX = 200

const FIELDS = /^\S+(?:\s+\S+){4,5}$/
const NICKNAME = /^@(?:yearly|annually|monthly|weekly|daily|midnight|hourly)$/i

function isTimeZone(name: string): boolean {
  // An offset such as +02:00 is a zone to JavaScript; it would miss every change of the clocks.
  if (!/^[A-Za-z]/.test(name)) return false
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}

export const ScheduleRequest = z.strictObject({
  cron: z
    .string()
    .max(100)
    .trim()
    .refine((text) => FIELDS.test(text) || NICKNAME.test(text), {
      message: 'must have five fields (minute hour day month weekday), six with seconds first, or be such as @daily',
    })
    .describe('Five fields, six with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly.'),
  timezone: z
    .string()
    .max(64)
    .refine(isTimeZone, { message: 'must be an IANA time zone such as Europe/Berlin' })
    .default('UTC')
    .describe('The IANA time zone that the expression is meant in.'),
  run_spec: JsonRecord.describe('What is submitted each time; its metadata gets the schedule_id.'),
  overlap: z
    .enum(OVERLAPS)
    .default('skip')
    .describe(
      'While the previous run is unfinished: skip leaves the firing out, queue holds it back (at most one), cancel_other cancels the previous run.',
    ),
  name: z.string().trim().min(1).max(200).optional(),
  enabled: z.boolean().default(true),
})
export type ScheduleRequest = z.infer<typeof ScheduleRequest>

/** What a merge-patch of a schedule may name; what comes of it is a `ScheduleRequest`. */
export const ScheduleChange = ScheduleRequest.partial().extend({
  name: ScheduleRequest.shape.name.nullable().describe('null removes it.'),
})

/** Why the latest firing made no run. */
export const ScheduleFault = z.object({
  code: z.string(),
  message: z.string(),
  errors: z.array(Problem),
  instant: Instant.describe('When it was due.'),
})
export type ScheduleFault = z.infer<typeof ScheduleFault>

/** A schedule as the API shows it. */
export const ScheduleResource = z
  .object({
    ...ScheduleRequest.shape,
    id: z.string(),
    name: z.string().nullable(),
    next_runs: z
      .array(Instant)
      .describe('When it comes due next, at most five times; one in a list. Empty while it is not enabled.'),
    queued_for: Instant.nullable().describe('A time that came due and waits for the previous run to finish.'),
    last_fired_at: Instant.nullable(),
    last_run_id: z.string().nullable(),
    last_skipped_at: Instant.nullable(),
    last_error: ScheduleFault.nullable().describe('Null once a later firing made a run.'),
    created_at: Instant,
  })
  .meta({ id: 'Schedule' })
export type ScheduleResource = z.infer<typeof ScheduleResource>
