// OpenAI and fal on loopback, with answers of real length and usages as the providers count them: tokens by OpenAI's own
// encoding, pictures by its published formula, films as long as their sound. Hides the wire formats.
// Nothing here comes from the code that estimates: it is what estimates are held against.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isJsonObject, objectOf, type JsonObject, textOf } from '@fabrique/schema'
import { filmShots } from '@fabrique/steps/film'
import { writeWav } from '@fabrique/steps/sound'
import { encode } from 'gpt-tokenizer/esm/encoding/o200k_base'
import sharp from 'sharp'
import { writeAnswer } from './writers.ts'

export interface RealisticProvider {
  url: string
  close(): Promise<void>
}

const SAMPLE_RATE_HZ = 8_000
/** What a message costs beside its words. */
const MESSAGE_TOKENS = 4
/** Of the answer, by effort: what routers that translate efforts into budgets give for reasoning. */
const REASONED: Record<string, number> = { none: 0, minimal: 0.1, low: 0.2, medium: 0.5, high: 0.8 }
/** OpenAI counts reasoning in such blocks. */
const REASONING_BLOCK = 64

const tokensOf = (text: unknown) => encode(textOf(text as string)).length

function reasoningOf(answer: number, effort: string): number {
  const share = REASONED[effort] ?? 0
  const thought = (answer * share) / (1 - share)
  return share === 0 ? 0 : Math.max(1, Math.round(thought / REASONING_BLOCK)) * REASONING_BLOCK
}

/** The schema is told to the model without what is the same in each, as measured in openai/openai-cookbook#2140. */
function schemaTokens(schema: JsonObject): number {
  const told = JSON.stringify(schema, (key, value: unknown) =>
    ['required', 'additionalProperties', '$schema'].includes(key) ? undefined : value,
  )
  return tokensOf(told) + 9
}

function respond(body: JsonObject) {
  const { text, reasoning, input, instructions } = body
  const format = objectOf(objectOf(text).format)
  const schema = objectOf(format.schema)
  const answer = JSON.stringify(writeAnswer(textOf(input), schema))
  const prompt = tokensOf(input) + tokensOf(instructions) + 2 * MESSAGE_TOKENS + schemaTokens(schema)
  const thoughts = reasoningOf(tokensOf(answer), isJsonObject(reasoning) ? textOf(reasoning.effort) : 'none')
  const output = tokensOf(answer) + thoughts
  const content = [{ type: 'output_text', text: answer, annotations: [] }]
  return {
    id: 'resp_1',
    object: 'response',
    status: output > Number(body.max_output_tokens) ? 'incomplete' : 'completed',
    incomplete_details: output > Number(body.max_output_tokens) ? { reason: 'max_output_tokens' } : null,
    model: textOf(body.model),
    output: [{ type: 'message', id: 'msg_1', role: 'assistant', status: 'completed', content }],
    usage: {
      input_tokens: prompt,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: output,
      output_tokens_details: { reasoning_tokens: thoughts },
      total_tokens: prompt + output,
    },
  }
}

/** With e patches along the longer edge, of a picture with so many pixels. */
function pictureTokens(size: string, quality: string): number {
  const [width = 0, height = 0] = size.split('x').map(Number)
  const patches = { low: 16, medium: 48, high: 96 }[quality] ?? Number.NaN
  const across = Math.round((patches * Math.min(width, height)) / Math.max(width, height))
  return Math.ceil((patches * across * (2_000_000 + width * height)) / 4_000_000)
}

/** A voice that takes 0.36 s for a word and pauses at commas and ends of sentences. */
function spokenSeconds(text: string): number {
  const words = text.split(/\s+/).filter((word) => word !== '').length
  return words * 0.36 + (text.match(/[.?!]/g)?.length ?? 0) * 0.35 + (text.match(/[,;:]/g)?.length ?? 0) * 0.15
}

function soundOf(text: string): Buffer {
  const samples = Int16Array.from(
    { length: Math.round(spokenSeconds(text) * SAMPLE_RATE_HZ) },
    (_, i) => 4_000 * Math.sin(i / 9),
  )
  return writeWav({ sampleRateHz: SAMPLE_RATE_HZ, channels: 1, samples })
}

/** A film as long as the sound in a `data:` URL of a WAV. */
async function filmOf(still: Buffer, sound: string): Promise<{ film: Buffer; seconds: number }> {
  const bytes = Buffer.from(sound.slice(sound.indexOf(',') + 1), 'base64')
  const seconds = (bytes.byteLength - 44) / 2 / SAMPLE_RATE_HZ
  const shot = { frames: Math.max(1, Math.round(seconds * 5)), render: async () => ({ png: still, overlay: null }) }
  const film = await filmShots(
    {
      widthPx: 160,
      heightPx: 160,
      fps: 5,
      comment: 'test',
      sound: null,
      shots: [shot],
      transition: 'none',
      motion: 'none',
    } as never,
    new AbortController().signal,
  )
  return { film, seconds }
}

/** A provider that listens. It answers at once. */
export async function startRealisticProvider(): Promise<RealisticProvider> {
  const plain = sharp({ create: { width: 160, height: 160, channels: 3, background: '#d2691e' } })
  const picture = await plain.png().toBuffer()
  const circle = Buffer.from('<svg width="160" height="160"><circle cx="80" cy="80" r="60" fill="#fff"/></svg>')
  const cutout = await sharp(picture)
    .ensureAlpha()
    .composite([{ input: circle, blend: 'dest-in' }])
    .png()
    .toBuffer()
  const files = new Map<string, { bytes: Buffer; type: string }>()
  const results = new Map<string, { json: JsonObject; units?: number }>()
  let url = ''

  function keep(bytes: Buffer, type: string): JsonObject {
    const path = `/files/${files.size + 1}`
    files.set(path, { bytes, type })
    return { url: `${url}${path}`, content_type: type }
  }

  /** What a request to fal is answered with in the end. */
  async function make(path: string, body: JsonObject): Promise<{ json: JsonObject; units?: number }> {
    if (path.includes('tts')) return { json: { audio: keep(soundOf(textOf(body.text)), 'audio/wav') } }
    if (path.includes('birefnet')) return { json: { image: keep(cutout, 'image/png') } }
    const { film, seconds } = await filmOf(picture, textOf(body.audio_url))
    return { json: { video: keep(film, 'video/mp4') }, units: seconds }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const [path = ''] = (request.url ?? '').split('?')
    const answer = (json: unknown, headers: Record<string, string> = {}) =>
      response.writeHead(200, { ...headers, 'content-type': 'application/json' }).end(JSON.stringify(json))
    const file = files.get(path)
    if (file !== undefined) return void response.writeHead(200, { 'content-type': file.type }).end(file.bytes)
    const asked = /\/requests\/([\w-]+)(\/status)?$/.exec(path)
    if (asked !== null) {
      const { json, units } = results.get(asked[1] ?? '') ?? { json: {} }
      if (asked[2] !== undefined) return void answer({ status: 'COMPLETED', request_id: asked[1] })
      return void answer(json, units === undefined ? {} : { 'x-fal-billable-units': String(units) })
    }
    const body = JSON.parse(Buffer.concat(chunks).toString()) as JsonObject
    if (path === '/v1/responses') return void answer(respond(body))
    if (path === '/v1/moderations')
      return void answer({ id: 'm', model: body.model, results: [{ flagged: false, categories: {} }] })
    if (path === '/v1/images/generations') {
      const [text, image] = [tokensOf(body.prompt), pictureTokens(textOf(body.size), textOf(body.quality))]
      const usage = {
        input_tokens: text,
        input_tokens_details: { text_tokens: text, image_tokens: 0 },
        output_tokens: image,
        total_tokens: text + image,
      }
      return void answer({ created: 1, data: [{ b64_json: picture.toString('base64') }], usage })
    }
    const id = `request-${results.size + 1}`
    results.set(id, await make(path, body))
    answer({ request_id: id, status: 'IN_QUEUE', queue_position: 0 })
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
