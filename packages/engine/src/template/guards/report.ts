// What the guards share: how a problem is reported, and which parts of a broken document can be looked at.
import { isJsonObject, type JsonObject, nearestKey, pointerTo, type Step } from '@fabrique/schema'

/** Every code that a problem of a template can have; each has a row in docs/reference/template-problems.md. */
export const TEMPLATE_PROBLEMS = [
  'no-steps',
  'missing-field',
  'invalid-field',
  'unknown-field',
  'invalid-version',
  'unknown-schema-version',
  'duplicate-step-id',
  'unknown-step-kind',
  'invalid-step',
  'unknown-step-field',
  'unknown-tool',
  'unknown-tool-argument',
  'missing-tool-argument',
  'invalid-tool-argument',
  'unknown-model',
  'unfit-model',
  'model-retired',
  'no-model',
  'model-and-provider',
  'unknown-provider-role',
  'invalid-condition',
  'invalid-foreach',
  'unknown-gate',
  'invalid-gate',
  'duplicate-gate-id',
  'unknown-reference',
  'unknown-output',
  'unknown-lookup',
  'unknown-root',
  'unknown-intake-field',
  'unknown-run-field',
  'item-outside-foreach',
  'cycle',
  'artifact-contract',
  'unlisted-sub-workflow',
  'cyclic-sub-workflow',
  'invalid-intake-schema',
  'invalid-output-schema',
  'unknown-rate',
] as const

export type Report = (pointer: string, code: (typeof TEMPLATE_PROBLEMS)[number], detail: string) => void

export interface IndexedStep {
  step: Step
  at: string
}

/** The steps that are at least objects with an id and a kind; the rest is named by `checkShape`. */
export function stepsOf(document: JsonObject): IndexedStep[] {
  if (!Array.isArray(document.runtimeSteps)) return []
  return document.runtimeSteps.slice(0, 100).flatMap((step, index) => {
    const usable = isJsonObject(step) && typeof step.id === 'string' && typeof step.kind === 'string'
    return usable ? [{ step: step as unknown as Step, at: pointerTo('runtimeSteps', index) }] : []
  })
}

/** The roles of `providers` that name models at all. */
export function providersOf(document: JsonObject): Record<string, string | string[]> {
  if (!isJsonObject(document.providers)) return {}
  return Object.fromEntries(
    Object.entries(document.providers).filter((entry): entry is [string, string | string[]] =>
      [entry[1]].flat().every((name) => typeof name === 'string'),
    ),
  )
}

/** True where nothing stands at the path, and so something is missing rather than wrong. */
export function isMissing(document: JsonObject, path: readonly PropertyKey[]): boolean {
  let value: unknown = document
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return false
    value = (value as Record<PropertyKey, unknown>)[key]
  }
  return value === undefined
}

/** A remedy for a wrong name: the nearest valid one, or all of them. */
export function choices(wrong: string, valid: readonly string[]): string {
  if (valid.length === 0) return 'there are none'
  const near = nearestKey(wrong, valid)
  return near === undefined ? `there are ${valid.join(', ')}` : `did you mean "${near}"?`
}

export function unknownKey(key: string, valid: readonly string[]): string {
  return valid.length === 0
    ? `"${key}" is not known here; remove it`
    : `"${key}" is not known here; ${choices(key, valid)}`
}
