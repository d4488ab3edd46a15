// OpenAI's Responses: what a model is asked, and what is made of every state that an answer can have.
// Hides the wire format of conversations, and servers that speak it only in part.
import { setTimeout as delay } from 'node:timers/promises'
import {
  type CallFacts,
  type InputFile,
  isForGood,
  type Model,
  type ProviderAnswer,
  type ProviderRequest,
  StepFailure,
} from '@fabrique/engine'
import {
  isJsonObject,
  objectOf,
  type JsonObject,
  type JsonValue,
  textOf,
  type Unit,
  type Usage,
} from '@fabrique/schema'
import type OpenAI from 'openai'
import type { AgentTurn, OfferedTool, ToolCall } from '../kinds/agent.ts'
import { causeOf } from './causes.ts'
import { amount, askedTexts, errorInside, options, reportedUsage, unreadable } from './openai-wire.ts'
import { dataUrl } from './adapter.ts'
import { isStrictSchema } from './strict-schema.ts'

const APART_IF_PRICED: readonly Unit[] = ['reasoning_token', 'image_input_token', 'image_output_token']
const POLL_MS = 250
const POLL_MS_MAX = 10_000

/** Asks for an answer and waits for it, where the provider makes it in the background too. */
export async function respond(client: OpenAI, request: ProviderRequest): Promise<ProviderAnswer> {
  const { resumeId, signal } = request
  let response = await (resumeId === null
    ? client.responses.create(bodyOf(request), options(request))
    : client.responses.retrieve(resumeId, {}, options(request)))
  if (isUnderWay(response) && resumeId === null) await request.onRequestId(response.id)
  for (let wait = POLL_MS; isUnderWay(response); wait = Math.min(wait * 1.5, POLL_MS_MAX)) {
    const { id } = response
    await delay(wait, undefined, { signal }).catch(async (error: unknown) => {
      if (isForGood(signal)) await client.responses.cancel(id).catch(() => {})
      throw error
    })
    response = await client.responses.retrieve(id, {}, options(request))
  }
  return answerOf(response, request)
}

function isUnderWay(response: OpenAI.Responses.Response): boolean {
  return (response.status === 'queued' || response.status === 'in_progress') && typeof response.id === 'string'
}

function bodyOf({ model, request, files }: ProviderRequest): OpenAI.Responses.ResponseCreateParamsNonStreaming {
  const params = objectOf(request.params)
  const schema = request.outputSchema
  const format = isJsonObject(schema)
    ? { format: { type: 'json_schema', name: 'output', schema, strict: isStrictSchema(schema) } }
    : {}
  const text = { ...objectOf(params.text), ...format }
  return {
    ...params,
    model: model.endpoint,
    ...conversationOf(request, files),
    ...(request.system === null || request.system === undefined ? {} : { instructions: textOf(request.system) }),
    ...(Object.keys(text).length === 0 ? {} : { text }),
    stream: false,
  } as OpenAI.Responses.ResponseCreateParamsNonStreaming
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

/** An answer, as its status says; whatever it is, its usage is kept. */
function answerOf(response: OpenAI.Responses.Response, request: ProviderRequest): ProviderAnswer {
  if (!isJsonObject(response)) throw unreadable()
  const { status, incomplete_details: incomplete } = response as Partial<OpenAI.Responses.Response>
  const facts = factsOf(response, request.model)
  const isBilled = facts.usage.length > 0 ? ('yes' as const) : ('no' as const)
  const error = errorInside(response) ?? (status === 'failed' || status === 'cancelled' ? { code: status } : undefined)
  if (error !== undefined) {
    const { code, type, message, param } = error
    const told = { provider: 'OpenAI', code, type, message, param, requestId: response.id }
    throw causeOf(told, askedTexts(request), { isFinal: true, billed: isBilled, facts })
  }
  if (status === 'incomplete') throw cutOff(textOf(incomplete?.reason), request, facts)
  if (!Array.isArray(response.output)) throw unreadable(facts)
  const refusal = contentOf(response).find(({ type }) => type === 'refusal')
  if (refusal !== undefined) {
    throw new StepFailure('refused', 'OpenAI refused the content of the request. Change what is asked for.', {
      billed: 'yes',
      code: 'content-refused',
      facts,
    })
  }
  const turn = turnOf(response, request.request)
  const text = contentOf(response)
    .map((part) => ('text' in part && typeof part.text === 'string' ? part.text : ''))
    .join('')
  if (text === '' && !(Array.isArray(turn.calls) && turn.calls.length > 0)) {
    throw new StepFailure('bad_output', 'OpenAI answered without a word.', { billed: 'yes', facts })
  }
  return { output: { text, ...turn }, files: [], ...facts }
}

function cutOff(reason: string, { request }: ProviderRequest, facts: CallFacts): StepFailure {
  if (reason === 'content_filter') {
    return new StepFailure('refused', 'OpenAI stopped the answer for its content. Change what is asked for.', {
      billed: 'yes',
      code: 'content-refused',
      facts,
    })
  }
  const limit = isJsonObject(request.params) ? textOf(request.params.max_output_tokens) : ''
  const why =
    reason === 'max_output_tokens'
      ? `it reached max_output_tokens${limit === '' ? '' : ` (${limit})`}; allow more, or ask for less`
      : `it says "${reason.slice(0, 100)}"`
  // At the same limit it would be cut off again, and paid for again.
  return new StepFailure('invalid', `OpenAI stopped before the answer was complete: ${why}.`, {
    billed: 'yes',
    code: 'output-incomplete',
    facts,
  })
}

/** The parts of what the model says. Where it marks phases, only the final answer is meant for the reader. */
function contentOf({ output }: OpenAI.Responses.Response) {
  const messages = output.filter((item) => item.type === 'message')
  const final = messages.filter(({ phase }) => phase === 'final_answer')
  return (final.length > 0 ? final : messages).flatMap(({ content }) => (Array.isArray(content) ? content : []))
}

function factsOf(response: OpenAI.Responses.Response, { pricedIn = [] }: Model): CallFacts {
  const { id, model, service_tier: tier, usage, output } = response as Partial<OpenAI.Responses.Response>
  const items = Array.isArray(output) ? output : []
  const lookups = pricedIn.includes('file_search_call') ? items.filter(({ type }) => type === 'file_search_call') : []
  const tokens = tokensOf(usage, pricedIn)
  return {
    usage:
      tokens.length === 0
        ? []
        : [
            ...tokens,
            ...amount('web_search_call', items.filter(isSearch).length),
            ...amount('file_search_call', lookups.length),
          ],
    ...(typeof model === 'string' ? { servedModel: model.slice(0, 200) } : {}),
    ...(typeof tier === 'string' ? { tier: tier.slice(0, 40) } : {}),
    ...(typeof id === 'string' ? { requestId: id.slice(0, 200) } : {}),
    ...reportedUsage(usage),
  }
}

/** Whether an item is a search of the web, which is charged, and not a look at a page that one found, which is not. */
function isSearch(item: OpenAI.Responses.ResponseOutputItem): boolean {
  return item.type === 'web_search_call' && (item.action?.type ?? 'search') === 'search'
}

/**
 * Tokens by kind; none where the usage is not whole, in the spelling of Chat Completions too. Reasoning and pictures are
 * told apart where they have a price of their own: else they are charged, and stand on invoices, with the rest.
 */
function tokensOf(usage: unknown, pricedIn: readonly Unit[]): Usage[] {
  if (!isJsonObject(usage)) return []
  const all = usage.input_tokens ?? usage.prompt_tokens
  const answered = usage.output_tokens ?? usage.completion_tokens
  // Servers that do not count say 0 of both.
  if (typeof all !== 'number' || typeof answered !== 'number' || (all === 0 && answered === 0)) return []
  const facts = { prompt_tokens: all }
  const kinds = (total: number, rest: Unit, details: JsonObject, names: Record<string, Unit>): Usage[] => {
    const apart = Object.entries(names).flatMap(([name, unit]) => {
      const value = details[name]
      const isOwn = !APART_IF_PRICED.includes(unit) || pricedIn.includes(unit)
      return isOwn && typeof value === 'number' && value <= total ? amount(unit, value, facts) : []
    })
    const left = apart.reduce((sum, { quantity }) => sum - quantity, total)
    return [{ unit: rest, quantity: left, facts }, ...apart]
  }
  return [
    ...kinds(all, 'input_token', objectOf(usage.input_tokens_details ?? usage.prompt_tokens_details), {
      cached_tokens: 'cached_input_token',
      cache_write_tokens: 'cache_write_input_token',
      audio_tokens: 'audio_input_token',
      image_tokens: 'image_input_token',
    }),
    ...kinds(answered, 'output_token', objectOf(usage.output_tokens_details ?? usage.completion_tokens_details), {
      reasoning_tokens: 'reasoning_token',
      audio_tokens: 'audio_output_token',
      image_tokens: 'image_output_token',
    }),
  ]
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
