// What receivers see of a delivery, and what each of their answers leads to, over real connections to this machine.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  type Attempt,
  createDispatcher,
  createSender,
  type DueDelivery,
  judge,
  retryDelayMs,
  type Verdict,
} from './index.ts'

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const FORMER = `whsec_${Buffer.alloc(32, 9).toString('base64')}`
const BODY = '{"type":"workflow.run.completed","data":{"text":"ü \\" é"}}'
const LOG = { debug() {}, info() {}, warn() {}, error() {} }

interface Heard {
  headers: IncomingMessage['headers']
  method: string | undefined
  body: string
}

type Answer = (response: ServerResponse, heard: Heard) => void

async function receiver(answer: Answer): Promise<{ url: string; heard: Heard[] }> {
  const heard: Heard[] = []
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const one = { headers: request.headers, method: request.method, body: Buffer.concat(chunks).toString() }
      heard.push(one)
      answer(response, one)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, heard }
}

function sender(options: { allowPrivate?: boolean; timeoutMs?: number } = {}) {
  const made = createSender({ allowPrivate: true, timeoutMs: 2_000, ...options })
  onTestFinished(() => made.close())
  return made
}

const message = (url: string, secrets = [SECRET]) => ({ id: 'msg_1', url, body: BODY, secrets, sentAt: new Date() })

describe('an attempt', () => {
  it('is a POST that a Standard Webhooks library verifies, and refuses once a byte differs', async () => {
    const { url, heard } = await receiver((response) => response.writeHead(204).end())
    expect(await sender().send(message(url))).toMatchObject({ status: 204, error: null })
    const [{ headers, method, body } = { headers: {}, method: '', body: '' }] = heard
    expect({ method, body }).toEqual({ method: 'POST', body: BODY })
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'user-agent': 'Fabrique',
      'webhook-id': 'msg_1',
      'webhook-timestamp': expect.stringMatching(/^\d{10}$/),
    })
    const verify = (text: string) => new Webhook(SECRET).verify(text, headers as Record<string, string>)
    expect(verify(body)).toEqual(JSON.parse(BODY))
    expect(() => verify(body.replace('completed', 'failed'))).toThrow('signature')
  })

  it('is signed by both secrets during a rotation, so that either verifies', async () => {
    const { url, heard } = await receiver((response) => response.end())
    await sender().send(message(url, [SECRET, FORMER]))
    for (const secret of [SECRET, FORMER]) {
      const { body = '', headers = {} } = heard[0] ?? {}
      expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toEqual(JSON.parse(BODY))
    }
  })

  it.each([301, 302, 307, 308])('that is answered %i fails and follows nothing', async (status) => {
    const inside = await receiver((response) => response.end())
    const { url } = await receiver((response) => response.writeHead(status, { location: inside.url }).end())
    expect(await sender().send(message(url))).toMatchObject({ status, error: expect.stringContaining('redirects') })
    expect(inside.heard).toEqual([])
  })

  it('ends at its time when no answer comes', async () => {
    const { url } = await receiver(() => {})
    const attempt = await sender({ timeoutMs: 100 }).send(message(url))
    expect(attempt).toMatchObject({ status: null, error: 'no answer within 0.1 s' })
    expect(attempt.durationMs).toBeLessThan(1_500)
  })

  it.each([
    ['of a declared length', { 'content-length': String(2 ** 40) }],
    ['without end', {}],
  ])('reads little of a huge answer %s, and cuts the connection', async (_, headers) => {
    let written = 0
    const cut = Promise.withResolvers<void>()
    const { url } = await receiver((response) => {
      const chunk = Buffer.alloc(65_536)
      response.writeHead(200, headers)
      const fill = () => {
        while (!response.destroyed && response.write(chunk)) written += chunk.length
      }
      response.on('drain', fill)
      response.on('close', cut.resolve)
      fill()
    })
    expect(await sender().send(message(url))).toMatchObject({ status: 200, error: null })
    await cut.promise
    // What lies in the buffers of both sockets, far from all that there is.
    expect(written).toBeLessThan(32 * 1024 * 1024)
  })

  it('does not wait for an answer whose body never ends', async () => {
    const { url } = await receiver((response) => response.writeHead(200).write('and'))
    const attempt = await sender({ timeoutMs: 10_000 }).send(message(url))
    expect(attempt).toMatchObject({ status: 200, error: null })
    expect(attempt.durationMs).toBeLessThan(5_000)
  })

  it('is not made to a private address, literal or by name, unless that is allowed', async () => {
    const { url, heard } = await receiver((response) => response.end())
    for (const inward of [url, url.replace('127.0.0.1', '0x7f.1'), url.replace('127.0.0.1', 'localhost')]) {
      const attempt = await sender({ allowPrivate: false }).send(message(inward))
      expect(attempt).toMatchObject({ status: null, error: 'the address is not public' })
    }
    expect(heard).toEqual([])
  })

  it.each([
    ['the connection was refused', 'http://127.0.0.1:1/'],
    ['the name cannot be resolved', 'http://nobody.invalid/'],
  ])('says that %s', async (error, url) => {
    expect(await sender().send(message(url))).toMatchObject({ status: null, error })
  })

  it('says that a connection was closed', async () => {
    const { url } = await receiver((response) => response.destroy())
    expect((await sender().send(message(url))).error).toBe('the connection was closed before an answer')
  })

  it.each([
    ['120', 120_000],
    ['9999999', 86_400_000],
    ['soon', 0],
    ['-5', 0],
  ])('reads Retry-After: %s', async (header, retryAfterMs) => {
    const { url } = await receiver((response) => response.writeHead(503, { 'retry-after': header }).end())
    expect(await sender().send(message(url))).toMatchObject({ status: 503, error: 'HTTP 503', retryAfterMs })
  })

  it('reads a Retry-After that is a date', async () => {
    const until = new Date(Date.now() + 60_000).toUTCString()
    const { url } = await receiver((response) => response.writeHead(429, { 'retry-after': until }).end())
    const { retryAfterMs } = await sender().send(message(url))
    expect(retryAfterMs).toBeGreaterThan(50_000)
    expect(retryAfterMs).toBeLessThanOrEqual(60_000)
  })
})

describe('the schedule', () => {
  const failed: Attempt = { status: 503, error: 'HTTP 503', durationMs: 1, retryAfterMs: 0 }

  it('tries again within 5 s, then after 30 s, 2 min, 10 min, 1 h, 6 h and daily, a fifth more or less', () => {
    const base = [3, 30, 120, 600, 3_600, 21_600, 86_400, 86_400].map((seconds) => seconds * 1_000)
    for (const [random, factor] of [
      [0, 0.8],
      [0.5, 1],
      [1, 1.2],
    ] as const) {
      const delays = base.map((_, index) => retryDelayMs(index + 1, () => random))
      expect(delays).toEqual(base.map((ms) => Math.round(ms * factor)))
    }
  })

  it('is given up after the retries that were asked for, and not before', () => {
    const verdicts = [0, 1, 2, 3].map((failures) => judge({ failures, maxRetries: 2 }, failed).is)
    expect(verdicts).toEqual(['retry', 'retry', 'exhausted', 'exhausted'])
    expect(judge({ failures: 0, maxRetries: 0 }, failed).is).toBe('exhausted')
  })

  it('waits as long as the receiver asks, and never shorter than it would have', () => {
    const asked = (retryAfterMs: number) =>
      judge({ failures: 0, maxRetries: 7 }, { ...failed, retryAfterMs }, () => 0.5)
    expect(asked(60_000)).toEqual({ is: 'retry', delayMs: 60_000 })
    expect(asked(1)).toEqual({ is: 'retry', delayMs: 3_000 })
  })

  it('ends with a 2xx, and for good with 410', () => {
    expect(judge({ failures: 9, maxRetries: 0 }, { ...failed, status: 201, error: null })).toEqual({ is: 'delivered' })
    expect(judge({ failures: 0, maxRetries: 7 }, { ...failed, status: 410 })).toEqual({ is: 'gone' })
  })
})

describe('a dispatcher', () => {
  /** An outbox in memory: what is due is claimed once, a few at a time of an endpoint; outcomes are kept. */
  function outbox(due: DueDelivery[]) {
    const claimed = new Set<DueDelivery>()
    const outcomes: { delivery: DueDelivery; attempt: Attempt; verdict: Verdict }[] = []
    const waiting: { fits: () => boolean; done: () => void }[] = []
    return {
      outcomes,
      async until(count: number): Promise<void> {
        const fits = () => outcomes.length >= count
        if (!fits()) await new Promise<void>((done) => waiting.push({ fits, done }))
      },
      store: {
        async claim({ limit, perEndpoint }: { limit: number; perEndpoint: number }) {
          let room = limit
          const taken = due.filter((one) => {
            const busy = [...claimed].filter(({ endpointId }) => endpointId === one.endpointId).length
            if (busy >= perEndpoint || room === 0) return false
            claimed.add(one)
            room -= 1
            return true
          })
          for (const one of taken) due.splice(due.indexOf(one), 1)
          return taken
        },
        async record(delivery: DueDelivery, attempt: Attempt, verdict: Verdict) {
          claimed.delete(delivery)
          outcomes.push({ delivery, attempt, verdict })
          for (const { fits, done } of waiting) if (fits()) done()
        },
        async settleDisabled() {},
      },
    }
  }

  const delivery = (endpointId: string, url: string, index: number): DueDelivery => ({
    endpointId,
    eventId: `${endpointId}-${index}`,
    url,
    body: BODY,
    secrets: [SECRET],
    maxRetries: 7,
    failures: 0,
    fence: 1,
    claimedAt: new Date(),
  })

  /** Pauses end only by being woken: whatever is delivered was claimed at once, or when something ended. */
  const clock = {
    nowMs: () => Date.now(),
    sleep: (_: number, signal: AbortSignal) =>
      new Promise<void>((_resolve, reject) => {
        if (signal.aborted) reject(signal.reason)
        signal.addEventListener('abort', () => reject(signal.reason))
      }),
  }

  it('delivers all that is due, while a receiver that hangs holds up only its own', async () => {
    const held: ServerResponse[] = []
    const slow = await receiver((response) => void held.push(response))
    const quick = await receiver((response) => response.end())
    const many = (endpoint: string, url: string) => Array.from({ length: 30 }, (_, n) => delivery(endpoint, url, n))
    const { store, outcomes, until } = outbox([...many('slow', slow.url), ...many('quick', quick.url)])
    const stop = new AbortController()
    const running = createDispatcher({ store, sender: sender({ timeoutMs: 60_000 }), clock, log: LOG }).run(stop.signal)
    await until(30)
    expect(outcomes.map(({ delivery: { endpointId } }) => endpointId)).toEqual(Array(30).fill('quick'))
    expect(slow.heard.length).toBeLessThanOrEqual(8)
    stop.abort('shutdown')
    for (const response of held) response.end()
    await running
    // What was under way was let end, and was recorded.
    expect(outcomes).toHaveLength(30 + held.length)
    expect(new Set(quick.heard.map(({ headers }) => headers['webhook-id'])).size).toBe(30)
  })

  it('goes on after the record was away, and after an outcome that could not be recorded', async () => {
    const { url } = await receiver((response) => response.end())
    const { store, outcomes, until } = outbox([delivery('a', url, 1), delivery('a', url, 2)])
    const stop = new AbortController()
    const faults = { claim: 1, record: 1 }
    const flaky = {
      ...store,
      async claim(request: { limit: number; perEndpoint: number }) {
        if (faults.claim-- > 0) throw new Error('away')
        return await store.claim(request)
      },
      async record(...args: Parameters<typeof store.record>) {
        if (faults.record-- > 0) throw new Error('away')
        await store.record(...args)
      },
    }
    const quickClock = { ...clock, sleep: () => new Promise<void>((resolve) => setImmediate(resolve)) }
    const dispatcher = createDispatcher({ store: flaky, sender: sender(), clock: quickClock, log: LOG })
    const running = dispatcher.run(stop.signal)
    await until(1)
    stop.abort('shutdown')
    await running
    expect(outcomes).toMatchObject([{ verdict: { is: 'delivered' } }])
  })
})
