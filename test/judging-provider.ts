// OpenAI and fal on loopback as a judge: every request is checked, and what it makes goes on a bill of its own.
// Hides the wire formats and the faults; a test says what goes wrong at which stage, and compares bill and ledger.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import sharp from 'sharp'

/** What a request is about: making something (`send`), looking how far it is, its result, its file. */
export type Stage = 'send' | 'status' | 'result' | 'file'

/** What happens instead of the proper answer. `billed`: whether the provider has made it, and charges for it, all the same. */
export interface Fault {
  stage: Stage
  /** Absent: the first time only. */
  always?: true
  does: 'drop' | 'cut' | 'hang' | 'kill' | { status: number; headers?: Record<string, string>; body?: unknown }
  billed?: boolean
}

export interface Judge {
  url: string
  /** What is wrong with the requests so far. */
  complaints: string[]
  /** What has been charged, in USD, one amount for each thing that was made. */
  bill: number[]
  inflict(fault: Fault | null): void
  /** Resolves when a request arrives at which the fault says that the worker dies. */
  killed: Promise<void>
  forget(): void
  close(): Promise<void>
}

/** The price list that the judge charges by; the engine is given the same as rates. */
export const PRICES = {
  text: { input: 0.000_001, output: 0.000_008 },
  picture: { input: 0.000_005, output: 0.000_03 },
  speech: 0.000_015,
  megapixel: 0.025,
  filmSecond: 0.08,
} as const

const USAGE = { input_tokens: 1200, output_tokens: 340, total_tokens: 1540 }
const PICTURE_USAGE = { input_tokens: 60, output_tokens: 1056, total_tokens: 1116 }
export const FILM_SECONDS = 6

interface Asked {
  stage: Stage
  path: string
  body: Record<string, unknown>
}

/** A judge that listens; its files are what `media` says. */
export async function startJudge(media: { film: Buffer; sound: Buffer }): Promise<Judge> {
  const picture = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#d2691e' } })
    .png()
    .toBuffer()
  let fault: Fault | null = null
  let url = ''
  let death = Promise.withResolvers<void>()
  const seen = new Set<string>()
  const accepted = new Map<string, { kind: 'picture' | 'film' | 'text'; looks: number }>()
  const complaints: string[] = []
  const bill: number[] = []

  function complain(wrong: boolean, about: string): void {
    if (wrong) complaints.push(about)
  }

  function charge(usd: number): void {
    bill.push(Math.round(usd * 1e12) / 1e12)
  }

  const output = [
    {
      type: 'message',
      id: 'm',
      role: 'assistant',
      status: 'completed',
      content: [{ type: 'output_text', text: 'Well.' }],
    },
  ]
  const textAnswer = (id: string) => ({
    id,
    object: 'response',
    status: 'completed',
    model: 'writer-1',
    output,
    usage: USAGE,
  })

  /** Makes what is asked for, charges for it, and answers. */
  function make({ path, body }: Asked): { json?: unknown; bytes?: Buffer; type?: string } {
    if (path === '/v1/responses') {
      complain(
        typeof body.model !== 'string' || body.input === undefined || body.stream !== false,
        'a bad text request',
      )
      charge(USAGE.input_tokens * PRICES.text.input + USAGE.output_tokens * PRICES.text.output)
      if (body.background !== true) return { json: textAnswer('resp_0') }
      const id = `resp_${accepted.size + 1}`
      accepted.set(id, { kind: 'text', looks: 0 })
      return { json: { ...textAnswer(id), status: 'queued', output: [], usage: null } }
    }
    if (path === '/v1/images/generations') {
      complain(
        typeof body.prompt !== 'string' || body.prompt === '' || body.stream !== undefined,
        'a bad picture request',
      )
      charge(PICTURE_USAGE.input_tokens * PRICES.picture.input + PICTURE_USAGE.output_tokens * PRICES.picture.output)
      const data =
        body.response_format === 'url' ? [{ url: `${url}/files/picture` }] : [{ b64_json: picture.toString('base64') }]
      return { json: { created: 1, data, usage: PICTURE_USAGE } }
    }
    if (path === '/v1/audio/speech') {
      complain(typeof body.input !== 'string' || typeof body.voice !== 'string', 'a bad speech request')
      charge(String(body.input).length * PRICES.speech)
      return { bytes: media.sound, type: 'audio/wav' }
    }
    const isFilm = path.includes('fabric')
    complain(isFilm ? typeof body.image_url !== 'string' : typeof body.prompt !== 'string', 'a bad request of fal')
    charge(isFilm ? FILM_SECONDS * PRICES.filmSecond : PRICES.megapixel)
    const id = `q-${accepted.size + 1}`
    accepted.set(id, { kind: isFilm ? 'film' : 'picture', looks: 0 })
    return { json: { request_id: id, status: 'IN_QUEUE', queue_position: 0 } }
  }

  function look(path: string): { json?: unknown; headers?: Record<string, string> } | null {
    const id = /(q-\d+|resp_\d+)/.exec(path)?.[1] ?? ''
    const request = accepted.get(id)
    if (request === undefined) return null
    if (request.kind === 'text') {
      request.looks += 1
      return {
        json:
          request.looks < 2 ? { ...textAnswer(id), status: 'in_progress', output: [], usage: null } : textAnswer(id),
      }
    }
    if (path.endsWith('/status')) return { json: { request_id: id, status: 'COMPLETED' } }
    const isFilm = request.kind === 'film'
    return {
      headers: { 'x-fal-billable-units': String(isFilm ? FILM_SECONDS : 1) },
      json: isFilm
        ? { video: { url: `${url}/files/film`, content_type: 'video/mp4' } }
        : { images: [{ url: `${url}/files/picture`, width: 64, height: 64, content_type: 'image/png' }], seed: 1 },
    }
  }

  function stageOf(method: string, path: string): Stage {
    if (path.startsWith('/files/')) return 'file'
    if (method === 'POST') return 'send'
    return path.endsWith('/status') ? 'status' : 'result'
  }

  function proper(asked: Asked, response: ServerResponse): void {
    if (asked.stage === 'file') {
      const isFilm = asked.path.endsWith('film')
      response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(isFilm ? media.film : picture)
      return
    }
    const answer = asked.stage === 'send' ? make(asked) : look(asked.path)
    if (answer === null) {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"detail":"no such request"}')
      return
    }
    const { headers = {} } = answer as { headers?: Record<string, string> }
    if ('bytes' in answer && answer.bytes !== undefined)
      response.writeHead(200, { 'content-type': answer.type ?? '' }).end(answer.bytes)
    else response.writeHead(200, { ...headers, 'content-type': 'application/json' }).end(JSON.stringify(answer.json))
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const [path = ''] = (request.url ?? '').split('?')
    const stage = stageOf(request.method ?? '', path)
    if (request.method === 'PUT') {
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"status":"ALREADY_COMPLETED"}')
      return
    }
    const body = JSON.parse(Buffer.concat(chunks).toString() || '{}') as Record<string, unknown>
    const asked = { stage, path, body }
    complain(
      stage !== 'file' && !/^(Bearer|Key) k$/.test(request.headers.authorization ?? ''),
      `no key for ${request.method} ${path}`,
    )
    const key = request.headers['idempotency-key']
    if (stage === 'send' && typeof key === 'string') {
      complain(seen.has(key), `the key ${key} came twice`)
      seen.add(key)
    }
    const hit = fault?.stage === stage ? fault : null
    if (hit === null) return proper(asked, response)
    if (hit.always !== true) fault = null
    if (hit.billed === true) make(asked)
    if (hit.does === 'kill') {
      death.resolve()
      return await new Promise(() => {})
    }
    if (hit.does === 'hang') return await new Promise(() => {})
    if (hit.does === 'drop') return void request.socket.destroy()
    if (hit.does === 'cut') {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '4000' })
      response.write('{"id": "re')
      return void setTimeout(() => request.socket.destroy(), 5)
    }
    const usual = path.startsWith('/v1/') ? { error: { message: 'no' } } : { detail: 'no' }
    const { status, headers = {}, body: said = usual } = hit.does
    const text = typeof said === 'string' ? said : JSON.stringify(said)
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text)
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    complaints,
    bill,
    inflict: (next) => {
      fault = next
    },
    get killed() {
      return death.promise
    },
    forget() {
      fault = null
      death = Promise.withResolvers<void>()
      for (const list of [complaints, bill]) list.length = 0
      accepted.clear()
      seen.clear()
      server.closeAllConnections()
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
