// Steering what is queued: lists by every filter, another priority before a run begins, and cancelling all that a filter
// shows. Real API, PostgreSQL and Redis; workers only where a run has to begin.
import type { RunResource } from '@fabrique/schema'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Fabrique, FOX, type Operator, startFabrique } from './harness.ts'
import { createProviderStandIn, type ProviderStandIn } from './provider-stand-in.ts'

const RUNS = '/v1/workflows/runs'

interface Counts {
  matched: number
  cancelled: number
  already_finished: number
}

let providers: ProviderStandIn
let fabrique: Fabrique
let operator: Operator

beforeAll(async () => {
  providers = await createProviderStandIn()
  fabrique = await startFabrique({ workers: 0, env: providers.env })
  operator = await fabrique.createOperator('Steering')
}, 60_000)
beforeEach(() => providers.forget())
afterEach(async () => {
  await fabrique.killWorkers('SIGKILL')
  await cancel({})
})
afterAll(async () => {
  await fabrique?.stop()
  await providers?.close()
})

function submit(over: object = {}, key = operator.key): Promise<RunResource> {
  return fabrique.submit({ ...FOX, ...over }, { key })
}

function cancel(filter: object, over: object = {}, key = operator.key) {
  const what = Object.keys(filter).length === 0 ? { all: true } : { filter }
  return fabrique.request<Counts>(`${RUNS}/cancel`, { key, body: { ...what, ...over } })
}

async function listed(query: string, key = operator.key): Promise<string[]> {
  const { status, text, body } = await fabrique.request<{ data: RunResource[] }>(`${RUNS}?${query}`, { key })
  expect(status, text).toBe(200)
  return body.data.map(({ id }) => id)
}

function statusOf(runId: string): Promise<string> {
  return fabrique.request<RunResource>(`${RUNS}/${runId}`, { key: operator.key }).then(({ body }) => body.status)
}

const patch = (runId: string, body: object, key = operator.key) =>
  fabrique.request<RunResource & { code?: string }>(`${RUNS}/${runId}`, { method: 'PATCH', key, body })

async function backlogs(): Promise<[batch: number, interactive: number]> {
  const { body } = await fabrique.request<Record<string, { backlog: number }>>('/v1/queues/stats')
  return [body['runs-batch']?.backlog ?? -1, body['runs-interactive']?.backlog ?? -1]
}

describe('a list', () => {
  it('finds runs by metadata, as text or as the number or boolean of that spelling', async () => {
    const tag = 'list-1'
    const [text, number, flag] = await Promise.all([
      submit({ metadata: { tag, n: '7', a: 1 } }),
      submit({ metadata: { tag, n: 7 } }),
      submit({ metadata: { tag, n: true } }),
    ])
    await submit({ metadata: { tag: 'other', n: 7 } })
    await submit()
    expect(new Set(await listed(`metadata[tag]=${tag}`))).toEqual(new Set([text.id, number.id, flag.id]))
    expect(new Set(await listed(`metadata[tag]=${tag}&metadata[n]=7`))).toEqual(new Set([text.id, number.id]))
    expect(await listed(`metadata[tag]=${tag}&metadata[n]=true`)).toEqual([flag.id])
    expect(await listed('metadata[a]=')).toEqual([])
  })

  it('is bounded by the times that runs were created', async () => {
    const runs = []
    for (let n = 0; n < 3; n += 1) runs.push(await submit())
    const [first, second, third] = runs.map(({ id, created_at: at }) => ({ id, at: encodeURIComponent(at) }))
    // The record keeps microseconds, the resource shows milliseconds: a run is after its own shown time.
    expect((await listed(`created_after=${second?.at}&limit=2`)).slice(0, 1)).toEqual([third?.id])
    expect(await listed(`created_before=${second?.at}&limit=1`)).toEqual([first?.id])
    expect(await listed('created_before=2020-01-01T00:00:00Z')).toEqual([])
    expect(await listed('created_after=2100-01-01T00:00:00Z')).toEqual([])
  })

  it('pages through a filter without a gap or a repetition', async () => {
    const metadata = { tag: 'pages' }
    const ids = []
    for (let n = 0; n < 5; n += 1) ids.unshift((await submit({ metadata })).id)
    const seen: string[] = []
    for (let cursor = ''; ; ) {
      const { body } = await fabrique.request<{ data: RunResource[]; next_cursor: string | null }>(
        `${RUNS}?metadata[tag]=pages&limit=2${cursor}`,
        { key: operator.key },
      )
      seen.push(...body.data.map(({ id }) => id))
      if (body.next_cursor === null) break
      cursor = `&cursor=${body.next_cursor}`
    }
    expect(seen).toEqual(ids)
  })
})

describe('the priority of a run', () => {
  it('changes while it is queued, and with it its place and lane', async () => {
    const runs = [await submit({ priority: 40 }), await submit({ priority: 30 }), await submit({ priority: 20 })]
    const [before] = await backlogs()
    expect((await patch(runs[1]?.id ?? '', { priority: 60 })).body).toMatchObject({ priority: 60, status: 'pending' })
    expect((await patch(runs[2]?.id ?? '', { priority: 90 })).body).toMatchObject({ priority: 90 })
    const [after, interactive] = await backlogs()
    expect([after - before, interactive]).toEqual([-1, 1])

    // One at a time in each lane, so that the order of the beginnings is the order of the queue.
    await fabrique.startWorker({ CONCURRENCY: '1', INTERACTIVE_RESERVED: '0' })
    for (const { id } of runs)
      await fabrique.waitFor(id, ({ kind }) => kind.endsWith('run.waiting'), { key: operator.key })
    const began = await fabrique.query<{ id: string }>('select id from runs where id = any($1) order by started_at', [
      runs.map(({ id }) => id),
    ])
    const order = began.map(({ id }) => id)
    expect(order.indexOf(runs[1]?.id ?? '')).toBeLessThan(order.indexOf(runs[0]?.id ?? ''))
    expect(order).toHaveLength(3)
  })

  it('changes no more once the run has begun or ended', async () => {
    await fabrique.startWorker()
    const run = await submit()
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting', { key: operator.key })
    expect(await patch(run.id, { priority: 60 })).toMatchObject({ status: 409, body: { code: 'already-started' } })
    await cancel({})
    expect(await patch(run.id, { priority: 60 })).toMatchObject({ status: 409, body: { code: 'already-finished' } })
    expect(
      (await fabrique.query<{ priority: number }>('select priority from runs where id = $1', [run.id]))[0],
    ).toEqual({
      priority: 50,
    })
  })

  it('is refused where it is no priority, and for whom the run does not exist', async () => {
    const run = await submit()
    for (const body of [{ priority: 101 }, { priority: -1 }, { priority: '60' }, { priority: 1.5 }, {}, { state: {} }])
      expect((await patch(run.id, body)).status).toBe(422)
    expect((await patch(run.id, { priority: 60 }, fabrique.adminKey)).status).toBe(404)
    expect(await statusOf(run.id)).toBe('pending')
  })
})

describe('cancelling by a filter', () => {
  it('counts in a dry run, and changes nothing', async () => {
    const runs = [await submit({ metadata: { tag: 'dry' } }), await submit({ metadata: { tag: 'dry' } })]
    const { status, body } = await cancel({ metadata: { tag: 'dry' } }, { dry_run: true })
    expect([status, body]).toEqual([200, { matched: 2, cancelled: 0, already_finished: 0, dry_run: true }])
    for (const { id } of runs) expect(await statusOf(id)).toBe('pending')
  })

  it('ends what fits, queued or waiting, and leaves the rest alone', async () => {
    await fabrique.startWorker()
    const waiting = await submit({ metadata: { tag: 'bulk' } })
    await fabrique.waitFor(waiting.id, ({ kind }) => kind === 'workflow.run.waiting', { key: operator.key })
    await fabrique.killWorkers('SIGTERM')
    const queued = [await submit({ metadata: { tag: 'bulk' } }), await submit({ metadata: { tag: 'bulk' } })]
    const other = await submit({ metadata: { tag: 'kept' } })
    const [before] = await backlogs()

    const { body } = await cancel({ metadata: { tag: 'bulk' } })
    expect(body).toMatchObject({ matched: 3, cancelled: 3, already_finished: 0 })
    for (const { id } of [waiting, ...queued]) {
      expect(await statusOf(id)).toBe('cancelled')
      const { body: log } = await fabrique.request<{ data: { kind: string }[] }>(`${RUNS}/${id}/events`, {
        key: operator.key,
        headers: { accept: 'application/json' },
      })
      expect(log.data.filter(({ kind }) => kind === 'workflow.run.cancelled')).toHaveLength(1)
    }
    expect(await statusOf(other.id)).toBe('pending')
    expect((await backlogs())[0] - before).toBe(-2)
    expect((await cancel({ metadata: { tag: 'bulk' } })).body).toMatchObject({
      matched: 3,
      cancelled: 0,
      already_finished: 3,
    })
  })

  it('reaches runs that are being executed', async () => {
    providers.script('image', { hold: new Promise(() => {}) })
    await fabrique.startWorker()
    const run = await submit({ metadata: { tag: 'active' } })
    const call = await providers.heard('image')
    expect((await cancel({ metadata: { tag: 'active' } })).body).toMatchObject({ matched: 1, cancelled: 1 })
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.cancelled', { key: operator.key })
    expect(await call.ended).toBe('dropped')
  })

  it('cancels more runs than fit a page', async () => {
    await Promise.all(Array.from({ length: 450 }, () => submit({ metadata: { tag: 'many' } })))
    expect((await cancel({ metadata: { tag: 'many' } })).body).toMatchObject({ matched: 450, cancelled: 450 })
    expect((await cancel({ metadata: { tag: 'many' }, status: 'pending' })).body.matched).toBe(0)
  })

  it('cancels no run of another organization', async () => {
    const run = await submit({ metadata: { tag: 'own' } })
    expect((await cancel({ metadata: { tag: 'own' } }, {}, fabrique.adminKey)).body.matched).toBe(0)
    expect((await cancel({}, {}, (await fabrique.createOperator('Others')).key)).body.matched).toBe(0)
    expect(await statusOf(run.id)).toBe('pending')
  })

  it('refuses a filter that the list does not know, and an empty one', async () => {
    const post = (body: object) => fabrique.request(`${RUNS}/cancel`, { key: operator.key, body })
    for (const body of [
      {},
      { filter: null },
      { filter: {} },
      { filter: { status: 'pending' }, all: true },
      { filter: { tag: 'x' } },
      { filter: {}, dryrun: true },
      { filter: { limit: 1 } },
    ])
      expect((await post(body)).status).toBe(422)
  })
})
