// Schedules: when one comes due, and what its firing does about the previous run and about what was missed.
// Hides that any number of workers look at once, and that a crash between submitting and recording fires nothing twice.
import {
  errorRow,
  FabriqueError,
  isJsonObject,
  type JsonObject,
  type ScheduleFault,
  type ScheduleRequest,
  type ScheduleResource,
} from '@fabrique/schema'
import { Cron } from 'croner'
import type { Clock, Ids, Log } from '../ports.ts'
import type { Submitter } from '../admission/submit.ts'

/** A firing that is later than this is left out; of several that were missed only the latest is made up for. */
const CATCH_UP_MS = 3_600_000
/** How long a worker may be silent over a schedule before another takes it up. */
const LEASE_MS = 30_000
/** How often a postponed firing checks whether the previous run has finished. */
const POSTPONED_RECHECK_MS = 2_000
const DUE_MAX = 20
const NEXT_RUNS = 5
const ANY_ID = '0'.repeat(26)

export interface NewSchedule extends Omit<ScheduleRequest, 'name' | 'run_spec'> {
  id: string
  organizationId: string
  /** True where an admin made it: it may run drafts. */
  drafts: boolean
  name: string | null
  runSpec: JsonObject
}

export interface StoredSchedule extends NewSchedule {
  createdAt: Date
  /** Instants up to here have been dealt with. */
  doneUntil: Date
  /** The instant of a firing that is not done: its run is being submitted, or it is postponed. */
  firingAt: Date | null
  lastFiredAt: Date | null
  lastRunId: string | null
  lastSkippedAt: Date | null
  lastError: ScheduleFault | null
}

/** A schedule that the caller alone may write to, as long as it names `fence`. `now` is the record's own clock. */
export interface DueSchedule {
  schedule: StoredSchedule
  fence: number
  now: Date
  previousFinished: boolean
}

/** What a firing worker records. `dueAt` is when the schedule is due again; null for never. */
export type ScheduleChange = Partial<
  Pick<StoredSchedule, 'doneUntil' | 'firingAt' | 'lastFiredAt' | 'lastRunId' | 'lastSkippedAt' | 'lastError'>
> & { dueAt: Date | null }

/** The record of schedules. */
export interface ScheduleStore {
  /** Stores it, to be looked at at once where it is enabled. */
  create(schedule: NewSchedule): Promise<StoredSchedule>
  get(organizationId: string, id: string): Promise<StoredSchedule | null>
  /** Newest first, older than `before`. */
  list(organizationId: string, limit: number, before: string | null): Promise<StoredSchedule[]>
  /** False where the organization has no such schedule. Its runs stay. */
  remove(organizationId: string, id: string): Promise<boolean>
  /** Hands out schedules that are due, each to one caller, until `leaseMs` have passed. */
  claimDue(limit: number, leaseMs: number): Promise<DueSchedule[]>
  /** Writes what a holder found out; false where the schedule is no longer its own, or gone. */
  update(id: string, fence: number, change: ScheduleChange): Promise<boolean>
}

type Timing = Pick<StoredSchedule, 'cron' | 'timezone'>

export type FiringPlan =
  | { action: 'wait' }
  | { action: 'miss' | 'skip' | 'postpone'; instant: Date }
  | { action: 'fire'; instant: Date; cancelsPrevious: boolean }

/** What is to be done about a schedule now. */
export function planFiring(
  schedule: Timing & Pick<StoredSchedule, 'overlap' | 'doneUntil' | 'firingAt'>,
  now: Date,
  previousFinished: boolean,
): FiringPlan {
  const { overlap, firingAt } = schedule
  const latest = latestDue(schedule, schedule.doneUntil, now)
  // Firings that come due while one is postponed are merged with it.
  if (overlap === 'queue' && !previousFinished) {
    const instant = latest ?? firingAt
    return instant === null ? { action: 'wait' } : { action: 'postpone', instant }
  }
  // What was taken up goes first, under its own instant: it may have been submitted already.
  const instant = firingAt ?? latest
  if (instant === null) return { action: 'wait' }
  const held = overlap === 'queue' && firingAt !== null
  if (!held && now.getTime() - instant.getTime() > CATCH_UP_MS) return { action: 'miss', instant }
  if (!previousFinished && overlap === 'skip') return { action: 'skip', instant }
  return { action: 'fire', instant, cancelsPrevious: !previousFinished }
}

function latestDue(timing: Timing, after: Date, now: Date): Date | null {
  const [latest] = parseCron(timing).previousRuns(1, new Date(now.getTime() + 1))
  return latest !== undefined && latest > after ? latest : null
}

/** The next times that a schedule comes due, at most `count`; none where its expression names no time that exists. */
export function nextRuns(timing: Timing, after: Date, count: number): Date[] {
  return parseCron(timing).nextRuns(count, after)
}

function parseCron({ cron, timezone }: Timing): Cron {
  return new Cron(cron, { timezone, mode: '5-or-6-parts', paused: true })
}

/** The schedule as the API shows it, with `count` of its next times. */
export function scheduleResource(schedule: StoredSchedule, now: Date, count: number = NEXT_RUNS): ScheduleResource {
  const { firingAt, doneUntil } = schedule
  const held = schedule.overlap === 'queue' && firingAt !== null && firingAt <= doneUntil
  return {
    id: schedule.id,
    name: schedule.name,
    cron: schedule.cron,
    timezone: schedule.timezone,
    run_spec: schedule.runSpec,
    overlap: schedule.overlap,
    enabled: schedule.enabled,
    next_runs: schedule.enabled ? nextRuns(schedule, now, count).map((at) => at.toISOString()) : [],
    queued_for: held ? firingAt.toISOString() : null,
    last_fired_at: schedule.lastFiredAt?.toISOString() ?? null,
    last_run_id: schedule.lastRunId,
    last_skipped_at: schedule.lastSkippedAt?.toISOString() ?? null,
    last_error: schedule.lastError,
    created_at: schedule.createdAt.toISOString(),
  }
}

/** The run-spec of a firing. A `metadata` that is no object is left for the submit to refuse. */
function firingSpec(runSpec: JsonObject, scheduleId: string): JsonObject {
  const { metadata = {} } = runSpec
  return isJsonObject(metadata) ? { ...runSpec, metadata: { ...metadata, schedule_id: scheduleId } } : runSpec
}

/**
 * Creates a schedule. Throws, with pointers into the request, what a submit of its run-spec would throw now; an unknown
 * workflow is `validation-failed` here, since the address of the request is not at fault.
 */
export async function createSchedule(
  deps: { store: Pick<ScheduleStore, 'create'>; submitter: Submitter; ids: Ids; clock: Pick<Clock, 'nowMs'> },
  owner: { organizationId: string; admin: boolean },
  request: ScheduleRequest,
): Promise<StoredSchedule> {
  checkTiming(request, new Date(deps.clock.nowMs()))
  // With an id of the right length: what is stored must fit with the id in its metadata.
  const document = firingSpec(request.run_spec, ANY_ID)
  await deps.submitter.submit({ ...owner, document, dryRun: true }).catch((error: unknown) => {
    throw FabriqueError.is(error) && errorRow(error.code).status < 500 ? belowRunSpec(error) : error
  })
  const { run_spec: runSpec, name = null, ...timing } = request
  const { organizationId, admin: drafts } = owner
  return await deps.store.create({ ...timing, id: deps.ids.next(), organizationId, drafts, name, runSpec })
}

function checkTiming(timing: Timing, now: Date): void {
  const refuse = (detail: string, code: string): never => {
    throw new FabriqueError('validation-failed', 'The schedule is not valid.', {
      problems: [{ pointer: '/cron', detail, code }],
    })
  }
  let next: Date[]
  try {
    next = nextRuns(timing, now, 1)
  } catch (error) {
    // The parser's own words, without its name in front.
    const why = error instanceof Error ? error.message.replace(/^\w+: /, '') : 'it cannot be read'
    return refuse(`is not a cron expression: ${why}`, 'invalid')
  }
  if (next.length === 0) refuse('never comes due; name a date that exists', 'never-due')
}

function belowRunSpec(error: FabriqueError): FabriqueError {
  const own = error.problems.length > 0 ? error.problems : [{ pointer: '', detail: error.message }]
  const unknown = error.code === 'not-found'
  const problems = own.map((problem) => ({
    ...problem,
    // The problems of a draft that cannot run point into the draft, which is not in the request.
    pointer: error.code === 'not-runnable' ? '/run_spec' : `/run_spec${unknown ? '/workflow' : problem.pointer}`,
  }))
  return new FabriqueError(unknown ? 'validation-failed' : error.code, error.message, { problems, cause: error })
}

export interface Scheduler {
  /** Deals with what is due; answers how many schedules that were. */
  runOnce(): Promise<number>
  /** Looks every `everyMs`, and at once again while there is more to do. */
  run(everyMs: number, stopped: AbortSignal): Promise<void>
}

/**
 * Fires schedules as they come due, each instant once over all workers. A spec that submits no more is noted on its
 * schedule; what may pass by itself (the record is away) is tried again until the firing is too late.
 */
export function createScheduler(deps: {
  store: Pick<ScheduleStore, 'claimDue' | 'update'>
  submitter: Submitter
  /** Cancels a run; one that has finished is left alone. */
  cancel(runId: string): Promise<unknown>
  clock: Pick<Clock, 'sleep'>
  log: Pick<Log, 'warn'>
}): Scheduler {
  const { store } = deps

  async function fire({ schedule, fence, now }: DueSchedule, instant: Date, cancelsPrevious: boolean): Promise<void> {
    const after = new Date(now.getTime() + LEASE_MS)
    // Whoever takes over from us fires the same instant, under the same key.
    if (!(await store.update(schedule.id, fence, { firingAt: instant, dueAt: after }))) return
    if (cancelsPrevious && schedule.lastRunId !== null) await deps.cancel(schedule.lastRunId)
    let change: Partial<ScheduleChange>
    try {
      const outcome = await deps.submitter.submit({
        organizationId: schedule.organizationId,
        admin: schedule.drafts,
        document: firingSpec(schedule.runSpec, schedule.id),
        idempotencyKey: `schedule:${schedule.id}:${instant.toISOString()}`,
      })
      if (outcome.outcome === 'dry-run') throw new Error('a firing was only tried')
      const runId = outcome.outcome === 'accepted' ? outcome.run.id : outcome.runId
      change = { lastFiredAt: instant, lastRunId: runId, lastError: null }
    } catch (error) {
      if (!FabriqueError.is(error) || errorRow(error.code).retry) throw error
      const { problems: errors } = belowRunSpec(error)
      change = { lastError: { code: error.code, message: error.message, errors, instant: instant.toISOString() } }
    }
    await done(schedule, fence, instant, change)
  }

  async function done(schedule: StoredSchedule, fence: number, instant: Date, change: Partial<ScheduleChange>) {
    const [dueAt = null] = nextRuns(schedule, instant, 1)
    await store.update(schedule.id, fence, { ...change, doneUntil: instant, firingAt: null, dueAt })
  }

  async function attend(due: DueSchedule): Promise<void> {
    const { schedule, fence, now } = due
    const plan = planFiring(schedule, now, due.previousFinished)
    switch (plan.action) {
      case 'wait': {
        const [dueAt = null] = nextRuns(schedule, now, 1)
        await store.update(schedule.id, fence, { dueAt })
        return
      }
      case 'postpone': {
        const dueAt = new Date(now.getTime() + POSTPONED_RECHECK_MS)
        await store.update(schedule.id, fence, { firingAt: plan.instant, doneUntil: plan.instant, dueAt })
        return
      }
      case 'skip':
        return await done(schedule, fence, plan.instant, { lastSkippedAt: plan.instant })
      case 'miss': {
        const instant = plan.instant.toISOString()
        const message = `The firing of ${instant} was more than ${CATCH_UP_MS / 60_000} minutes late, and was left out.`
        const lastError = { code: 'missed', message, errors: [], instant }
        return await done(schedule, fence, plan.instant, { lastError })
      }
      case 'fire':
        return await fire(due, plan.instant, plan.cancelsPrevious)
    }
  }

  async function runOnce(): Promise<number> {
    const due = await store.claimDue(DUE_MAX, LEASE_MS)
    await Promise.all(
      due.map((each) =>
        attend(each).catch((err: unknown) =>
          deps.log.warn({ schedule_id: each.schedule.id, err }, 'a schedule could not fire; it is tried again'),
        ),
      ),
    )
    return due.length
  }

  return {
    runOnce,
    async run(everyMs, stopped) {
      while (!stopped.aborted) {
        const found = await runOnce().catch((err: unknown) => {
          deps.log.warn({ err }, 'schedules could not be read; the next pass tries again')
          return 0
        })
        if (found < DUE_MAX) await deps.clock.sleep(everyMs, stopped).catch(() => {})
      }
    },
  }
}
