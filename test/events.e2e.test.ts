// Event streams as clients see them: of a run and of an organization, exactly once across restarts and lost news, within limits.
// Real API and worker processes; a second API process of the test's own is what is restarted.
import { Agent } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { ProblemDocument, RunResource } from '@fabrique/schema'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { freePort } from '../scripts/ports.ts'
import { type EventClient, followEvents, openUnread, type Seen } from './event-clients.ts'
import { type Fabrique, type Operator, startFabrique } from './harness.ts'

const STREAM = '/v1/events/stream'
const RUNS = '/v1/workflows/runs'
const TERMINAL = /^workflow\.run\.(completed|failed|cancelled)$/
const STEPS = 8
/** Clients that follow runs across restarts. */
const [CLIENTS, FOLLOWED] = process.env.TEST_EVENTS_FULL === '1' ? [2_000, 200] : [300, 30]
const RESTARTS_LIMIT_MS = CLIENTS * 200
const TEMPLATE = {
  id: 'events-in-steps',
  name: 'Many small steps',
  cadence: 'On demand',
  version: '2026.11.21',
  artifactClass: 'knowledge',
  schemaVersion: 'workflow-schema-v1',
  visibility: 'internal',
  intakeSchema: { type: 'object', properties: { n: { type: 'integer' } } },
  runtimeSteps: Array.from({ length: STEPS }, (_, index) => ({
    id: `s${index}`,
    kind: 'tool',
    tool: 'value.pass',
    args: { value: index === 0 ? '{intake.n}' : `{steps.s${index - 1}.output.value}` },
  })),
  providers: {},
  gates: [],
  budgetPolicy: 'None',
  artifactSchema: { artifactType: 'none', files: [] },
}
const SPEC = { workflow: TEMPLATE.id, input: { n: 1 } }

/** A database of its own, by which the connections of these processes are known: no other test's are cut. */
const REDIS_DATABASE = 9
const REDIS = Object.assign(new URL(process.env.TEST_REDIS_URL ?? ''), { pathname: `/${REDIS_DATABASE}` }).href

let fabrique: Fabrique
let operator: Operator
let port: number

beforeAll(async () => {
  fabrique = await startFabrique({
    workers: 0,
    env: { REDIS_URL: REDIS, FABRIQUE_LEASE_MS: '1500', FABRIQUE_RECONCILE_MS: '200', CONCURRENCY: '4' },
  })
  port = Number(new URL(fabrique.url).port)
  operator = await fabrique.createOperator('Orchard')
  const created = await fabrique.request('/v1/workflows', { body: TEMPLATE })
  expect([created.status, created.text]).toEqual([201, expect.anything()])
}, 60_000)
afterAll(() => fabrique?.stop())

/** One more API on the same record, on a port of its own that it keeps over restarts. */
async function anotherApi(env: Record<string, string> = {}) {
  const port = await freePort('127.0.0.1')
  let api = await fabrique.startApi({ ...env, PORT: String(port) })
  onTestFinished(() => api.kill('SIGKILL'))
  return {
    port,
    async start(): Promise<void> {
      api = await fabrique.startApi({ ...env, PORT: String(port) })
    },
    stop: (signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL') => api.kill(signal),
  }
}

function follow(options: Parameters<typeof followEvents>[0]): EventClient {
  const client = followEvents(options)
  onTestFinished(() => client.close())
  return client
}

/** Ids by run, in the order of arrival, to be compared with 1..n. */
function numbersByRun(seen: Seen[]): Map<string, number[]> {
  const byRun = Map.groupBy(seen, ({ event }) => event.run_id)
  return new Map([...byRun].map(([run, own]) => [run, own.map(({ event }) => event.seq)]))
}

function oneTo(n: number): number[] {
  return Array.from({ length: n }, (_, index) => index + 1)
}

async function submit(count: number, spec: object = SPEC, key = operator.key): Promise<RunResource[]> {
  return await Promise.all(Array.from({ length: count }, () => fabrique.submit(spec, { key })))
}

const ends = (seen: Seen[], count: number) =>
  seen.filter(({ event }) => TERMINAL.test(event.kind) && event.run_id === event.root_run_id).length >= count

describe("the organization's stream", () => {
  it("gives every event of its runs and their slots once, in each run's order, and nobody else's", async () => {
    await fabrique.startWorker()
    onTestFinished(() => fabrique.killWorkers('SIGKILL'))
    const mine = follow({ port, path: STREAM, key: operator.key })
    const also = follow({ port, path: STREAM, key: operator.key })
    const admins = follow({ port, path: STREAM, key: fabrique.adminKey })
    await Promise.all([mine, also, admins].map((client) => expect.poll(() => client.comments.length).toBe(1)))
    const [bundle] = await submit(1, { workflow: 'bundle/ad-hoc', bundle: [SPEC, SPEC] })
    await submit(3)
    await submit(1, SPEC, fabrique.adminKey)

    const seen = await mine.until((all) => ends(all, 4))
    await admins.until((all) => ends(all, 1))
    const numbers = numbersByRun(seen)
    expect(numbers.size).toBe(6)
    expect(seen.filter(({ event }) => event.root_run_id === bundle?.id).length).toBeGreaterThan(10)
    for (const [runId, seqs] of numbers) {
      const { body } = await fabrique.request<{ data: unknown[] }>(`${RUNS}/${runId}/events`, {
        key: operator.key,
        headers: { accept: 'application/json' },
      })
      const own = seen.filter(({ event }) => event.run_id === runId)
      expect([seqs, own.map(({ event }) => event)]).toEqual([oneTo(seqs.length), body.data])
    }
    expect(seen.map(({ id }) => id)).toEqual(seen.map(({ event }) => event.id))
    await also.until((all) => all.length >= seen.length)
    expect(also.seen.map(({ id }) => id)).toEqual(seen.map(({ id }) => id))
    expect(numbersByRun(admins.seen).size).toBe(1)
  }, 40_000)

  it('resumes after any event, at another process too, in the same order', async () => {
    await fabrique.startWorker()
    onTestFinished(() => fabrique.killWorkers('SIGKILL'))
    const other = await anotherApi()
    const first = follow({ port, path: STREAM, key: operator.key })
    await expect.poll(() => first.comments.length).toBe(1)
    await submit(10)
    const ids = (await first.until((all) => ends(all, 10))).map(({ id }) => id)
    for (const [index, at] of [0, 1, 7, 23, ids.length - 2].entries()) {
      const again = follow({
        port: index % 2 ? port : other.port,
        path: STREAM,
        key: operator.key,
        after: ids[at] ?? '',
      })
      await again.until((all) => all.length >= ids.length - at - 1)
      expect(again.seen.map(({ id }) => id)).toEqual(ids.slice(at + 1))
    }
  }, 40_000)

  it('repeats and misses nothing for listeners that come back while events go on', async () => {
    const whole = follow({ port, path: STREAM, key: operator.key })
    const clients = Array.from({ length: 20 }, () => follow({ port, path: STREAM, key: operator.key }))
    await Promise.all([whole, ...clients].map((client) => expect.poll(() => client.comments.length).toBe(1)))
    await fabrique.startWorker()
    onTestFinished(() => fabrique.killWorkers('SIGKILL'))
    const submitted = submit(60)
    for (const [n, client] of clients.entries()) {
      void (async () => {
        for (let at = 5 + n; at < 1_000; at += 60) {
          await client.until((all) => all.length >= at)
          client.drop()
        }
      })()
    }
    await submitted
    const ids = (await whole.until((all) => ends(all, 60))).map(({ id }) => id)
    for (const client of clients) {
      await client.until((all) => all.length >= ids.length)
      expect(client.seen.map(({ id }) => id)).toEqual(ids)
      expect(client.connections()).toBeGreaterThan(5)
    }
  }, 40_000)

  it('begins now with a comment when it cannot resume, and refuses what is no id', async () => {
    const unknown = follow({ port, path: `${STREAM}?after=01ARZ3NDEKTSV4RRFFQ69G5FAV`, key: operator.key })
    await expect.poll(() => unknown.comments[0]).toMatch(/unknown or too far back; what happens from now on/)
    await submit(1)
    await unknown.until((all) => all.length >= 2)
    expect(unknown.seen.map(({ event }) => event.seq)).toEqual([1, 2])
    for (const query of ['?after=12', '?after=x', '?kinds=a']) {
      const { status, body } = await fabrique.request<ProblemDocument>(STREAM + query, { key: operator.key })
      expect([query, status]).toEqual([query, 400])
      expect(body.status).toBe(400)
    }
    expect((await fabrique.request(STREAM, { key: null })).status).toBe(401)
  })
})

describe('listeners', () => {
  it('get every event within two seconds although every notification is lost', async () => {
    const redis = new Redis(REDIS)
    let isKilling = true
    let killed = 0
    const killing = (async () => {
      while (isKilling) {
        const listening = String(await redis.call('CLIENT', 'LIST', 'TYPE', 'pubsub')).split('\n')
        for (const line of listening.filter((one) => one.includes(` db=${REDIS_DATABASE} `)))
          killed += await redis.client('KILL', 'ID', /^id=(\d+)/.exec(line)?.[1] ?? '').then(Number)
      }
    })()
    onTestFinished(async () => {
      isKilling = false
      await killing
      redis.disconnect()
    })
    await fabrique.startWorker()
    onTestFinished(() => fabrique.killWorkers('SIGKILL'))
    const whole = follow({ port, path: STREAM, key: operator.key })
    await expect.poll(() => whole.comments.length).toBe(1)
    const runs = await submit(5)
    const clients = runs.map(({ id }) => follow({ port, path: `${RUNS}/${id}/events`, key: operator.key }))
    await Promise.all([whole.until((all) => ends(all, 5)), ...clients.map(({ over }) => over)])
    for (const { seen } of [whole, ...clients]) {
      const late = seen.map(({ event, atMs }) => atMs - Date.parse(event.timestamp))
      expect(Math.max(...late)).toBeLessThan(2_500)
    }
    for (const { seen } of clients) expect(seen.map(({ event }) => event.seq)).toEqual(oneTo(seen.length))
    expect(killed).toBeGreaterThan(2)
  }, 40_000)

  it(
    'each see 1..n once though workers and the API are killed under them',
    async () => {
      const api = await anotherApi()
      const runs = await submit(FOLLOWED)
      const agent = new Agent({ keepAlive: false, maxSockets: CLIENTS })
      const clients = Array.from({ length: CLIENTS }, (_, n) =>
        follow({ port: api.port, path: `${RUNS}/${runs[n % FOLLOWED]?.id}/events`, key: operator.key, agent }),
      )
      const whole = follow({ port: api.port, path: STREAM, key: operator.key })
      await Promise.all(clients.map((client) => client.until((all) => all.length >= 2)))
      await expect.poll(() => whole.comments.length).toBe(1)

      const steps = (all: Seen[]) => all.filter(({ event }) => event.kind === 'workflow.node.completed').length
      const some = async (count: number) => {
        await Promise.race(clients.map((client) => client.until((all) => steps(all) >= count)))
      }
      const begin = [...whole.seen]
      await fabrique.startWorker()
      onTestFinished(() => fabrique.killWorkers('SIGKILL'))
      // Without an id to come back with, the organization's stream would begin anew.
      await Promise.all([some(2), whole.until((all) => all.length > 0)])
      await Promise.all([api.stop('SIGKILL'), fabrique.killWorkers('SIGKILL')])
      await Promise.all([api.start(), fabrique.startWorker()])
      await Promise.all(clients.slice(0, FOLLOWED / 2).map((client) => client.until((all) => steps(all) >= 1)))
      // Back on the second API, so that the next stop cuts it too.
      await expect.poll(() => whole.connections(), { timeout: 10_000 }).toBe(2)
      await api.stop('SIGTERM')
      await api.start()
      await Promise.all(clients.map(({ over }) => over))

      const logs = new Map(
        await Promise.all(
          runs.map(
            async ({ id }) =>
              [id, await fabrique.query('select id from events where run_id = $1 order by seq', [id])] as const,
          ),
        ),
      )
      for (const [n, { seen }] of clients.entries()) {
        expect(seen.map(({ event }) => event.seq)).toEqual(oneTo(seen.length))
        expect(seen.map(({ event }) => event.id)).toEqual(logs.get(runs[n % FOLLOWED]?.id ?? '')?.map(({ id }) => id))
        expect(seen.at(-1)?.event.kind).toMatch(TERMINAL)
      }
      expect(Math.min(...clients.map((client) => client.connections()))).toBeGreaterThan(0)
      expect(clients.some((client) => client.connections() > 1)).toBe(true)
      expect(begin).toEqual([])
      const total = [...logs.values()].reduce((sum, own) => sum + own.length, 0)
      await whole.until((all) => all.length >= total - 2 * FOLLOWED)
      for (const [runId, seqs] of numbersByRun(whole.seen)) {
        expect(seqs).toEqual(oneTo(logs.get(runId)?.length ?? 0).slice(2))
      }
      expect(whole.connections()).toBe(3)
    },
    RESTARTS_LIMIT_MS,
  )
})

describe('limits', () => {
  it('answer 429 with Retry-After, by key and by process, once as many streams are open', async () => {
    const api = await anotherApi({ SSE_STREAMS_MAX: '3', SSE_STREAMS_PER_KEY_MAX: '2' })
    const [run] = await submit(1)
    const paths = [STREAM, `${RUNS}/${run?.id}/events`]
    const clients = paths.map((path) => follow({ port: api.port, path, key: operator.key }))
    await Promise.all(clients.map((client) => expect.poll(() => client.connections()).toBe(1)))
    for (const path of paths) {
      const refused = await fetch(`http://127.0.0.1:${api.port}${path}`, {
        headers: { authorization: `Bearer ${operator.key}` },
      })
      expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '5'])
      expect(await refused.json()).toMatchObject({ code: 'quota-exceeded' })
    }
    follow({ port: api.port, path: STREAM, key: fabrique.adminKey })
    const other = await fabrique.createOperator('Elsewhere')
    await expect
      .poll(async () => {
        const answer = await fetch(`http://127.0.0.1:${api.port}${STREAM}`, {
          headers: { authorization: `Bearer ${other.key}` },
        })
        await answer.body?.cancel()
        return answer.status
      })
      .toBe(429)
  }, 30_000)

  /** The slowest but one in a hundred of so many requests, one after another. */
  async function p99(count: number): Promise<number> {
    const tookMs: number[] = []
    for (let n = 0; n < count; n += 1) {
      const startedMs = performance.now()
      const { status } = await fabrique.request(`${RUNS}?limit=1`, { key: operator.key })
      expect(status).toBe(200)
      tookMs.push(performance.now() - startedMs)
      await delay(5)
    }
    return tookMs.toSorted((a, b) => a - b)[Math.ceil(count * 0.99) - 1] ?? 0
  }

  it('keep the delay of others below 200 ms while 500 readers never read', async () => {
    await fabrique.startWorker()
    onTestFinished(() => fabrique.killWorkers('SIGKILL'))
    const quietMs = await p99(40)
    const unread = await Promise.all(Array.from({ length: 500 }, () => openUnread(port, STREAM, operator.key)))
    onTestFinished(() => {
      for (const socket of unread) socket.destroy()
    })
    const reader = follow({ port, path: STREAM, key: operator.key })
    await expect.poll(() => reader.comments.length).toBe(1)
    const besideMs: number[] = []
    for (const round of [1, 2, 3]) {
      const done = submit(40).then(() => reader.until((all) => ends(all, 40 * round)))
      besideMs.push(await p99(100))
      await done
    }
    // What else a machine does can only delay: the best of three rounds counts, against the same without the readers.
    expect(Math.min(...besideMs)).toBeLessThan(Math.max(200, 3 * quietMs))
  }, 60_000)
})
