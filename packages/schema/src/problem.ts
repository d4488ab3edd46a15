// What a zod schema finds wrong with a document, as the problems that callers are shown.
// Hides zod's words for an unknown key: its place is the key itself, its remedy the nearest one that exists.
import type { z } from 'zod'
import { nearestKey } from './document.ts'
import type { Problem } from './error.ts'
import { pointerTo } from './json.ts'

/** Every problem of a failed parse, one per unknown key. `keysAt` names the keys at a path, `what` a key in words. */
export function problemsOf(
  error: z.ZodError,
  keysAt: (path: readonly PropertyKey[]) => readonly string[],
  what = 'a key',
): Problem[] {
  return error.issues.flatMap((issue): Problem[] => {
    const { path } = issue
    if (issue.code !== 'unrecognized_keys') {
      return [{ pointer: pointerTo(...path), detail: issue.message, code: 'invalid' }]
    }
    const keys = keysAt(path)
    return issue.keys.map((key) => {
      const near = nearestKey(key, keys)
      const remedy = near === undefined ? `the keys are ${keys.join(', ')}` : `did you mean "${near}"?`
      return {
        pointer: pointerTo(...path, key),
        detail: `"${key}" is not ${what} here; ${remedy}`,
        code: 'unknown-key',
      }
    })
  })
}
