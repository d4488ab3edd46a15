// What step kinds with a model share: their fields, and how a structured answer is read.
import { StepFailure } from '@fabrique/engine'
import { isJsonObject, type JsonObject, type JsonValue } from '@fabrique/schema'
import { z } from 'zod'

/** A model by name, or a role of the template's `providers`. Which of the two is right is a publish guard. */
export const ModelChoice = { model: z.string().max(200).optional(), provider: z.string().max(64).optional() }

export const Params = z.custom<JsonObject>(isJsonObject, 'must be an object').optional()

export const OutputSchema = z.custom<JsonObject>(isJsonObject, 'must be a JSON Schema').optional()

/** The value of a model's structured answer. Throws `bad_output` where it is not JSON. */
export function parsedAnswer(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue
  } catch (error) {
    throw new StepFailure('bad_output', 'The model answered something that is not JSON.', {
      billed: 'yes',
      cause: error,
    })
  }
}
