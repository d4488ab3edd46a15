// Bundles and variants: one run of slots, executed by any worker, joined in the record. What one failure stops, what a
// cancel stops, and what comes through when processes or Redis go away, by the providers' own count.
import { appendFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isTerminalKind, type LedgerEntry, type RunEvent, type RunResource } from '@fabrique/schema'
import { discardHome, openServices, type Services } from '@fabrique/services'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Fabrique, startFabrique } from './harness.ts'
import { createProviderStandIn, type ProviderStandIn } from './provider-stand-in.ts'
import { SEED_BUNDLE, SEED_EVERY_KEY, SEED_PARENT } from './seed-specs.ts'

const BUNDLE = 'bundle/ad-hoc'
const LIMIT_MS = 60_000
const isEnd = ({ kind }: RunEvent) => isTerminalKind(kind)

/** A template of the tests, listed at once. */
async function publish(fabrique: Fabrique, id: string, runtimeSteps: object[], gates: string[] = []): Promise<void> {
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
      gates,
      budgetPolicy: 'none',
      artifactSchema: { artifactType: 'none', files: [] },
      visibility: 'public',
    },
  })
  expect(status, text).toBe(201)
}

/** The run when it has ended. */
async function ended(fabrique: Fabrique, runId: string): Promise<RunResource> {
  await fabrique.waitFor(runId, isEnd)
  return await fabrique.run(runId)
}

/** What must hold of a run of slots that has ended, and of each of its slots. */
async function audit(fabrique: Fabrique, run: RunResource): Promise<void> {
  for (const runId of [run.id, ...run.outputs.map((output) => output.run_id)]) {
    const log = await fabrique.log(runId)
    expect(log.map(({ seq }) => seq)).toEqual(log.map((_, index) => index + 1))
    expect(log.filter(isEnd)).toEqual([log.at(-1)])
    expect(log.at(-1)?.kind).toBe(`workflow.run.${(await fabrique.run(runId)).status}`)
  }
  const log = await fabrique.log(run.id)
  const ends = log.filter(({ kind, node_key }) => node_key !== undefined && kind !== 'workflow.node.started')
  expect(ends.map(({ node_key }) => String(node_key)).toSorted()).toEqual(
    run.outputs.map(({ index }) => `slots/${index}`).toSorted(),
  )
  expect(log.at(-1)?.payload).toMatchObject({ status: run.status, partial: run.partial, outputs: run.outputs })
  const { total, completed, failed, cancelled } = run.summary
  expect(completed + failed + cancelled).toBe(total)
  const ledger = await fabrique.ledger(run.id)
  expect(run.cost.actual).toBeCloseTo(spent(ledger), 6)
  expect(log.at(-1)?.payload.cost).toMatchObject({ actual: run.cost.actual })
}

const spent = (ledger: LedgerEntry[]) =>
  ledger.reduce((sum, { actualCostUsd }) => sum + (actualCostUsd ?? Number.NaN), 0)

describe('with simulated providers', () => {
  let fabrique: Fabrique

  beforeAll(async () => {
    fabrique = await startFabrique({ workers: 2 })
    await publish(fabrique, 'test/free', [{ id: 'pass', kind: 'tool', tool: 'value.pass', args: { value: 'x' } }])
    await publish(
      fabrique,
      'test/reviewed',
      [{ id: 'pass', kind: 'tool', tool: 'value.pass', args: { value: 'x' } }],
      ['HITL review'],
    )
  }, LIMIT_MS)
  afterAll(() => fabrique?.stop())

  const hooks = (topic: string) => ({ workflow: 'hooks/generate', input: { topic, count: 3 } })
  const plain = (workflow: string) => ({ workflow, input: {} })

  it('a bundle has one output per entry, tagged with its workflow, and a log that names every slot once', async () => {
    const { id } = await fabrique.submit({
      workflow: BUNDLE,
      bundle: [hooks('tea'), hooks('rain'), plain('test/free')],
    })
    const run = await ended(fabrique, id)
    expect(run).toMatchObject({
      workflow: BUNDLE,
      status: 'completed',
      partial: false,
      summary: { total: 3, completed: 3, failed: 0, cancelled: 0 },
    })
    expect(
      run.outputs.map(({ index, workflow, variant_index, status }) => [index, workflow, variant_index, status]),
    ).toEqual([
      [0, 'hooks/generate', null, 'completed'],
      [1, 'hooks/generate', null, 'completed'],
      [2, 'test/free', null, 'completed'],
    ])
    await audit(fabrique, run)
  })

  it('variants differ, each by its index and its seed', async () => {
    const { id } = await fabrique.submit({ ...hooks('tea'), input: { topic: 'tea', count: 3, variants: 3 } })
    const run = await ended(fabrique, id)
    expect(run.outputs.map(({ variant_index }) => variant_index)).toEqual([0, 1, 2])
    expect(new Set(run.outputs.map(({ output }) => JSON.stringify(output))).size).toBe(3)
    const slots = await fabrique.request<{ data: RunResource[] }>(`/v1/workflows/runs?root_run_id=${id}`)
    expect(slots.body.data).toHaveLength(4)
    await audit(fabrique, run)
  })

  it('waits when only reviews are open; they are decided on the run, one after another, or on the slot', async () => {
    const { id } = await fabrique.submit({
      workflow: BUNDLE,
      bundle: [plain('test/reviewed'), plain('test/free'), plain('test/reviewed'), plain('test/reviewed')],
    })
    const log = await fabrique.waitFor(id, ({ kind }) => kind === 'workflow.run.waiting')
    const waiting = await fabrique.run(id)
    expect(waiting.status).toBe('waiting')
    const slotIds = waiting.outputs.map((output) => output.run_id)
    const gates = log.at(-1)?.payload.gates as { run_id: string }[]
    expect(gates.map(({ run_id }) => run_id).sort()).toEqual([0, 2, 3].map((index) => String(slotIds[index])).sort())

    expect((await fabrique.review(id, 'approve')).status).toBe(200)
    expect((await fabrique.review(slotIds[3] ?? '', 'approve')).status).toBe(200)
    expect((await fabrique.review(slotIds[3] ?? '', 'approve')).status).toBe(409)
    expect((await fabrique.review(id, 'approve')).status).toBe(200)
    expect((await fabrique.review(id, 'approve')).status).toBe(409)
    const run = await ended(fabrique, id)
    expect(run).toMatchObject({ status: 'completed', summary: { total: 4, completed: 4 } })
    await audit(fabrique, run)
  })

  it('a review that is rejected is a failure of its slot: with fail_fast it ends the rest', async () => {
    const { id } = await fabrique.submit({ workflow: BUNDLE, bundle: [plain('test/reviewed'), plain('test/reviewed')] })
    await fabrique.waitFor(id, ({ kind }) => kind === 'workflow.run.waiting')
    await fabrique.review(id, 'reject')
    const run = await ended(fabrique, id)
    expect(run).toMatchObject({
      status: 'failed',
      error: { code: 'review-rejected', node_key: expect.stringMatching(/^slots\/[01]$/) },
      summary: { total: 2, completed: 0, failed: 1, cancelled: 1 },
    })
    await audit(fabrique, run)
  })

  it.each(['reject', 'approve'] as const)(
    '20 decisions at once on the run (%s): as many hold as gates were open',
    async (decision) => {
      const { id } = await fabrique.submit({
        workflow: BUNDLE,
        fail_fast: false,
        bundle: Array.from({ length: 4 }, () => plain('test/reviewed')),
      })
      await fabrique.waitFor(id, ({ kind }) => kind === 'workflow.run.waiting')
      const answers = await Promise.all(Array.from({ length: 20 }, () => fabrique.review(id, decision)))
      expect(answers.map(({ status }) => status).filter((status) => status !== 409)).toEqual([200, 200, 200, 200])
      const run = await ended(fabrique, id)
      expect(run.status).toBe(decision === 'approve' ? 'completed' : 'failed')
      await audit(fabrique, run)
    },
  )

  it(
    "the seed's bundle runs as it stands, and is the same spec in all three formats",
    async () => {
      const headers = { 'idempotency-key': 'seed-bundle' }
      const answers = []
      for (const [type, body] of Object.entries(SEED_BUNDLE)) {
        answers.push(
          await fabrique.request<RunResource>('/v1/workflows/runs', {
            body,
            headers: { ...headers, 'content-type': `application/${type}` },
          }),
        )
      }
      expect(answers.map(({ status }) => status)).toEqual([202, 202, 202])
      expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1)
      expect(answers.map((answer) => answer.headers.get('idempotent-replayed'))).toEqual([null, 'true', 'true'])
      const run = await ended(fabrique, answers[0]?.body.id ?? '')
      expect(run.status).toBe('completed')
      expect(run.outputs.map(({ workflow }) => workflow)).toEqual(['video/talking-head', 'hooks/generate'])
      expect(run.outputs[1]?.output?.hooks).toHaveLength(5)
      await audit(fabrique, run)
    },
    LIMIT_MS,
  )

  it(
    "the seed's spec of every key needs its parent, keeps what it names, and is the same in all three formats",
    async () => {
      const post = (type: string, body: string) =>
        fabrique.request<RunResource>('/v1/workflows/runs', {
          body,
          headers: { 'idempotency-key': 'seed-every-key', 'content-type': `application/${type}` },
        })
      for (const [type, body] of Object.entries(SEED_EVERY_KEY)) {
        const refused = await post(type, body)
        expect(refused.status).toBe(422)
        expect(refused.body).toMatchObject({ errors: [{ pointer: '/parent/run_id', code: 'unknown-parent' }] })
      }
      const input = { topic: 'overthinking', script_formula: 'reframe', variants: 2 }
      const parent = await fabrique.submit({ workflow: 'video/talking-head', input })
      expect((await ended(fabrique, parent.id)).status).toBe('completed')
      await rename(fabrique, parent.id, SEED_PARENT)

      const answers = []
      for (const [type, body] of Object.entries(SEED_EVERY_KEY)) answers.push(await post(type, body))
      expect(answers.map(({ status }) => status)).toEqual([202, 202, 202])
      expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1)
      const run = await ended(fabrique, answers[0]?.body.id ?? '')
      expect(run).toMatchObject({
        workflow: 'video/talking-head',
        status: 'completed',
        priority: 70,
        fail_fast: false,
        metadata: { experiment: 'april-formula-sweep', source: 'ci' },
        state: { request_id: 'req_abc123', customer_id: 'cust_xyz' },
        parent_run_id: SEED_PARENT,
        parent_variant_index: 1,
        input: { style: 'punchy', quality: 'high', variants: 3 },
        summary: { total: 3, completed: 3 },
      })
      expect((await fabrique.log(run.id)).at(-1)?.payload.state).toEqual(run.state)
      for (const { run_id } of run.outputs) {
        const { body } = await fabrique.request<{ data: { id: string; reused: boolean }[] }>(
          `/v1/workflows/runs/${run_id}/steps`,
        )
        const reused = body.data.filter((step) => step.reused).map((step) => step.id)
        expect(reused).toEqual(expect.arrayContaining(['script', 'voice']))
      }
      const children = await fabrique.request<{ data: RunResource[] }>(
        `/v1/workflows/runs?parent_run_id=${SEED_PARENT}`,
      )
      expect(children.body.data.map(({ id }) => id)).toEqual([run.id])
      await audit(fabrique, run)
    },
    LIMIT_MS,
  )
})

describe("by the providers' own count", () => {
  /**
   * Five runs at once in each of two workers: nine tenths of the batch lane's six slots are the most for one
   * organization. A lost worker is noticed within a test.
   */
  const QUICK = {
    CONCURRENCY: '7',
    INTERACTIVE_RESERVED: '1',
    FABRIQUE_LEASE_MS: '1500',
    FABRIQUE_RECONCILE_MS: '200',
  }
  const AT_ONCE = 10
  const SIZE = 20

  let home: string
  let services: Services
  let providers: ProviderStandIn
  let fabrique: Fabrique

  beforeAll(async () => {
    // A Redis of its own: these tests empty it.
    home = await mkdtemp(join(tmpdir(), 'fabrique-fan-out-'))
    if (process.env.TEST_HOMES_FILE) await appendFile(process.env.TEST_HOMES_FILE, `${home}\n`)
    services = await openServices({ home, need: ['redis'] })
    providers = await createProviderStandIn()
    fabrique = await startFabrique({
      workers: 0,
      env: { ...providers.env, ...QUICK, REDIS_URL: services.redisUrl ?? '' },
    })
    await publishDraw(fabrique)
  }, 90_000)
  afterAll(async () => {
    await fabrique?.stop()
    await providers?.close()
    await services?.release()
    await discardHome(home)
    await rm(home, { recursive: true, force: true })
  })
  beforeEach(async () => {
    providers.forget()
    for (let count = 0; count < 2; count += 1) await fabrique.startWorker()
  })
  afterEach(() => fabrique.killWorkers('SIGKILL'))

  const publishDraw = (to: Fabrique) =>
    publish(to, 'test/draw', [
      { id: 'draw', kind: 'image', model: 'openai/gpt-image-2', promptTemplate: '{intake.prompt}' },
      { id: 'again', kind: 'image', model: 'openai/gpt-image-2', promptTemplate: '{intake.prompt}', needs: ['draw'] },
    ])
  const drawing = (index: number) => ({ workflow: 'test/draw', input: { prompt: `picture ${index}` } })
  const twenty = (over: object = {}) => ({
    workflow: BUNDLE,
    bundle: Array.from({ length: SIZE }, (_, index) => drawing(index)),
    ...over,
  })
  const REFUSED = { status: 400, body: { error: { message: 'no', code: 'moderation_blocked' } } }
  const FOREVER = { hold: new Promise(() => {}) }

  const keysOf = () => providers.asked('image').map(({ headers }) => String(headers['idempotency-key']))

  /** Every call that the provider was asked for has its row, and every row was asked for, once. */
  async function compare(runId: string, unknown: number): Promise<LedgerEntry[]> {
    const ledger = await fabrique.ledger(runId)
    const keys = keysOf().filter((key) => ledger.some(({ id }) => id === key))
    expect(new Set(keys).size).toBe(keys.length)
    expect(ledger.map(({ id }) => id).toSorted()).toEqual(keys.toSorted())
    expect(ledger.filter(({ outcome }) => outcome === 'unknown')).toHaveLength(unknown)
    expect(ledger.filter(({ outcome }) => outcome === 'pending')).toEqual([])
    return ledger
  }

  /** A run that comes behind everything that is still queued. */
  async function lastInLine(): Promise<void> {
    const { id } = await fabrique.submit({ ...drawing(99), priority: 0 })
    expect((await ended(fabrique, id)).status).toBe('completed')
  }

  it(
    'one failure ends a bundle of twenty within a second: calls under way are dropped, nothing begins afterwards',
    async () => {
      const release = Promise.withResolvers<void>()
      providers.script(
        'image',
        { hold: release.promise, ...REFUSED },
        ...Array.from({ length: AT_ONCE - 1 }, () => FOREVER),
      )
      const { id } = await fabrique.submit(twenty())
      const first = await providers.heard('image')
      await providers.heard('image', AT_ONCE)
      const terminal = fabrique.waitFor(id, isEnd)
      const failedAtMs = performance.now()
      release.resolve()
      await terminal
      expect(performance.now() - failedAtMs).toBeLessThan(1_000)

      const run = await fabrique.run(id)
      const failing = run.outputs.find(({ run_id }) => String(first.headers['idempotency-key']).startsWith(run_id))
      expect(run).toMatchObject({
        status: 'failed',
        partial: false,
        summary: { total: SIZE, completed: 0, failed: 1, cancelled: SIZE - 1 },
        error: { node_key: `slots/${failing?.index}` },
      })
      const endings = await Promise.all(providers.asked('image').map((call) => call.ended))
      expect(endings.toSorted()).toEqual(['answered', ...Array.from({ length: AT_ONCE - 1 }, () => 'dropped')])
      await lastInLine()
      expect(keysOf().filter((key) => run.outputs.some(({ run_id }) => key.startsWith(run_id)))).toHaveLength(AT_ONCE)
      const ledger = await compare(id, AT_ONCE - 1)
      expect(ledger.filter(({ outcome }) => outcome === 'failed').map(({ actualCostUsd }) => actualCostUsd)).toEqual([
        0,
      ])
      await audit(fabrique, run)
    },
    LIMIT_MS,
  )

  it(
    'without fail_fast the others complete, and the run is partial',
    async () => {
      providers.script('image', {}, REFUSED)
      const { id } = await fabrique.submit(twenty({ fail_fast: false }))
      const run = await ended(fabrique, id)
      expect(run).toMatchObject({
        status: 'completed',
        partial: true,
        error: null,
        summary: { total: SIZE, completed: SIZE - 1, failed: 1, cancelled: 0 },
      })
      expect(await compare(id, 0)).toHaveLength(2 * (SIZE - 1) + 1)
      await audit(fabrique, run)
    },
    LIMIT_MS,
  )

  it(
    'a cancel ends what is queued and what is under way; 20 at once are one cancel',
    async () => {
      providers.script('image', ...Array.from({ length: AT_ONCE }, () => FOREVER))
      const { id } = await fabrique.submit(twenty())
      await providers.heard('image', AT_ONCE)
      const cancels = await Promise.all(
        Array.from({ length: 20 }, () => fabrique.request(`/v1/workflows/runs/${id}/cancel`, { method: 'POST' })),
      )
      expect(cancels.every(({ status }) => status === 202 || status === 409)).toBe(true)
      expect(cancels.some(({ status }) => status === 202)).toBe(true)
      const run = await ended(fabrique, id)
      expect(run).toMatchObject({
        status: 'cancelled',
        error: null,
        summary: { total: SIZE, completed: 0, failed: 0, cancelled: SIZE },
      })
      expect(await Promise.all(providers.asked('image').map((call) => call.ended))).toEqual(
        Array.from({ length: AT_ONCE }, () => 'dropped'),
      )
      await lastInLine()
      await compare(id, AT_ONCE)
      await audit(fabrique, run)
    },
    LIMIT_MS,
  )

  it(
    'a worker killed in the middle of a bundle costs time only',
    async () => {
      const release = Promise.withResolvers<void>()
      providers.script('image', ...Array.from({ length: AT_ONCE }, () => ({ hold: release.promise })))
      const { id } = await fabrique.submit(twenty())
      await providers.heard('image', AT_ONCE)
      const [victim = 0] = fabrique.workerPids()
      process.kill(victim, 'SIGKILL')
      release.resolve()
      const run = await ended(fabrique, id)
      expect(run).toMatchObject({ status: 'completed', partial: false, summary: { completed: SIZE } })
      const unknown = (await fabrique.ledger(id)).filter(({ outcome }) => outcome === 'unknown').length
      expect(unknown).toBeLessThanOrEqual(AT_ONCE / 2)
      expect(await compare(id, unknown)).toHaveLength(2 * SIZE + unknown)
      await audit(fabrique, run)
    },
    LIMIT_MS,
  )

  it(
    'Redis emptied in the middle of a bundle costs time only',
    async () => {
      const release = Promise.withResolvers<void>()
      providers.script('image', ...Array.from({ length: AT_ONCE }, () => ({ hold: release.promise })))
      const { id } = await fabrique.submit(twenty())
      await providers.heard('image', AT_ONCE)
      const redis = new Redis(services.redisUrl ?? '')
      await redis.flushall()
      redis.disconnect()
      release.resolve()
      const run = await ended(fabrique, id)
      expect(run).toMatchObject({ status: 'completed', summary: { completed: SIZE } })
      expect(await compare(id, 0)).toHaveLength(2 * SIZE)
      await audit(fabrique, run)
    },
    LIMIT_MS,
  )

  it(
    'a bundle whose API died between the record and the queue is executed once',
    async () => {
      const proof = join(home, 'killed-at-A2')
      const env = { ...providers.env, ...QUICK, REDIS_URL: services.redisUrl ?? '' }
      const dying = await startFabrique({
        workers: 1,
        env: { ...env, FABRIQUE_TEST_KILLPOINT: 'A2', FABRIQUE_TEST_KILLPOINT_FILE: proof },
      })
      try {
        await publishDraw(dying)
        await expect(dying.submit(twenty())).rejects.toThrow()
        const rows = await dying.query<{ id: string; slots: number | null }>('select id, slots from runs order by id')
        expect(rows).toHaveLength(SIZE + 1)
        // Ten seconds of grace for the delivery pass.
        await dying.query('update runs set due_at = now() where status = $1', ['pending'])
        const root = rows.find(({ slots }) => slots !== null)?.id
        const status = async () => (await dying.query('select status from runs where id = $1', [root]))[0]
        await expect.poll(status, { timeout: 30_000, interval: 100 }).toEqual({ status: 'completed' })
        const ends = await dying.query("select run_id from events where kind = 'workflow.run.completed'")
        expect(ends).toHaveLength(SIZE + 1)
        expect(providers.asked('image')).toHaveLength(2 * SIZE)
      } finally {
        await dying.stop()
      }
    },
    LIMIT_MS,
  )
})

/** Gives a run another id, as if it had been imported: the seed names its parent. */
async function rename(fabrique: Fabrique, runId: string, newId: string): Promise<void> {
  await fabrique.query('update runs set id = $2 where id = $1', [runId, newId])
  await fabrique.query('update runs set root_run_id = $2, awaited_by = $2 where awaited_by = $1', [runId, newId])
  await fabrique.query('update runs set root_run_id = $2 where root_run_id = $1', [runId, newId])
  await fabrique.query('update events set run_id = $2 where run_id = $1', [runId, newId])
}
