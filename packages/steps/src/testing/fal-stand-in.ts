// fal's queue on loopback: it judges every request, keeps its own bill, and fails at whatever stage a test says.
// Hides the wire format. What it charges is decided here, by what it has begun to make, and not by what anybody books.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isJsonObject, objectOf, type JsonObject } from '@fabrique/schema'
import sharp from 'sharp'

export const FAL_KEY = 'stand-in-id:stand-in-secret'

export type Stage = 'submit' | 'status' | 'result' | 'cancel' | 'file'

/**
 * What happens instead of the usual answer. `drop`: the connection is cut before it, `midway`: in it. A submit that is
 * cut was accepted. `garbage`: a page that is no JSON.
 */
export type Fault =
  | 'drop'
  | 'midway'
  | 'garbage'
  | { status: number; body?: JsonObject | string; headers?: Record<string, string> }

interface Generation {
  endpoint: string
  input: JsonObject
  looks: number
  begun: boolean
  cancelled: boolean
  /** Failed by a fault of the server, which is not charged. */
  free: boolean
}

export interface FalStandIn {
  /** For `FAL_BASE_URL`. */
  baseUrl: string
  origin: string
  /** How many requests came for a stage. */
  count(stage: Stage): number
  /** What the next requests of a stage meet, one each. */
  script(stage: Stage, ...faults: Fault[]): void
  /** What is made: the result's data and headers, what one costs, and for how many looks it waits and is worked at. */
  makes(what: {
    data?: JsonObject
    headers?: Record<string, string>
    usd?: number
    queued?: number
    working?: number
  }): void
  /** The file behind every link of a path below `/files/`. */
  file(bytes: Uint8Array, headers?: Record<string, string>): void
  generations(): readonly Generation[]
  /** What fal would charge for all of it. */
  billUsd(): number
  /** Requests that fal would not understand, by their fault. */
  complaints(): string[]
  close(): Promise<void>
}

/** A picture of one colour. */
export async function picture(width: number, height: number, background = '#c63'): Promise<Buffer> {
  return await sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toBuffer()
}

/** A stand-in on a free port. By default it makes one picture of 1024 × 768 at once, for 0.025 USD. */
export async function createFalStandIn(): Promise<FalStandIn> {
  const generations: Generation[] = []
  const complaints: string[] = []
  const counts = new Map<Stage, number>()
  const scripts = new Map<Stage, Fault[]>()
  let made = { headers: {} as Record<string, string>, usd: 0.025, queued: 0, working: 0 }
  let data: JsonObject | undefined
  let stored = { bytes: await picture(1024, 768), headers: { 'content-type': 'image/png' } as Record<string, string> }

  function judge(request: IncomingMessage, stage: Stage, body: string): JsonObject {
    const { authorization, 'content-type': type } = request.headers
    if (stage === 'file') {
      if (authorization !== undefined) complaints.push('a file was asked for with the key')
      return {}
    }
    if (authorization !== `Key ${FAL_KEY}`) complaints.push(`${stage} came without the key`)
    if (stage !== 'submit') return {}
    if (type !== 'application/json') complaints.push('a submit was not JSON')
    const input: unknown = JSON.parse(body)
    if (!isJsonObject(input)) complaints.push('a submit was no object')
    return objectOf(input)
  }

  function answer(
    stage: Stage,
    path: string,
    input: JsonObject,
  ): [status: number, body: JsonObject | Buffer, headers?: Record<string, string>] {
    if (stage === 'file') return [200, stored.bytes, stored.headers]
    if (stage === 'submit') {
      const isBegun = made.queued === 0
      generations.push({ endpoint: path.slice(1), input, looks: 0, begun: isBegun, cancelled: false, free: false })
      const id = `q-${generations.length}`
      const at = `${origin}${path.split('/').slice(0, 3).join('/')}/requests/${id}`
      return [
        200,
        {
          request_id: id,
          status: 'IN_QUEUE',
          response_url: at,
          status_url: `${at}/status`,
          cancel_url: `${at}/cancel`,
        },
      ]
    }
    const [, app = '', id = ''] = /^\/([\w.-]+\/[\w.-]+)\/requests\/q-(\d+)/.exec(path) ?? []
    const one = generations[Number(id) - 1]
    if (one === undefined || !one.endpoint.startsWith(app)) {
      complaints.push(`${stage} was for a request that is not known: ${path}`)
      return [404, { detail: 'Request not found' }]
    }
    if (stage === 'status') {
      one.looks += 1
      if (!one.cancelled && one.looks > made.queued) one.begun = true
      if (!one.begun) return [202, { status: 'IN_QUEUE', queue_position: made.queued - one.looks }]
      if (one.looks <= made.queued + made.working) return [202, { status: 'IN_PROGRESS', logs: null }]
      return [200, { status: 'COMPLETED', metrics: { inference_time: 1.25 } }]
    }
    if (stage === 'cancel') {
      one.cancelled = true
      return [202, { status: 'CANCELLATION_REQUESTED' }]
    }
    const usual = {
      images: [{ url: `${origin}/files/1.png`, width: 1024, height: 768, content_type: 'image/png' }],
      seed: 7,
    }
    return [200, data ?? usual, { 'x-fal-request-id': `q-${id}`, ...made.headers }]
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const path = (request.url ?? '').split('?')[0] ?? ''
    const stage = stageOf(request.method ?? '', path)
    if (stage === null) {
      complaints.push(`there is no ${request.method} ${path}`)
      response.writeHead(405).end()
      return
    }
    counts.set(stage, (counts.get(stage) ?? 0) + 1)
    const input = judge(request, stage, Buffer.concat(chunks).toString())
    const fault = scripts.get(stage)?.shift()
    if (typeof fault === 'object') {
      const { status, body = { detail: 'not now' }, headers = {} } = fault
      const last = generations.at(-1)
      const isModels = isJsonObject(body) && (Array.isArray(body.detail) || body.error_type !== undefined)
      if (stage === 'result' && status >= 500 && isModels && last !== undefined) last.free = true
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      response.end(typeof body === 'string' ? body : JSON.stringify(body))
      return
    }
    if (fault === 'garbage') {
      if (stage === 'submit') answer(stage, path, input)
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>maintenance</html>')
      return
    }
    const [status, body, headers] = answer(stage, path, input)
    if (fault === 'drop') {
      request.socket.destroy()
      return
    }
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body))
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.byteLength, ...headers })
    if (fault === 'midway') response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy())
    else response.end(bytes)
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  return {
    baseUrl: origin,
    origin,
    count: (stage) => counts.get(stage) ?? 0,
    script: (stage, ...faults) => void scripts.set(stage, faults),
    makes(what) {
      made = { ...made, ...what }
      if (what.data !== undefined) data = what.data
    },
    file(bytes, headers = { 'content-type': 'image/png' }) {
      stored = { bytes: Buffer.from(bytes), headers }
    },
    generations: () => generations,
    billUsd: () => generations.filter(({ begun, free }) => begun && !free).length * made.usd,
    complaints: () => complaints,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function stageOf(method: string, path: string): Stage | null {
  if (path.startsWith('/files/')) return method === 'GET' ? 'file' : null
  if (!path.includes('/requests/')) return method === 'POST' ? 'submit' : null
  if (path.endsWith('/cancel')) return method === 'PUT' ? 'cancel' : null
  if (method !== 'GET') return null
  return path.endsWith('/status') ? 'status' : 'result'
}
