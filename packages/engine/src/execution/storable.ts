// What the record can hold: JSON that is not nested without end, and columns of text that PostgreSQL takes.
// Hides the characters. JSON has an escape for each of them, so that outputs stay as they were made.
import { StepFailure } from '../failure.ts'

/** Deeper than any answer that a schema describes; PostgreSQL and JSON.stringify give up at some thousands. */
const DEPTH_MAX = 500

/**
 * The value, which can be kept as JSON. Throws an `unstorable-answer` failure, which is not tried again, where it is nested
 * deeper than 500 levels.
 */
export function storable<Value>(value: Value): Value {
  measure(value, DEPTH_MAX)
  return value
}

/**
 * What a run writes, with texts that columns can hold: those of the rows themselves have U+FFFD for NUL and for halves of
 * surrogate pairs. What lies deeper is JSON, and stays as it is. Throws as `storable` does.
 */
export function storableRows<Written extends object>(written: Written): Written {
  storable(written)
  const entries = Object.entries(written).map(([name, rows]) => [name, Array.isArray(rows) ? rows.map(rowOf) : rows])
  return Object.fromEntries(entries) as Written
}

/** Thrown where the record cannot hold what a run has made. */
export function unstorable(why: string): StepFailure {
  return new StepFailure('invalid', `The answer cannot be stored: ${why}.`, {
    billed: 'yes',
    code: 'unstorable-answer',
  })
}

function rowOf(row: unknown): unknown {
  if (typeof row !== 'object' || row === null || Object.values(row).every(fitsColumn)) return row
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name, fitsColumn(value) ? value : cleaned(value)]),
  )
}

/** Whether a column can hold it as it is. */
function fitsColumn(value: unknown): boolean {
  return typeof value !== 'string' || (!value.includes('\0') && value.isWellFormed())
}

function cleaned(value: unknown): string {
  return String(value).toWellFormed().replaceAll('\0', '\u{FFFD}')
}

function measure(value: unknown, levels: number): void {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return
  if (levels === 0) throw unstorable(`it is nested deeper than ${DEPTH_MAX} levels`)
  for (const member of Object.values(value)) measure(member, levels - 1)
}
