// What the record can hold: text that PostgreSQL takes, and values that are not nested without end.
// Hides the characters; whatever comes from outside goes through here before a run keeps it.
import { StepFailure } from '../failure.ts'

/** Deeper than any answer that a schema describes; PostgreSQL and JSON.stringify give up at some thousands. */
const DEPTH_MAX = 500

/**
 * The value as it can be stored: NUL and halves of surrogate pairs become U+FFFD. The same value where there is nothing to
 * change. Throws an `unstorable-answer` failure, which is not tried again, for what is nested deeper than 500 levels.
 */
export function storable<Value>(value: Value): Value {
  return storableAt(value, DEPTH_MAX) as Value
}

/** Thrown where the record cannot hold what a run has made. */
export function unstorable(why: string): StepFailure {
  return new StepFailure('invalid', `The answer cannot be stored: ${why}.`, {
    billed: 'yes',
    code: 'unstorable-answer',
  })
}

function storableAt(value: unknown, levels: number): unknown {
  if (typeof value === 'string') {
    return value.includes('\0') || !value.isWellFormed() ? value.toWellFormed().replaceAll('\0', '\u{FFFD}') : value
  }
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  if (levels === 0) throw unstorable(`it is nested deeper than ${DEPTH_MAX} levels`)
  if (Array.isArray(value)) {
    const items = value.map((item) => storableAt(item, levels - 1))
    return items.some((item, index) => item !== value[index]) ? items : value
  }
  const entries = Object.entries(value)
  const changed = entries.map(([key, one]) => [storableAt(key, levels), storableAt(one, levels - 1)] as const)
  const isSame = changed.every(([key, one], index) => key === entries[index]?.[0] && one === entries[index]?.[1])
  return isSame ? value : Object.fromEntries(changed)
}
