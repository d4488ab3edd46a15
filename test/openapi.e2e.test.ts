// The API against its own description: every route answers for real, and what it answers is what the description says.
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Validator } from '@seriousme/openapi-schema-validator'
import { EVENT_KINDS } from '@fabrique/schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Description, type Operation, readDescription } from './described.ts'
import { checkout, type Fabrique, FOX, type Operator, startFabrique } from './harness.ts'

type Body = Record<string, unknown>
interface Asked {
  /** Path parameters and the query. */
  at?: Record<string, string | number>
  headers?: Record<string, string>
  /** Text goes as JSON, unless a header says otherwise. */
  body?: unknown
  key?: string | null
  /** Leave an event stream after as many. */
  framesMax?: number
}

const UNKNOWN = '01J6N3YV2H3K8E7XR4M2YT5VAW'
const ECHO = { kind: 'tool', tool: 'value.pass' }

let fabrique: Fabrique
let operator: Operator
let description: Description
let document: Body
const succeeded = new Set<string>()

beforeAll(async () => {
  fabrique = await startFabrique({ workers: 0, env: { FABRIQUE_ALLOW_PRIVATE_WEBHOOKS: '1' } })
  operator = await fabrique.createOperator('Described')
  const { text } = await fabrique.request('/openapi.json', { key: null })
  document = JSON.parse(text) as Body
  description = readDescription(structuredClone(document))
}, 60_000)
afterAll(() => fabrique?.stop())

function operationOf(id: string): Operation {
  const found = description.operations.find((one) => one.id === id)
  if (found === undefined) throw new Error(`${id} is not described`)
  return found
}

/** Asks for something; what it answers must be as described, and have this status. */
async function ask(id: string, status: number, asked: Asked = {}): Promise<Body> {
  const operation = operationOf(id)
  const { method, bodyTypes } = operation
  const { at = {}, headers, body, key = fabrique.adminKey, framesMax } = asked
  const query = new URLSearchParams()
  let path = operation.path
  for (const [name, value] of Object.entries(at)) {
    if (path.includes(`{${name}}`)) path = path.replace(`{${name}}`, encodeURIComponent(value))
    else query.set(name, String(value))
  }
  const abort = new AbortController()
  const answer = await fetch(`${fabrique.url}${path}?${query.toString()}`, {
    method,
    signal: abort.signal,
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': bodyTypes[0] ?? 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const copy = framesMax === undefined ? answer.clone() : undefined
  const faults = await description.faultsOf(operation, answer, framesMax)
  abort.abort()
  expect(faults, `${method} ${path} answered ${answer.status}`).toEqual([])
  const text = (await copy?.text().catch(() => '')) ?? ''
  expect(answer.status, `${method} ${path}: ${text.slice(0, 500)}`).toBe(status)
  if (status < 300) succeeded.add(id)
  return /^application\/(\w+\+)?json/.test(answer.headers.get('content-type') ?? '') && text !== ''
    ? (JSON.parse(text) as Body)
    : {}
}

async function idOf(id: string, status: number, asked: Asked): Promise<string> {
  return String((await ask(id, status, asked)).id)
}

function template(id: string, runtimeSteps: object[], over: object = {}): object {
  return {
    id,
    name: id,
    cadence: 'On demand',
    version: '2026.11.21',
    artifactClass: 'knowledge',
    schemaVersion: 'workflow-schema-v1',
    intakeSchema: { type: 'object', properties: { words: { type: 'array', items: { type: 'string' } } } },
    runtimeSteps,
    providers: {},
    gates: [],
    budgetPolicy: 'none',
    artifactSchema: { artifactType: 'none', files: [] },
    visibility: 'public',
    ...over,
  }
}

/** Submits and follows a run to its end; then reads all there is of it, as an admin and as an operator would. */
async function seeThrough(spec: object, decision?: 'approve' | 'reject'): Promise<string> {
  const id = await idOf('submitRun', 202, { body: spec })
  if (decision !== undefined) {
    await fabrique.waitFor(id, ({ kind }) => kind === 'workflow.run.waiting')
    await ask('getRun', 200, { at: { id } })
    await ask('reviewRun', 200, { at: { id }, body: { decision } })
  }
  await ask('listRunEvents', 200, { at: { id } })
  await ask('listRunEvents', 200, { at: { id }, headers: { accept: 'application/json' } })
  for (const read of ['getRun', 'getSpecification', 'listSteps', 'getLedger', 'getReceipt'])
    await ask(read, 200, { at: { id } })
  return id
}

describe('the description', () => {
  it('is OpenAPI 3.1, by the published schema and by a linter, without a warning', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document))
    expect(errors ?? [], 'of the schema').toEqual([])
    expect(valid).toBe(true)
    const file = join(fabrique.home, 'openapi.json')
    await writeFile(file, JSON.stringify(document))
    const linter = join(checkout, 'test/node_modules/@redocly/cli/bin/cli.js')
    const env = { PATH: process.env.PATH, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' }
    const { stdout } = await promisify(execFile)(process.execPath, [linter, 'lint', '--format=json', file], {
      env,
      cwd: fabrique.home,
    })
    expect((JSON.parse(stdout) as { problems: unknown[] }).problems).toEqual([])
  })

  it('has examples that fit their schemas', () => {
    expect(description.exampleFaults()).toEqual([])
  })

  it('is sent once to a client that keeps it', async () => {
    const first = await fabrique.request('/openapi.json', { key: null })
    const again = await ask('getOpenApi', 304, { headers: { 'if-none-match': first.headers.get('etag') ?? '' } })
    expect(again).toEqual({})
  })
})

describe('every route answers as described', () => {
  it('health, docs and operations', async () => {
    for (const id of ['getHealth', 'getReadiness', 'getOpenApi', 'getDocs', 'getDocsScript'])
      await ask(id, 200, { key: null })
    await ask('getDocsAsset', 200, { at: { asset: 'swagger-ui.css' }, key: null })
    await ask('getQueueStats', 200)
    await ask('getMetrics', 200)
  })

  it('accounts', async () => {
    const organization = await idOf('createOrganization', 201, { body: { name: 'Another' } })
    await ask('listOrganizations', 200)
    const body = { role: 'operator', organization_id: organization, expires_at: '2030-01-01T00:00:00Z' }
    const id = await idOf('createApiKey', 201, { body })
    await ask('listApiKeys', 200)
    await ask('revokeApiKey', 204, { at: { id } })
    const token = await idOf('createToken', 201, { body: { scope: 'read', ttl: 60 } })
    await ask('createToken', 422, { body: { run_id: UNKNOWN } })
    await ask('revokeToken', 204, { at: { id: token } })
  })

  it('workflows', async () => {
    const say = { id: 'say', args: { value: 'hi' }, ...ECHO }
    const id = await idOf('createWorkflow', 201, { body: { id: 'described/draft', odd: [1] } })
    await ask('changeWorkflow', 200, { at: { id }, body: { name: 'A draft' } })
    await ask('changeWorkflow', 412, { at: { id }, body: { name: 'Late' }, headers: { 'if-match': '"1"' } })
    await ask('createWorkflow', 409, { body: { id } })
    await ask('changeWorkflow', 422, { at: { id }, body: { visibility: 'public' } })
    await ask('createWorkflow', 201, { body: template('described/echo', [say]) })
    await ask('createWorkflow', 201, {
      body: template('described/tree', [
        { id: 'call', kind: 'workflow', workflow: 'described/echo', input: {} },
        { id: 'each', forEach: '{intake.words}', args: { value: '{item}' }, ...ECHO },
        { id: 'never', when: 'false', args: { value: 1 }, ...ECHO },
      ]),
    })
    const query = { name: 'described/echo' }
    for (const key of [fabrique.adminKey, operator.key]) {
      await ask('listWorkflows', 200, { key })
      await ask('getWorkflow', 200, { key, at: { id: FOX.workflow } })
    }
    await ask('getWorkflow', 200, { at: { id: 'described/echo', version: '2026.11.21' } })
    await ask('listWorkflowVersions', 200, { at: query })
    for (const side of ['input', 'output']) await ask('getWorkflowSchema', 200, { at: { ...query, side } })
    for (const format of ['yaml', 'toml', 'json']) await ask('scaffoldRunSpec', 200, { at: { ...query, format } })
    await ask('getSchema', 200, { at: { file: 'run-spec.json' }, key: null })
    await ask('listCatalog', 200, { key: null })
    await ask('getCatalogEntry', 200, { at: { id: FOX.workflow }, key: null })
  })

  it('runs that wait for a worker', async () => {
    await ask('submitRun', 200, { at: { dry_run: 'true' }, body: FOX })
    const headers = { 'idempotency-key': 'described', prefer: 'wait=0' }
    const id = await idOf('submitRun', 202, { body: FOX, headers })
    expect(await idOf('submitRun', 202, { body: FOX, headers: { ...headers, prefer: 'wait=1' } })).toBe(id)
    await ask('submitRun', 422, { body: { ...FOX, priority: 1 }, headers })
    await ask('submitRunAlias', 202, { body: FOX })
    await ask('changeRun', 200, { at: { id }, body: { priority: 80 } })
    const lines = [JSON.stringify(FOX), '{"workflow":"no/such","input":{}}', 'no json'].join('\n')
    for (const _ of ['first', 'again']) await ask('submitBatch', 200, { body: lines, headers })
    await ask('listRuns', 200, { at: { limit: 2, 'metadata[a]': 'b' } })
    await ask('listRuns', 200, { at: { limit: 2 } })
    await ask('cancelRun', 202, { at: { id } })
    await ask('cancelRun', 409, { at: { id } })
    await ask('changeRun', 409, { at: { id }, body: { priority: 80 } })
    await ask('reviewRun', 409, { at: { id }, body: { decision: 'approve' } })
    await ask('listRunEvents', 204, { at: { id, after: 99 } })
    for (const dry of [true, false]) await ask('cancelRuns', 200, { body: { all: true, dry_run: dry } })
    for (const _ of ['first', 'again'])
      await ask('retryRun', 202, { at: { id }, headers: { 'idempotency-key': 'again' } })
    await ask('retryRun', 422, { at: { id }, headers })
  })

  it('webhooks, and what they are sent', async () => {
    const heard: unknown[] = []
    const enough = Promise.withResolvers<void>()
    const receiver = createServer((request, response) => {
      let text = ''
      request.on('data', (chunk: Buffer) => (text += chunk.toString()))
      request.on('end', () => {
        heard.push(JSON.parse(text))
        response.end()
        if (text.includes('workflow.run.completed')) enough.resolve()
      })
    })
    await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`
    const id = await idOf('createWebhook', 201, { body: { url, event_filter: EVENT_KINDS } })
    await fabrique.startWorker()
    const runId = await seeThrough(FOX, 'approve')
    await enough.promise
    receiver.close()
    expect(heard.flatMap((body) => description.webhookFaults(body))).toEqual([])
    expect(heard.length).toBeGreaterThan(8)
    await ask('listWebhooks', 200)
    await ask('getWebhook', 200, { at: { id } })
    await ask('rotateWebhookSecret', 200, { at: { id } })
    const { data } = (await ask('listDeliveries', 200, { at: { id, limit: 5 } })) as { data: Body[] }
    const delivery = { id, delivery_id: String(data[0]?.id) }
    await ask('redeliver', 202, { at: delivery })
    await ask('changeWebhook', 200, { at: { id }, body: { enabled: false } })
    await ask('redeliver', 409, { at: delivery })
    await ask('deleteWebhook', 204, { at: { id } })

    const found = (await ask('listArtifacts', 200, { at: { run_id: runId } })) as { data: Body[] }
    const artifact = { id: String(found.data[0]?.id) }
    await ask('listArtifacts', 200)
    const { sha256 } = await ask('getArtifact', 200, { at: artifact })
    await ask('getArtifactThumbnail', 200, { at: { ...artifact, width: 160 } })
    const known = { 'if-none-match': `"${String(sha256)}-320"` }
    await ask('getArtifactThumbnail', 304, { at: artifact, headers: known })
    await ask('getArtifactContent', 200, { at: artifact })
    await ask('getArtifactContent', 206, { at: artifact, headers: { range: 'bytes=0-9' } })
    await ask('getArtifactContent', 304, { at: artifact, headers: { 'if-none-match': `"${String(sha256)}"` } })
    await ask('getArtifactContent', 416, { at: artifact, headers: { range: 'bytes=99999999-' } })
    await ask('backtestWorkflow', 200, { at: { name: FOX.workflow }, body: { lookups: {} } })
    const [first] = await fabrique.log(runId)
    await ask('streamEvents', 200, { at: { after: String(first?.id) }, framesMax: 5 })
  }, 60_000)

  it('runs of every shape', async () => {
    await seeThrough({ workflow: 'described/tree', input: { words: ['a', 'b'] } })
    await seeThrough(FOX, 'reject')
    await ask('getLedgerTotals', 200, { at: { from: '2026-01-01', until: '2027-01-01' } })
    const { id } = await fabrique.submit({ ...FOX, input: { ...FOX.input, variants: 2 }, fail_fast: false })
    const waits = ({ kind }: { kind: string }) => kind === 'workflow.run.waiting'
    await fabrique.waitFor(id, waits)
    await ask('getRun', 200, { at: { id } })
    await ask('listReviews', 200, { at: { limit: 1 } })
    await ask('cancelRun', 202, { at: { id } })
    for (const read of ['listRunEvents', 'getRun', 'getSpecification', 'listSteps', 'getLedger', 'getReceipt'])
      await ask(read, 200, { at: { id } })
    const own = await idOf('submitRun', 202, { body: FOX, key: operator.key })
    for (const read of ['getRun', 'getSpecification']) await ask(read, 200, { at: { id: own }, key: operator.key })
  }, 60_000)

  it('schedules and prices', async () => {
    const body = { cron: '@daily', run_spec: FOX, name: 'Foxes' }
    const id = await idOf('createSchedule', 201, { body })
    await ask('listSchedules', 200, { at: { limit: 1 } })
    await ask('getSchedule', 200, { at: { id } })
    await ask('changeSchedule', 200, { at: { id }, body: { enabled: false, name: null } })
    await ask('changeSchedule', 422, { at: { id }, body: { run_spec: { workflow: 'no/such' } } })
    const headers = { 'idempotency-key': 'described-schedule' }
    for (const _ of ['first', 'again']) await ask('fireSchedule', 202, { at: { id }, headers })
    await ask('deleteSchedule', 204, { at: { id } })
    const prices = await ask('getPricing', 200)
    await ask('publishPricing', 201, { body: { ...prices, version: '2026.11.28.9' } })
    await ask('publishPricing', 409, { body: { ...prices, version: '2026.11.28.9' } })
  })

  it('sessions', async () => {
    const headers = { origin: fabrique.url }
    const { url } = await ask('createSignInLink', 201, {})
    const link = String(url).split('#')[1]
    await ask('signIn', 200, { key: null, headers, body: { link } })
    await ask('signIn', 401, { key: null, headers, body: { link } })
    await ask('signIn', 403, { key: null, body: { key: fabrique.adminKey } })
    await ask('getSession', 200, { key: null })
    await ask('prolongSession', 200, { key: null })
    await ask('signOut', 204, { key: null })
  })

  it('which leaves none out', () => {
    const missing = description.operations.filter(({ id }) => !succeeded.has(id))
    expect(missing.map(({ id }) => id)).toEqual([])
  })
})

describe('every route refuses as described', () => {
  /** Path parameters that name nothing, and a query that is whole. */
  const nothing = ({ path, query }: Operation) =>
    Object.fromEntries([
      ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => [name, UNKNOWN]),
      ...query.filter(({ required }) => required).map(({ name }) => [name, 'no/such']),
    ]) as Record<string, string>

  async function refuses(status: number, asked: Asked, fits: (operation: Operation) => boolean): Promise<void> {
    const operations = description.operations.filter(fits)
    expect(operations.length).toBeGreaterThan(0)
    for (const operation of operations) {
      const at = { ...nothing(operation), ...asked.at }
      expect(await ask(operation.id, status, { ...asked, at })).toMatchObject({ status })
    }
  }
  /** The parts of the page are named one by one. */
  const isNotAFile = ({ path }: Operation) => !path.startsWith('/docs/')
  const takesDocument = ({ bodyTypes }: Operation) => bodyTypes.includes('application/json')
  const namesNothing = ({ path, query }: Operation) => !path.includes('{') && !query.some(({ required }) => required)

  it('without a key: 401', () => refuses(401, { key: null }, ({ access }) => access !== 'public'))
  it('with the key of an operator: 403', () => refuses(403, { key: operator.key }, ({ access }) => access === 'admin'))
  it('a query parameter that it does not know: 400', () => refuses(400, { at: { odd: '1' } }, isNotAFile))
  it('an id that it does not know: 404', () =>
    refuses(404, {}, (operation) => operation.path.includes('{') && isNotAFile(operation)))
  it('another media type: 415', () =>
    refuses(
      415,
      { body: 'a,b', headers: { 'content-type': 'text/csv' } },
      (operation) => operation.bodyTypes.length > 0 && namesNothing(operation),
    ))
  it('what cannot be parsed: 400', () =>
    refuses(400, { body: '{' }, (operation) => takesDocument(operation) && namesNothing(operation)))
  it('what is too large: 413', () =>
    refuses(413, { body: ' '.repeat(1_100_000) }, (operation) => takesDocument(operation) && namesNothing(operation)))
  it('a document that is not valid: 422', () =>
    refuses(422, { body: { odd: 1 } }, (operation) => takesDocument(operation) && namesNothing(operation)))
})
