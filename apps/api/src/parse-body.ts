// A parsed document against a zod schema, with every problem named and located.
import { FabriqueError, isJsonObject, nearestKey, type ParsedDocument, pointerTo, type Problem } from '@fabrique/schema'
import type { z } from 'zod'

/** The document as the schema's type; throws `validation-failed` with all problems at once. */
export function parseBody<Schema extends z.ZodType>(schema: Schema, document: ParsedDocument): z.infer<Schema> {
  const parsed = schema.safeParse(document.value)
  if (parsed.success) return parsed.data
  const keys = 'shape' in schema && isJsonObject(schema.shape) ? Object.keys(schema.shape) : []
  const problems = parsed.error.issues.flatMap((issue): Problem[] => {
    const path = issue.path as (string | number)[]
    if (issue.code !== 'unrecognized_keys')
      return [{ pointer: pointerTo(...path), detail: issue.message, code: 'invalid' }]
    return issue.keys.map((key) => {
      const near = nearestKey(key, keys)
      const remedy = near === undefined ? `the keys are ${keys.join(', ')}` : `did you mean "${near}"?`
      return { pointer: pointerTo(...path, key), detail: `"${key}" is not a key here; ${remedy}`, code: 'unknown-key' }
    })
  })
  throw new FabriqueError('validation-failed', 'The document is not valid.', {
    problems: problems.map((problem) => ({ ...problem, ...document.locate(problem.pointer) })),
  })
}
