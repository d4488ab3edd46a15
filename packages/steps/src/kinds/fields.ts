// The fields that step kinds with a model share.
import { isJsonObject, type JsonObject } from '@fabrique/schema'
import { z } from 'zod'

/** A model by name, or a role of the template's `providers`. Which of the two is right is a publish guard. */
export const ModelChoice = { model: z.string().max(200).optional(), provider: z.string().max(64).optional() }

export const Params = z.custom<JsonObject>(isJsonObject, 'must be an object').optional()
