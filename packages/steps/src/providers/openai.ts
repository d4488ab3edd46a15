// OpenAI: text and agents by Responses, pictures by Images, speech by Audio, verdicts by Moderations.
// Hides the wire formats, and what a failure of the SDK, which never retries here, means for the bill.
import type { Model, Provider, ProviderAnswer, ProviderRequest } from '@fabrique/engine'
import { StepFailure } from '@fabrique/engine'
import { isJsonObject, type JsonObject, textOf, type Usage } from '@fabrique/schema'
import type OpenAI from 'openai'
import { connectionFailure, expectedSpeech, type ProviderAdapter } from './adapter.ts'
import { causeOf } from './causes.ts'
import { draw, moderate, speak } from './openai-media.ts'
import { respond } from './openai-text.ts'
import { askedTexts, textTokens, unreadable } from './openai-wire.ts'
import { createPatientFetch } from './patient-fetch.ts'
import { pauseOf } from './pause.ts'
import { createSafeFetch } from './safe-fetch.ts'

const EXPECTED_ANSWER_TOKENS = 1_000
const LEAST_ANSWER_TOKENS = 50
const MOST_ANSWER_TOKENS = 4_000
/** What placeholders may add to a prompt that is estimated before they are filled. */
const INSERTED_TOKENS = 2_000
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
/** Of the turns that an agent may take. */
const EXPECTED_TURNS = 3

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
  expectedUsage(model, request): Usage[] {
    const params = isJsonObject(request.params) ? request.params : {}
    switch (model.capability) {
      case 'image':
        return [
          {
            unit: 'image',
            quantity: Number(params.n ?? 1),
            facts: { quality: textOf(params.quality ?? 'auto'), size: textOf(params.size ?? 'auto') },
          },
          { unit: 'input_token', quantity: textTokens(request.prompt) },
        ]
      case 'speech':
        return expectedSpeech(request)
      case 'moderation':
        return [{ unit: 'request', quantity: 1 }]
      default: {
        const limit = Number(params.max_output_tokens)
        const answer = Number.isFinite(limit) ? Math.min(limit, EXPECTED_ANSWER_TOKENS) : EXPECTED_ANSWER_TOKENS
        // With `turns` it is one of an agent's calls that is asked about; with a limit alone, all of them.
        const isOneCall = request.maxTurns === undefined || request.turns !== undefined
        const times = isOneCall ? 1 : Math.min(Number(request.maxTurns), EXPECTED_TURNS)
        const conversation = request.turns === undefined ? '' : JSON.stringify([request.tools, request.turns])
        const asked = textTokens(request.prompt) + textTokens(request.system) + textTokens(conversation)
        return textUsage(params, asked, answer, times)
      }
    }
  },
  usageRange: (model, request) => rangeOf(model, request),
  makes({ capability }, { params, args }) {
    const { output_format: format = 'png' } = isJsonObject(params) ? params : {}
    if (capability === 'image') return `image/${PICTURES.find((known) => known === format) ?? '*'}`
    const { format: sound, response_format: named = 'wav' } = isJsonObject(args) ? args : {}
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

/** The range of a text model; what the others use is known beforehand. */
function rangeOf(model: Model, request: JsonObject): { low: Usage[]; high: Usage[] } {
  const expected = provider.expectedUsage(model, request)
  if (model.capability !== 'text') return { low: expected, high: expected }
  const params = isJsonObject(request.params) ? request.params : {}
  const limit = Number(params.max_output_tokens ?? MOST_ANSWER_TOKENS)
  const turns = Number(request.maxTurns ?? 1)
  const asked = textTokens(request.prompt) + textTokens(request.system)
  return {
    low: textUsage(params, asked, Math.min(limit, LEAST_ANSWER_TOKENS)),
    high: textUsage(params, 2 * asked + INSERTED_TOKENS, limit, turns),
  }
}

/** What some calls alike use, with what their price depends on. */
function textUsage({ service_tier: asked }: JsonObject, prompt: number, answer: number, times = 1): Usage[] {
  // Answers, and so price lists, call the fast tier by its older name.
  const tier = asked === 'fast' ? 'priority' : asked
  const facts = { prompt_tokens: prompt, ...(typeof tier === 'string' ? { service_tier: tier } : {}) }
  return [
    { unit: 'input_token', quantity: prompt * times, facts },
    { unit: 'output_token', quantity: answer * times, facts },
  ]
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
    const body: JsonObject = isJsonObject(error.error) ? error.error : {}
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
