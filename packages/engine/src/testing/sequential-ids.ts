// Ids that tests can foresee. Hides nothing: they look like ULIDs and sort by the order in which they were made.
import type { Ids } from '../ports.ts'

/** ULID-shaped ids that count from 1; `series` (one character 0-9, A-H) keeps several sources apart. */
export function createSequentialIds(series = '0'): Ids {
  let last = 0
  return {
    next() {
      last += 1
      return `0${series}${String(last).padStart(24, '0')}`
    },
  }
}
