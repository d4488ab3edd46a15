// What a zod schema finds wrong with a document, as the problems that callers are shown.
// Hides zod's own words: an unknown key is named at its place with the nearest one, the rest says what must be.
import { z } from 'zod'
import { nearestKey } from './document.ts'
import { clip } from './document-rules.ts'
import { type Problem, PROBLEMS_MAX } from './error.ts'
import { pointerTo } from './json-schema/pointer.ts'

/** Longer keys are shown by their beginning. */
const KEY_SHOWN_MAX = 120

/** The problems of a parse by the schema that has failed, one per unknown key, the first hundred; `what` is a key in words. */
export function problemsOf(error: z.ZodError, schema: z.ZodType, what = 'a key'): Problem[] {
  const problems: Problem[] = []
  for (const issue of error.issues) {
    const { path } = issue
    const room = PROBLEMS_MAX - problems.length
    if (room === 0) break
    if (issue.code !== 'unrecognized_keys') {
      problems.push({ pointer: pointerTo(...path), detail: inWords(issue), code: 'invalid' })
      continue
    }
    const keys = keysOf(schema, path)
    for (const key of issue.keys.slice(0, room)) {
      const near = nearestKey(key, keys)
      const remedy = near === undefined ? `the keys are ${keys.join(', ')}` : `did you mean "${near}"?`
      problems.push({
        pointer: pointerTo(...path, key),
        detail: `"${clip(key, KEY_SHOWN_MAX)}" is not ${what} here; ${remedy}`,
        code: 'unknown-key',
      })
    }
  }
  return problems
}

/** What must be, for an issue that zod words itself; a message of ours stays as it is. */
export function inWords(issue: z.core.$ZodIssue): string {
  if (!/^(Invalid|Too )/.test(issue.message)) return issue.message
  switch (issue.code) {
    case 'invalid_type':
      return issue.message.endsWith('received undefined') ? 'is required' : `must be ${withArticle(issue.expected)}`
    case 'invalid_value':
      return `must be ${issue.values.length === 1 ? '' : 'one of '}${issue.values.map(String).join(', ')}`
    case 'too_big':
      return `must ${bound(issue.origin, 'at most', Number(issue.maximum))}`
    case 'too_small':
      return Number(issue.minimum) === 1 && issue.origin !== 'number' && issue.origin !== 'int'
        ? 'must not be empty'
        : `must ${bound(issue.origin, 'at least', Number(issue.minimum))}`
    default:
      return issue.message
  }
}

function bound(origin: string, how: string, limit: number): string {
  if (origin === 'string') return `have ${how} ${limit} characters`
  return origin === 'array' ? `have ${how} ${limit} items` : `be ${how} ${limit}`
}

function withArticle(type: string): string {
  if (type === 'int') return 'a whole number'
  return `${/^[aeiou]/.test(type) ? 'an' : 'a'} ${type === 'record' ? 'object' : type}`
}

/** The keys that a schema has at a path, for the remedy of an unknown one; `$schema` is for editors. */
function keysOf(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: unknown = schema
  for (const key of [...path, null]) {
    while (at instanceof z.ZodOptional || at instanceof z.ZodDefault || at instanceof z.ZodNullable) at = at.unwrap()
    if (at instanceof z.ZodArray && key !== null) at = at.element
    else if (!(at instanceof z.ZodObject)) return []
    else if (key === null) return Object.keys(at.shape).filter((name) => name !== '$schema')
    else at = (at.shape as Record<PropertyKey, unknown>)[key]
  }
  return []
}
