// Schedules: a run-spec that is submitted again and again, by a cron expression in a time zone.
// Hides what counts as an expression and as a zone; when one comes due is the engine's to say.
import { z } from 'zod'
import type { Problem } from './error.ts'
import { isJsonObject, type JsonObject } from './json.ts'

/** What becomes of a firing while the run of the previous one is unfinished. */
export const OVERLAPS = ['skip', 'queue', 'cancel_other'] as const
export type Overlap = (typeof OVERLAPS)[number]

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
  run_spec: z
    .custom<JsonObject>(isJsonObject, 'must be an object: a run-spec')
    .describe('What is submitted each time; its metadata gets the schedule_id.'),
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

/** Why the latest firing made no run. `instant` is when it was due. */
export interface ScheduleFault {
  code: string
  message: string
  errors: Problem[]
  instant: string
}

/** A schedule as the API shows it. Times are ISO 8601 in UTC. */
export interface ScheduleResource {
  id: string
  name: string | null
  cron: string
  timezone: string
  run_spec: JsonObject
  overlap: Overlap
  enabled: boolean
  /** When it comes due next, at most five times; one in a list. Empty while it is not enabled. */
  next_runs: string[]
  /** An instant that came due and waits for the previous run to finish. */
  queued_for: string | null
  last_fired_at: string | null
  last_run_id: string | null
  last_skipped_at: string | null
  /** Null once a later firing made a run. */
  last_error: ScheduleFault | null
  created_at: string
}
