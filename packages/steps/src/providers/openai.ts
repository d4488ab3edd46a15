// OpenAI: text and agents by Responses, pictures by Images, speech by Audio, verdicts by Moderations.
// Hides the wire formats, and what a failure of the SDK, which never retries here, means for the bill.
import type { Model, Provider, ProviderAnswer, ProviderRequest } from '@fabrique/engine'
import { StepFailure } from '@fabrique/engine'
import { isJsonObject, objectOf, type JsonObject, textOf } from '@fabrique/schema'
import type OpenAI from 'openai'
import { connectionFailure, type ProviderAdapter } from './adapter.ts'
import { causeOf } from './causes.ts'
import { draw, moderate, speak } from './openai-media.ts'
import { respond } from './openai-text.ts'
import { USES } from './openai-usage.ts'
import { askedTexts, unreadable } from './openai-wire.ts'
import { createPatientFetch } from './patient-fetch.ts'
import { pauseOf } from './pause.ts'
import { createSafeFetch } from './safe-fetch.ts'

const PICTURES = ['png', 'jpeg', 'webp']
const SOUNDS: Record<string, string> = {
  wav: 'audio/wav',
  mp3: 'audio/mpeg',
  opus: 'audio/ogg',
  aac: 'audio/aac',
  flac: 'audio/flac',
}
const MODEL = 'the step names its model'
const PROMPT = 'the promptTemplate is it'
const WHOLE = 'answers are awaited whole'

const OPERATIONS = {
  text: 'responses.create',
  image: 'images.generate',
  speech: 'audio.speech',
  moderation: 'moderations.create',
} as const
type Offered = keyof typeof OPERATIONS

/** Which of the API's operations a model's name belongs to; any other model writes text. */
function capabilityOf(name: string): Offered {
  if (/moderation/.test(name)) return 'moderation'
  if (/image|dall-e/.test(name)) return 'image'
  return /tts/.test(name) ? 'speech' : 'text'
}

const provider: Provider = {
  name: 'openai',
  model(name): Model | undefined {
    const endpoint = /^openai\/([a-z0-9][a-z0-9.-]{1,80})$/.exec(name)?.[1]
    if (endpoint === undefined) return undefined
    const capability = capabilityOf(endpoint)
    return { name, provider: 'openai', capability, endpoint, operation: OPERATIONS[capability] }
  },
  expectedUsage(model, request, outlook = { at: 'expected', answer: '', files: [] }) {
    if (model.capability === 'moderation') return [{ unit: 'request', quantity: 1 }]
    return USES[model.capability as keyof typeof USES](model, request, outlook)
  },
  makes({ capability }, { params, args }) {
    const { output_format: format = 'png' } = objectOf(params)
    if (capability === 'image') return `image/${PICTURES.find((known) => known === format) ?? '*'}`
    const { format: sound, response_format: named = 'wav' } = objectOf(args)
    return capability === 'speech' ? (SOUNDS[textOf(sound ?? named)] ?? 'audio/*') : undefined
  },
  reserved: ({ capability }, request) => RESERVED[capability as Offered](request),
}

/** What is in the place of parameters. */
const RESERVED: Record<Offered, (request: JsonObject) => { path: string[]; instead: string }[]> = {
  text: ({ system, outputSchema, tools }) => [
    { path: ['model'], instead: MODEL },
    { path: ['input'], instead: PROMPT },
    { path: ['stream'], instead: WHOLE },
    ...(isJsonObject(outputSchema)
      ? [{ path: ['text', 'format'], instead: 'the outputSchema of the step is it' }]
      : []),
    ...(textOf(system) === '' ? [] : [{ path: ['instructions'], instead: 'the "system" of the step is it' }]),
    ...(Array.isArray(tools) ? [{ path: ['tools'], instead: 'an agent has the tools of its step' }] : []),
  ],
  image: () => [
    { path: ['model'], instead: MODEL },
    { path: ['prompt'], instead: PROMPT },
    ...['stream', 'partial_images'].map((name) => ({ path: [name], instead: WHOLE })),
  ],
  speech: ({ args }) => [
    { path: ['model'], instead: MODEL },
    { path: ['input'], instead: 'write it as "text"' },
    { path: ['stream_format'], instead: WHOLE },
    ...(isJsonObject(args) && args.format !== undefined
      ? [{ path: ['response_format'], instead: '"format" says it already' }]
      : []),
  ],
  moderation: () => [],
}

export const openai: ProviderAdapter = {
  provider,
  connect({ apiKey, baseUrl }) {
    const fetchFile = createSafeFetch(baseUrl === undefined ? [] : [new URL(baseUrl).origin])
    let client: Promise<OpenAI> | undefined
    async function connected(): Promise<OpenAI> {
      const { default: Client } = await import('openai')
      return new Client({
        apiKey,
        maxRetries: 0,
        fetch: createPatientFetch(),
        ...(baseUrl === undefined ? {} : { baseURL: baseUrl }),
      })
    }
    return {
      async call(request) {
        client ??= connected()
        try {
          return await OPERATE[request.model.capability as Offered](await client, request)
        } catch (error) {
          throw StepFailure.is(error) ? error : await failureOf(error, request)
        }
      },
      async fetch({ name, url }, signal) {
        return { name, ...(await fetchFile(url, signal)) }
      },
    }
  },
}

const OPERATE: Record<Offered, (client: OpenAI, request: ProviderRequest) => Promise<ProviderAnswer>> = {
  text: respond,
  image: draw,
  speech: speak,
  moderation: moderate,
}

async function failureOf(error: unknown, request: ProviderRequest): Promise<StepFailure> {
  // By class: the SDK's errors carry no name of their own.
  const { APIConnectionError, APIConnectionTimeoutError, APIError } = await import('openai')
  if (request.signal.aborted)
    return new StepFailure('timeout', 'The call to OpenAI was stopped.', { billed: 'unknown', cause: error })
  if (error instanceof APIError && typeof error.status === 'number') {
    const { status, code, type, param, requestID: requestId, headers } = error
    const body = objectOf(error.error)
    const message = body.message ?? body.detail ?? error.message
    const retryAfterMs = pauseOf(headers, textOf(message))
    return causeOf(
      { provider: 'OpenAI', status, code, type: type ?? body.type, param, message, requestId, retryAfterMs },
      askedTexts(request),
    )
  }
  if (error instanceof APIConnectionTimeoutError) {
    return new StepFailure('timeout', 'OpenAI did not answer in time.', { billed: 'unknown', cause: error })
  }
  // A TypeError with a cause is fetch's own: the connection broke in the middle of the answer.
  const broke = error instanceof APIConnectionError || (error instanceof TypeError && error.cause !== undefined)
  return broke ? connectionFailure('OpenAI', error) : unreadable(undefined, error)
}
