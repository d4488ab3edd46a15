import { FabriqueError, type JsonObject, type JsonValue, ScheduleRequest } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import {
  changeSchedule,
  createSchedule,
  createScheduler,
  type DueSchedule,
  type FiringPlan,
  fireSchedule,
  nextRuns,
  planFiring,
  type ScheduleEdit,
  type ScheduleStore,
  type StoredSchedule,
} from './schedules.ts'
import type { Submission, Submitter } from '../admission/submit.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'

const at = (time: string) => new Date(`2026-03-01T${time}Z`)

function aSchedule(over: Partial<StoredSchedule> = {}): StoredSchedule {
  return {
    id: 's1',
    organizationId: 'o1',
    drafts: false,
    name: null,
    cron: '*/10 * * * *',
    timezone: 'UTC',
    runSpec: { workflow: 'test/example', input: {} },
    overlap: 'skip',
    enabled: true,
    createdAt: at('08:55:00'),
    doneUntil: at('08:55:00'),
    firingAt: null,
    lastFiredAt: null,
    lastRunId: null,
    lastSkippedAt: null,
    lastError: null,
    ...over,
  }
}

describe('a plan', () => {
  const cases: [string, Partial<StoredSchedule>, string, boolean, FiringPlan][] = [
    ['waits while nothing is due', {}, '08:59:59', true, { action: 'wait' }],
    ['fires at the instant', {}, '09:00:00', true, { action: 'fire', instant: at('09:00:00'), cancelsPrevious: false }],
    ['fires an instant once', { doneUntil: at('09:00:00') }, '09:09:59', true, { action: 'wait' }],
    [
      'makes up for the latest of those that were missed only',
      {},
      '09:34:00',
      true,
      { action: 'fire', instant: at('09:30:00'), cancelsPrevious: false },
    ],
    [
      'leaves out what is more than an hour late',
      { cron: '0 9 * * *' },
      '10:00:01',
      true,
      { action: 'miss', instant: at('09:00:00') },
    ],
    [
      'goes on with the instant that was taken up',
      { firingAt: at('09:00:00') },
      '09:11:00',
      true,
      { action: 'fire', instant: at('09:00:00'), cancelsPrevious: false },
    ],
    ['skips beside an unfinished run', {}, '09:00:00', false, { action: 'skip', instant: at('09:00:00') }],
    [
      'cancels the unfinished run where it should',
      { overlap: 'cancel_other' },
      '09:00:00',
      false,
      { action: 'fire', instant: at('09:00:00'), cancelsPrevious: true },
    ],
    [
      'holds back beside an unfinished run where it should',
      { overlap: 'queue' },
      '09:00:00',
      false,
      { action: 'postpone', instant: at('09:00:00') },
    ],
    [
      'holds back one firing, however many come due',
      { overlap: 'queue', firingAt: at('09:00:00'), doneUntil: at('09:00:00') },
      '09:25:00',
      false,
      { action: 'postpone', instant: at('09:20:00') },
    ],
    [
      'goes on holding until the run has finished',
      { overlap: 'queue', firingAt: at('09:00:00'), doneUntil: at('09:00:00') },
      '09:05:00',
      false,
      { action: 'postpone', instant: at('09:00:00') },
    ],
    [
      'fires what was held back, however long that took',
      { overlap: 'queue', cron: '0 9 * * *', firingAt: at('09:00:00'), doneUntil: at('09:00:00') },
      '17:00:00',
      true,
      { action: 'fire', instant: at('09:00:00'), cancelsPrevious: false },
    ],
  ]
  it.each(cases)('%s', (_, schedule, now, previousFinished, plan) => {
    expect(planFiring(aSchedule(schedule), at(now), previousFinished)).toEqual(plan)
  })

  it('keeps to the wall clock of its zone over a change of the clocks', () => {
    const timing = { cron: '30 9 * * *', timezone: 'Europe/Berlin' }
    expect(nextRuns(timing, new Date('2026-03-28T00:00:00Z'), 2).map((it) => it.toISOString())).toEqual([
      '2026-03-28T08:30:00.000Z',
      '2026-03-29T07:30:00.000Z',
    ])
  })

  it('fires once for a time that the clocks leave out, and once for one that they repeat', () => {
    const timing = { cron: '30 2 * * *', timezone: 'Europe/Berlin' }
    const days = (from: string) => nextRuns(timing, new Date(from), 3).map((it) => it.toISOString().slice(0, 10))
    expect(days('2026-03-28T00:00:00Z')).toEqual(['2026-03-28', '2026-03-29', '2026-03-30'])
    expect(days('2026-10-24T00:00:00Z')).toEqual(['2026-10-24', '2026-10-25', '2026-10-26'])
  })
})

/** A scheduler over one schedule, whose record and submits the test watches. */
function setup(schedule: StoredSchedule, submit: (submission: Submission) => Promise<unknown>) {
  const state = { schedule, fence: 0, dueAt: null as Date | null, previousFinished: true, now: at('09:00:00') }
  const submissions: Submission[] = []
  const cancelled: string[] = []
  const warnings: object[] = []
  const store: Pick<ScheduleStore, 'claimDue' | 'update'> = {
    async claimDue(): Promise<DueSchedule[]> {
      state.fence += 1
      const { now, fence, previousFinished } = state
      return [{ schedule: structuredClone(state.schedule), fence, now, previousFinished }]
    },
    async update(_, fence, { dueAt, ...change }) {
      if (fence !== state.fence) return false
      state.dueAt = dueAt
      Object.assign(state.schedule, change)
      return true
    },
  }
  const submitter = {
    async submit(submission: Submission) {
      submissions.push(submission)
      return await submit(submission)
    },
  } as Submitter
  const scheduler = createScheduler({
    store,
    submitter,
    cancel: async (runId) => cancelled.push(runId),
    clock: createFakeClock(),
    log: { warn: (context) => void warnings.push(context) },
  })
  return { state, submissions, cancelled, warnings, runOnce: scheduler.runOnce }
}

const accepted = async () => ({ outcome: 'accepted', run: { id: 'r1' } })

describe('a scheduler', () => {
  it('submits under a key of the instant, names the schedule in the metadata, and looks again at the next', async () => {
    const { state, submissions, runOnce } = setup(
      aSchedule({ runSpec: { workflow: 'w', metadata: { a: 1 } } }),
      accepted,
    )
    await runOnce()
    expect(submissions).toEqual([
      {
        organizationId: 'o1',
        admin: false,
        document: { workflow: 'w', metadata: { a: 1, schedule_id: 's1' } },
        idempotencyKey: 'schedule:s1:2026-03-01T09:00:00.000Z',
      },
    ])
    expect(state.schedule).toMatchObject({ lastRunId: 'r1', lastFiredAt: at('09:00:00'), doneUntil: at('09:00:00') })
    expect(state.dueAt).toEqual(at('09:10:00'))
  })

  it('that dies between submitting and recording leaves the same key to whoever goes on', async () => {
    let deaths = 1
    const { state, submissions, runOnce } = setup(aSchedule(), async () => {
      // Another has taken over before this one comes to record it.
      if (deaths-- > 0) state.fence += 1
      return { outcome: 'replayed', runId: 'r1' }
    })
    await runOnce()
    expect(state.schedule.lastRunId).toBeNull()
    state.now = at('09:20:00')
    await runOnce()
    expect(new Set(submissions.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1)
    expect(state.schedule).toMatchObject({ lastRunId: 'r1', firingAt: null, doneUntil: at('09:00:00') })
  })

  it('does not submit for a schedule that was taken from it', async () => {
    const { state, submissions, runOnce } = setup(aSchedule(), accepted)
    const running = runOnce()
    state.fence += 1
    await running
    expect(submissions).toEqual([])
  })

  it('notes why a spec submits no more, and goes on with the next instant', async () => {
    const { state, warnings, runOnce } = setup(aSchedule(), async () => {
      throw new FabriqueError('not-found', 'There is no workflow "w" that this key can run.')
    })
    await runOnce()
    expect(state.schedule.lastError).toMatchObject({
      code: 'not-found',
      instant: '2026-03-01T09:00:00.000Z',
      errors: [{ pointer: '/run_spec/workflow' }],
    })
    expect([state.schedule.doneUntil, state.dueAt, warnings]).toEqual([at('09:00:00'), at('09:10:00'), []])
  })

  it.each([
    ['an outage', new FabriqueError('unavailable', 'away')],
    ['a fault of ours', new Error('a secret')],
  ])('tries again after %s, and notes nothing on the schedule', async (_, fault) => {
    const { state, warnings, runOnce } = setup(aSchedule(), async () => {
      throw fault
    })
    await runOnce()
    expect(state.schedule).toMatchObject({ lastError: null, firingAt: at('09:00:00'), doneUntil: at('08:55:00') })
    expect([state.dueAt, warnings.length]).toEqual([at('09:00:30'), 1])
  })

  it('cancels the previous run before it submits the next', async () => {
    const schedule = aSchedule({ overlap: 'cancel_other', lastRunId: 'r0' })
    const { state, cancelled, runOnce } = setup(schedule, async () => {
      expect(cancelled).toEqual(['r0'])
      return await accepted()
    })
    state.previousFinished = false
    await runOnce()
    expect(state.schedule.lastRunId).toBe('r1')
  })

  it('notes what was missed on the schedule, and fires at the next instant only', async () => {
    const { state, submissions, runOnce } = setup(aSchedule({ cron: '0 9 * * *' }), accepted)
    state.now = at('12:00:00')
    await runOnce()
    expect(submissions).toEqual([])
    expect(state.schedule.lastError).toMatchObject({ code: 'missed', instant: '2026-03-01T09:00:00.000Z' })
    expect(state.dueAt).toEqual(new Date('2026-03-02T09:00:00Z'))
  })
})

describe('creating a schedule', () => {
  const request = {
    cron: '0 9 * * *',
    timezone: 'UTC',
    run_spec: { workflow: 'w', input: {} } as JsonObject,
    overlap: 'skip' as const,
    enabled: true,
  }

  function create(over: Partial<typeof request>, fault?: FabriqueError) {
    const submitter = {
      async submit(submission: Submission) {
        expect(submission.dryRun).toBe(true)
        if (fault !== undefined) throw fault
        return { outcome: 'dry-run' }
      },
    } as Submitter
    const store = { create: async () => aSchedule() }
    const deps = { store, submitter, ids: createSequentialIds(), clock: createFakeClock() }
    return createSchedule(deps, { organizationId: 'o1', admin: false }, { ...request, ...over })
  }

  it.each([
    ['0 0 30 2 *', 'never comes due'],
    ['61 * * * *', 'is not a cron expression: Invalid value for minute'],
  ])('refuses %s', async (cron, detail) => {
    await expect(create({ cron })).rejects.toMatchObject({
      code: 'validation-failed',
      problems: [{ pointer: '/cron', detail: expect.stringContaining(detail) }],
    })
  })

  it.each([
    [new FabriqueError('validation-failed', 'no', { problems: [{ pointer: '/input/x', detail: 'd' }] }), '/input/x'],
    [new FabriqueError('budget-exceeded', 'too much'), ''],
  ])('refuses what a submit would refuse, pointing below /run_spec', async (fault, pointer) => {
    await expect(create({}, fault)).rejects.toMatchObject({
      code: fault.code,
      problems: [{ pointer: `/run_spec${pointer}` }],
    })
  })

  it('calls an unknown workflow a fault of the document', async () => {
    await expect(create({}, new FabriqueError('not-found', 'none'))).rejects.toMatchObject({
      code: 'validation-failed',
      problems: [{ pointer: '/run_spec/workflow' }],
    })
  })
})

describe('changing a schedule', () => {
  async function change(
    current: Partial<StoredSchedule>,
    patch: JsonValue,
    by: { admin?: boolean; fault?: Error } = {},
  ) {
    const tried: Submission[] = []
    let written: Partial<ScheduleEdit> | undefined
    const submitter = {
      async submit(submission: Submission) {
        tried.push(submission)
        if (by.fault !== undefined) throw by.fault
        return { outcome: 'dry-run' }
      },
    } as Submitter
    const store: Pick<ScheduleStore, 'change'> = {
      async change(_organizationId, _id, edit) {
        written = edit
        return aSchedule({ ...current, ...edit })
      },
    }
    await changeSchedule(
      { store, submitter, clock: createFakeClock() },
      { organizationId: 'o1', admin: by.admin ?? false },
      aSchedule(current),
      patch,
      (merged) => ScheduleRequest.parse(merged),
    )
    return { tried, written }
  }

  it.each<[JsonObject, Partial<StoredSchedule>, Partial<ScheduleEdit>]>([
    [{ enabled: false }, {}, { enabled: false }],
    [{ enabled: true }, { enabled: false }, { enabled: true }],
    [{ cron: '0 7 * * *', timezone: 'Asia/Tokyo' }, {}, { cron: '0 7 * * *', timezone: 'Asia/Tokyo' }],
    [{ cron: '*/10 * * * *', enabled: true, overlap: 'skip' }, {}, {}],
    [{ overlap: 'queue', name: 'n' }, {}, { overlap: 'queue', name: 'n' }],
    [
      { name: null, timezone: null },
      { name: 'n', timezone: 'Asia/Tokyo' },
      { name: null, timezone: 'UTC' },
    ],
  ])('%j writes what differs, and asks nothing about the spec', async (patch, current, expected) => {
    const unlisted = new FabriqueError('not-found', 'There is no such workflow.')
    expect(await change(current, patch, { fault: unlisted })).toEqual({ tried: [], written: expected })
  })

  it('merges into the spec, and checks what comes of it as the one who wrote it', async () => {
    const runSpec = { workflow: 'w', input: { prompt: 'a fox', style: 'flat' }, priority: 20 }
    const patch = { run_spec: { input: { prompt: 'a cat' }, priority: null } }
    const merged = { workflow: 'w', input: { prompt: 'a cat', style: 'flat' } }
    for (const admin of [false, true]) {
      const { tried, written } = await change({ runSpec, drafts: !admin }, patch, { admin })
      expect(written).toEqual({ runSpec: merged, drafts: admin })
      expect(tried).toMatchObject([{ admin, dryRun: true, document: { ...merged, metadata: {} } }])
    }
  })

  it('refuses a time that does not exist, and a spec that a submit would refuse', async () => {
    await expect(change({}, { cron: '0 0 30 2 *' })).rejects.toMatchObject({ problems: [{ pointer: '/cron' }] })
    const fault = new FabriqueError('not-found', 'none')
    await expect(change({}, { run_spec: { workflow: 'x' } }, { fault })).rejects.toMatchObject({
      code: 'validation-failed',
      problems: [{ pointer: '/run_spec/workflow' }],
    })
  })
})

describe('firing a schedule by hand', () => {
  it.each([
    ['accepted', [['o1', 's1', 'r1']]],
    ['replayed', []],
  ])('submits its spec with its id, though it is paused, and notes the run once: %s', async (outcome, noted) => {
    const submissions: Submission[] = []
    const notes: string[][] = []
    const submitter = {
      async submit(submission: Submission) {
        submissions.push(submission)
        return { outcome, run: { id: 'r1' }, runId: 'r1' }
      },
    } as unknown as Submitter
    const store = { noteRun: async (...note: string[]) => void notes.push(note) }
    const fired = await fireSchedule({ store, submitter }, aSchedule({ enabled: false, drafts: true }), 'once')
    expect(fired).toEqual({ runId: 'r1', outcome })
    const document = { workflow: 'test/example', input: {}, metadata: { schedule_id: 's1' } }
    expect(submissions).toEqual([{ organizationId: 'o1', admin: true, document, idempotencyKey: 'once' }])
    expect(notes).toEqual(noted)
  })
})
