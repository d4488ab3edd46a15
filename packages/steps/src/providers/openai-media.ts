// OpenAI's pictures, speech and verdicts: what is asked, and what is made of the answers.
// Hides in which of three ways a picture comes, and what is known of a call that reports no usage.
import {
  type CallFacts,
  type FileLink,
  type ProducedFile,
  type ProviderAnswer,
  type ProviderRequest,
  StepFailure,
} from '@fabrique/engine'
import { isJsonObject, objectOf, type JsonObject, textOf, type Usage } from '@fabrique/schema'
import type OpenAI from 'openai'
import { causeOf } from './causes.ts'
import { amount, askedTexts, errorInside, options, reportedUsage, textTokens, unreadable } from './openai-wire.ts'
import { decodeDataUrl } from './safe-fetch.ts'
import { dataUrl } from './adapter.ts'

/** What an error inside a success may be long. */
const ERROR_BYTES_MAX = 64 * 1024

/** Pictures by `b64_json`, `data:` URL or link; a usage that is missing costs no picture. */
export async function draw(client: OpenAI, request: ProviderRequest): Promise<ProviderAnswer> {
  const { stream: _stream, model: _model, prompt: _prompt, ...params } = objectOf(request.request.params)
  const response = await client.images.generate(
    {
      ...params,
      model: request.model.endpoint,
      prompt: textOf(request.request.prompt),
    } as OpenAI.ImageGenerateParamsNonStreaming,
    options(request),
  )
  if (!isJsonObject(response)) throw unreadable()
  const error = errorInside(response)
  if (error !== undefined) throw inside(error, request)
  const type = textOf(response.output_format ?? params.output_format ?? 'png')
  const files: ProducedFile[] = []
  const links: FileLink[] = []
  for (const entry of Array.isArray(response.data) ? response.data : []) {
    const { b64_json: encoded, url } = entry ?? {}
    const here = [encoded, url].find((text) => typeof text === 'string' && text.startsWith('data:'))
    if (here !== undefined) files.push({ name: 'image', ...decodeDataUrl(here) })
    else if (typeof encoded === 'string' && encoded !== '')
      files.push({ name: 'image', mimeType: `image/${type}`, bytes: Buffer.from(encoded, 'base64') })
    else if (typeof url === 'string' && url !== '') links.push({ name: 'image', url })
  }
  const made = files.length + links.length
  const facts = pictureFacts(response, request, made)
  if (made === 0) throw new StepFailure('bad_output', 'OpenAI answered without a picture.', { billed: 'yes', facts })
  return { output: {}, files, ...(links.length === 0 ? {} : { links }), ...facts }
}

/** By the usage where it is whole, else by the number of pictures, their size and quality. */
function pictureFacts(response: OpenAI.ImagesResponse, { request }: ProviderRequest, made: number): CallFacts {
  const usage: unknown = response.usage
  const reported = reportedUsage(usage)
  const counted = objectOf(usage)
  const { input_tokens: input, output_tokens: output } = counted
  if (typeof input === 'number' && typeof output === 'number' && (output > 0 || made === 0)) {
    const asked = objectOf(counted.input_tokens_details)
    const answered = objectOf(counted.output_tokens_details)
    const image = typeof asked.image_tokens === 'number' ? asked.image_tokens : 0
    const words = typeof answered.text_tokens === 'number' ? answered.text_tokens : 0
    // Of the text first, which stands before the pictures.
    const cached = typeof asked.cached_tokens === 'number' && asked.cached_tokens <= input ? asked.cached_tokens : 0
    const cachedText = Math.max(0, Math.min(cached, input - image))
    return {
      usage: [
        ...amount('input_token', input - image - cachedText),
        ...amount('cached_input_token', cachedText),
        ...amount('image_input_token', image - (cached - cachedText)),
        ...amount('cached_image_input_token', cached - cachedText),
        ...amount('output_token', words),
        ...amount('image_output_token', output - words),
      ],
      ...reported,
    }
  }
  const params = objectOf(request.params)
  const facts = {
    quality: textOf(response.quality ?? params.quality ?? 'auto'),
    size: textOf(response.size ?? params.size ?? 'auto'),
  }
  const usages: Usage[] = [...amount('image', made, facts), ...amount('input_token', textTokens(request.prompt))]
  return { usage: usages, basis: 'measured', ...reported }
}

/** The API takes one picture a request, so that each is asked about by itself, and the text too. */
export async function moderate(client: OpenAI, request: ProviderRequest): Promise<ProviderAnswer> {
  const text = textOf(request.request.content ?? request.request.prompt)
  const pictures = Object.values(request.files).map((file) => ({
    type: 'image_url' as const,
    image_url: { url: dataUrl(file) },
  }))
  const parts = [...(text.trim() === '' ? [] : [{ type: 'text' as const, text }]), ...pictures]
  if (parts.length === 0) throw new StepFailure('invalid', 'There is neither text nor a picture to judge.')
  const verdicts: OpenAI.Moderation[] = []
  for (const [index, part] of parts.entries()) {
    const asked = { model: request.model.endpoint, input: [part] }
    const { results } = await client.moderations.create(asked, options(request, `.${index + 1}`))
    // No verdict is not a good one.
    if (!Array.isArray(results) || typeof results[0]?.flagged !== 'boolean')
      throw new StepFailure('bad_output', 'OpenAI answered without a verdict.')
    verdicts.push(...results)
  }
  const applying = verdicts.flatMap(({ categories }) =>
    Object.entries(categories ?? {}).filter(([, applies]) => applies),
  )
  return {
    output: {
      flagged: verdicts.some(({ flagged }) => flagged),
      categories: [...new Set(applying.map(([category]) => category))],
    },
    files: [],
    usage: [{ unit: 'request', quantity: parts.length }],
    basis: 'measured',
  }
}

/** The endpoint reports no usage: characters are the one unit that is known exactly. */
export async function speak(client: OpenAI, request: ProviderRequest): Promise<ProviderAnswer> {
  const { text, voice = 'alloy', format, ...rest } = objectOf(request.request.args)
  const wanted = textOf(format ?? rest.response_format ?? 'wav')
  const response = await client.audio.speech.create(
    {
      ...rest,
      model: request.model.endpoint,
      input: textOf(text),
      voice: voice as string,
      response_format: wanted as 'wav',
    },
    options(request),
  )
  const bytes = Buffer.from(await response.arrayBuffer())
  const facts: CallFacts = { usage: amount('character', textOf(text).length), basis: 'measured' }
  if (response.headers.get('content-type')?.includes('json') === true && bytes.byteLength <= ERROR_BYTES_MAX) {
    const said: unknown = JSON.parse(bytes.toString())
    throw inside(errorInside(objectOf(said)) ?? {}, request)
  }
  if (bytes.byteLength === 0)
    throw new StepFailure('bad_output', 'OpenAI answered without a sound.', { billed: 'yes', facts })
  const subtype = wanted === 'mp3' ? 'mpeg' : wanted
  return { output: {}, files: [{ name: 'speech', mimeType: `audio/${subtype}`, bytes }], ...facts }
}

/** An error inside a success. */
function inside({ code, type, message, param }: JsonObject, request: ProviderRequest): StepFailure {
  return causeOf({ provider: 'OpenAI', code, type, message, param }, askedTexts(request))
}
