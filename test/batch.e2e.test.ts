// Many run-specs in one request: each line is answered by itself and in order, whatever the client's habits, and sending
// the same file again after a crash makes no run twice. Real API and PostgreSQL; no worker, so that every run stays queued.
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import type { ProblemDocument, RunResource } from '@fabrique/schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Fabrique, startFabrique } from './harness.ts'

const BATCH = '/v1/workflows/runs/batch'
const NDJSON = 'application/x-ndjson'
const WORKFLOW = 'test/no-op'

interface Answer {
  line: number
  run_id?: string
  replayed?: true
  error?: ProblemDocument
}

let fabrique: Fabrique

beforeAll(async () => {
  fabrique = await startFabrique({ workers: 0 })
  const { status, text } = await fabrique.request('/v1/workflows', {
    body: {
      id: WORKFLOW,
      name: 'No-op',
      cadence: 'On demand',
      version: '2026.11.21',
      artifactClass: 'knowledge',
      schemaVersion: 'workflow-schema-v1',
      intakeSchema: { type: 'object', properties: { n: { type: 'integer' } } },
      runtimeSteps: [{ id: 'pass', kind: 'tool', tool: 'value.pass', args: { value: '{intake.n}' } }],
      providers: {},
      gates: [],
      budgetPolicy: 'none',
      artifactSchema: { artifactType: 'none', files: [] },
      visibility: 'public',
    },
  })
  expect(status, text).toBe(201)
}, 60_000)

afterAll(() => fabrique?.stop())

const spec = (n: number) => JSON.stringify({ workflow: WORKFLOW, input: { n }, metadata: { n: String(n) } })
const answersIn = (text: string): Answer[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Answer)

async function send(body: string, headers: Record<string, string> = {}, key = fabrique.adminKey) {
  const response = await fetch(fabrique.url + BATCH, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': NDJSON, ...headers },
    body,
  })
  const text = await response.text()
  const answers = response.status === 200 ? answersIn(text) : []
  return { status: response.status, headers: response.headers, text, answers }
}

describe('a batch', () => {
  it('answers every line by itself, in order, and counts the empty ones', async () => {
    const tooLong = JSON.stringify({ workflow: WORKFLOW, input: { n: 1, text: 'x'.repeat(1024 * 1024) } })
    const lines = [spec(1), '', '{"workflow":', spec(2), '   ', '{"workflow":"no/such","input":{}}', tooLong]
    const { status, headers, answers } = await send(
      [...lines, `{"workflow":"${WORKFLOW}","input":{"n":"one"}}`, spec(3)].join('\r\n'),
    )
    expect([status, headers.get('content-type')]).toEqual([200, NDJSON])
    expect(answers.map(({ line, error }) => [line, error?.status ?? 'accepted', error?.code ?? ''])).toEqual([
      [1, 'accepted', ''],
      [3, 400, 'malformed-body'],
      [4, 'accepted', ''],
      [6, 404, 'not-found'],
      [7, 413, 'body-too-large'],
      [8, 422, 'validation-failed'],
      [9, 'accepted', ''],
    ])
    expect(answers[5]?.error?.errors).toMatchObject([{ pointer: '/input/n', line: 8, column: expect.any(Number) }])
    expect(answers.filter(({ error }) => error !== undefined).every(({ error }) => error?.request_id)).toBe(true)
    const last = await fabrique.run(answers.at(-1)?.run_id ?? '')
    expect(last).toMatchObject({ status: 'pending', input: { n: 3 }, metadata: { n: '3' } })
  })

  it('is taken as programs save it: byte order marks, CR LF, trailing spaces, U+2028 in a text, no end at the end', async () => {
    const odd = JSON.stringify({ workflow: WORKFLOW, input: { n: 3, text: 'a\u2028b' } })
    const body = `\ufeff${spec(1)}\r\n${spec(2)} \t\r\n\r\n${odd}\n\ufeff${spec(4)}\n${spec(5)},\n\ufeff\n${spec(8)}`
    const { answers } = await send(body)
    expect(answers.map(({ line, error }) => [line, error?.status ?? 'accepted'])).toEqual([
      [1, 'accepted'],
      [2, 'accepted'],
      [4, 'accepted'],
      [5, 'accepted'],
      [6, 400],
      [8, 'accepted'],
    ])
    expect((await fabrique.run(answers[2]?.run_id ?? '')).input).toEqual({ n: 3, text: 'a\u2028b' })
  })

  it.each([
    ['an array on one line', `[${spec(1)},${spec(2)}]`],
    ['an array over several lines', `[\n${spec(1)},\n${spec(2)}\n]`],
    ['a document over several lines', '{\n"workflow": "w"\n}'],
  ])('that is %s is refused, saying what a batch is', async (_, body) => {
    const { answers } = await send(body)
    expect(answers.at(0)).toMatchObject({
      line: 1,
      error: { detail: expect.stringMatching(/one whole run-spec a line/) },
    })
  })

  it.each([
    'application/jsonl',
    'application/x-jsonlines',
    'application/json-lines',
    'application/ndjson; charset=UTF-8',
    'text/x-ndjson',
  ])('may be called %s', async (type) => {
    expect(await send(spec(1), { 'content-type': type })).toMatchObject({ status: 200, answers: [{ line: 1 }] })
  })

  it('answers an empty body with nothing, and refuses other content types and keys that are not valid', async () => {
    expect(await send('')).toMatchObject({ status: 200, text: '' })
    for (const type of ['application/json', 'text/plain', 'text/csv', 'application/jsonl; charset=utf-16'])
      expect((await send(spec(1), { 'content-type': type })).status, type).toBe(415)
    expect((await send(spec(1), { 'idempotency-key': 'a b' })).status).toBe(400)
    expect((await send(spec(1), {}, 'fab_nobody')).status).toBe(401)
  })

  it('sent again under its key answers the same runs, and refuses a line that changed', async () => {
    const key = { 'idempotency-key': 'file-1' }
    const first = await send([spec(1), spec(2), spec(3)].join('\n'), key)
    const second = await send([spec(1), spec(99), spec(3), spec(4)].join('\n'), key)
    expect(first.answers.map(({ line, replayed }) => [line, replayed])).toEqual([
      [1, undefined],
      [2, undefined],
      [3, undefined],
    ])
    expect(second.answers).toMatchObject([
      { line: 1, run_id: first.answers[0]?.run_id, replayed: true },
      { line: 2, error: { code: 'idempotency-mismatch', status: 422 } },
      { line: 3, run_id: first.answers[2]?.run_id, replayed: true },
      { line: 4, run_id: expect.any(String) },
    ])
  })

  it('hands its runs to the queue', async () => {
    const before = await stats()
    await send(Array.from({ length: 500 }, (_, n) => spec(n)).join('\n'))
    expect((await stats()).backlog - before.backlog).toBe(500)
  })

  it('is answered while the client waits for each answer before it writes on', async () => {
    const request = httpRequest(fabrique.url + BATCH, {
      method: 'POST',
      headers: { authorization: `Bearer ${fabrique.adminKey}`, 'content-type': NDJSON },
    })
    request.write(`${spec(0)}\n`)
    const [response] = (await once(request, 'response')) as [Readable]
    const answers = createInterface({ input: response })[Symbol.asyncIterator]()
    for (let n = 1; n <= 5; n += 1) {
      const { value } = (await answers.next()) as { value: string }
      expect((JSON.parse(value) as Answer).line).toBe(n)
      if (n < 5) request.write(`${spec(n)}\n`)
      else request.end()
    }
    expect((await answers.next()).done).toBe(true)
  })

  it('is read to its end for a client that reads only after it has written everything', async () => {
    // Refusals are long, and so are the lines: neither way the socket buffers between the two can hold them all.
    const count = 30_000
    const body = `{"workflow":"no/such","input":{"text":"${'x'.repeat(1_000)}"}}\n`.repeat(count)
    const socket = connect(Number(new URL(fabrique.url).port), '127.0.0.1')
    await once(socket, 'connect')
    socket.write(
      [
        `POST ${BATCH} HTTP/1.1`,
        'host: localhost',
        `authorization: Bearer ${fabrique.adminKey}`,
        `content-type: ${NDJSON}`,
        'transfer-encoding: chunked',
        'connection: close',
        '\r\n',
      ].join('\r\n'),
    )
    for (let at = 0; at < body.length; at += 50_000) {
      const part = body.slice(at, at + 50_000)
      if (!socket.write(`${part.length.toString(16)}\r\n${part}\r\n`)) await once(socket, 'drain')
    }
    await new Promise<void>((written) => socket.write('0\r\n\r\n', () => written()))
    let received = ''
    for await (const chunk of socket) received += String(chunk)
    expect(received).toContain(`{"line":${count},"error":`)
    expect(received.length).toBeGreaterThan(7_000_000)
  }, 60_000)

  it('makes runs that only the organization of its key can read', async () => {
    const operator = await fabrique.createOperator('Batches')
    const { answers } = await send(spec(1), {}, operator.key)
    const runId = answers[0]?.run_id ?? ''
    expect((await fabrique.request(`/v1/workflows/runs/${runId}`, { key: operator.key })).status).toBe(200)
    expect((await fabrique.request(`/v1/workflows/runs/${runId}`)).status).toBe(404)
  })
})

describe('an API killed in the middle of a batch', () => {
  it('and the same file sent again: each line has become exactly one run', async () => {
    const count = 10_000
    const lines = Array.from({ length: count }, (_, n) => spec(n))
    const operator = await fabrique.createOperator('Backfills')
    const first = await fabrique.startApi()
    const answered = await sendTo(first.url, operator.key, lines, (seen) => {
      if (seen === 3_000) void first.kill('SIGKILL')
    })
    expect(answered.length).toBeGreaterThanOrEqual(3_000)
    expect(answered.length).toBeLessThan(count)

    const second = await fabrique.startApi()
    const again = await sendTo(second.url, operator.key, lines)
    await second.kill('SIGTERM')
    expect(again.map(({ line }) => line)).toEqual(lines.map((_, index) => index + 1))
    expect(new Set(again.map(({ run_id: id }) => id)).size).toBe(count)
    expect(again.slice(0, answered.length).map(({ run_id: id }) => id)).toEqual(answered.map(({ run_id: id }) => id))
    const [row] = await fabrique.query<{ runs: string; wrong: string }>(
      `select count(*) as runs, count(*) filter (where input ->> 'n' is distinct from metadata ->> 'n') as wrong
       from runs where organization_id = $1`,
      [operator.organizationId],
    )
    expect([Number(row?.runs), Number(row?.wrong)]).toEqual([count, 0])
    const [found] = (
      await fabrique.request<{ data: RunResource[] }>('/v1/workflows/runs?metadata[n]=7777', { key: operator.key })
    ).body.data
    expect(found?.id).toBe(again[7777]?.run_id)
  }, 180_000)
})

async function stats(): Promise<{ backlog: number; active: number; oldest_age_s: number }> {
  const { body } =
    await fabrique.request<Record<string, { backlog: number; active: number; oldest_age_s: number }>>(
      '/v1/queues/stats',
    )
  return body['runs-batch'] ?? { backlog: -1, active: -1, oldest_age_s: -1 }
}

/** Sends these lines as one request; answers what came back, all of it or what came before the connection broke. */
async function sendTo(url: string, key: string, lines: string[], onAnswer = (_seen: number) => {}): Promise<Answer[]> {
  const request = httpRequest(url + BATCH, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': NDJSON, 'idempotency-key': 'backfill-1' },
  })
  const broken = new Promise<null>((resolve) => request.on('error', () => resolve(null)))
  Readable.from(lines.map((line) => `${line}\n`)).pipe(request)
  const answers: Answer[] = []
  const response = await Promise.race([once(request, 'response').then(([it]) => it as Readable), broken])
  if (response === null) return answers
  const broke = new Promise<void>((resolve) => response.on('error', () => resolve()))
  const input = createInterface({ input: response })
  input.on('line', (line) => {
    try {
      answers.push(JSON.parse(line) as Answer)
    } catch {
      return // Cut off in the middle.
    }
    onAnswer(answers.length)
  })
  await Promise.race([once(input, 'close'), broke])
  return answers
}
