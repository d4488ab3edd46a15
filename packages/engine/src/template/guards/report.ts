// What the guards share: how a problem is reported, and which parts of a broken document can be looked at.
import { inWords, isJsonObject, type JsonObject, nearestKey, pointerTo, type Step } from '@fabrique/schema'
import type { z } from 'zod'
import type { Catalog } from '../../catalog.ts'
import type { Shapes } from './shapes.ts'

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
  'unknown-parameter',
  'invalid-parameter',
  'reserved-parameter',
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
  'unfit-file',
  'unlisted-sub-workflow',
  'cyclic-sub-workflow',
  'invalid-intake-schema',
  'invalid-output-schema',
  'unknown-rate',
  'cap-below-estimate',
] as const

/** What a template is warned of: it can be listed all the same. */
export const TEMPLATE_WARNINGS = ['model-ending', 'blind-retry', 'fixed-seed', 'cap-below-estimate'] as const

type Code = (typeof TEMPLATE_PROBLEMS)[number]

export type Report = (pointer: string, code: Code, detail: string) => void

/** What is wrong with something whose place the caller knows. */
export type Fault = [code: Code, detail: string] | undefined

export interface IndexedStep {
  step: Step
  at: string
}

/** What every guard looks at. */
export interface Subject {
  document: JsonObject
  steps: IndexedStep[]
  catalog: Catalog
  report: Report
  shapes: Shapes
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

interface Issue {
  path: PropertyKey[]
  is: 'missing' | 'unknown' | 'wrong'
  detail: string
}

/**
 * What a schema finds wrong with a part of a template, each unknown key by itself and not before it is asked for;
 * `known` are the keys at its top.
 */
export function* issuesOf(part: JsonObject, schema: z.ZodType, known: readonly string[]): Generator<Issue> {
  for (const issue of schema.safeParse(part).error?.issues ?? []) {
    const { path } = issue
    if (issue.code !== 'unrecognized_keys') {
      yield { path, is: isMissing(part, path) ? 'missing' : 'wrong', detail: inWords(issue) }
      continue
    }
    const keys = path.length === 0 ? known : []
    for (const key of issue.keys) yield { path: [...path, key], is: 'unknown', detail: unknownKey(key, keys) }
  }
}

/** True where nothing stands at the path, and so something is missing rather than wrong. */
function isMissing(document: JsonObject, path: readonly PropertyKey[]): boolean {
  let value: unknown = document
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return false
    value = (value as Record<PropertyKey, unknown>)[key]
  }
  return value === undefined
}

/** Why nothing is called so, with a remedy. */
export function noSuch(what: string, name: string, valid: readonly string[]): string {
  return `there is no ${what} "${name}"; ${choices(name, valid)}`
}

const CHOICES_MAX = 30

/** A remedy for a wrong name: the nearest valid one, or the first thirty of them. */
export function choices(wrong: string, valid: readonly string[]): string {
  if (valid.length === 0) return 'there are none'
  const near = nearestKey(wrong, valid)
  if (near !== undefined) return `did you mean "${near}"?`
  return `there are ${valid.slice(0, CHOICES_MAX).join(', ')}${valid.length > CHOICES_MAX ? ', …' : ''}`
}

export function unknownKey(key: string, valid: readonly string[]): string {
  return `"${key}" is not known here; ${valid.length === 0 ? 'remove it' : choices(key, valid)}`
}

/** Whether a model is known and can do what is wanted of it by `who`. */
export function modelFault(name: string, wanted: readonly string[] | undefined, who: string, catalog: Catalog): Fault {
  const model = catalog.model(name)
  if (model !== undefined) {
    if (wanted?.includes(model.capability) !== false) return undefined
    return ['unfit-model', `"${name}" makes ${model.capability}, and this ${who} needs ${wanted.join(' or ')}`]
  }
  const [provider = ''] = name.split('/')
  if (catalog.provider(provider) !== undefined) return ['unknown-model', `"${name}" is not a model of ${provider}`]
  const providers = catalog.names.providers.join(', ')
  const form = `models are written provider/model, with one of the providers ${providers}`
  return ['unknown-model', `"${name}" names no provider; ${form}`]
}
