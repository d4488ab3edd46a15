// OpenAI: text and agents by Responses, pictures by Images, speech by Audio, verdicts by Moderations.
// Hides the wire formats, and what a failure of the SDK, which never retries here, means for the bill.
import type { InputFile, Model, Provider, ProviderAnswer, ProviderRequest } from '@fabrique/engine'
import { StepFailure } from '@fabrique/engine'
import { isJsonObject, type JsonObject, type JsonValue, textOf, type Usage } from '@fabrique/schema'
import type OpenAI from 'openai'
import type { AgentTurn, OfferedTool, ToolCall } from '../kinds/agent.ts'
import { connectionFailure, httpFailure, type ProviderAdapter } from './adapter.ts'
import { isStrictSchema } from './strict-schema.ts'

const TIMEOUT_MS = 600_000
/** Characters of prose per token, for estimates only. */
const CHARACTERS_PER_TOKEN = 4
const EXPECTED_ANSWER_TOKENS = 1_000
const LEAST_ANSWER_TOKENS = 50
/** About half a minute. */
const EXPECTED_SPEECH_CHARACTERS = 450
const MOST_ANSWER_TOKENS = 4_000
/** What placeholders may add to a prompt that is estimated before they are filled. */
const INSERTED_TOKENS = 2_000
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

function tokens(text: unknown): number {
  return Math.ceil(textOf(text).length / CHARACTERS_PER_TOKEN)
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
            quantity: 1,
            facts: { quality: textOf(params.quality ?? 'auto'), size: textOf(params.size ?? 'auto') },
          },
          { unit: 'input_token', quantity: tokens(request.prompt) },
        ]
      case 'speech': {
        const args = isJsonObject(request.args) ? request.args : {}
        const text = textOf(args.text)
        // Before the text is written, a placeholder stands for it.
        const isOpen = text === '' || /^\{[^{}]*\}$/.test(text)
        return [{ unit: 'character', quantity: isOpen ? EXPECTED_SPEECH_CHARACTERS : text.length }]
      }
      case 'moderation':
        return [{ unit: 'request', quantity: 1 }]
      default: {
        const limit = Number(params.max_output_tokens)
        const answer = Number.isFinite(limit) ? Math.min(limit, EXPECTED_ANSWER_TOKENS) : EXPECTED_ANSWER_TOKENS
        // With `turns` it is one of an agent's calls that is asked about; with a limit alone, all of them.
        const isOneCall = request.maxTurns === undefined || request.turns !== undefined
        const times = isOneCall ? 1 : Math.min(Number(request.maxTurns), EXPECTED_TURNS)
        const conversation = request.turns === undefined ? '' : JSON.stringify([request.tools, request.turns])
        return [
          {
            unit: 'input_token',
            quantity: (tokens(request.prompt) + tokens(request.system) + tokens(conversation)) * times,
          },
          { unit: 'output_token', quantity: answer * times },
        ]
      }
    }
  },
  usageRange: (model, request) => rangeOf(model, request),
}

/** The range of a text model; what the others use is known beforehand. */
function rangeOf(model: Model, request: JsonObject): { low: Usage[]; high: Usage[] } {
  const expected = provider.expectedUsage(model, request)
  if (model.capability !== 'text') return { low: expected, high: expected }
  const params = isJsonObject(request.params) ? request.params : {}
  const limit = Number(params.max_output_tokens ?? MOST_ANSWER_TOKENS)
  const turns = Number(request.maxTurns ?? 1)
  const asked = tokens(request.prompt) + tokens(request.system)
  return {
    low: [
      { unit: 'input_token', quantity: asked },
      { unit: 'output_token', quantity: Math.min(limit, LEAST_ANSWER_TOKENS) },
    ],
    high: [
      { unit: 'input_token', quantity: (2 * asked + INSERTED_TOKENS) * turns },
      { unit: 'output_token', quantity: limit * turns },
    ],
  }
}

export const openai: ProviderAdapter = {
  provider,
  connect({ apiKey, baseUrl }) {
    let client: Promise<OpenAI> | undefined
    async function connected(): Promise<OpenAI> {
      const { default: Client } = await import('openai')
      return new Client({
        apiKey,
        maxRetries: 0,
        timeout: TIMEOUT_MS,
        ...(baseUrl === undefined ? {} : { baseURL: baseUrl }),
      })
    }
    return {
      async call(request) {
        client ??= connected()
        try {
          return await OPERATE[request.model.capability as Offered](await client, request)
        } catch (error) {
          throw StepFailure.is(error) ? error : await failureOf(error, request.signal)
        }
      },
    }
  },
}

type Operate = (client: OpenAI, request: ProviderRequest) => Promise<ProviderAnswer>

const OPERATE: Record<Offered, Operate> = {
  async image(client, { model, request, signal, callId }) {
    const { n: _n, stream: _stream, model: _model, prompt: _prompt, ...params } = (request.params ?? {}) as JsonObject
    const response = await client.images.generate(
      { ...params, model: model.endpoint, prompt: textOf(request.prompt) } as OpenAI.ImageGenerateParamsNonStreaming,
      options(signal, callId),
    )
    const encoded = response.data?.[0]?.b64_json
    if (encoded === undefined)
      throw new StepFailure('bad_output', 'OpenAI answered without a picture.', { billed: 'yes' })
    const type = response.output_format ?? (typeof params.output_format === 'string' ? params.output_format : 'png')
    return {
      output: {},
      files: [{ name: 'image', mimeType: `image/${type}`, bytes: Buffer.from(encoded, 'base64') }],
      usage: imageUsage(response.usage),
    }
  },

  async text(client, { model, request, files, signal, callId }) {
    const schema = request.outputSchema
    const format = isJsonObject(schema)
      ? { text: { format: { type: 'json_schema', name: 'output', schema, strict: isStrictSchema(schema) } } }
      : {}
    const response = await client.responses.create(
      {
        ...((request.params ?? {}) as JsonObject),
        model: model.endpoint,
        ...conversationOf(request, files),
        ...(request.system === null || request.system === undefined ? {} : { instructions: textOf(request.system) }),
        ...format,
        stream: false,
      } as OpenAI.Responses.ResponseCreateParamsNonStreaming,
      options(signal, callId),
    )
    if (response.status === 'incomplete') {
      throw new StepFailure('bad_output', 'OpenAI stopped before the answer was complete.', { billed: 'yes' })
    }
    const refusal = response.output.some(
      (item) => item.type === 'message' && item.content.some(({ type }) => type === 'refusal'),
    )
    if (refusal)
      throw new StepFailure('refused', 'OpenAI refused the content of the request.', {
        billed: 'yes',
        code: 'content-refused',
      })
    const { input_tokens: all = 0, output_tokens: answered = 0, input_tokens_details: details } = response.usage ?? {}
    const cached = details?.cached_tokens ?? 0
    return {
      output: { text: response.output_text, ...turnOf(response, request) },
      files: [],
      usage: nonZero([
        { unit: 'input_token', quantity: all - cached },
        { unit: 'cached_input_token', quantity: cached },
        { unit: 'output_token', quantity: answered },
      ]),
    }
  },

  /** The API takes one picture a request, so that each is asked about by itself, and the text too. */
  async moderation(client, { model, request, files, signal, callId }) {
    const text = textOf(request.content ?? request.prompt)
    const pictures = Object.values(files).map((file) => ({
      type: 'image_url' as const,
      image_url: { url: dataUrl(file) },
    }))
    const parts = [...(text.trim() === '' ? [] : [{ type: 'text' as const, text }]), ...pictures]
    if (parts.length === 0) throw new StepFailure('invalid', 'There is neither text nor a picture to judge.')
    const verdicts: OpenAI.Moderation[] = []
    for (const [index, part] of parts.entries()) {
      const asked = { model: model.endpoint, input: [part] }
      const { results } = await client.moderations.create(asked, options(signal, `${callId}.${index + 1}`))
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
    }
  },

  async speech(client, { model, request, signal, callId }) {
    const { text, voice = 'alloy', format = 'wav', instructions } = (request.args ?? {}) as JsonObject
    const response = await client.audio.speech.create(
      {
        model: model.endpoint,
        input: textOf(text),
        voice: textOf(voice),
        response_format: format as 'wav',
        ...(typeof instructions === 'string' ? { instructions } : {}),
      },
      options(signal, callId),
    )
    const bytes = Buffer.from(await response.arrayBuffer())
    // The endpoint reports no usage: characters are the one unit that is known exactly.
    return {
      output: {},
      files: [{ name: 'speech', mimeType: `audio/${textOf(format) === 'mp3' ? 'mpeg' : textOf(format)}`, bytes }],
      usage: [{ unit: 'character', quantity: textOf(text).length }],
    }
  },
}

/** What is said so far: the prompt with its pictures, then an agent's turns: the model's own items, and the results. */
function conversationOf(request: JsonObject, files: Record<string, InputFile>) {
  const { tools = [], turns = [] } = request as Partial<AgentTurn>
  const prompt = textOf(request.prompt)
  const pictures = Object.values(files).map((file) => ({
    type: 'input_image',
    image_url: dataUrl(file),
    detail: 'auto',
  }))
  if (tools.length === 0 && pictures.length === 0) return { input: prompt }
  const first = { role: 'user', content: [{ type: 'input_text', text: prompt }, ...pictures] }
  const past = turns.flatMap(({ items, results }) => [
    ...items,
    ...results.map(({ id, output }) => ({ type: 'function_call_output', call_id: id, output })),
  ])
  if (tools.length === 0) return { input: [first] }
  const functions = tools.map(({ name, ...tool }) => ({
    type: 'function',
    name: functionName(name),
    ...tool,
    strict: false,
  }))
  return { input: [first, ...past], tools: functions }
}

function dataUrl({ record, bytes }: InputFile): string {
  return `data:${record.mimeType};base64,${Buffer.from(bytes).toString('base64')}`
}

/** What an agent needs of an answer: the calls, and the items to hand back; nothing for a request without tools. */
function turnOf({ output }: OpenAI.Responses.Response, request: JsonObject): JsonObject {
  const { tools = [] } = request as Partial<AgentTurn>
  if (tools.length === 0) return {}
  const calls = output.flatMap((item): ToolCall[] =>
    item.type === 'function_call'
      ? [{ id: item.call_id, name: toolName(item.name, tools), arguments: jsonOrNull(item.arguments) }]
      : [],
  )
  return { calls, items: output as unknown as JsonValue[] }
}

/** The API takes no dots in names. */
function functionName(tool: string): string {
  return tool.replaceAll('.', '_')
}

/** The tool behind a function's name; a name that was not offered stays as it is. */
function toolName(called: string, tools: OfferedTool[]): string {
  return tools.find(({ name }) => functionName(name) === called)?.name ?? called
}

function jsonOrNull(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue
  } catch {
    return null
  }
}

/** The SDK's own idempotencyKey option sends no header; the header itself is honoured. */
function options(signal: AbortSignal, callId: string) {
  return { signal, headers: { 'Idempotency-Key': callId } }
}

function imageUsage(usage: OpenAI.ImagesResponse['usage']): Usage[] {
  if (usage === undefined) return []
  const { text_tokens: text, image_tokens: image } = usage.input_tokens_details
  return nonZero([
    { unit: 'input_token', quantity: text },
    { unit: 'image_input_token', quantity: image },
    { unit: 'image_output_token', quantity: usage.output_tokens },
  ])
}

function nonZero(usages: Usage[]): Usage[] {
  return usages.filter(({ quantity }) => quantity > 0)
}

async function failureOf(error: unknown, signal: AbortSignal): Promise<StepFailure> {
  // By class: the SDK's errors carry no name of their own.
  const { APIConnectionError, APIConnectionTimeoutError } = await import('openai')
  const { status, code, headers } = error as { status?: number; code?: string | null; headers?: Headers }
  if (signal.aborted)
    return new StepFailure('timeout', 'The call to OpenAI was stopped.', { billed: 'unknown', cause: error })
  if (typeof status === 'number') {
    if (code === 'insufficient_quota')
      return new StepFailure('invalid', 'The OpenAI account has no credit left.', {
        cause: error,
        code: 'provider-rejected',
      })
    const refused = code === 'moderation_blocked' || code === 'content_policy_violation'
    return httpFailure('OpenAI', status, { retryAfter: headers?.get?.('retry-after') ?? null, refused, cause: error })
  }
  if (error instanceof APIConnectionTimeoutError) {
    return new StepFailure('timeout', 'OpenAI did not answer in time.', { billed: 'unknown', cause: error })
  }
  // A TypeError with a cause is fetch's own: the connection broke in the middle of the answer.
  const broke = error instanceof APIConnectionError || (error instanceof TypeError && error.cause !== undefined)
  if (broke) return connectionFailure('OpenAI', error)
  return new StepFailure('bad_output', 'OpenAI answered something that cannot be read.', {
    billed: 'unknown',
    cause: error,
  })
}
