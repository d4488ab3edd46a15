// What step kinds with a model share: their fields, and how a structured answer is read.
import { type ProducedFile, type StepContext, StepFailure } from '@fabrique/engine'
import { isJsonObject, type JsonObject, type JsonValue } from '@fabrique/schema'
import { z } from 'zod'

/** A model by name, or a role of the template's `providers`. Which of the two is right is a publish guard. */
export const ModelChoice = { model: z.string().max(200).optional(), provider: z.string().max(64).optional() }

export const Params = z.custom<JsonObject>(isJsonObject, 'must be an object').optional()

export const OutputSchema = z.custom<JsonObject>(isJsonObject, 'must be a JSON Schema').optional()

/** Stores the files of an answer, also those behind one that is not what it must be, which fails it in the end. */
export async function storeAll(files: readonly ProducedFile[], context: Pick<StepContext, 'store'>) {
  const artifacts: JsonObject[] = []
  let failure: unknown
  for (const file of files) {
    try {
      artifacts.push(await context.store(file))
    } catch (error) {
      if (!StepFailure.is(error)) throw error
      failure ??= error
    }
  }
  if (failure !== undefined) throw failure
  return artifacts
}

/** Reads a model's structured answer by the step's schema; fails as `bad_output` for what is not JSON or does not fit. */
export async function answerReader(
  schema: JsonValue | undefined,
  context: Pick<StepContext, 'schema'>,
): Promise<((text: string) => Promise<JsonValue>) | undefined> {
  if (!isJsonObject(schema)) return undefined
  const fit = await context.schema(schema)
  return async (text) => await fit(parsed(text))
}

/** What stands in the first fenced block: servers without structured output answer JSON so, often with words around it. */
function unfenced(text: string): string {
  const lines = text.replace(/^\uFEFF/, '').split('\n')
  const first = lines.findIndex((line) => line.trimStart().startsWith('```'))
  const last = lines.findIndex((line, index) => index > first && line.trim() === '```')
  return first === -1 || last === -1 ? text : lines.slice(first + 1, last).join('\n')
}

/** From the first brace to the last: all but the words, and the thoughts, that stand around an object. */
function braced(text: string): string {
  const begin = Math.max(text.lastIndexOf('</think>'), 0)
  return text.slice(text.indexOf('{', begin), text.lastIndexOf('}') + 1)
}

function jsonOf(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text) as JsonValue
  } catch {
    return undefined
  }
}

function parsed(text: string): JsonValue {
  const value = jsonOf(text) ?? jsonOf(unfenced(text)) ?? jsonOf(braced(text))
  // Without the cause, whose message has a piece of the answer.
  if (value === undefined)
    throw new StepFailure('bad_output', 'The model answered something that is not JSON.', { billed: 'yes' })
  return value
}
