// One table of hostile inputs over every route: each is refused with its own answer, and nobody else waits for that.
// Hides how the delay of the API's event loop is told from noise of the machine: an attack that holds it does so every time.
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Operation, readDescription } from './described.ts'
import { type Fabrique, FOX, type Operator, startFabrique } from './harness.ts'

/** What /healthz may take meanwhile, on a machine that runs other tests too; what the attacks took before was seconds. */
const DELAY_MS_MAX = 1_000
/** Attacks of one row are sent again where the delay was longer: noise passes, and what holds the loop does not. */
const TRIES = 3
const ANSWER_MS_MAX = 30_000
const UNKNOWN = '01J6N3YV2H3K8E7XR4M2YT5VAW'
const MIB = 1_048_576

let fabrique: Fabrique
let operator: Operator
let routes: Operation[]

beforeAll(async () => {
  fabrique = await startFabrique({ workers: 0 })
  operator = await fabrique.createOperator('Hostile')
  const { text } = await fabrique.request('/openapi.json', { key: null })
  routes = readDescription(JSON.parse(text) as Record<string, unknown>).operations
}, 60_000)
afterAll(() => fabrique?.stop())

interface Problems {
  code: string
  errors?: { pointer: string; detail: string; line?: number; column?: number }[]
}
interface Attack {
  method?: string
  path: string
  key?: string | null
  headers?: Record<string, string>
  body?: string
}
interface Seen {
  status: number
  text: string
  body: Problems
}

/** Sends the attack, `times` at once, and asks /healthz all the while; the longest that this took, in the best of the tries. */
async function attack(sent: Attack, times = 1): Promise<Seen & { delayMs: number }> {
  let delayMs = Number.POSITIVE_INFINITY
  let seen: Seen | undefined
  for (let attempt = 0; attempt < TRIES && delayMs >= DELAY_MS_MAX; attempt += 1) {
    let isOver = false
    const watching = watch(() => isOver)
    const answers = await Promise.all(Array.from({ length: times }, () => send(sent)))
    isOver = true
    delayMs = Math.min(delayMs, await watching)
    seen = answers[0]
  }
  if (seen === undefined) throw new Error('nothing was sent')
  return { ...seen, delayMs }
}

async function send({ path, ...options }: Attack): Promise<Seen> {
  const answer = await fetch(fabrique.url + path, {
    method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
    headers: {
      ...(options.key === null ? {} : { authorization: `Bearer ${options.key ?? fabrique.adminKey}` }),
      ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    },
    ...(options.body === undefined ? {} : { body: options.body }),
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
  })
  const type = answer.headers.get('content-type') ?? ''
  const isStream = type.startsWith('text/event-stream')
  if (isStream) await answer.body?.cancel()
  const text = isStream ? '' : await answer.text()
  return {
    status: answer.status,
    text,
    body: (type.includes('json') && text !== '' ? JSON.parse(text) : {}) as Problems,
  }
}

async function watch(isOver: () => boolean): Promise<number> {
  let longest = 0
  do {
    const start = performance.now()
    const answer = await fetch(`${fabrique.url}/healthz`)
    await answer.arrayBuffer()
    longest = Math.max(longest, performance.now() - start)
    await setTimeout(5)
  } while (!isOver())
  return longest
}

/** An object with as many members as the front door lets in, or as fit into the bytes. */
function members(count: number, key: (index: number) => string): string {
  return `{${Array.from({ length: count }, (_, index) => `${JSON.stringify(key(index))}:1`).join(',')}}`
}

const short = members(9_990, (index) => `workflo${index}`)
const long = members(9_000, (index) => `workflow-${'x'.repeat(95)}${index}`)
const lines = members(9_990, (index) => `workflo${index}`).replaceAll(',', ',\n')

describe('a document with thousands of problems', () => {
  it.each([
    { of: 'short keys on one line', body: short },
    { of: 'a mebibyte of long keys', body: long },
    { of: 'a line each', body: lines },
    { of: 'YAML', body: lines.slice(1, -1).replaceAll(':', ': ').replaceAll(',', ''), type: 'application/yaml' },
    { of: 'TOML', body: lines.slice(1, -1).replaceAll(':', ' = ').replaceAll(',', ''), type: 'application/toml' },
  ])('is refused with its first hundred, each with its place: $of', async ({ body, type = 'application/json' }) => {
    const headers = { 'content-type': type }
    const { status, body: answer, delayMs } = await attack({ path: '/v1/workflows/runs', headers, body })

    expect(status).toBe(422)
    expect(answer.errors).toHaveLength(100)
    const onOneLine = !body.includes('\n')
    for (const [index, { line, column }] of (answer.errors ?? []).entries()) {
      expect(line).toBe(onOneLine ? 1 : index + 1)
      expect(column).toBeGreaterThan(0)
    }
    expect(delayMs).toBeLessThan(DELAY_MS_MAX)
  })

  it('is refused as soon by every route that takes one', async () => {
    const seen: object[] = []
    for (const { method, path } of routes.filter(({ bodyTypes }) => bodyTypes.includes('application/json'))) {
      const { status, body, delayMs } = await attack({ method, path: filled(path), body: short })
      if (status < 400 || status >= 500 || (body.errors?.length ?? 0) > 100 || delayMs >= DELAY_MS_MAX)
        seen.push({ method, path, status, problems: body.errors?.length, delayMs })
    }
    expect(seen).toEqual([])
  }, 120_000)

  it('is saved as a draft with its first hundred problems', async () => {
    const steps = Array.from({ length: 15 }, (_, step) => ({
      id: `step-with-a-long-name-${step}`,
      kind: 'llm',
      promptTemplate: Array.from({ length: 600 }, (_, at) => `{steps.step-with-a-long-nam-${step}-${at}.output.text}`),
    }))
    const body = JSON.stringify({ id: 'hostile/near-misses', runtimeSteps: steps.map(joined) })
    expect(body.length).toBeGreaterThan(400_000)
    const { status, text, delayMs } = await attack({ path: '/v1/workflows', body })

    expect(status).toBe(201)
    expect((JSON.parse(text) as { problems: object[] }).problems).toHaveLength(100)
    expect(delayMs).toBeLessThan(DELAY_MS_MAX)
  })
})

const joined = <Step extends { promptTemplate: string[] }>(step: Step) => ({
  ...step,
  promptTemplate: step.promptTemplate.join(' '),
})

function filled(path: string): string {
  return path.replaceAll(/\{[^}]+\}/g, UNKNOWN)
}

describe('runs with a mebibyte of input', () => {
  const RUNS = 8
  const input = { texts: Array.from({ length: 15 }, () => 'x'.repeat(60_000)) }

  it('are listed without it, and with it in pages of a few', async () => {
    await fabrique.request('/v1/workflows', {
      body: {
        id: 'hostile/echo',
        name: 'Echo',
        cadence: 'On demand',
        version: '2026.11.28',
        artifactClass: 'knowledge',
        schemaVersion: 'workflow-schema-v1',
        intakeSchema: { type: 'object' },
        runtimeSteps: [{ id: 'echo', kind: 'tool', tool: 'value.pass', args: { value: 1 } }],
        providers: {},
        gates: [],
        budgetPolicy: 'none',
        artifactSchema: { artifactType: 'none', files: [] },
        visibility: 'public',
      },
    })
    const key = operator.key
    for (let run = 0; run < RUNS; run += 1) await fabrique.submit({ workflow: 'hostile/echo', input }, { key })
    const listed = await fabrique.request<{ data: object[] }>('/v1/workflows/runs?limit=100', { key })
    expect(listed.body.data).toHaveLength(RUNS)
    expect(listed.text.length).toBeLessThan(50_000)

    const seen: object[] = []
    let cursor = ''
    do {
      const path = `/v1/workflows/runs?limit=100&fields=input,warnings${cursor}`
      const { text, body } = await fabrique.request<{ data: { input: object }[]; next_cursor: string | null }>(path, {
        key,
      })
      expect(text.length).toBeLessThan(6 * MIB)
      seen.push(...body.data.map((run) => run.input))
      cursor = body.next_cursor === null ? '' : `&cursor=${body.next_cursor}`
    } while (cursor !== '')
    expect(seen).toEqual(Array.from({ length: RUNS }, () => input))
    expect((await fabrique.request('/v1/workflows/runs?fields=worker', { key })).status).toBe(400)
  }, 60_000)

  it('are warned of a hundred fields at most', async () => {
    const body = `{"workflow":"hostile/echo","input":${members(9_000, (index) => `field${index}`)}}`
    const { text, delayMs } = await attack({ path: '/v1/workflows/runs?dry_run=true', body })
    expect((JSON.parse(text) as { warnings: string[] }).warnings).toHaveLength(100)
    expect(delayMs).toBeLessThan(DELAY_MS_MAX)
  })
})

describe('an input that fills prompts with gigabytes', () => {
  it('is refused before they are imagined', async () => {
    const prompt = Array.from({ length: 4 }, () => '{intake.texts}').join(' ')
    const made = await fabrique.request('/v1/workflows', {
      body: {
        id: 'hostile/estimate',
        name: 'Estimate',
        cadence: 'On demand',
        version: '2026.11.28',
        artifactClass: 'knowledge',
        schemaVersion: 'workflow-schema-v1',
        intakeSchema: {
          type: 'object',
          properties: { texts: { type: 'array' }, list: { type: 'array' } },
          required: ['texts', 'list'],
        },
        runtimeSteps: Array.from({ length: 4 }, (_, index) => ({
          id: `s${index}`,
          kind: 'llm',
          model: 'openai/gpt-6.1-terra',
          promptTemplate: prompt,
          forEach: { items: '{intake.list}', concurrency: 4 },
        })),
        providers: {},
        gates: [],
        budgetPolicy: 'none',
        artifactSchema: { artifactType: 'none', files: [] },
        visibility: 'public',
      },
    })
    expect(made.status, made.text).toBe(201)
    const list = Array.from({ length: 200 }, (_, index) => index)
    const texts = Array.from({ length: 15 }, () => 'some words of text '.repeat(3_000))
    const body = JSON.stringify({ workflow: 'hostile/estimate', input: { list, texts } })
    const { status, text, delayMs } = await attack({ path: '/v1/workflows/runs?dry_run=true', body })
    expect(status, text.slice(0, 500)).toBe(422)
    expect(text).toContain('run-too-large')
    expect(delayMs).toBeLessThan(DELAY_MS_MAX)
  }, 120_000)
})

describe('quotas', () => {
  it('are not met by a hundred submits at once', async () => {
    const submits = Array.from({ length: 100 }, () => fabrique.submit(FOX, { key: operator.key }))
    expect(new Set((await Promise.all(submits)).map(({ id }) => id)).size).toBe(100)
  })

  it('refuse one organization by 429, say when to come back, and leave the others alone', async () => {
    const other = await fabrique.createOperator('Neighbour')
    const { url, kill } = await fabrique.startApi({ QUOTA_SUBMITS_PER_MINUTE: '5' })
    const submit = (key: string, path = '', body: string = JSON.stringify(FOX)) =>
      fetch(`${url}/v1/workflows/runs${path}`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${key}`,
          'content-type': path === '' ? 'application/json' : 'application/jsonl',
        },
        body,
      })
    try {
      const answers: Response[] = []
      for (let count = 0; count < 6; count += 1) answers.push(await submit(operator.key))
      expect(answers.map(({ status }) => status)).toEqual([202, 202, 202, 202, 202, 429])
      expect(answers[0]?.headers.get('ratelimit')).toMatch(/^"submits";r=4;t=\d+$/)
      expect(answers[5]?.headers.get('ratelimit-policy')).toBe('"submits";q=5;w=60')
      expect(Number(answers[5]?.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(await (await submit(operator.key, '/batch', JSON.stringify(FOX))).json()).toMatchObject({
        error: { code: 'quota-exceeded' },
      })
      expect((await submit(other.key)).status).toBe(202)
    } finally {
      await kill('SIGTERM')
    }
  }, 60_000)

  it('bound the schedules of an organization, however many are made at once', async () => {
    const other = await fabrique.createOperator('Planner')
    const ask = (path: string, body: object) => fabrique.request(path, { key: other.key, body })
    const schedule = { cron: '* * * * * *', run_spec: FOX, enabled: false }
    const schedules = await Promise.all(Array.from({ length: 230 }, () => ask('/v1/schedules', schedule)))
    expect(schedules.filter(({ status }) => status === 201)).toHaveLength(200)
    const refused = schedules.filter(({ status }) => status === 429)
    expect(refused).toHaveLength(30)
    expect(refused[0]?.headers.get('retry-after')).toBe('60')
  }, 60_000)
})

const SPACES = ' '.repeat(14_000)
const HEADERS: Record<string, string> = {
  'if-none-match': `"a${SPACES}"b`,
  'if-match': `"a${SPACES}b`,
  prefer: `wait${SPACES}x=1,${SPACES}`.slice(0, 15_000),
  range: `bytes=0-1${',0-1'.repeat(3_000)}`,
  'idempotency-key': 'k'.repeat(14_000),
  'last-event-id': `${'9'.repeat(14_000)}x`,
  'content-type': `application/json;${' ;charset'.repeat(1_500)}`,
  accept: `text/html;q=0${',*/*;q=0.1'.repeat(1_400)}`,
  authorization: `Bearer${SPACES}x`,
  'x-request-id': 'r'.repeat(14_000),
  origin: `https://${'a.'.repeat(7_000)}org`,
  'access-control-request-headers': `x${SPACES},y`,
}
const QUERIES: Record<string, string> = {
  'a name twice': 'limit=1&limit=2',
  'a thousand names': Array.from({ length: 1_000 }, (_, index) => `p${index}=1`).join('&'),
  'a long value': `cursor=${'x'.repeat(12_000)}`,
  'metadata of brackets': `metadata[${'['.repeat(6_000)}]=1`,
  'a broken escape': 'name=%E0%A4%A',
}

describe('every route', () => {
  it.each(Object.keys(HEADERS))(
    'answers a hostile %s in time, and without a fault',
    async (name) => {
      const seen: object[] = []
      for (const { method, path, bodyTypes } of routes) {
        const body = bodyTypes.length > 0 ? { body: '{}' } : {}
        const headers = { [name]: HEADERS[name] ?? '' }
        const { status, delayMs } = await attack({ method, path: filled(path), headers, key: operator.key, ...body })
        if (status >= 500 || delayMs >= DELAY_MS_MAX) seen.push({ method, path, status, delayMs })
      }
      expect(seen).toEqual([])
    },
    120_000,
  )

  it('reads entity tags in time that is linear in their header', async () => {
    const headers = { 'if-none-match': HEADERS['if-none-match'] ?? '' }
    const { status, delayMs } = await attack({ path: '/openapi.json', key: null, headers }, 8)
    expect(status).toBe(200)
    expect(delayMs).toBeLessThan(DELAY_MS_MAX)
  })

  it.each(Object.keys(QUERIES))(
    'answers a hostile query in time, and without a fault: %s',
    async (name) => {
      const seen: object[] = []
      for (const { method, path } of routes.filter((route) => route.method === 'GET')) {
        const { status, delayMs } = await attack({ method, path: `${filled(path)}?${QUERIES[name]}` })
        if (status >= 500 || delayMs >= DELAY_MS_MAX) seen.push({ method, path, status, delayMs })
      }
      expect(seen).toEqual([])
    },
    120_000,
  )

  it('refuses a body over its limit', async () => {
    for (const { method, path } of routes.filter(({ bodyTypes }) => bodyTypes.includes('application/json'))) {
      const { status } = await attack({ method, path: filled(path), body: `"${'x'.repeat(MIB)}"` })
      expect([413, 400, 404], `${method} ${path}`).toContain(status)
    }
  }, 60_000)
})
