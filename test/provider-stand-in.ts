// OpenAI and fal on loopback: their wire formats, every request on record, every answer scriptable.
// Hides the formats; a test says "the next image call answers 429" and reads what was asked, by whom and when.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import sharp from 'sharp'

export const OPENAI_KEY = 'sk-stand-in-openai'
export const FAL_KEY = 'stand-in-id:stand-in-secret'

/** What the stand-in can be asked. `file` is the download of what fal made. */
export type Operation = 'image' | 'text' | 'speech' | 'submit' | 'status' | 'result' | 'cancel' | 'file' | 'other'

/** One request as it arrived. */
export interface Asked {
  operation: Operation
  method: string
  path: string
  headers: Record<string, string | string[] | undefined>
  body: Record<string, unknown>
  atMs: number
  /** How the exchange ended; `dropped`: the client closed the connection before it had its answer. */
  ended: Promise<'answered' | 'dropped'>
}

/** What happens to a call instead of the usual answer; `hold` comes first, then the rest. */
export interface Behaviour {
  /** Nothing is answered before this resolves. */
  hold?: Promise<unknown>
  status?: number
  headers?: Record<string, string>
  /** Sent as JSON, or as it is when it is text. */
  body?: unknown
  /** Cuts the connection: instead of an answer, or in the middle of it. */
  reset?: 'before' | 'midway'
}

export interface ProviderStandIn {
  /** The variables that make an API or worker use the stand-in as if it were the real providers. */
  env: Record<string, string>
  /** What was asked since the last `forget`, in order. */
  asked(operation?: Operation): Asked[]
  /** The nth call (from 1) of an operation since the last `forget`, as soon as it is there. */
  heard(operation: Operation, nth?: number): Promise<Asked>
  /** Behaviours for the next calls of an operation, one each. */
  script(operation: Operation, ...behaviours: Behaviour[]): void
  /** While true, fal's requests stay in progress. */
  holdFal(held: boolean): void
  /** Starts a new record, without scripts. */
  forget(): void
  close(): Promise<void>
}

const ROUTES: [method: string, path: RegExp, Operation][] = [
  ['POST', /^\/v1\/images\/generations$/, 'image'],
  ['POST', /^\/v1\/responses$/, 'text'],
  ['POST', /^\/v1\/audio\/speech$/, 'speech'],
  ['GET', /^\/fal\/[\w.-]+\/[\w.-]+\/requests\/([\w-]+)\/status$/, 'status'],
  ['GET', /^\/fal\/[\w.-]+\/[\w.-]+\/requests\/([\w-]+)$/, 'result'],
  ['PUT', /^\/fal\/[\w.-]+\/[\w.-]+\/requests\/([\w-]+)\/cancel$/, 'cancel'],
  ['POST', /^\/fal\/[\w.-]+\/[\w./-]+$/, 'submit'],
  ['GET', /^\/files\/([\w-]+)\.png$/, 'file'],
]

/** The usage that every picture reports: by the seeded rates 0.03193 USD. */
const IMAGE_USAGE = {
  input_tokens: 50,
  input_tokens_details: { text_tokens: 50, image_tokens: 0 },
  output_tokens: 1056,
  total_tokens: 1106,
}

/** A stand-in on a free port; its pictures are the same for every call, so that runs can be compared byte for byte. */
export async function createProviderStandIn(): Promise<ProviderStandIn> {
  const { picture, cutOut } = await pictures()
  let log: Asked[] = []
  let scripts = new Map<Operation, Behaviour[]>()
  let listeners: (() => void)[] = []
  let falHeld = false
  let requests = 0
  /** How often each of fal's requests was looked at: it is in the queue first, then in progress. */
  const looks = new Map<string, number>()

  function answerOf(operation: Operation, id: string, origin: string): { status: number; type: string; body: unknown } {
    const json = (body: unknown, status = 200) => ({ status, type: 'application/json', body })
    const unknown = json({ detail: 'Request not found' }, 404)
    switch (operation) {
      case 'image':
        return json({
          created: 1_700_000_000,
          data: [{ b64_json: picture.toString('base64') }],
          output_format: 'png',
          usage: IMAGE_USAGE,
        })
      case 'text':
        return json(saying('Five words from a stand-in.').body)
      case 'speech':
        return { status: 200, type: 'audio/wav', body: silence() }
      case 'submit': {
        const requestId = `request-${(requests += 1)}`
        looks.set(requestId, 0)
        const at = `${origin}/fal/fal-ai/birefnet/requests/${requestId}`
        return json({
          request_id: requestId,
          status: 'IN_QUEUE',
          queue_position: 0,
          response_url: at,
          status_url: `${at}/status`,
          cancel_url: `${at}/cancel`,
        })
      }
      case 'status': {
        const look = looks.get(id)
        if (look === undefined) return unknown
        looks.set(id, look + 1)
        if (look === 0) return json({ status: 'IN_QUEUE', queue_position: 0, request_id: id }, 202)
        return falHeld
          ? json({ status: 'IN_PROGRESS', logs: null, request_id: id }, 202)
          : json({ status: 'COMPLETED', logs: null, request_id: id, metrics: { inference_time: 0.1 } })
      }
      case 'result':
        return looks.has(id)
          ? json({
              image: { url: `${origin}/files/${id}.png`, content_type: 'image/png', width: SIDE, height: SIDE },
            })
          : unknown
      case 'cancel':
        return looks.has(id) ? json({ status: 'CANCELLATION_REQUESTED' }, 202) : unknown
      case 'file':
        return { status: 200, type: 'image/png', body: cutOut }
      case 'other':
        return json({ error: { message: 'the stand-in has no such route', code: 'not_found' } }, 404)
    }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const method = request.method ?? ''
    const path = (request.url ?? '').split('?')[0] ?? ''
    const found = ROUTES.map(([m, pattern, name]) => ({ name, match: m === method ? pattern.exec(path) : null })).find(
      ({ match }) => match !== null,
    )
    const operation = found?.name ?? 'other'
    const ended = Promise.withResolvers<'answered' | 'dropped'>()
    response.once('close', () => ended.resolve(response.writableFinished ? 'answered' : 'dropped'))
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const text = Buffer.concat(chunks).toString()
    log.push({
      operation,
      method,
      path,
      headers: request.headers,
      body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
      atMs: performance.now(),
      ended: ended.promise,
    })
    const behaviour = scripts.get(operation)?.shift() ?? {}
    for (const listener of listeners.splice(0)) listener()
    await behaviour.hold
    if (response.destroyed) return
    if (behaviour.reset === 'before') {
      request.socket.destroy()
      return
    }
    const usual = behaviour.body === undefined ? answerOf(operation, found?.match?.[1] ?? '', origin) : null
    const body = usual?.body ?? behaviour.body
    response.writeHead(behaviour.status ?? usual?.status ?? 200, {
      'content-type': usual?.type ?? (typeof body === 'string' ? 'text/html' : 'application/json'),
      ...behaviour.headers,
    })
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
    if (behaviour.reset === undefined) response.end(bytes)
    else response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy())
  }

  // A connection that is closed just as a request is written on it loses a call that nobody has heard of.
  const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    serve(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const asked = (operation?: Operation) => log.filter((one) => operation === undefined || one.operation === operation)
  return {
    env: {
      FABRIQUE_PROVIDERS: 'live',
      OPENAI_API_KEY: OPENAI_KEY,
      OPENAI_BASE_URL: `${origin}/v1`,
      FAL_KEY,
      FAL_BASE_URL: `${origin}/fal`,
    },
    asked,
    async heard(operation, nth = 1) {
      for (;;) {
        const call = asked(operation)[nth - 1]
        if (call !== undefined) return call
        await new Promise<void>((resolve) => listeners.push(resolve))
      }
    },
    script(operation, ...behaviours) {
      scripts.set(operation, behaviours)
    },
    holdFal(held) {
      falHeld = held
    },
    forget() {
      log = []
      scripts = new Map()
      listeners = []
      falHeld = false
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const SIDE = 64

/** An opaque picture and the same with a real matte. */
async function pictures(): Promise<{ picture: Buffer; cutOut: Buffer }> {
  const disc = Buffer.from(
    `<svg width="${SIDE}" height="${SIDE}"><circle cx="32" cy="32" r="24" fill="#d2691e"/></svg>`,
  )
  const on = (background: { r: number; g: number; b: number; alpha: number }, channels: 3 | 4) =>
    sharp({ create: { width: SIDE, height: SIDE, channels, background } })
      .composite([{ input: disc }])
      .png()
  return {
    picture: await on({ r: 255, g: 255, b: 255, alpha: 1 }, 3).removeAlpha().toBuffer(),
    cutOut: await on({ r: 0, g: 0, b: 0, alpha: 0 }, 4).toBuffer(),
  }
}

/** An answer of the text operation, for `script`. */
export const saying = (text: string) => ({
  body: { ...TEXT_ANSWER, output: [{ ...MESSAGE, content: [{ ...SAID, text }] }] },
})

const SAID = { type: 'output_text', annotations: [] }
const MESSAGE = { id: 'msg_1', type: 'message', role: 'assistant', status: 'completed' }
const TEXT_ANSWER = {
  id: 'resp_1',
  object: 'response',
  created_at: 1_700_000_000,
  status: 'completed',
  model: 'gpt-6-luna',
  usage: {
    input_tokens: 20,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: 7,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: 27,
  },
}

/** A tenth of a second of silence, as 16-bit mono WAV. */
function silence(): Buffer {
  const rate = 24_000
  const samples = rate / 10
  const wav = Buffer.alloc(44 + samples * 2)
  wav.write('RIFF', 0)
  wav.writeUInt32LE(36 + samples * 2, 4)
  wav.write('WAVEfmt ', 8)
  wav.writeUInt32LE(16, 16)
  wav.writeUInt16LE(1, 20)
  wav.writeUInt16LE(1, 22)
  wav.writeUInt32LE(rate, 24)
  wav.writeUInt32LE(rate * 2, 28)
  wav.writeUInt16LE(2, 32)
  wav.writeUInt16LE(16, 34)
  wav.write('data', 36)
  wav.writeUInt32LE(samples * 2, 40)
  return wav
}
