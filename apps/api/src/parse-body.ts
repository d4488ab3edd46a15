// A parsed document against a zod schema, with every problem named and located.
import { FabriqueError, type ParsedDocument, problemsOf } from '@fabrique/schema'
import type { z } from 'zod'

/** The document as the schema's type; throws `validation-failed` with all problems at once. */
export function parseBody<Schema extends z.ZodType>(schema: Schema, document: ParsedDocument): z.infer<Schema> {
  const parsed = schema.safeParse(document.value)
  if (parsed.success) return parsed.data
  const problems = problemsOf(parsed.error, schema)
  throw new FabriqueError('validation-failed', 'The document is not valid.', {
    problems: problems.map((problem) => ({ ...problem, ...document.locate(problem.pointer) })),
  })
}
