// How much a run may hold: what its steps answer stays in memory and on record until it ends, and goes into later steps.
// Hides that a value is measured once, however often it is looked at.
import { jsonBytes, type JsonObject, type JsonValue } from '@fabrique/schema'
import { StepFailure } from '../failure.ts'
import type { Checkpoint } from '../ports.ts'

const MIB = 1_048_576
const OUTPUT_BYTES_MAX = 16 * MIB
const RUN_BYTES_MAX = 64 * MIB

const measured = new WeakMap<object, number>()

/** The output, where the run may hold it beside what it holds already; else throws a failure that is not tried again. */
export function fitting(output: JsonValue, held: Iterable<Pick<Checkpoint, 'output'>>): JsonValue {
  const bytes = bytesOf(output)
  if (bytes > OUTPUT_BYTES_MAX)
    throw tooLarge('output', `The output of the step has more than ${OUTPUT_BYTES_MAX / MIB} MiB`)
  let total = bytes
  for (const { output: other } of held) total += bytesOf(other)
  if (total > RUN_BYTES_MAX) throw tooLarge('run', `The steps have answered more than ${RUN_BYTES_MAX / MIB} MiB`)
  return output
}

/** Why a run cannot end with this output, in which aliases may name the same one many times; null where it can. */
export function excessOf(output: JsonObject): StepFailure | null {
  if (jsonBytes(output, RUN_BYTES_MAX) <= RUN_BYTES_MAX) return null
  return tooLarge('run', `The output of the run has more than ${RUN_BYTES_MAX / MIB} MiB`)
}

function bytesOf(value: JsonValue): number {
  if (typeof value !== 'object' || value === null) return jsonBytes(value)
  const known = measured.get(value)
  if (known !== undefined) return known
  const bytes = jsonBytes(value, OUTPUT_BYTES_MAX)
  measured.set(value, bytes)
  return bytes
}

function tooLarge(what: 'output' | 'run', why: string): StepFailure {
  const remedy = 'let the steps answer less, or keep it as a file'
  return new StepFailure('invalid', `${why}; ${remedy}.`, { billed: 'yes', code: `${what}-too-large` })
}
