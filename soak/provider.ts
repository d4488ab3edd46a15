// OpenAI and fal on loopback, with a bill of their own: what was made for whom, and what it costs by the list prices.
// Hides the wire formats, and in how many ways an answer can be lost.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { isJsonObject, type JsonObject, objectOf } from '@fabrique/schema'
import sharp from 'sharp'
import type { Chance } from './chance.ts'

const THINKS_MS: [number, number] = [50, 900]
const HANGS_MS = 20_000
/** So many different pictures are made, by turns. */
const PICTURES = 32
const USAGE = { input_tokens: 120, output_tokens: 34, total_tokens: 154 }
const PICTURE_USAGE = { input_tokens: 60, output_tokens: 272, total_tokens: 332 }

/** What may happen to a request for something to be made, and how often; the rest is answered properly. */
export interface Mood {
  /** The connection breaks before it is read. */
  drops: number
  /** It is made and billed, and the connection breaks before the answer. */
  loses: number
  /** 500, 502 or 503, and nothing is made. */
  fails: number
  /** 429 with a pause of one second. */
  limits: number
  /** Nothing is answered for twenty seconds. */
  hangs: number
}

export const CALM: Mood = { drops: 0, loses: 0, fails: 0, limits: 0, hangs: 0 }

export interface Made {
  /** Of the call: its Idempotency-Key, or fal's id of the request. */
  id: string
  provider: 'openai' | 'fal'
}

export interface Provider {
  url: string
  /** What was made, and so billed, in order. */
  made: Made[]
  /** Keys that came a second time: somebody repeated a paid request as it was. */
  repeated: string[]
  setMood(mood: Mood): void
  close(): Promise<void>
}

export async function startProvider(chance: Chance): Promise<Provider> {
  const pictures = await Promise.all(
    Array.from({ length: PICTURES }, (_, shade) =>
      sharp({ create: { width: 64, height: 64, channels: 3, background: { r: 210, g: 105, b: shade * 8 } } })
        .png()
        .toBuffer(),
    ),
  )
  const made: Made[] = []
  const repeated: string[] = []
  const seen = new Set<string>()
  let mood = CALM
  let url = ''
  let requests = 0

  function make(path: string, body: JsonObject, key: string): JsonObject {
    if (!path.startsWith('/v1/')) {
      const id = `soak-${(requests += 1)}`
      made.push({ id, provider: 'fal' })
      return { request_id: id, status: 'IN_QUEUE', queue_position: 0 }
    }
    made.push({ id: key, provider: 'openai' })
    if (path.endsWith('/images/generations'))
      return { created: 1, data: [{ b64_json: chance.pick(pictures).toString('base64') }], usage: PICTURE_USAGE }
    const said = Array.isArray(body.input) ? body.input : []
    const isAsked = Array.isArray(body.tools) && body.tools.length > 0
    const hasResult = said.some((item) => isJsonObject(item) && item.type === 'function_call_output')
    const output =
      isAsked && !hasResult
        ? { type: 'function_call', id: 'f1', call_id: 'f1', name: 'value_pass', arguments: '{"value":1}' }
        : { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'A line about it.' }] }
    return { id: `resp-${made.length}`, object: 'response', status: 'completed', output: [output], usage: USAGE }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const [path = ''] = (request.url ?? '').split('?')
    const json = (body: JsonObject, status = 200, headers = {}) =>
      void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
    if (path.startsWith('/files/'))
      return void response.writeHead(200, { 'content-type': 'image/png' }).end(chance.pick(pictures))
    if (request.method === 'PUT') return json({ status: 'ALREADY_COMPLETED' }, 400)
    if (request.method === 'GET') {
      if (path.endsWith('/status')) return json({ status: 'COMPLETED' })
      return json({ images: [{ url: `${url}/files/one.png`, width: 64, height: 64 }], seed: 1 })
    }
    const key = String(request.headers['idempotency-key'] ?? '')
    if (key !== '' && seen.has(key)) repeated.push(key)
    seen.add(key)
    if (chance.happens(mood.drops)) return void request.socket.destroy()
    if (chance.happens(mood.limits)) return json({ error: { message: 'slow down' } }, 429, { 'retry-after': '1' })
    if (chance.happens(mood.fails)) return json({ error: { message: 'no' } }, chance.pick([500, 502, 503]))
    await delay(chance.happens(mood.hangs) ? HANGS_MS : chance.between(...THINKS_MS))
    const body = objectOf(JSON.parse(Buffer.concat(chunks).toString() || '{}'))
    const answer = make(path, body, key)
    if (chance.happens(mood.loses)) return void request.socket.destroy()
    json(answer)
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    made,
    repeated,
    setMood(next) {
      mood = next
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
