// A whole Fabrique for a test: real API and worker processes on a database, Redis prefix and home of their own.
// Hides spawning, readiness and cleaning up; what a test says of a run goes through HTTP and SSE like any client's.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createDb } from '@fabrique/db'
import type { Artifact, LedgerEntry, RunEvent, RunResource } from '@fabrique/schema'
import { EventSourceParserStream } from 'eventsource-parser/stream'
import { BROKEN_ENDS } from './ended-runs.ts'

/** The folder that all entries and examples are relative to. */
export const checkout = dirname(dirname(fileURLToPath(import.meta.url)))

/** The example that the seed submits; any valid spec would do. */
export const FOX = { workflow: 'generate-clip-art-asset', input: { prompt: 'a fox wearing a scarf', style: 'flat' } }

const WAIT_LIMIT_MS = 20_000
const START_LIMIT_MS = 30_000
const STOP_LIMIT_MS = 20_000
/** What a test does to the record itself may be much at once. */
const SETUP_LIMIT_MS = 60_000
/** A statement that is not kept prepared. */
const UNNAMED = ''
const LINES_KEPT = 400
/** What a worker logs where its engine threw: a bug of ours, whatever becomes of the run. */
const BROKE_OFF = 'an execution broke off'
const TERMINAL = /^workflow\.run\.(completed|failed|cancelled)$/

export interface Answer<Body> {
  status: number
  headers: Headers
  text: string
  /** The parsed JSON; undefined where the answer is not JSON. */
  body: Body
}

export interface RequestOptions {
  method?: string
  /** Default: the admin's. Null sends no Authorization header. */
  key?: string | null
  headers?: Record<string, string>
  /** Text goes as it is (name its content type), anything else as JSON. */
  body?: unknown
}

/** One frame of an event stream, unparsed but for the JSON. */
export interface Frame {
  id: string
  event: string
  data: RunEvent
}

export interface Operator {
  key: string
  organizationId: string
}

export interface Fabrique {
  url: string
  adminKey: string
  databaseUrl: string
  /** FABRIQUE_HOME; the artifacts lie in `artifacts` below it. */
  home: string
  request<Body = Record<string, unknown>>(path: string, options?: RequestOptions): Promise<Answer<Body>>
  /** Submits a spec (default: the fox) and answers the accepted run; throws on anything but 202. */
  submit(spec?: object, options?: { key?: string; headers?: Record<string, string> }): Promise<RunResource>
  /** The run's event stream from its start, or behind `after`; ends when the server ends it. */
  events(runId: string, options?: { key?: string; after?: number }): AsyncGenerator<Frame>
  /** Follows the stream until an event fits; answers every event up to it. Rejects when none does in time. */
  waitFor(runId: string, fits: (event: RunEvent) => boolean, options?: { key?: string }): Promise<RunEvent[]>
  /** Follows a run to its end, approving the review gate on the way; answers the whole log. */
  finish(runId: string): Promise<RunEvent[]>
  run(runId: string): Promise<RunResource>
  /** The event log as a JSON list. */
  log(runId: string): Promise<RunEvent[]>
  ledger(runId: string): Promise<LedgerEntry[]>
  artifacts(runId: string): Promise<Artifact[]>
  review(runId: string, decision: 'approve' | 'reject'): Promise<Answer<Record<string, unknown>>>
  createOperator(organization: string): Promise<Operator>
  /** One statement on the record itself, for what no client can see or cause. */
  query<Row extends Record<string, unknown>>(sql: string, values?: unknown[]): Promise<Row[]>
  /** Starts one more API on the same record; resolves when it listens. */
  startApi(env?: Record<string, string>): Promise<AnotherApi>
  workerPids(): number[]
  /** Starts one more worker; resolves when it takes runs. */
  startWorker(env?: Record<string, string>): Promise<void>
  /** Sends the signal to every worker, and resolves when they have ended. */
  killWorkers(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>
  /** Resolves when every worker has ended for a reason of its own: a kill point. */
  workersEnded(): Promise<void>
  /** What API and workers logged so far, newest last. */
  lines(): string[]
  /**
   * Ends all of it. Rejects where a worker's engine threw meanwhile, which no run may make it do, and where a run did not
   * end as promised.
   */
  stop(): Promise<void>
}

export interface AnotherApi {
  url: string
  /** Resolves when it has ended, for whatever reason. */
  ended: Promise<unknown>
  /** Sends the signal, and resolves when it has ended. */
  kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>
}

interface Service {
  child: ChildProcess
  ended: Promise<unknown>
  /** The first log line that says this, parsed. Rejects when the process ends before. */
  said(message: string): Promise<Record<string, unknown>>
}

/**
 * Starts an API and `workers` (default 1) worker processes; resolves when they serve. `env` is added to that of all
 * processes, and nothing but PATH and the cache of compiled code is inherited: a developer's provider keys never reach
 * a test. They reach PostgreSQL through `postgresAt` where that is given.
 */
export async function startFabrique(
  options: { workers?: number; env?: Record<string, string>; postgresAt?: URL } = {},
): Promise<Fabrique> {
  const serverUrl = required('TEST_DATABASE_URL')
  const name = `fabrique_e2e_${randomBytes(6).toString('hex')}`
  const databaseUrl = Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href
  const home = await mkdtemp(join(tmpdir(), 'fabrique-e2e-'))
  const adminKey = `fab_${randomBytes(18).toString('hex')}`
  const recent: string[] = []
  const brokeOff: string[] = []
  const env = {
    PATH: process.env.PATH ?? '',
    // Some hundred processes start in the course of the suite, and each would compile the same again.
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? '',
    DATABASE_URL: Object.assign(new URL(databaseUrl), { host: options.postgresAt?.host ?? new URL(databaseUrl).host })
      .href,
    REDIS_URL: required('TEST_REDIS_URL'),
    REDIS_PREFIX: name,
    FABRIQUE_HOME: home,
    FABRIQUE_ADMIN_KEY: adminKey,
    FABRIQUE_PROVIDERS: 'simulated',
    PORT: '0',
    // Nobody balances the load of tests.
    FABRIQUE_NOTICE_MS: '0',
    ...options.env,
  }
  await administer(serverUrl, `create database ${name}`)
  const database = createDb({ databaseUrl, connectionsMax: 2, limitMs: SETUP_LIMIT_MS })

  let workers: Service[] = []
  const apis: Service[] = []
  const heard = (line: string) => {
    if (recent.push(line) > LINES_KEPT) recent.shift()
    if (line.includes(BROKE_OFF)) brokeOff.push(line)
  }
  const api = launch('apps/api/src/main.ts', env, heard)
  const { port } = await api.said('the API listens').catch(abandon)
  const url = `http://127.0.0.1:${String(port)}`

  async function stop(): Promise<void> {
    await endAll([api, ...apis, ...workers], 'SIGTERM')
    // A start that failed has no tables yet.
    const [tables] = await database.query<{ found: boolean }>(
      UNNAMED,
      `select to_regclass('gates') is not null as found`,
      [],
    )
    const broken: string[] = []
    for (const [promise, rows] of tables?.found === true ? Object.entries(BROKEN_ENDS) : []) {
      for (const { what } of await database.query<{ what: string }>(UNNAMED, rows, []))
        broken.push(`${promise}: ${what}`)
    }
    await database.close()
    await administer(serverUrl, `drop database if exists ${name} with (force)`)
    await rm(home, { recursive: true, force: true })
    if (broken.length > 0) throw new Error(`Runs did not end as promised:\n${broken.join('\n')}`)
    if (brokeOff.length > 0) throw new Error(`Workers threw while they executed runs:\n${brokeOff.join('\n')}`)
  }

  /** Leaves nothing of a start that failed. */
  async function abandon(error: unknown): Promise<never> {
    await stop()
    throw error
  }

  async function request<Body>(path: string, { method, key, headers, body }: RequestOptions = {}) {
    const isText = typeof body === 'string'
    const response = await fetch(url + path, {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      redirect: 'manual',
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key ?? adminKey}` }),
        ...(body === undefined || isText ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: isText ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.includes('json') === true
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: (isJson && text !== '' ? JSON.parse(text) : undefined) as Body,
    }
  }

  /** The body of an answer that must be a success. */
  async function read<Body>(path: string, options: RequestOptions = {}): Promise<Body> {
    const { status, text, body } = await request<Body>(path, options)
    if (status >= 300) throw new Error(`${options.method ?? 'GET'} ${path} answered ${status}: ${text.slice(0, 500)}`)
    return body
  }

  async function* events(runId: string, { key, after }: { key?: string; after?: number } = {}): AsyncGenerator<Frame> {
    const abort = new AbortController()
    const response = await fetch(`${url}/v1/workflows/runs/${runId}/events`, {
      headers: {
        authorization: `Bearer ${key ?? adminKey}`,
        accept: 'text/event-stream',
        ...(after === undefined ? {} : { 'last-event-id': String(after) }),
      },
      signal: abort.signal,
    })
    if (response.status !== 200 || response.body === null) {
      throw new Error(`the event stream answered ${response.status}: ${await response.text()}`)
    }
    try {
      for await (const message of response.body
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new EventSourceParserStream())) {
        yield { id: message.id ?? '', event: message.event ?? '', data: JSON.parse(message.data) as RunEvent }
      }
    } finally {
      abort.abort()
    }
  }

  async function waitFor(runId: string, fits: (event: RunEvent) => boolean, { key }: { key?: string } = {}) {
    const seen: RunEvent[] = []
    const late = Promise.withResolvers<never>()
    const story = () => [...seen.map((event) => `${event.seq} ${event.kind}`), ...recent.slice(-10)].join('\n')
    const timer = setTimeout(
      () => late.reject(new Error(`run ${runId} did not get there in ${WAIT_LIMIT_MS} ms:\n${story()}`)),
      WAIT_LIMIT_MS,
    )
    const stream = events(runId, key === undefined ? {} : { key })
    try {
      for (;;) {
        const next = await Promise.race([stream.next(), late.promise])
        if (next.done === true) throw new Error(`the stream of run ${runId} ended before:\n${story()}`)
        seen.push(next.value.data)
        if (fits(next.value.data)) return seen
      }
    } finally {
      clearTimeout(timer)
      // Not awaited: a stream that is silent answers `return` only with its next event.
      void stream.return(undefined).catch(() => {})
    }
  }

  const fabrique: Fabrique = {
    url,
    adminKey,
    databaseUrl,
    home,
    request,
    async submit(spec = FOX, { key, headers } = {}) {
      return await read<RunResource>('/v1/workflows/runs', {
        body: spec,
        ...(key === undefined ? {} : { key }),
        ...(headers === undefined ? {} : { headers }),
      })
    },
    events,
    waitFor,
    async finish(runId) {
      const upTo = await waitFor(runId, ({ kind }) => kind === 'workflow.run.waiting' || TERMINAL.test(kind))
      if (TERMINAL.test(upTo.at(-1)?.kind ?? '')) return upTo
      const { status, text } = await fabrique.review(runId, 'approve')
      if (status !== 200) throw new Error(`the review of ${runId} answered ${status}: ${text}`)
      return await waitFor(runId, ({ kind }) => TERMINAL.test(kind))
    },
    run: (runId) => read(`/v1/workflows/runs/${runId}`),
    async log(runId) {
      const path = `/v1/workflows/runs/${runId}/events`
      return (await read<{ data: RunEvent[] }>(path, { headers: { accept: 'application/json' } })).data
    },
    async ledger(runId) {
      return (await read<{ data: LedgerEntry[] }>(`/v1/workflows/runs/${runId}/ledger`)).data
    },
    async artifacts(runId) {
      return (await read<{ data: Artifact[] }>(`/v1/artifacts?run_id=${runId}`)).data
    },
    review: (runId, decision) => request(`/v1/workflows/runs/${runId}/review`, { body: { decision } }),
    async createOperator(organization) {
      const { id } = await read<{ id: string }>('/v1/organizations', { body: { name: organization } })
      const { key } = await read<{ key: string }>('/v1/api-keys', { body: { role: 'operator', organization_id: id } })
      return { key, organizationId: id }
    },
    query: (sql, values = []) => database.query(UNNAMED, sql, values),
    async startApi(extra = {}) {
      const another = launch('apps/api/src/main.ts', { ...env, ...extra }, heard)
      apis.push(another)
      const { port } = await another.said('the API listens')
      const kill = (signal: 'SIGKILL' | 'SIGTERM') => endAll([another], signal)
      return { url: `http://127.0.0.1:${String(port)}`, ended: another.ended, kill }
    },
    workerPids: () => workers.map(({ child }) => child.pid ?? 0),
    async startWorker(extra = {}) {
      const worker = launch('apps/worker/src/main.ts', { ...env, ...extra }, heard)
      workers.push(worker)
      await worker.said('the worker takes runs')
    },
    async killWorkers(signal) {
      const ending = workers
      workers = []
      await endAll(ending, signal)
    },
    async workersEnded() {
      await Promise.all(workers.map(({ ended }) => ended))
      workers = []
    },
    lines: () => [...recent],
    stop,
  }
  for (let count = options.workers ?? 1; count > 0; count -= 1) await fabrique.startWorker().catch(abandon)
  return fabrique
}

function required(name: string): string {
  const value = process.env[name]
  if (value === undefined || value === '') throw new Error(`${name} is not set: run npm test`)
  return value
}

async function administer(serverUrl: string, sql: string): Promise<void> {
  const server = createDb({ databaseUrl: serverUrl, connectionsMax: 1, limitMs: SETUP_LIMIT_MS })
  try {
    await server.query(UNNAMED, sql, [])
  } finally {
    await server.close()
  }
}

/** A process of ours; its channel makes it stop when this one dies, however it dies. */
function launch(entry: string, env: Record<string, string>, heard: (line: string) => void): Service {
  const child = spawn(process.execPath, [entry], { cwd: checkout, env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
  const ended = once(child, 'exit')
  const lines: string[] = []
  const listeners = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line)
      heard(line)
      for (const listener of listeners) listener()
    })
  }
  return {
    child,
    ended,
    async said(message) {
      const heard = Promise.withResolvers<Record<string, unknown>>()
      const listen = () => {
        const line = lines.find((one) => one.includes(`"msg":"${message}"`))
        if (line !== undefined) heard.resolve(JSON.parse(line) as Record<string, unknown>)
      }
      const give = (why: string) => () => heard.reject(new Error([`${entry} ${why}`, ...lines.slice(-10)].join('\n')))
      const timer = setTimeout(give(`did not say "${message}"`), START_LIMIT_MS)
      void ended.then(give('ended at its start'))
      listeners.add(listen)
      listen()
      return await heard.promise.finally(() => {
        clearTimeout(timer)
        listeners.delete(listen)
      })
    },
  }
}

async function endAll(services: Service[], signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  for (const { child } of services) child.kill(signal)
  const killer = setTimeout(() => {
    for (const { child } of services) child.kill('SIGKILL')
  }, STOP_LIMIT_MS)
  await Promise.all(services.map(({ ended }) => ended))
  clearTimeout(killer)
}
