// Webhooks from registration to the receiver, through real processes: what arrives, what outages and crashes change
// about it, whose it is, and where it may never go.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { RunEvent, WebhookDelivery, WebhookResource } from '@fabrique/schema'
import { Webhook } from 'standardwebhooks'
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { checkout, type Fabrique, type Operator, startFabrique } from './harness.ts'

const WAIT_LIMIT_MS = 15_000

interface Heard {
  headers: Record<string, string>
  body: string
  atMs: number
}

interface Receiver {
  url: string
  heard: Heard[]
  /** Resolves when so many requests have come; rejects when they do not. */
  until(count: number): Promise<Heard[]>
  close(): Promise<void>
}

type Respond = (response: ServerResponse, attempt: number) => void

const fine: Respond = (response) => response.writeHead(204).end()

async function receive(respond: Respond = fine): Promise<Receiver> {
  const heard: Heard[] = []
  let told = Promise.withResolvers<void>()
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      heard.push({ headers: plain(request.headers), body: Buffer.concat(chunks).toString(), atMs: Date.now() })
      told.resolve()
      told = Promise.withResolvers()
      respond(response, heard.length)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    heard,
    async until(count) {
      const late = Promise.withResolvers<never>()
      const timer = setTimeout(
        () => late.reject(new Error(`${heard.length} of ${count} requests came in ${WAIT_LIMIT_MS} ms`)),
        WAIT_LIMIT_MS,
      )
      try {
        while (heard.length < count) await Promise.race([told.promise, late.promise])
        return heard
      } finally {
        clearTimeout(timer)
      }
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  onTestFinished(() => receiver.close())
  return receiver
}

function plain(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}

type Registered = WebhookResource & { secret: string }
interface Options {
  event_filter?: string[]
  max_retries?: number
}

let fabrique: Fabrique
let operator: Operator
let count = 0

beforeAll(async () => {
  fabrique = await startFabrique({ workers: 1, env: { FABRIQUE_ALLOW_PRIVATE_WEBHOOKS: '1' } })
}, 60_000)
afterAll(() => fabrique?.stop())

// An organization of its own for each test: one's webhooks hear nothing of another's runs.
async function ownOperator(): Promise<Operator> {
  count += 1
  operator = await fabrique.createOperator(`Webhooks ${count}`)
  return operator
}

async function register(url: string, options: Options = {}, key = operator.key): Promise<Registered> {
  const { status, body, text } = await fabrique.request<Registered>('/v1/webhooks', { key, body: { url, ...options } })
  expect(status, text).toBe(201)
  return body
}

/** A run that has ended: cancelled as soon as it was accepted. Answers its terminal event. */
async function endedRun(key = operator.key, spec?: object): Promise<RunEvent> {
  const { id } = await fabrique.submit(spec, { key })
  await fabrique.request(`/v1/workflows/runs/${id}/cancel`, { method: 'POST', key })
  const log = await fabrique.waitFor(id, ({ kind }) => kind === 'workflow.run.cancelled', { key })
  return log.at(-1) as RunEvent
}

async function deliveriesOf(id: string, key = operator.key): Promise<WebhookDelivery[]> {
  const { body } = await fabrique.request<{ data: WebhookDelivery[] }>(`/v1/webhooks/${id}/deliveries`, { key })
  return body.data
}

/** The only delivery of a webhook once it is as expected. */
async function settled(id: string, fits: (delivery: WebhookDelivery) => boolean): Promise<WebhookDelivery> {
  let last: WebhookDelivery | undefined
  for (const until = Date.now() + WAIT_LIMIT_MS; Date.now() < until; ) {
    last = (await deliveriesOf(id))[0]
    if (last !== undefined && fits(last)) return last
  }
  throw new Error(`the delivery did not get there: ${JSON.stringify(last)}`)
}

/** Time passes by moving the record into the past. */
async function makeDue(id: string): Promise<void> {
  await fabrique.query(
    'update webhook_deliveries set next_attempt_at = now(), claimed_until = now() where endpoint_id = $1',
    [id],
  )
}

function sameMessage(heard: Heard[]): void {
  expect(new Set(heard.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  expect(new Set(heard.map(({ body }) => body)).size).toBe(1)
}

describe('the end of a run', () => {
  it('reaches the webhook within two seconds, signed, with the event of the log as its data', async () => {
    const receiver = await receive()
    const { body: webhook } = await fabrique.request<Registered>('/v1/webhooks', { body: { url: receiver.url } })
    onTestFinished(async () => void (await fabrique.request(`/v1/webhooks/${webhook.id}`, { method: 'DELETE' })))
    const run = await fabrique.submit({
      workflow: 'generate-clip-art-asset',
      input: { prompt: 'a fox' },
      state: { n: 1 },
    })
    await fabrique.finish(run.id)
    const [message] = await receiver.until(1)
    const end = (await fabrique.log(run.id)).at(-1) as RunEvent
    const { headers, body, atMs } = message as Heard
    expect(new Webhook(webhook.secret).verify(body, headers)).toEqual({
      type: 'workflow.run.completed',
      timestamp: end.timestamp,
      data: { id: end.id, seq: end.seq, run_id: run.id, root_run_id: run.id, workflow: run.workflow, ...end.payload },
    })
    expect(JSON.parse(body).data).toMatchObject({
      status: 'completed',
      state: { n: 1 },
      outputs: [{ status: 'completed' }],
    })
    expect(headers).toMatchObject({
      'webhook-id': end.id,
      'content-type': 'application/json',
      'user-agent': 'Fabrique',
    })
    expect(atMs - Date.parse(end.timestamp)).toBeLessThan(2_000)
  })

  it('is the only kind of event sent to a webhook, unless its filter names other kinds', async () => {
    await ownOperator()
    const [ends, created] = [await receive(), await receive()]
    await register(ends.url)
    await register(created.url, { event_filter: ['workflow.run.created'] })
    const end = await endedRun()
    await Promise.all([ends.until(1), created.until(1)])
    expect(ends.heard.map(({ body }) => JSON.parse(body).data.id)).toEqual([end.id])
    expect(created.heard.map(({ body }) => JSON.parse(body).type)).toEqual(['workflow.run.created'])
  })

  it('is verified and printed once by the example receiver, however often it is sent', async () => {
    await ownOperator()
    const place = await receive()
    await place.close()
    const webhook = await register(place.url)
    const receiver = exampleReceiver(new URL(place.url).port, webhook.secret)
    const end = await endedRun()
    const { id } = await settled(webhook.id, ({ status }) => status === 'delivered')
    await fabrique.request(`/v1/webhooks/${webhook.id}/deliveries/${id}/redeliver`, {
      method: 'POST',
      key: operator.key,
    })
    await settled(
      webhook.id,
      ({ status, log }) => status === 'delivered' && log.filter((one) => one.status === 204).length === 2,
    )
    const forged = await fetch(place.url, { method: 'POST', body: '{}' })
    expect(forged.status).toBe(400)
    expect(await receiver.stop()).toBe(`workflow.run.cancelled ${end.run_id}\n`)
  })
})

/** The example, as a process; `stop` answers what it has printed. */
function exampleReceiver(port: string, secret: string): { stop(): Promise<string> } {
  const child: ChildProcess = spawn(process.execPath, ['examples/webhook-receiver/receiver.mjs'], {
    cwd: checkout,
    env: { PORT: port, WEBHOOK_SECRET: secret },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let printed = ''
  child.stdout?.on('data', (chunk: Buffer) => (printed += chunk.toString()))
  const closed = once(child, 'close')
  onTestFinished(() => void child.kill('SIGKILL'))
  return {
    async stop() {
      child.kill('SIGTERM')
      await closed
      return printed
    },
  }
}

describe('a receiver', () => {
  it('that fails hears again within five seconds, then later, each time the same id and bytes', async () => {
    await ownOperator()
    const receiver = await receive((response, attempt) => {
      if (attempt === 1) response.writeHead(503).end()
      else if (attempt === 2) response.destroy()
      else fine(response, attempt)
    })
    const webhook = await register(receiver.url)
    await endedRun()
    const [first, second] = await receiver.until(2)
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeLessThan(5_000)
    const failed = await settled(webhook.id, ({ attempts }) => attempts === 2)
    const pauseMs = Date.parse(failed.next_attempt_at ?? '') - Date.parse(failed.log[0]?.at ?? '')
    expect(pauseMs).toBeGreaterThanOrEqual(24_000)
    expect(pauseMs).toBeLessThanOrEqual(36_000)
    await makeDue(webhook.id)
    sameMessage(await receiver.until(3))
    for (const { body, headers } of receiver.heard) new Webhook(webhook.secret).verify(body, headers)
    const { log } = await settled(webhook.id, ({ status }) => status === 'delivered')
    expect(log.map(({ number, status, error }) => [number, status, error])).toEqual([
      [3, 204, null],
      [2, null, 'the connection was closed before an answer'],
      [1, 503, 'HTTP 503'],
    ])
  })

  it('that fails to the end is given up after its retries, and hears the same again when that is asked for', async () => {
    await ownOperator()
    const receiver = await receive((response, attempt) => {
      if (attempt <= 3) response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()
      else fine(response, attempt)
    })
    const { id } = await register(receiver.url, { max_retries: 2 })
    await endedRun()
    for (const attempt of [1, 2]) {
      await settled(id, ({ attempts }) => attempts === attempt)
      await makeDue(id)
    }
    const given = await settled(id, ({ status }) => status === 'exhausted')
    expect(given).toMatchObject({ attempts: 3, last_status: 302, next_attempt_at: null })
    expect(given.last_error).toContain('redirects are not followed')
    const path = `/v1/webhooks/${id}/deliveries/${given.id}/redeliver`
    const { status, body } = await fabrique.request(path, { method: 'POST', key: operator.key })
    expect({ status, body }).toEqual({ status: 202, body: { id: given.id, webhook_id: id, status: 'pending' } })
    sameMessage(await receiver.until(4))
    await settled(id, (delivery) => delivery.status === 'delivered')
  })

  it('that says 410 is disabled and left alone, until it is enabled again', async () => {
    await ownOperator()
    const receiver = await receive((response, attempt) => {
      if (attempt === 1) response.writeHead(410).end()
      else fine(response, attempt)
    })
    const { id } = await register(receiver.url)
    await endedRun()
    const { id: deliveryId } = await settled(id, ({ status }) => status === 'disabled')
    const path = `/v1/webhooks/${id}`
    expect((await fabrique.request(path, { key: operator.key })).body).toMatchObject({
      enabled: false,
      disabled_reason: expect.stringContaining('410'),
    })
    const refused = await fabrique.request(`${path}/deliveries/${deliveryId}/redeliver`, {
      method: 'POST',
      key: operator.key,
    })
    expect(refused).toMatchObject({ status: 409, body: { code: 'webhook-disabled' } })
    await endedRun()
    expect(await deliveriesOf(id)).toHaveLength(1)
    await fabrique.request(path, { method: 'PATCH', key: operator.key, body: { enabled: true } })
    const end = await endedRun()
    const [, second] = await receiver.until(2)
    expect(second?.headers['webhook-id']).toBe(end.id)
  })

  it('that hangs delays no other receiver', async () => {
    await ownOperator()
    const hanging = await receive(() => {})
    const quick = await receive()
    await register(hanging.url)
    await register(quick.url)
    const ends: RunEvent[] = []
    for (let run = 0; run < 6; run += 1) ends.push(await endedRun())
    const heard = await quick.until(6)
    for (const { headers, atMs } of heard) {
      const end = ends.find(({ id }) => id === headers['webhook-id'])
      expect(atMs - Date.parse(end?.timestamp ?? '')).toBeLessThan(2_000)
    }
  })

  it('that knows either secret verifies during a rotation, and only the new one after it', async () => {
    await ownOperator()
    const receiver = await receive()
    const { id, secret } = await register(receiver.url)
    const { status, body } = await fabrique.request<Registered & { former_secret_expires_at: string }>(
      `/v1/webhooks/${id}/rotate`,
      { method: 'POST', key: operator.key },
    )
    expect(status).toBe(200)
    const hoursLeft = (Date.parse(body.former_secret_expires_at) - Date.now()) / 3_600_000
    expect(Math.round(hoursLeft)).toBe(24)
    await endedRun()
    const [message] = (await receiver.until(1)) as [Heard]
    for (const known of [secret, body.secret]) new Webhook(known).verify(message.body, message.headers)
    await fabrique.query(`update webhook_endpoints set former_until = now() where id = $1`, [id])
    await endedRun()
    const [, later] = (await receiver.until(2)) as [Heard, Heard]
    new Webhook(body.secret).verify(later.body, later.headers)
    expect(() => new Webhook(secret).verify(later.body, later.headers)).toThrow('signature')
  })
})

describe('a worker', () => {
  afterEach(async () => {
    await fabrique.killWorkers('SIGKILL')
    await fabrique.startWorker()
  })

  it('killed at D1, between sending and recording: the message is sent again, the same', async () => {
    await ownOperator()
    const receiver = await receive()
    const { id } = await register(receiver.url)
    await fabrique.killWorkers('SIGTERM')
    // What other tests left to be retried must not be what the worker dies at.
    await fabrique.query(
      "update webhook_deliveries set next_attempt_at = now() + interval '1 day' where status = 'pending'",
    )
    const proof = join(fabrique.home, 'killed-at-D1')
    await fabrique.startWorker({ FABRIQUE_TEST_KILLPOINT: 'D1', FABRIQUE_TEST_KILLPOINT_FILE: proof })
    await endedRun()
    await fabrique.workersEnded()
    expect(await readFile(proof, 'utf8')).toBe('D1\n')
    expect(await deliveriesOf(id)).toMatchObject([{ status: 'pending', attempts: 0 }])
    // What was taken by the dead stays taken for 15 s.
    await makeDue(id)
    await fabrique.startWorker()
    sameMessage(await receiver.until(2))
    expect(await settled(id, ({ status }) => status === 'delivered')).toMatchObject({ attempts: 1 })
  })

  it('that was not running when a run ended delivers its message when it starts', async () => {
    await ownOperator()
    const receiver = await receive()
    const { id } = await register(receiver.url)
    await fabrique.killWorkers('SIGTERM')
    const end = await endedRun()
    expect(await deliveriesOf(id)).toMatchObject([{ id: end.id, status: 'pending', attempts: 0 }])
    await fabrique.startWorker()
    expect((await receiver.until(1))[0]?.headers['webhook-id']).toBe(end.id)
  })
})

describe('a webhook of another organization', () => {
  it('is unknown to every key but its own, word for word, and hears of no other organization', async () => {
    const { key: owner } = await ownOperator()
    const receiver = await receive()
    const { id } = await register(receiver.url)
    const own = await endedRun(owner)
    await receiver.until(1)
    const { key: stranger } = await ownOperator()
    const requests: [method: string, path: string, body?: object][] = [
      ['GET', `/v1/webhooks/${id}`],
      ['PATCH', `/v1/webhooks/${id}`, { enabled: false }],
      ['POST', `/v1/webhooks/${id}/rotate`],
      ['GET', `/v1/webhooks/${id}/deliveries`],
      ['POST', `/v1/webhooks/${id}/deliveries/${own.id}/redeliver`],
      ['DELETE', `/v1/webhooks/${id}`],
    ]
    for (const key of [stranger, fabrique.adminKey]) {
      for (const [method, path, body] of requests) {
        const ask = async (where: string) => {
          const answer = await fabrique.request(where, { method, key, body })
          const { request_id: _, instance: __, ...problem } = answer.body
          return { status: answer.status, ...problem }
        }
        const answered = await ask(path)
        expect(answered, `${method} ${path}`).toMatchObject({ status: 404, code: 'not-found' })
        expect(answered).toEqual(await ask(path.replace(id, 'wh_01ARZ3NDEKTSV4RRFFQ69G5FAV')))
      }
    }
    expect((await fabrique.request('/v1/webhooks', { key: stranger })).body).toEqual({ data: [] })
    await endedRun(stranger)
    const last = await endedRun(owner)
    const heard = await receiver.until(2)
    expect(heard.map(({ headers }) => headers['webhook-id'])).toEqual([own.id, last.id])
  })
})

describe('registering', () => {
  let strict: Fabrique
  beforeAll(async () => {
    strict = await startFabrique({ workers: 1 })
  }, 60_000)
  afterAll(() => strict?.stop())

  const post = (body: unknown) => strict.request<Record<string, never>>('/v1/webhooks', { body })

  it.each([
    'http://127.0.0.1/hook',
    'http://2130706433/',
    'http://0x7f.1/',
    'http://0177.0.0.1/',
    'http://127.0.0.1./',
    'http://[::ffff:127.0.0.1]/',
    'http://[::1]:3000/',
    'http://169.254.169.254/latest/meta-data',
    'http://10.0.0.8/',
    'http://localhost:3000/',
    'http://localhost./',
    'https://user:password@example.com/',
    'ftp://example.com/',
    'file:///etc/passwd',
    'example.com/hook',
    '',
  ])('%s is a 422 that names the place', async (url) => {
    const { status, body } = await post({ url })
    expect(status).toBe(422)
    expect(body).toMatchObject({ code: 'validation-failed', errors: [{ pointer: '/url' }] })
  })

  it('takes a name that does not resolve now, and stores what was asked for', async () => {
    const asked = { url: 'https://hooks.invalid/a?b=c', event_filter: ['workflow.run.failed'], max_retries: 3 }
    const { status, body } = await post(asked)
    expect(status).toBe(201)
    expect(body).toMatchObject({ ...asked, enabled: true, secret: expect.stringMatching(/^whsec_/) })
  })

  it('names every fault of the document at once, with the nearest right word', async () => {
    const { status, body } = await post({
      url: 'https://example.com',
      event_filter: ['workflow.run.completd', 'all'],
      max_retries: 99,
      secrt: 'x',
    })
    expect(status).toBe(422)
    expect(body.errors).toMatchObject([
      { pointer: '/event_filter/0', detail: expect.stringContaining('did you mean "workflow.run.completed"?') },
      { pointer: '/event_filter/1', detail: expect.stringContaining('the kinds are workflow.run.created') },
      { pointer: '/max_retries' },
      { pointer: '/secrt' },
    ])
  })

  it('shows the secret once: in no later answer and in no log', async () => {
    const { body } = await post({ url: 'https://hooks.invalid/secret' })
    const { id, secret } = body as unknown as Registered
    const run = await strict.submit()
    await strict.request(`/v1/workflows/runs/${run.id}/cancel`, { method: 'POST' })
    await strict.waitFor(run.id, ({ kind }) => kind === 'workflow.run.cancelled')
    const answers = []
    for (const path of ['/v1/webhooks', `/v1/webhooks/${id}`, `/v1/webhooks/${id}/deliveries`]) {
      answers.push((await strict.request(path)).text)
    }
    answers.push((await strict.request(`/v1/webhooks/${id}`, { method: 'PATCH', body: { max_retries: 1 } })).text)
    const everything = [...answers, ...strict.lines()].join('\n')
    expect(everything).toContain(id)
    expect(everything).not.toContain(secret.slice('whsec_'.length))
  })

  it('does not spare later checks: a URL that turns private is not called', async () => {
    const receiver = await receive()
    const { body } = await post({ url: 'https://hooks.invalid/later' })
    const { id } = body as unknown as Registered
    // What a change of the name's records would do to the URL.
    await strict.query('update webhook_endpoints set url = $2, max_retries = 0 where id = $1', [id, receiver.url])
    const run = await strict.submit()
    await strict.request(`/v1/workflows/runs/${run.id}/cancel`, { method: 'POST' })
    let delivery: WebhookDelivery | undefined
    for (const until = Date.now() + WAIT_LIMIT_MS; delivery?.status !== 'exhausted' && Date.now() < until; ) {
      delivery = (await strict.request<{ data: WebhookDelivery[] }>(`/v1/webhooks/${id}/deliveries`)).body.data[0]
    }
    expect(delivery).toMatchObject({ status: 'exhausted', last_status: null, last_error: 'the address is not public' })
    expect(receiver.heard).toEqual([])
  })
})
