// `agent`: a language model that works in turns, by the local tools that its step lists and no others.
// Hides the loop: every answer and every tool result is kept once it is there, so a later execution goes on behind it.
import { type StepContext, StepFailure, type StepKind, type Tool } from '@fabrique/engine'
import { isJsonObject, type JsonObject, type JsonValue, pointerTo, textOf } from '@fabrique/schema'
import { z } from 'zod'
import { answerReader, ModelChoice, OutputSchema, Params } from './fields.ts'

const TURNS_DEFAULT = 8
const TURNS_MAX = 50
/** Calls beyond these in one turn are answered as errors: a model that asks for more has lost its way. */
const CALLS_PER_TURN_MAX = 16
/** Of a tool's result as JSON text; the model pays for each byte again in every turn that follows. */
const RESULT_BYTES_MAX = 64 * 1024
const ISSUES_MAX = 5

/** A tool as the model is told of it; `parameters` is a JSON Schema. */
export type OfferedTool = { name: string; description: string; parameters: JsonObject }

/** What the model wants done. `arguments` is null where the provider handed over something that is not JSON. */
export type ToolCall = { id: string; name: string; arguments: JsonValue }

/** A turn that is over: the provider's own items, to be handed back untouched, and a JSON text for each call in them. */
export type PastTurn = { items: JsonValue[]; results: { id: string; output: string }[] }

/**
 * What a text model is asked for each turn, beside `prompt`, `system`, `params` and `outputSchema`.
 * Its answer's output is `{text, calls: ToolCall[], items}`; without calls, `text` is the agent's answer.
 */
export type AgentTurn = { tools: OfferedTool[]; turns: PastTurn[]; maxTurns: number }

type Answered = { text: string; calls: ToolCall[]; items: JsonValue[]; usage: Record<string, number> }

/** `{text, json?, turns, usage}`: the last answer, how many turns it took, and what all of them used. */
export const agent: StepKind = {
  kind: 'agent',
  fields: z.strictObject({
    ...ModelChoice,
    promptTemplate: z.string().min(1).max(32_768),
    system: z.string().max(32_768).optional(),
    params: Params,
    tools: z
      .array(z.string().min(1).max(200))
      .min(1)
      .max(16)
      .refine((names) => new Set(names).size === names.length, 'must name each tool once'),
    maxTurns: z.int().min(1).max(TURNS_MAX).default(TURNS_DEFAULT),
    outputSchema: OutputSchema,
  }),
  renders: [
    { field: 'promptTemplate', as: 'text' },
    { field: 'system', as: 'text' },
    { field: 'params', as: 'value' },
  ],
  outputKeys: (step) => ['text', ...(step.outputSchema === undefined ? [] : ['json']), 'turns', 'usage'],
  capability: () => ['text'],
  expects: (fields) => ({
    prompt: textOf(fields.promptTemplate),
    system: textOf(fields.system),
    params: (fields.params ?? {}) as JsonObject,
    ...(isJsonObject(fields.outputSchema) && { outputSchema: fields.outputSchema }),
    tools: (fields.tools ?? []) as JsonValue,
    maxTurns: turnsAllowed(fields.maxTurns),
  }),
  async run(fields, context) {
    const tools = openTools(fields.tools, context)
    const read = await answerReader(fields.outputSchema, context)
    const maxTurns = turnsAllowed(fields.maxTurns)
    const turns: PastTurn[] = []
    const usage: Record<string, number> = {}
    const request = {
      prompt: textOf(fields.promptTemplate),
      system: fields.system ?? null,
      params: fields.params ?? {},
      ...(fields.outputSchema === undefined ? {} : { outputSchema: fields.outputSchema }),
      tools: tools.map(offered),
      maxTurns,
    }
    for (let turn = 1; turn <= maxTurns; turn += 1) {
      context.signal.throwIfAborted()
      const { text, calls, items, ...used } = (await context.once(`turn-${turn}`, () =>
        takeTurn({ ...request, turns: [...turns] }, turn, read, context),
      )) as Answered
      for (const [unit, quantity] of Object.entries(used.usage)) usage[unit] = (usage[unit] ?? 0) + quantity
      if (calls.length === 0) {
        return { text, ...(read === undefined ? {} : { json: await read(text) }), turns: turn, usage }
      }
      // Nobody would read the results of the last turn.
      if (turn < maxTurns) turns.push({ items, results: await answerCalls(calls, turn, tools, context) })
    }
    throw new StepFailure(
      'bad_output',
      `The agent had no answer after ${maxTurns} turns: raise the step's maxTurns, or ask it for less.`,
      { billed: 'yes', code: 'agent-turns' },
    )
  },
}

/** Within the limits also for a draft, which nobody has checked. */
function turnsAllowed(maxTurns: unknown): number {
  return typeof maxTurns === 'number' ? Math.min(Math.max(Math.trunc(maxTurns), 1), TURNS_MAX) : TURNS_DEFAULT
}

function openTools(names: JsonValue | undefined, context: StepContext): Tool[] {
  return (Array.isArray(names) ? names : []).map((name) => {
    const tool = context.tool(textOf(name))
    if (tool === undefined) throw new StepFailure('invalid', `This worker does not know the tool "${textOf(name)}".`)
    return tool
  })
}

function offered({ name, description, args }: Tool): OfferedTool {
  const { $schema: _, ...parameters } = z.toJSONSchema(args, { io: 'input', unrepresentable: 'any' })
  const key = args instanceof z.ZodDiscriminatedUnion ? args.def.discriminator : undefined
  return { name, description, parameters: asOneObject(parameters as JsonObject, key) }
}

/**
 * Providers take one object, and no choice at its top: one of several that differ by `key` becomes all members of all,
 * and a member that some lack depends on the key.
 */
function asOneObject({ oneOf, ...schema }: JsonObject, key: string | undefined): JsonObject {
  if (key === undefined || !Array.isArray(oneOf)) return schema
  const variants = oneOf as { properties: Record<string, JsonObject>; required: string[] }[]
  const names = [...new Set(variants.flatMap(({ properties }) => Object.keys(properties)))].filter((one) => one !== key)
  const valuesOf = (among: typeof variants) => among.map(({ properties }) => properties[key]?.const ?? null)
  const properties: JsonObject = { [key]: { type: 'string', enum: valuesOf(variants) } }
  const dependentSchemas: JsonObject = {}
  for (const name of names) {
    const having = variants.filter((one) => name in one.properties)
    const members = new Map(having.map((one) => [JSON.stringify(one.properties[name]), one.properties[name] ?? {}]))
    const [first = {}, ...more] = members.values()
    properties[name] = more.length === 0 ? first : { anyOf: [first, ...more] }
    if (having.length < variants.length) dependentSchemas[name] = { properties: { [key]: { enum: valuesOf(having) } } }
  }
  const required = names.filter((name) => variants.every((one) => one.required.includes(name)))
  return { type: 'object', properties, required: [key, ...required], dependentSchemas, additionalProperties: false }
}

/** One answer of the model. A last answer that is not what was asked for fails here, so that it is not kept. */
async function takeTurn(
  request: AgentTurn & JsonObject,
  turn: number,
  read: Awaited<ReturnType<typeof answerReader>>,
  context: StepContext,
): Promise<Answered> {
  const answer = await context.call(request)
  const { calls = [], items = [] } = answer.output as Partial<Answered>
  const text = textOf(answer.output.text)
  if (calls.length === 0) await read?.(text)
  const known = request.tools.map(({ name }) => name).filter((name) => calls.some((call) => call.name === name))
  context.progress({ turn, max_turns: request.maxTurns, tools: known })
  return { text, calls, items, usage: Object.fromEntries(answer.usage.map(({ unit, quantity }) => [unit, quantity])) }
}

/** Every call gets an answer, in order: providers refuse a conversation in which one is left open. */
async function answerCalls(
  calls: ToolCall[],
  turn: number,
  tools: Tool[],
  context: StepContext,
): Promise<PastTurn['results']> {
  const results: PastTurn['results'] = []
  for (const [index, call] of calls.entries()) {
    context.signal.throwIfAborted()
    const output =
      index < CALLS_PER_TURN_MAX
        ? textOf(await context.once(`turn-${turn}/${index}`, () => perform(call, tools, context)))
        : complaint(`Not done: at most ${CALLS_PER_TURN_MAX} calls a turn are.`)
    results.push({ id: call.id, output })
  }
  return results
}

/** A call's result as JSON text. What the model can mend is answered to it; any other failure is the step's. */
async function perform(call: ToolCall, tools: Tool[], context: StepContext): Promise<string> {
  const tool = tools.find(({ name }) => name === call.name)
  if (tool === undefined) {
    const names = tools.map(({ name }) => name).join(', ')
    return complaint(`There is no tool "${call.name.slice(0, 100)}"; there is: ${names}.`)
  }
  if (call.arguments === null) return complaint(`The arguments of ${tool.name} are not JSON.`)
  const parsed = tool.args.safeParse(call.arguments)
  if (!parsed.success) {
    const issues = parsed.error.issues.slice(0, ISSUES_MAX)
    const places = issues.map(({ path, message }) => `at "${pointerTo(...path)}": ${message}`)
    return complaint(`The arguments of ${tool.name} are not right ${places.join('; ')}.`)
  }
  try {
    return bounded(JSON.stringify(await tool.run(parsed.data as JsonObject, context)))
  } catch (error) {
    if (StepFailure.is(error) && error.failureClass === 'invalid') return complaint(error.message)
    throw error
  }
}

function complaint(error: string): string {
  return bounded(JSON.stringify({ error }))
}

function bounded(text: string): string {
  const bytes = Buffer.from(text)
  if (bytes.byteLength <= RESULT_BYTES_MAX) return text
  const note = `… [cut: the first part of ${bytes.byteLength} bytes]`
  const room = RESULT_BYTES_MAX - Buffer.byteLength(note)
  // As a stream, so that a character cut in two is left out.
  return new TextDecoder().decode(bytes.subarray(0, room), { stream: true }) + note
}
