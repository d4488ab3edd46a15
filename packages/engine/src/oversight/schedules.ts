// Schedules: when one comes due, and what its firing does about the previous run and about what was missed.
// Hides that any number of workers look at once, and that a crash between submitting and recording fires nothing twice.
import {
  canonicalJson,
  errorRow,
  FabriqueError,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  type ScheduleFault,
  type ScheduleRequest,
  type ScheduleResource,
  SCHEDULES_MAX,
} from '@fabrique/schema'
import { Cron } from 'croner'
import type { Clock, Ids, Log } from '../ports.ts'
import type { Submitter } from '../admission/submit.ts'
import { mergePatch } from '../template/authoring.ts'

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

/** What an author may change. `drafts` goes with the spec: who writes it decides what it may run. */
export type ScheduleEdit = Omit<NewSchedule, 'id' | 'organizationId'>

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
  /** Stores it, to be looked at at once where it is enabled. Null where the organization has as many as it may. */
  create(schedule: NewSchedule): Promise<StoredSchedule | null>
  get(organizationId: string, id: string): Promise<StoredSchedule | null>
  /** Newest first, older than `before`. */
  list(organizationId: string, limit: number, before: string | null): Promise<StoredSchedule[]>
  /**
   * Writes what an author changed and takes the schedule from the worker that may be at it. What came due before is over
   * where the change names `cron`, `timezone` or `enabled`. Null where the organization has no such schedule.
   */
  change(organizationId: string, id: string, change: Partial<ScheduleEdit>): Promise<StoredSchedule | null>
  /** Notes a run that a person made of it. */
  noteRun(organizationId: string, id: string, runId: string): Promise<void>
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
  deps: Pick<ScheduleDeps, 'submitter' | 'clock'> & { store: Pick<ScheduleStore, 'create'>; ids: Ids },
  owner: ScheduleOwner,
  request: ScheduleRequest,
): Promise<StoredSchedule> {
  const edit = editOf(request, owner)
  checkTiming(edit, new Date(deps.clock.nowMs()))
  await checkSpec(deps.submitter, owner, request.run_spec)
  const created = await deps.store.create({ id: deps.ids.next(), organizationId: owner.organizationId, ...edit })
  if (created !== null) return created
  const message = `An organization has at most ${SCHEDULES_MAX} schedules; delete one that is not needed.`
  throw new FabriqueError('quota-exceeded', message, { retryAfterS: 60 })
}

/**
 * Applies a JSON merge-patch (RFC 7396) to what a request for the schedule would be; `parse` makes a request of the
 * outcome, or throws. Only what differs is checked and written: a schedule whose workflow is gone can be paused. Null
 * where it was removed meanwhile.
 */
export async function changeSchedule(
  deps: Pick<ScheduleDeps, 'submitter' | 'clock'> & { store: Pick<ScheduleStore, 'change'> },
  owner: ScheduleOwner,
  current: StoredSchedule,
  patch: JsonValue,
  parse: (merged: JsonValue) => ScheduleRequest,
): Promise<StoredSchedule | null> {
  const { name, cron, timezone, runSpec, overlap, enabled } = current
  const request = { cron, timezone, run_spec: runSpec, overlap, enabled, ...(name === null ? {} : { name }) }
  const { drafts, ...edit } = editOf(parse(mergePatch(request, patch)), owner)
  const isNew = ([key, value]: [string, JsonValue]) =>
    canonicalJson(value) !== canonicalJson(current[key as keyof typeof edit])
  const change: Partial<ScheduleEdit> = Object.fromEntries(Object.entries(edit).filter(isNew))
  if (change.cron !== undefined || change.timezone !== undefined) checkTiming(edit, new Date(deps.clock.nowMs()))
  if (change.runSpec !== undefined) {
    await checkSpec(deps.submitter, owner, edit.runSpec)
    change.drafts = drafts
  }
  return await deps.store.change(owner.organizationId, current.id, change)
}

/** Submits the spec of a schedule now, whatever its times, its overlap rule and `enabled` say. Throws what a submit throws. */
export async function fireSchedule(
  deps: Pick<ScheduleDeps, 'submitter'> & { store: Pick<ScheduleStore, 'noteRun'> },
  schedule: StoredSchedule,
  idempotencyKey: string | undefined,
): Promise<{ outcome: string; runId: string }> {
  const outcome = await deps.submitter
    .submit({
      organizationId: schedule.organizationId,
      admin: schedule.drafts,
      document: firingSpec(schedule.runSpec, schedule.id),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    })
    .catch((error: unknown) => {
      throw refusal(error)
    })
  const runId = runIdOf(outcome)
  if (outcome.outcome === 'accepted') await deps.store.noteRun(schedule.organizationId, schedule.id, runId)
  return { outcome: outcome.outcome, runId }
}

interface ScheduleDeps {
  submitter: Submitter
  clock: Pick<Clock, 'nowMs'>
}

interface ScheduleOwner {
  organizationId: string
  admin: boolean
}

function editOf(request: ScheduleRequest, { admin: drafts }: ScheduleOwner): ScheduleEdit {
  const { run_spec: runSpec, name = null, ...timing } = request
  return { ...timing, drafts, name, runSpec }
}

/** With an id of the right length: what is stored must fit with the id in its metadata. */
async function checkSpec(submitter: Submitter, owner: ScheduleOwner, runSpec: JsonObject): Promise<void> {
  await submitter.submit({ ...owner, document: firingSpec(runSpec, ANY_ID), dryRun: true }).catch((error: unknown) => {
    throw refusal(error)
  })
}

function refusal(error: unknown): unknown {
  return FabriqueError.is(error) && errorRow(error.code).status < 500 ? belowRunSpec(error) : error
}

function runIdOf(outcome: Awaited<ReturnType<Submitter['submit']>>): string {
  if (outcome.outcome === 'dry-run') throw new Error('a firing was only tried')
  return outcome.outcome === 'accepted' ? outcome.run.id : outcome.runId
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
      change = { lastFiredAt: instant, lastRunId: runIdOf(outcome), lastError: null }
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
