// What requests to OpenAI are expected to use: tokens of texts and thoughts, of pictures by their maker's formula, characters.
// Hides how much an effort to reason comes to, and what an agent's turns add up to.
import type { Model, Outlook } from '@fabrique/engine'
import { isJsonObject, objectOf, type JsonObject, type JsonValue, textOf, type Usage } from '@fabrique/schema'
import { expectedSpeech } from './adapter.ts'
import { textTokens } from './openai-wire.ts'

/**
 * Tokens of reasoning for each token of the answer: reasoning is 10, 20, 50, 80 and 95 % of what is written, as routers
 * that translate efforts into budgets take them (https://openrouter.ai/docs/use-cases/reasoning-tokens).
 */
const REASONING: Record<string, number> = { minimal: 1 / 9, low: 1 / 4, medium: 1, high: 4, xhigh: 19, max: 19 }
/** Reasoning is counted in blocks of so many tokens, and is at least one. */
const REASONING_BLOCK = 64
const ANSWER_TOKENS_MAX = 4_000
/** How far the tokens of a prompt are from what its characters say: texts of other languages have up to twice as many. */
const PROMPT = { low: 0.75, expected: 1, high: 2 }
/** Of the turns that an agent may take. */
const TURNS = 3
/** Around a schema; its characters are denser than prose. */
const SCHEMA_TOKENS = 9
const SCHEMA_CHARACTERS_PER_TOKEN = 3.7
const PICTURE_TOKENS = 1_000
const SEARCHES_MAX = 5
/** By quality, how many patches the longer edge of a picture of gpt-image-2 has. */
const PATCHES: Record<string, number> = { low: 16, medium: 48, high: 96 }

type Uses = (model: Model, request: JsonObject, outlook: Outlook) => Usage[]

/** By capability. */
export const USES = { text, image, speech } satisfies Record<string, Uses>

function text({ usual, pricedIn }: Model, request: JsonObject, { at, answer, files }: Outlook): Usage[] {
  const params = paramsOf(request, usual)
  const { reasoning, service_tier: tier, tools, max_output_tokens: limit = ANSWER_TOKENS_MAX } = params
  const most = Number(limit)
  const effort = isJsonObject(reasoning) ? reasoning.effort : usual?.reasoning_effort
  const thoughts = Math.max(
    (REASONING[textOf(effort)] ?? 0) * textTokens(answer),
    textOf(effort) in REASONING ? REASONING_BLOCK : 0,
  )
  const written = { low: textTokens(answer), expected: textTokens(answer) + thoughts, high: most }[at]
  // With `turns` it is one of an agent's calls that is asked about; with a limit alone, all of them.
  const turns = request.turns === undefined ? Number(request.maxTurns ?? 1) : 1
  const times = { low: 1, expected: Math.min(turns, TURNS), high: turns }[at]
  const said = request.turns === undefined ? '' : JSON.stringify([request.tools, request.turns])
  const told = [request.prompt, request.system, said].reduce<number>((sum, one) => sum + textTokens(one), 0)
  const one = told + schemaTokens(request.outputSchema) + files.length * PICTURE_TOKENS
  const asked = Math.ceil(one * PROMPT[at])
  const output = Math.ceil(Math.min(written, most))
  // Each turn reads what the turns before have said.
  const prompt = asked * times + Math.ceil((output * times * (times - 1)) / 2)
  // Answers, and so price lists, call the fast tier by its older name.
  const served = tier === 'fast' ? 'priority' : tier
  const facts = { prompt_tokens: asked, ...(typeof served === 'string' ? { service_tier: served } : {}) }
  const searches =
    Array.isArray(tools) && tools.some((tool) => isJsonObject(tool) && textOf(tool.type).startsWith('web_search'))
  const found = { low: 0, expected: 1, high: Number(params.max_tool_calls ?? SEARCHES_MAX) }[at]
  return [
    { unit: 'input_token', quantity: prompt, facts },
    { unit: 'output_token', quantity: output * times, facts },
    ...(searches && pricedIn?.includes('web_search_call')
      ? [{ unit: 'web_search_call' as const, quantity: found * times }]
      : []),
  ]
}

/** A schema is part of the prompt, without what is the same in each (measured in openai/openai-cookbook#2140). */
function schemaTokens(schema: JsonValue | undefined): number {
  if (!isJsonObject(schema)) return 0
  const told = JSON.stringify(schema, (key, value: unknown) =>
    key === 'required' || key === 'additionalProperties' || key === '$schema' ? undefined : value,
  )
  return Math.ceil(told.length / SCHEMA_CHARACTERS_PER_TOKEN) + SCHEMA_TOKENS
}

function image({ endpoint, pricedIn, usual }: Model, request: JsonObject, { at }: Outlook): Usage[] {
  const { n = 1, quality = 'auto', size = 'auto' } = paramsOf(request, usual)
  const [count, asked] = [Number(n), Math.ceil(textTokens(request.prompt) * PROMPT[at])]
  const prompt = { unit: 'input_token' as const, quantity: asked }
  const tokens = endpoint.startsWith('gpt-image-2') ? pictureTokens(textOf(quality), textOf(size), at) : undefined
  if (tokens !== undefined && pricedIn?.includes('image_output_token'))
    return [{ unit: 'image_output_token', quantity: tokens * count }, prompt]
  return [{ unit: 'image', quantity: count, facts: { quality: textOf(quality), size: textOf(size) } }, prompt]
}

/** By the formula of the calculator that OpenAI publishes; what is left to the model is dear, or cheap at its lowest. */
function pictureTokens(quality: string, size: string, at: Outlook['at']): number | undefined {
  const edge = PATCHES[quality === 'auto' ? (at === 'low' ? 'low' : 'high') : quality]
  const [, width, height] = /^(\d{2,5})x(\d{2,5})$/.exec(size === 'auto' ? '1024x1024' : size) ?? []
  if (edge === undefined || width === undefined) return undefined
  const [short = 0, long = 0] = [Number(width), Number(height)].sort((a, b) => a - b)
  return Math.ceil((edge * Math.round((edge * short) / long) * (2_000_000 + short * long)) / 4_000_000)
}

function speech({ usual }: Model, request: JsonObject): Usage[] {
  return expectedSpeech(request, usual)
}

/** What the request says, over what the price list has for requests that say nothing. */
function paramsOf({ params }: JsonObject, usual?: JsonObject): JsonObject {
  return { ...usual, ...objectOf(params) }
}
