// Schedules end to end: made and refused over HTTP, fired by real workers, once each however many of them look and
// whoever dies. Expressions with seconds, so that nobody has to wait; every firing is awaited, never slept for.
import type { ProblemDocument, RunResource, ScheduleResource } from '@fabrique/schema'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Fabrique, FOX, type Operator, startFabrique } from './harness.ts'

const EVERY_SECOND = '* * * * * *'
/** Does not come due in the life of a test. */
const NEVER_NOW = '0 0 29 2 *'
const LIMIT_MS = 20_000
/** Fits into metadata by itself, but not beside the schedule's id. */
const LONG = 'x'.repeat(16_350)

let fabrique: Fabrique
let operator: Operator

beforeAll(async () => {
  fabrique = await startFabrique({ workers: 2, env: { FABRIQUE_RECONCILE_MS: '100' } })
  operator = await fabrique.createOperator('Cadence')
}, 60_000)

afterEach(async () => {
  await fabrique.query('delete from schedules')
  await fabrique.request('/v1/workflows/runs/cancel', { key: operator.key, body: { all: true } })
})

afterAll(() => fabrique?.stop())

function post<Body = ScheduleResource>(body: object, key = operator.key) {
  return fabrique.request<Body>('/v1/schedules', { key, body })
}

async function create(over: object = {}): Promise<ScheduleResource> {
  const { status, text, body } = await post({ cron: EVERY_SECOND, run_spec: FOX, ...over })
  expect(status, text).toBe(201)
  return body
}

async function read(id: string): Promise<ScheduleResource> {
  return (await fabrique.request<ScheduleResource>(`/v1/schedules/${id}`, { key: operator.key })).body
}

/** The schedule's runs, oldest first. */
async function runsOf(id: string): Promise<RunResource[]> {
  const { body } = await fabrique.request<{ data: RunResource[] }>(
    `/v1/workflows/runs?metadata[schedule_id]=${id}&limit=100`,
    { key: operator.key },
  )
  return body.data.reverse()
}

/** Asks until the answer fits; rejects, with the last answer, when none does in time. */
async function until<T>(ask: () => Promise<T>, fits: (answer: T) => boolean): Promise<T> {
  const deadline = performance.now() + LIMIT_MS
  for (;;) {
    const answer = await ask()
    if (fits(answer)) return answer
    if (performance.now() > deadline) throw new Error(`it did not come to that: ${JSON.stringify(answer)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Resolves when a worker has looked at the schedule and let go of it: what the test writes then stays. */
async function looked(id: string): Promise<void> {
  const sql = "select due_at > now() + interval '1 hour' as resting from schedules where id = $1"
  await until(
    () => fabrique.query<{ resting: boolean }>(sql, [id]),
    ([row]) => row?.resting === true,
  )
}

/** As if the schedule had last been looked at this long ago. */
async function rewind(id: string, seconds: number): Promise<void> {
  await fabrique.query(
    `update schedules set done_until = now() - $2::int * interval '1 s', due_at = now() where id = $1`,
    [id, seconds],
  )
}

describe('a schedule', () => {
  it('is answered with its next times, in its own zone', async () => {
    const made = await create({ cron: '30 9 * * 1-5', timezone: 'Europe/Berlin', name: 'mornings' })
    expect(made).toMatchObject({
      name: 'mornings',
      overlap: 'skip',
      enabled: true,
      last_run_id: null,
      last_error: null,
    })
    const berlin = new Intl.DateTimeFormat('en-GB', { timeZone: 'Europe/Berlin', timeStyle: 'short' })
    expect(made.next_runs.map((at) => berlin.format(new Date(at)))).toEqual(Array(5).fill('09:30'))
    expect(await read(made.id)).toEqual(made)
    const { body } = await fabrique.request<{ data: ScheduleResource[]; next_cursor: null }>('/v1/schedules', {
      key: operator.key,
    })
    expect(body).toEqual({ data: [{ ...made, next_runs: made.next_runs.slice(0, 1) }], next_cursor: null })
  })

  it.each([
    [{ cron: 'every day' }, '/cron'],
    [{ cron: '61 * * * *' }, '/cron'],
    [{ cron: '0 0 30 2 *' }, '/cron'],
    [{ cron: '2026-01-01T00:00:00' }, '/cron'],
    [{ cron: 5 }, '/cron'],
    [{ timezone: 'Mars/Base' }, '/timezone'],
    [{ timezone: '+02:00' }, '/timezone'],
    [{ overlap: 'maybe' }, '/overlap'],
    [{ run_spec: 'text' }, '/run_spec'],
    [{ run_spec: {} }, '/run_spec/input'],
    [{ run_spec: { ...FOX, workflow: 'no/such' } }, '/run_spec/workflow'],
    [{ run_spec: { ...FOX, input: {} } }, '/run_spec/input/prompt'],
    [{ run_spec: { ...FOX, priority: 101 } }, '/run_spec/priority'],
    [{ run_spec: { ...FOX, metadata: { a: LONG } } }, '/run_spec/metadata'],
    [{ extra: 1 }, '/extra'],
  ])('is refused with the place of the fault, %#: $1', async (over, pointer) => {
    const { status, body } = await post<ProblemDocument>({ cron: NEVER_NOW, run_spec: FOX, ...over })
    expect(status).toBe(422)
    expect(body.errors?.map((problem) => problem.pointer)).toContain(pointer)
    expect(body.errors?.every(({ line }) => line === 1)).toBe(true)
    expect(JSON.stringify(body)).not.toMatch(/croner|CronPattern/i)
  })

  it('can be read and removed by its own organization only', async () => {
    const { id } = await create({ cron: NEVER_NOW })
    const stranger = await fabrique.createOperator('Strangers')
    for (const key of [stranger.key, fabrique.adminKey]) {
      expect((await fabrique.request<{ data: unknown[] }>('/v1/schedules', { key })).body.data).toEqual([])
      const foreign = await fabrique.request(`/v1/schedules/${id}`, { key })
      const unknown = await fabrique.request('/v1/schedules/unknown', { key })
      expect([foreign.status, foreign.body.detail]).toEqual([404, unknown.body.detail])
      expect((await fabrique.request(`/v1/schedules/${id}`, { method: 'DELETE', key })).status).toBe(404)
    }
    const remove = () => fabrique.request(`/v1/schedules/${id}`, { method: 'DELETE', key: operator.key })
    expect([(await remove()).status, (await remove()).status]).toEqual([204, 404])
  })

  it('that is not enabled never comes due', async () => {
    const { id, next_runs: next } = await create({ enabled: false })
    expect(next).toEqual([])
    const [row] = await fabrique.query('select due_at from schedules where id = $1', [id])
    expect(row).toEqual({ due_at: null })
  })
})

describe('a change', () => {
  function patch<Body = ScheduleResource>(id: string, body: object, key = operator.key) {
    return fabrique.request<Body>(`/v1/schedules/${id}`, { method: 'PATCH', key, body })
  }

  it('pauses and resumes, and the next times follow', async () => {
    const { id } = await create({ cron: '0 9 * * *', enabled: false })
    const resumed = await patch(id, { enabled: true })
    expect([resumed.status, resumed.body.enabled, resumed.body.next_runs.length]).toEqual([200, true, 5])
    expect(await read(id)).toEqual(resumed.body)
    const paused = await patch(id, { enabled: false, name: 'kept', timezone: 'Asia/Tokyo' })
    expect(paused.body).toMatchObject({ enabled: false, next_runs: [], name: 'kept', timezone: 'Asia/Tokyo' })
    expect((await patch(id, { name: null, run_spec: { priority: 7 } })).body).toMatchObject({
      name: null,
      cron: '0 9 * * *',
      run_spec: { ...FOX, priority: 7 },
    })
  })

  it('fires by the new expression, and makes up for nothing', async () => {
    const { id } = await create({ cron: NEVER_NOW })
    await looked(id)
    await rewind(id, 3_000)
    expect((await patch(id, { cron: '*/10 * * * *' })).status).toBe(200)
    await patch(id, { cron: EVERY_SECOND })
    const { last_run_id: made } = await until(
      () => read(id),
      ({ last_run_id: run }) => run !== null,
    )
    expect((await runsOf(id)).map((run) => run.id)).toEqual([made])
  })

  it.each([
    [{ cron: null }, '/cron'],
    [{ cron: '0 0 30 2 *' }, '/cron'],
    [{ timezone: 'Mars/Base' }, '/timezone'],
    [{ enabled: 'yes' }, '/enabled'],
    [{ run_spec: { input: { prompt: null } } }, '/run_spec/input/prompt'],
    [{ run_spec: { workflow: 'no/such' } }, '/run_spec/workflow'],
    [{ next_runs: [] }, '/next_runs'],
    [[], ''],
  ])('is refused with the place of the fault, and changes nothing, %#: $1', async (change, pointer) => {
    const made = await create({ cron: NEVER_NOW })
    const { status, body } = await patch<ProblemDocument>(made.id, change)
    expect([status, body.errors?.map((problem) => problem.pointer)]).toEqual([422, [pointer]])
    expect(await read(made.id)).toEqual(made)
  })

  it('cannot add up to more than a document may hold', async () => {
    const { id } = await create({ cron: NEVER_NOW })
    const half = {
      run_spec: { input: Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`a${n}`, 'x'.repeat(60_000)])) },
    }
    const other = {
      run_spec: { input: Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`b${n}`, 'x'.repeat(60_000)])) },
    }
    expect((await patch(id, half)).status).toBe(200)
    expect((await patch(id, other)).status).toBe(413)
  })

  it('and a firing by hand are for its own organization only', async () => {
    const { id } = await create({ cron: NEVER_NOW })
    const stranger = await fabrique.createOperator('Changers')
    const fire = () => fabrique.request(`/v1/schedules/${id}/fire`, { method: 'POST', key: stranger.key })
    expect([(await patch(id, { enabled: false }, stranger.key)).status, (await fire()).status]).toEqual([404, 404])
  })
})

describe('a firing by hand', () => {
  it('makes a run at once, also of a schedule that is paused, once per Idempotency-Key', async () => {
    const { id } = await create({ cron: NEVER_NOW, enabled: false, run_spec: { ...FOX, metadata: { team: 'art' } } })
    const fire = (key: string) =>
      fabrique.request<RunResource>(`/v1/schedules/${id}/fire`, {
        method: 'POST',
        key: operator.key,
        headers: { 'idempotency-key': `by-hand:${id}:${key}` },
      })
    const first = await fire('1')
    expect([first.status, first.body.metadata]).toEqual([202, { team: 'art', schedule_id: id }])
    expect(first.headers.get('location')).toBe(`/v1/workflows/runs/${first.body.id}`)
    const again = await fire('1')
    expect([again.body.id, again.headers.get('idempotent-replayed')]).toEqual([first.body.id, 'true'])
    const second = await fire('2')
    expect((await runsOf(id)).map((run) => run.id)).toEqual([first.body.id, second.body.id])
    expect(await read(id)).toMatchObject({ enabled: false, next_runs: [], last_run_id: second.body.id })
  })
})

describe('a firing', () => {
  it('submits the spec, with the id of the schedule in the metadata of the run', async () => {
    const { id } = await create({ run_spec: { ...FOX, metadata: { team: 'art' } } })
    const { last_run_id: runId } = await until(
      () => read(id),
      ({ last_run_id: made }) => made !== null,
    )
    const { body: run } = await fabrique.request<RunResource>(`/v1/workflows/runs/${runId}`, { key: operator.key })
    expect(run.metadata).toEqual({ team: 'art', schedule_id: id })
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting', { key: operator.key })
  })

  it('is left out with overlap: skip while the previous run is unfinished, and noted', async () => {
    const { id } = await create({ overlap: 'skip' })
    await until(
      () => read(id),
      ({ last_skipped_at: at }) => at !== null,
    )
    expect(await runsOf(id)).toHaveLength(1)
  })

  it('waits with overlap: queue until the previous run has ended, and then makes one run', async () => {
    const { id } = await create({ overlap: 'queue' })
    const { last_run_id: first } = await until(
      () => read(id),
      ({ queued_for: at }) => at !== null,
    )
    expect(await runsOf(id)).toHaveLength(1)
    await fabrique.request(`/v1/workflows/runs/${first}/cancel`, { method: 'POST', key: operator.key })
    await until(
      () => read(id),
      ({ last_run_id: made }) => made !== first,
    )
    expect((await runsOf(id)).map((run) => run.status === 'cancelled')).toEqual([true, false])
  })

  it('cancels the previous run with overlap: cancel_other', async () => {
    const { id } = await create({ overlap: 'cancel_other' })
    const runs = await until(
      () => runsOf(id),
      (made) => made.length >= 3,
    )
    await until(
      () => runsOf(id),
      (made) => made.filter(({ status }) => status === 'cancelled').length >= 2,
    )
    expect(runs.map((run) => run.id)).toEqual(runs.map((run) => run.id).sort())
  })

  it('happens once per instant, whoever looks at the same time', async () => {
    const { id } = await create({ overlap: 'cancel_other' })
    await until(
      () => runsOf(id),
      (made) => made.length >= 2,
    )
    // Everybody looks at once, again and again.
    for (let n = 0; n < 30; n += 1) await fabrique.query('update schedules set due_at = now() where id = $1', [id])
    const before = (await runsOf(id)).length
    await until(
      () => runsOf(id),
      (made) => made.length > before,
    )
    await fabrique.query('delete from schedules')
    const keys = await fabrique.query<{ key: string; run_id: string }>(
      'select key, run_id from idempotency_keys where key like $1',
      [`schedule:${id}:%`],
    )
    const made = await runsOf(id)
    expect(new Set(keys.map(({ run_id: run }) => run))).toEqual(new Set(made.map((run) => run.id)))
    expect(new Set(keys.map(({ key }) => key)).size).toBe(made.length)
  })

  it('that was missed is made up for once, by its latest instant', async () => {
    const { id } = await create({ cron: NEVER_NOW })
    await looked(id)
    await fabrique.query(`update schedules set cron = '*/10 * * * *' where id = $1`, [id])
    await rewind(id, 3_000)
    const { last_fired_at: at } = await until(
      () => read(id),
      ({ last_run_id: made }) => made !== null,
    )
    expect(Date.now() - Date.parse(at ?? '')).toBeLessThan(601_000)
    expect(await runsOf(id)).toHaveLength(1)
  })

  it('that is more than an hour late is left out, and noted', async () => {
    const { id } = await create({ cron: NEVER_NOW })
    await looked(id)
    await rewind(id, 5 * 366 * 86_400)
    const { last_error: error } = await until(
      () => read(id),
      ({ last_error: noted }) => noted !== null,
    )
    expect(error).toMatchObject({ code: 'missed', instant: expect.stringMatching(/-02-29T00:00:00/) })
    expect(await runsOf(id)).toEqual([])
  })

  it('of a workflow that was demoted is noted on the schedule, and works again once it is listed', async () => {
    const { id } = await create({ overlap: 'cancel_other' })
    const demote = (visibility: string) =>
      fabrique.request(`/v1/workflows/${FOX.workflow}`, { method: 'PATCH', body: { visibility } })
    await demote('draft')
    const { last_error: error } = await until(
      () => read(id),
      ({ last_error: noted }) => noted !== null,
    )
    expect(error).toMatchObject({ code: 'not-found', errors: [{ pointer: '/run_spec/workflow' }] })
    await demote('public')
    await until(
      () => read(id),
      ({ last_error: noted }) => noted === null,
    )
  })
})

describe('a worker killed', () => {
  it('between submitting and recording leaves a firing that the next one records, and makes no second run', async () => {
    const { id } = await create({ cron: NEVER_NOW })
    await looked(id)
    const instant = new Date(Math.floor(Date.now() / 1000) * 1000)
    await fabrique.killWorkers('SIGKILL')
    await fabrique.query(`update schedules set cron = $2 where id = $1`, [id, EVERY_SECOND])
    // The state that such a death leaves: the instant taken up, its run made under its key, nothing recorded.
    await fabrique.query(
      `update schedules set firing_at = $2, done_until = $2::timestamptz - interval '1 s', due_at = now() where id = $1`,
      [id, instant],
    )
    const run = await fabrique.submit(
      { ...FOX, metadata: { schedule_id: id } },
      { key: operator.key, headers: { 'idempotency-key': `schedule:${id}:${instant.toISOString()}` } },
    )
    await fabrique.startWorker()
    const { last_fired_at: at } = await until(
      () => read(id),
      ({ last_run_id: made }) => made === run.id,
    )
    expect(at).toBe(instant.toISOString())
    // The run waits for its review: nothing else may have been made beside it.
    expect(await runsOf(id)).toHaveLength(1)
  })
})
