// What survives: APIs and workers killed at every kill point and in mid-call, orderly shutdowns, a Redis that forgets or
// goes away.
// After each, the record is compared with the providers' own log: one end, no gap, nothing paid twice.
import { createHash } from 'node:crypto'
import { appendFile, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LedgerEntry, RunEvent } from '@fabrique/schema'
import { discardHome, openServices, type Services } from '@fabrique/services'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { type Fabrique, FOX, startFabrique } from './harness.ts'
import { createProviderStandIn, type ProviderStandIn } from './provider-stand-in.ts'
import { createWire } from './wire.ts'

/** Short, so that a lost worker is noticed within a test; the rules are those of longer ones. */
const QUICK = { FABRIQUE_LEASE_MS: '1500', FABRIQUE_RECONCILE_MS: '200' }
const TERMINAL = /^workflow\.run\.(completed|failed|cancelled)$/

let home: string
let services: Services
let providers: ProviderStandIn
let fabrique: Fabrique
/** What the shipped template makes when nothing goes wrong, by role. */
let undisturbed: Record<string, string>

beforeAll(async () => {
  // A Redis of its own: these tests empty it and take it away.
  home = await mkdtemp(join(tmpdir(), 'fabrique-recovery-'))
  if (process.env.TEST_HOMES_FILE) await appendFile(process.env.TEST_HOMES_FILE, `${home}\n`)
  services = await openServices({ home, need: ['redis'] })
  providers = await createProviderStandIn()
  fabrique = await startFabrique({
    workers: 1,
    env: { ...providers.env, ...QUICK, REDIS_URL: services.redisUrl ?? '' },
  })
  const run = await fabrique.submit()
  await fabrique.finish(run.id)
  undisturbed = await finalFiles(run.id)
  expect(Object.keys(undisturbed).sort()).toEqual(['processed', 'raw'])
  await fabrique.killWorkers('SIGTERM')
}, 90_000)

afterAll(async () => {
  await fabrique?.stop()
  await providers?.close()
  await services?.release()
  await discardHome(home)
  await rm(home, { recursive: true, force: true })
})

beforeEach(() => providers.forget())
afterEach(() => fabrique.killWorkers('SIGKILL'))

describe('an API killed while it accepts a run', () => {
  it.each([
    { point: 'A1', at: 'before the record', onRecord: 0 },
    { point: 'A2', at: 'between the record and the queue', onRecord: 1 },
    { point: 'A3', at: 'between the queue and the answer', onRecord: 1 },
  ])('at $point, $at: the same request makes one run of both, paid once', async ({ point, onRecord }) => {
    const proof = join(fabrique.home, `killed-at-${point}`)
    const dying = await fabrique.startApi({ FABRIQUE_TEST_KILLPOINT: point, FABRIQUE_TEST_KILLPOINT_FILE: proof })
    const headers = { 'idempotency-key': point }
    const body = { ...FOX, metadata: { point } }
    const request = {
      method: 'POST',
      headers: { ...headers, authorization: `Bearer ${fabrique.adminKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }
    await expect(fetch(`${dying.url}/v1/workflows/runs`, request)).rejects.toThrow('fetch failed')
    await dying.ended
    expect(await readFile(proof, 'utf8')).toBe(`${point}\n`)
    const runs = async () =>
      (await fabrique.request<{ data: unknown[] }>(`/v1/workflows/runs?metadata[point]=${point}`)).body.data
    expect(await runs()).toHaveLength(onRecord)

    const again = await fabrique.request<{ id: string }>('/v1/workflows/runs', { headers, body })
    expect([again.status, again.headers.get('idempotent-replayed')]).toEqual([202, onRecord === 1 ? 'true' : null])
    await makeDue(again.body.id)
    await fabrique.startWorker()
    await fabrique.finish(again.body.id)
    expect(await runs()).toHaveLength(1)
    expect(providers.asked('image')).toHaveLength(1)
    await audit(again.body.id, { unknown: 0 })
  })
})

describe('a worker killed', () => {
  it.each([
    { point: 'W1', at: 'with the job, before the claim', unknown: 0 },
    { point: 'W2', at: 'with the lease', unknown: 0 },
    { point: 'W3', at: 'with the intent of a paid call', unknown: 1 },
    { point: 'W4', at: 'with the request sent', unknown: 1 },
    { point: 'W5', at: 'with the answer in memory', unknown: 1 },
    { point: 'W6', at: 'with the answer staged by half', unknown: 1 },
    { point: 'W7', at: 'with the file stored', unknown: 0 },
    { point: 'W8', at: 'with the step committed', unknown: 0 },
    { point: 'W9', at: 'with the last step done', unknown: 0 },
    { point: 'W10', at: 'with the end committed', unknown: 0 },
    { point: 'W11', at: 'with the gate opened', unknown: 0 },
  ])('at $point, $at, loses no run and pays no finished step again', async ({ point, unknown }) => {
    const proof = join(fabrique.home, `killed-at-${point}`)
    await fabrique.startWorker({ FABRIQUE_TEST_KILLPOINT: point, FABRIQUE_TEST_KILLPOINT_FILE: proof })
    const run = await fabrique.submit()
    const finished = fabrique.finish(run.id)
    await fabrique.workersEnded()
    expect(await readFile(proof, 'utf8')).toBe(`${point}\n`)

    await fabrique.startWorker()
    await finished
    await audit(run.id, { unknown })
  })

  it('at R1, with an overdue delivery put off and not yet repeated: the run comes due again and is executed once', async () => {
    const run = await fabrique.submit()
    const redis = new Redis(services.redisUrl ?? '')
    await redis.flushall()
    redis.disconnect()
    const proof = join(fabrique.home, 'killed-at-R1')
    const armed = { FABRIQUE_TEST_KILLPOINT: 'R1', FABRIQUE_TEST_KILLPOINT_FILE: proof }
    // It may die before it says that it takes runs.
    await fabrique.startWorker(armed).catch(() => {})
    await fabrique.workersEnded()
    expect(await readFile(proof, 'utf8')).toBe('R1\n')

    const [row] = await fabrique.query('select status, due_at > now() as later from runs where id = $1', [run.id])
    expect(row).toEqual({ status: 'pending', later: true })
    await makeDue(run.id)
    await fabrique.startWorker()
    await fabrique.finish(run.id)
    expect(providers.asked('image')).toHaveLength(1)
    await audit(run.id, { unknown: 0 })
  })

  it('while a provider works on it: the finished step is not repeated, and the request is picked up by its id', async () => {
    providers.holdFal(true)
    await fabrique.startWorker()
    const run = await fabrique.submit()
    await providers.heard('status', 2)
    await fabrique.killWorkers('SIGKILL')
    providers.holdFal(false)
    await fabrique.startWorker()
    await fabrique.finish(run.id)
    expect(providers.asked('image')).toHaveLength(1)
    expect(providers.asked('submit')).toHaveLength(1)
    await audit(run.id, { unknown: 0 })
  })

  it('while a call hangs: the call is made once more, and the lost one is on the ledger as unknown', async () => {
    providers.script('image', { hold: new Promise(() => {}) })
    await fabrique.startWorker()
    const run = await fabrique.submit()
    const call = await providers.heard('image')
    await fabrique.killWorkers('SIGKILL')
    expect(await call.ended).toBe('dropped')
    await fabrique.startWorker()
    await fabrique.finish(run.id)
    expect(providers.asked('image')).toHaveLength(2)
    await audit(run.id, { unknown: 1 })
  })

  it('every time by the same run: the third loss fails it with a reason', async () => {
    providers.script('image', ...Array.from({ length: 5 }, () => ({ hold: new Promise(() => {}) })))
    const run = await fabrique.submit()
    for (let death = 1; death <= 3; death += 1) {
      await fabrique.startWorker()
      await providers.heard('image', death)
      await fabrique.killWorkers('SIGKILL')
    }
    await fabrique.startWorker()
    await fabrique.finish(run.id)
    const log = await fabrique.log(run.id)
    expect(log.at(-1)).toMatchObject({
      kind: 'workflow.run.failed',
      payload: { error: { code: 'worker-crash-limit', message: expect.stringMatching(/\w+/) } },
    })
    expect(providers.asked('image')).toHaveLength(3)
    await audit(run.id, { unknown: 3 })
  })

  it('every time by one of several runs: that one fails, and no neighbour is beside it again', async () => {
    const never = { hold: new Promise(() => {}) }
    // The first call of each, and two more of the last one, under which the worker dies.
    providers.script('image', never, never, never, never, never)
    await fabrique.startWorker()
    const runs = []
    for (let nth = 1; nth <= 3; nth += 1) {
      runs.push(await fabrique.submit())
      await providers.heard('image', nth)
    }
    // Renewed together, their leases run out together: else the first to run out would begin before the last one can.
    const leases = "select count(distinct due_at)::int as ends from runs where phase = 'executing'"
    await expect.poll(() => fabrique.query(leases), { timeout: 10_000 }).toEqual([{ ends: 1 }])
    for (let calls = 4; calls <= 5; calls += 1) {
      await fabrique.killWorkers('SIGKILL')
      await fabrique.startWorker()
      await providers.heard('image', calls)
    }
    await fabrique.killWorkers('SIGKILL')
    await fabrique.startWorker()
    const [deadly, ...neighbours] = runs.toReversed()
    for (const { id } of neighbours) expect((await fabrique.finish(id)).at(-1)?.kind).toBe('workflow.run.completed')
    expect((await fabrique.log(deadly?.id ?? '')).at(-1)).toMatchObject({
      kind: 'workflow.run.failed',
      payload: { error: { code: 'worker-crash-limit' } },
    })
    expect(providers.asked('image')).toHaveLength(3 + 2 + 2)
  }, 60_000)

  it('after a cancel was asked for: the run ends as cancelled', async () => {
    providers.script('image', { hold: new Promise(() => {}) })
    await fabrique.startWorker()
    const run = await fabrique.submit()
    await providers.heard('image')
    await fabrique.killWorkers('SIGKILL')
    await fabrique.request(`/v1/workflows/runs/${run.id}/cancel`, { method: 'POST' })
    await fabrique.startWorker()
    const log = await fabrique.finish(run.id)
    expect(log.at(-1)?.kind).toBe('workflow.run.cancelled')
    expect(providers.asked('image')).toHaveLength(1)
    await audit(run.id, { unknown: 1 })
  })
})

describe('a worker stopped past its lease', () => {
  it('and continued after another took over the run writes nothing more', async () => {
    const held = Promise.withResolvers<void>()
    providers.script('image', { hold: held.promise })
    await fabrique.startWorker()
    const run = await fabrique.submit()
    await providers.heard('image')
    const [zombie = 0] = fabrique.workerPids()
    process.kill(zombie, 'SIGSTOP')
    await fabrique.startWorker()
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting')
    held.resolve()
    process.kill(zombie, 'SIGCONT')
    // An orderly end waits for what a worker has in hand: after it, the late answer has been dealt with.
    await fabrique.killWorkers('SIGTERM')
    await fabrique.startWorker()
    await fabrique.finish(run.id)
    expect(providers.asked('image')).toHaveLength(2)
    await audit(run.id, { unknown: 1 })
  })
})

describe('a worker whose clock is wrong', () => {
  it.each([-1, 1])('by %i hour writes the times of steps by the clock of the record', async (hours) => {
    const skew = `const { now } = Date; Date.now = () => now() + ${hours * 3_600_000}`
    await fabrique.startWorker({ NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(skew)}` })
    const { id } = await fabrique.submit()
    await fabrique.finish(id)
    const [row] = await fabrique.query(
      `select bool_and(c.started_at >= r.started_at and c.finished_at >= c.started_at
          and c.finished_at <= r.finished_at) as within
        from checkpoints c join runs r on r.id = c.run_id where r.id = $1`,
      [id],
    )
    expect(row).toEqual({ within: true })
    await audit(id, { unknown: 0 })
  })
})

describe('an orderly shutdown', () => {
  it("hands the run back at once; the next worker picks up fal's request without paying again", async () => {
    providers.holdFal(true)
    await fabrique.startWorker({ FABRIQUE_GRACE_MS: '0', FABRIQUE_LEASE_MS: '60000' })
    const run = await fabrique.submit()
    await providers.heard('status', 2)
    await fabrique.killWorkers('SIGTERM')
    expect((await fabrique.run(run.id)).status).toBe('pending')
    providers.holdFal(false)
    await fabrique.startWorker()
    await fabrique.finish(run.id)
    expect(providers.asked('cancel')).toEqual([])
    expect([providers.asked('image').length, providers.asked('submit').length]).toEqual([1, 1])
    await audit(run.id, { unknown: 0 })
  })

  it('lets a run that comes to its review within the grace get there', async () => {
    const held = Promise.withResolvers<void>()
    providers.script('image', { hold: held.promise })
    await fabrique.startWorker()
    const run = await fabrique.submit()
    await providers.heard('image')
    const stopped = fabrique.killWorkers('SIGTERM')
    held.resolve()
    await stopped
    expect((await fabrique.run(run.id)).status).toBe('waiting')
    await fabrique.startWorker()
    await fabrique.finish(run.id)
    await audit(run.id, { unknown: 0 })
  })
})

describe('the artifact store', () => {
  it.each<[string, () => Promise<() => Promise<void>>]>([
    ['gone', () => withoutFolder(false)],
    ['gone, with something else in its place', () => withoutFolder(true)],
  ])(
    '%s: what was paid for is kept, no other call begins, and the runs end as if nothing had been',
    async (_, remove) => {
      const held = Promise.withResolvers<void>()
      providers.script('image', { hold: held.promise })
      await fabrique.startWorker()
      const paid = await fabrique.submit()
      await providers.heard('image')
      const staged = () => readdir(join(fabrique.home, 'artifacts', 'staging'))
      const [before, stagedBefore] = [saidAway(), await staged()]
      const restore = await remove()
      const begun = await fabrique.submit()
      await expect.poll(saidAway, { timeout: 15_000 }).toBeGreaterThan(before)
      held.resolve()
      await expect
        .poll(async () => (await fabrique.request('/readyz')).body, { timeout: 15_000 })
        .toEqual({ status: 'degraded', postgres: 'ok', redis: 'ok', artifacts: 'away' })
      await expect.poll(() => fabrique.run(paid.id), { timeout: 15_000 }).toMatchObject({ status: 'running' })
      expect(providers.asked('image')).toHaveLength(1)
      await restore()
      for (const { id } of [paid, begun]) {
        await fabrique.finish(id)
        expect((await fabrique.log(id)).filter(({ kind }) => /failed|retrying/.test(kind))).toEqual([])
      }
      expect(providers.asked('image')).toHaveLength(2)
      expect(stagedBefore).toEqual(expect.arrayContaining(await staged()))
      expect((await fabrique.request('/readyz')).body).toMatchObject({ status: 'ready', artifacts: 'ok' })
    },
  )

  it('with less room than its reserve: no call is paid for, and the run waits for room', async () => {
    await fabrique.startWorker({ ARTIFACT_RESERVE_MIB: '1048576' })
    const before = saidAway()
    const run = await fabrique.submit()
    await expect.poll(saidAway, { timeout: 15_000 }).toBeGreaterThan(before)
    await fabrique.killWorkers('SIGTERM')
    expect(providers.asked()).toEqual([])
    expect(await fabrique.ledger(run.id)).toEqual([])
    await fabrique.startWorker()
    await fabrique.finish(run.id)
    await audit(run.id, { unknown: 0 })
  })
})

/** How often workers found that the artifact store is away. */
const saidAway = () => fabrique.lines().filter((line) => line.includes('the artifact store is away')).length

/** Takes the folder of artifacts away; answers how it comes back. */
async function withoutFolder(isReplaced: boolean): Promise<() => Promise<void>> {
  const folder = join(fabrique.home, 'artifacts')
  await rename(folder, `${folder}-aside`)
  if (isReplaced) await writeFile(folder, '')
  let isBack = false
  const restore = async () => {
    if (isBack) return
    isBack = true
    if (isReplaced) await rm(folder)
    await rename(`${folder}-aside`, folder)
  }
  onTestFinished(restore)
  return restore
}

describe('Redis', () => {
  it('emptied while runs are queued: every one is delivered all the same', async () => {
    const runs = [await fabrique.submit(), await fabrique.submit(), await fabrique.submit()]
    const redis = new Redis(services.redisUrl ?? '')
    await redis.flushall()
    redis.disconnect()
    await fabrique.startWorker()
    for (const run of runs) {
      await fabrique.finish(run.id)
      expect((await fabrique.run(run.id)).status).toBe('completed')
    }
    expect(providers.asked('image')).toHaveLength(3)
  })

  it('away at submit: the answer is 202, and the run is delivered when Redis is back', async () => {
    const wire = await createWire(services.redisUrl ?? '')
    const other = await startFabrique({ env: { ...providers.env, ...QUICK, REDIS_URL: wire.url } })
    try {
      await wire.cut()
      const startedAtMs = performance.now()
      const run = await other.submit()
      expect(performance.now() - startedAtMs).toBeLessThan(2000)
      expect((await other.request('/readyz')).body).toMatchObject({ postgres: 'ok', redis: 'away' })
      await wire.restore()
      const log = await other.finish(run.id)
      expect(log.at(-1)?.kind).toBe('workflow.run.completed')
      expect(providers.asked('image')).toHaveLength(1)
    } finally {
      await other.stop()
      await wire.cut()
    }
  }, 60_000)
})

/** Saves a test the seconds until the reconciler looks for the delivery of a pending run again. */
async function makeDue(runId: string): Promise<void> {
  await fabrique.query("update runs set due_at = now() where id = $1 and status = 'pending'", [runId])
}

/**
 * What must hold of a run that has ended, whatever happened on the way. The stand-in's log holds this run's calls only.
 * `unknown` calls were interrupted between sending and saving: nobody can say whether they were charged.
 */
async function audit(runId: string, { unknown }: { unknown: number }): Promise<void> {
  const [run, log, ledger] = await Promise.all([fabrique.run(runId), fabrique.log(runId), fabrique.ledger(runId)])
  const ends = log.filter(({ kind }) => TERMINAL.test(kind))
  expect(log.map(({ seq }) => seq)).toEqual(log.map((_, index) => index + 1))
  expect(ends).toEqual([log.at(-1)])
  expect(ends[0]?.kind).toBe(`workflow.run.${run.status}`)
  expect(count(log, 'workflow.run.started')).toBe(1)
  for (const node of new Set(log.map(({ node_key: key }) => key))) {
    if (node !== undefined) expect(count(log, 'workflow.node.completed', node)).toBeLessThanOrEqual(1)
  }

  const known = ledger.filter(({ outcome }) => outcome !== 'unknown')
  expect(ledger.length - known.length).toBe(unknown)
  expect(known.filter(({ outcome }) => outcome === 'pending')).toEqual([])
  // Every picture that was asked for has its row, and every row that is certain was asked for.
  const asked = providers.asked('image').map(({ headers }) => String(headers['idempotency-key']))
  expect(new Set(asked).size).toBe(asked.length)
  expect(rowsOf(ledger, 'openai').map(({ id }) => id)).toEqual(expect.arrayContaining(asked))
  expect(asked).toEqual(expect.arrayContaining(rowsOf(known, 'openai').map(({ id }) => id)))
  expect(rowsOf(known, 'fal').length).toBe(providers.asked('submit').length)
  for (const step of ['render', 'cutout']) {
    expect(ledger.filter(({ stepId, outcome }) => stepId === step && outcome === 'succeeded').length).toBeLessThan(2)
  }
  const total = ledger.reduce((sum, { actualCostUsd }) => sum + (actualCostUsd ?? Number.NaN), 0)
  expect(run.cost.actual).toBeCloseTo(total, 9)
  expect(log.at(-1)?.payload.cost).toMatchObject({ actual: run.cost.actual })

  const staged = await readdir(join(fabrique.home, 'artifacts', 'staging'))
  for (const { id } of ledger) expect(staged).not.toContain(createHash('sha256').update(id).digest('hex'))

  if (run.status !== 'completed') return
  expect(await finalFiles(runId)).toEqual(undisturbed)
  for (const file of await fabrique.artifacts(runId)) {
    const { byteLength } = await readFile(join(fabrique.home, 'artifacts', file.storage_key))
    expect(byteLength).toBe(file.bytes)
  }
}

function count(log: RunEvent[], kind: string, node?: string): number {
  return log.filter((event) => event.kind === kind && (node === undefined || event.node_key === node)).length
}

function rowsOf(ledger: LedgerEntry[], provider: string): LedgerEntry[] {
  return ledger.filter((entry) => entry.provider === provider)
}

/** The hashes of a run's approved files. */
async function finalFiles(runId: string): Promise<Record<string, string>> {
  const approved = (await fabrique.artifacts(runId)).filter(({ status }) => status === 'approved')
  return Object.fromEntries(approved.map(({ role, sha256 }) => [role, sha256]))
}
