// How an API leaves on SIGTERM: whatever clients do, within its time, with everything answered that it had taken.
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { type AnotherApi, type Fabrique, FOX, startFabrique } from './harness.ts'

const NOTICE_MS = 1_500
const GRACE_MS = 1_500
/** Far below the 30 s after which a process gives up on itself. */
const GONE_MS = 12_000

let fabrique: Fabrique

beforeAll(async () => {
  fabrique = await startFabrique({ workers: 0 })
})
afterAll(() => fabrique?.stop())

async function leavingApi(noticeMs = NOTICE_MS): Promise<AnotherApi> {
  return await fabrique.startApi({ FABRIQUE_NOTICE_MS: String(noticeMs), FABRIQUE_GRACE_MS: String(GRACE_MS) })
}

/** A client that says this and nothing else; resolves once the API has the connection. */
async function clientThatSays(api: AnotherApi, text: string): Promise<Socket> {
  const { hostname, port } = new URL(api.url)
  const socket = connect({ host: hostname, port: Number(port) })
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

function headOf(path: string, ...more: string[]): string {
  return [`POST ${path} HTTP/1.1`, 'host: api', `authorization: Bearer ${fabrique.adminKey}`, ...more, ''].join('\r\n')
}

it('ends with exit code 0 in time, though clients say nothing, half a head, half a body, or read a stream', async () => {
  const api = await leavingApi()
  const run = await fabrique.submit()
  await clientThatSays(api, '')
  await clientThatSays(api, headOf('/v1/workflows/runs').slice(0, 40))
  await clientThatSays(
    api,
    `${headOf('/v1/workflows/runs', 'content-type: application/json', 'content-length: 500')}\r\n{"work`,
  )
  const stream = await fetch(`${api.url}/v1/workflows/runs/${run.id}/events`, {
    headers: { authorization: `Bearer ${fabrique.adminKey}`, accept: 'text/event-stream' },
  })
  const startedMs = performance.now()
  void api.kill('SIGTERM')
  await stream.text()
  expect(await api.ended).toEqual([0, null])
  expect(performance.now() - startedMs).toBeLessThan(GONE_MS)
})

it('says at /readyz that it leaves, and answers 202 to who waits for a run', async () => {
  // Long enough to be asked meanwhile on a machine that is busy.
  const api = await leavingApi(6_000)
  const waiting = fetch(`${api.url}/v1/workflows/runs`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${fabrique.adminKey}`,
      'content-type': 'application/json',
      prefer: 'wait=60',
    },
    body: JSON.stringify({ ...FOX, metadata: { waits: 'yes' } }),
  })
  const accepted = async () =>
    (await fabrique.request<{ data: unknown[] }>('/v1/workflows/runs?metadata[waits]=yes')).body.data
  await expect.poll(accepted, { timeout: 20_000 }).toHaveLength(1)
  void api.kill('SIGTERM')
  const answer = await waiting
  expect([answer.status, answer.headers.get('connection'), await answer.json()]).toEqual([
    202,
    'close',
    expect.objectContaining({ status: 'pending' }),
  ])
  const ready = await fetch(`${api.url}/readyz`)
  expect([ready.status, await ready.json()]).toEqual([503, expect.objectContaining({ status: 'leaving' })])
  expect(await api.ended).toEqual([0, null])
})

it('takes or refuses each submit around its end, and cuts none', async () => {
  const api = await leavingApi()
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  onTestFinished(() => agent.destroy())
  const outcomes: string[] = []
  let isOver = false
  void api.ended.then(() => {
    isOver = true
  })
  async function submitUntilOver(): Promise<void> {
    while (!isOver) {
      const outcome = await submitOnce(api, agent)
      outcomes.push(outcome)
      if (outcome === 'ECONNREFUSED') return
      await delay(20)
    }
  }
  const clients = Array.from({ length: 8 }, submitUntilOver)
  await expect.poll(() => outcomes.length, { timeout: 20_000 }).toBeGreaterThan(20)
  const before = outcomes.length
  void api.kill('SIGTERM')
  await Promise.all(clients)
  expect(await api.ended).toEqual([0, null])
  expect(outcomes.slice(before)).toContain('202')
  expect(outcomes.filter((outcome) => !['202', 'ECONNREFUSED'].includes(outcome))).toEqual([])
})

/** The status that a submit was answered with, or the code of what became of its connection. */
function submitOnce(api: AnotherApi, agent: Agent): Promise<string> {
  return new Promise((resolve) => {
    const sent = request(
      `${api.url}/v1/workflows/runs`,
      {
        agent,
        method: 'POST',
        headers: { authorization: `Bearer ${fabrique.adminKey}`, 'content-type': 'application/json' },
      },
      (response) => {
        response.resume()
        response.on('end', () => resolve(String(response.statusCode)))
      },
    )
    sent.on('error', ({ code }: NodeJS.ErrnoException) =>
      resolve(sent.reusedSocket ? `${code} when reused` : `${code}`),
    )
    sent.end(JSON.stringify(FOX))
  })
}
