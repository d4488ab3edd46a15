// What a cancel or a failure has stopped, saved and could not stop, held against the providers' own count; and what a
// retry does of it: the rest, and nothing twice.
import { createDb } from '@fabrique/db'
import type { LedgerEntry, Receipt, RunResource } from '@fabrique/schema'
import { isTerminalKind } from '@fabrique/schema'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Fabrique, type Operator, startFabrique } from './harness.ts'
import { createProviderStandIn, type ProviderStandIn } from './provider-stand-in.ts'

const FOREVER = { hold: new Promise(() => {}) }
const REFUSED = { status: 400, body: { error: { message: 'no', code: 'moderation_blocked' } } }
const PROMPT = 'a heron in the reeds'

let providers: ProviderStandIn
let fabrique: Fabrique
let operator: Operator
/** What a picture is expected to cost. */
let pictureUsd: number

const drawing = { workflow: 'test/draw', input: { prompt: PROMPT } }

beforeAll(async () => {
  providers = await createProviderStandIn()
  // Two runs at once, an organization's share of three slots of the batch lane; the third of a bundle is queued.
  fabrique = await startFabrique({ env: { ...providers.env, CONCURRENCY: '4', INTERACTIVE_RESERVED: '1' } })
  operator = await fabrique.createOperator('Drawing')
  const image = { kind: 'image', model: 'openai/gpt-image-2', promptTemplate: '{intake.prompt}' }
  await publish('test/draw', [
    { id: 'draw', ...image },
    { id: 'again', ...image, needs: ['draw'] },
  ])
  await publish('test/outer', [
    { id: 'inner', kind: 'workflow', workflow: 'test/draw', input: { prompt: '{intake.prompt}' } },
    { id: 'last', ...image, needs: ['inner'] },
  ])
  const { body } = await fabrique.request<{ estimate: { expected: number } }>('/v1/workflows/runs?dry_run=true', {
    body: drawing,
  })
  pictureUsd = body.estimate.expected / 2
  expect(pictureUsd).toBeGreaterThan(0)
}, 60_000)
afterAll(async () => {
  await fabrique?.stop()
  await providers?.close()
})
beforeEach(() => providers.forget())

async function publish(id: string, runtimeSteps: object[]): Promise<void> {
  const { status, text } = await fabrique.request('/v1/workflows', {
    body: {
      id,
      name: id,
      cadence: 'On demand',
      version: '2026.11.21',
      artifactClass: 'visual',
      schemaVersion: 'workflow-schema-v1',
      intakeSchema: { type: 'object', properties: { prompt: { type: 'string' } } },
      runtimeSteps,
      providers: {},
      gates: [],
      budgetPolicy: 'none',
      artifactSchema: { artifactType: 'none', files: [] },
      visibility: 'public',
    },
  })
  expect(status, text).toBe(201)
}

const submit = (spec: object) => fabrique.submit(spec, { key: operator.key })
const read = async <Body>(path: string) => (await fabrique.request<Body>(path, { key: operator.key })).body
const post = <Body = RunResource>(path: string, headers: Record<string, string> = {}) =>
  fabrique.request<Body>(path, { method: 'POST', key: operator.key, headers })

async function ended(runId: string): Promise<RunResource> {
  await fabrique.waitFor(runId, ({ kind }) => isTerminalKind(kind), { key: operator.key })
  return await read<RunResource>(`/v1/workflows/runs/${runId}`)
}

/** The receipt, after its sums were held against the ledger. */
async function receiptOf(runId: string): Promise<Receipt> {
  const receipt = await read<Receipt>(`/v1/workflows/runs/${runId}/receipt`)
  const { data: ledger } = await read<{ data: LedgerEntry[] }>(`/v1/workflows/runs/${runId}/ledger`)
  const { cost } = await read<RunResource>(`/v1/workflows/runs/${runId}`)
  const { totals, slots } = receipt
  expect(totals.spent_usd).toBeCloseTo(
    ledger.reduce((sum, { actualCostUsd }) => sum + (actualCostUsd ?? 0), 0),
    9,
  )
  expect(totals.spent_usd).toBeCloseTo(cost.actual, 9)
  expect(totals.estimated_usd).toBeCloseTo(cost.estimated, 9)
  expect(totals.calls.made).toBe(ledger.length)
  const steps = slots.flatMap((slot) => slot.steps)
  expect(steps.reduce((sum, { spent_usd }) => sum + spent_usd, 0)).toBeCloseTo(totals.spent_usd, 9)
  expect(steps.reduce((sum, { saved_usd }) => sum + saved_usd, 0)).toBeCloseTo(totals.saved_usd, 9)
  expect(steps.reduce((sum, { calls }) => sum + calls, 0)).toBe(totals.calls.made)
  return receipt
}

const fates = ({ slots }: Receipt) =>
  slots.map(({ steps }) => steps.map(({ step, state }) => `${step} ${state}`).join(', '))

describe('the receipt', () => {
  it('of a cancelled bundle names what was finished, stopped and never started, and its sums agree with the ledger', async () => {
    providers.script('image', {}, ...Array.from({ length: 5 }, () => FOREVER))
    const { id } = await submit({ workflow: 'bundle/ad-hoc', bundle: [drawing, drawing, drawing] })
    await providers.heard('image', 3)
    expect((await receiptOf(id)).slots.flatMap(({ steps }) => steps.map(({ state }) => state))).toContain('open')
    await post(`/v1/workflows/runs/${id}/cancel`)
    await ended(id)
    const receipt = await receiptOf(id)
    expect(receipt).toMatchObject({ run_id: id, status: 'cancelled', cancelled_at: expect.stringMatching(/Z$/) })
    expect(fates(receipt).toSorted()).toEqual([
      'draw aborted_in_flight, again never_started',
      'draw finished, again aborted_in_flight',
      'draw never_started, again never_started',
    ])
    const { totals } = receipt
    expect(totals.calls).toEqual({ made: 3, succeeded: 1, failed: 0, cancelled: 0, unknown: 2, pending: 0 })
    expect(totals.estimated_usd).toBeCloseTo(6 * pictureUsd, 6)
    expect(totals.saved_usd).toBeCloseTo(3 * pictureUsd, 6)
    // The one picture that was made cost what the provider reported, not what was expected.
    expect(Math.abs(totals.spent_usd + totals.saved_usd - totals.estimated_usd)).toBeLessThan(pictureUsd)
    expect(providers.asked('image')).toHaveLength(3)
    expect(JSON.stringify(receipt)).not.toContain(PROMPT)
  })

  it('tells apart an answer after the cancel, one before it, and a step that was stopped before its call', async () => {
    const release = Promise.withResolvers<void>()
    providers.script('image', { hold: release.promise })
    const { id } = await submit(drawing)
    await providers.heard('image')
    // The cancel stands, and its news is on the way still.
    await fabrique.query('update runs set cancel_requested_at = now() where id = $1', [id])
    release.resolve()
    await ended(id)
    const receipt = await receiptOf(id)
    expect(fates(receipt)).toEqual(['draw finished_anyway, again stopped_before_call'])
    expect(receipt.totals.saved_usd).toBeCloseTo(pictureUsd, 6)
  })

  it('of a bundle that failed says what the failure has stopped', async () => {
    const release = Promise.withResolvers<void>()
    providers.script('image', FOREVER, { hold: release.promise, ...REFUSED })
    const { id } = await submit({ workflow: 'bundle/ad-hoc', bundle: [drawing, drawing, drawing] })
    await providers.heard('image', 2)
    release.resolve()
    await ended(id)
    const receipt = await receiptOf(id)
    expect(receipt.status).toBe('failed')
    expect(receipt.cancelled_at).not.toBeNull()
    expect(fates(receipt).toSorted()).toEqual([
      'draw aborted_in_flight, again never_started',
      'draw failed, again never_started',
      'draw never_started, again never_started',
    ])
  })

  it('of a run that completed is there as well, and another organization’s is not', async () => {
    const { id } = await submit(drawing)
    await ended(id)
    const receipt = await receiptOf(id)
    expect(fates(receipt)).toEqual(['draw finished, again finished'])
    expect([receipt.cancelled_at, receipt.totals.saved_usd]).toEqual([null, 0])
    for (const [method, what] of [
      ['GET', 'receipt'],
      ['POST', 'retry'],
    ]) {
      const path = (runId: string) => `/v1/workflows/runs/${runId}/${what}`
      const foreign = await fabrique.request(path(id), { method: method ?? '' })
      const unknown = await fabrique.request(path('01J6N3YV2H3K8E7XR4M2YT5VAW'), { method: method ?? '' })
      expect([foreign.status, unknown.status]).toEqual([404, 404])
      expect(foreign.body.detail).toBe(unknown.body.detail)
    }
  })
})

describe('a retry', () => {
  it('of a cancelled bundle makes what is missing, and nothing twice', async () => {
    providers.script('image', {}, ...Array.from({ length: 5 }, () => FOREVER))
    const state = { request: 7 }
    const accepted = await submit({
      workflow: 'bundle/ad-hoc',
      bundle: [drawing, drawing, drawing],
      state,
      priority: 30,
    })
    await providers.heard('image', 3)
    await post(`/v1/workflows/runs/${accepted.id}/cancel`)
    const first = await ended(accepted.id)
    const [slot] = first.outputs
    const refused = await post<{ code: string; detail: string }>(`/v1/workflows/runs/${slot?.run_id}/retry`)
    expect(refused).toMatchObject({
      status: 409,
      body: { code: 'not-retryable', detail: expect.stringContaining(first.id) },
    })

    providers.forget()
    const path = `/v1/workflows/runs/${first.id}/retry`
    const retried = await post(path, { 'idempotency-key': 'again' })
    expect(retried.status).toBe(202)
    expect(retried.body).toMatchObject({ retry_of: first.id, priority: 30, state, summary: { total: 3 } })
    expect(retried.headers.get('location')).toBe(`/v1/workflows/runs/${retried.body.id}`)
    const replayed = await post(path, { 'idempotency-key': 'again' })
    expect([replayed.status, replayed.body.id]).toEqual([202, retried.body.id])
    expect(replayed.headers.get('idempotent-replayed')).toBe('true')

    const second = await ended(retried.body.id)
    expect(second).toMatchObject({ status: 'completed', partial: false, summary: { completed: 3 } })
    expect(providers.asked('image')).toHaveLength(5)
    expect(second.cost.estimated).toBeCloseTo(5 * pictureUsd, 6)
    expect(fates(await receiptOf(second.id))).toEqual(Array.from({ length: 3 }, () => 'draw finished, again finished'))
    expect(await read(`/v1/workflows/runs/${first.id}`)).toEqual(first)
    expect(await post(`/v1/workflows/runs/${second.id}/retry`)).toMatchObject({
      status: 409,
      body: { code: 'not-retryable' },
    })
    for (const output of second.outputs) {
      const { data } = await read<{ data: { sha256: string }[] }>(`/v1/artifacts?run_id=${output.run_id}`)
      expect(data).toHaveLength(2)
    }
  })

  it('pays no finished step of a called workflow again', async () => {
    providers.script('image', {}, REFUSED)
    const accepted = await submit({ workflow: 'test/outer', input: { prompt: PROMPT } })
    const first = await ended(accepted.id)
    expect(first.status).toBe('failed')
    const receipt = await receiptOf(first.id)
    expect(receipt.slots[0]?.steps).toMatchObject([
      { step: 'inner', state: 'failed', calls: 2, runs: [{ steps: [{ state: 'finished' }, { state: 'failed' }] }] },
      { step: 'last', state: 'never_started' },
    ])
    const [called] = receipt.slots[0]?.steps[0]?.runs ?? []
    expect(await post(`/v1/workflows/runs/${called?.run_id}/retry`)).toMatchObject({ status: 409 })

    providers.forget()
    const retried = await post(`/v1/workflows/runs/${first.id}/retry`)
    const second = await ended(retried.body.id)
    expect(second.status).toBe('completed')
    expect(providers.asked('image')).toHaveLength(2)
    const { data: ledger } = await read<{ data: LedgerEntry[] }>(`/v1/workflows/runs/${second.id}/ledger`)
    expect(ledger.map(({ stepId }) => stepId).toSorted()).toEqual(['again', 'last'])
  })
})

describe('the totals of the ledger', () => {
  it('may take longer than other statements: they are a sum over everything', async () => {
    const slow = createDb({ databaseUrl: fabrique.databaseUrl, connectionsMax: 1, limitMs: 20_000 })
    const locked = slow.query(
      '',
      'do $$ begin lock table provider_calls in access exclusive mode; perform pg_sleep(5); end $$',
      [],
    )
    const isLocked = async () =>
      (
        await fabrique.query(
          "select 1 from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = 'provider_calls'::regclass",
        )
      ).length
    await expect.poll(isLocked).toBe(1)
    const { status } = await fabrique.request('/v1/ledger?from=2026-01-01&until=2026-12-31')
    expect(status).toBe(200)
    await locked
    await slow.close()
  })
})
