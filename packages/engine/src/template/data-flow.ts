// The data flow of a template: which steps a step reads, the list that it goes through, and cycles.
// Pure and total; hides how references, `needs` and conditions become dependencies.
import { isJsonObject, type JsonObject, type JsonValue, type Step } from '@fabrique/schema'
import type { Definition } from '../specification.ts'
import { type Expression, parseExpression } from './expression.ts'
import { parsePath, placeholdersIn, type Scope, valueAt } from './placeholders.ts'

/** A step that another waits for. Where every mention of it is `optional`, the other runs without it if it is skipped. */
export interface Dependency {
  id: string
  optional: boolean
}

const ITEMS_AT_ONCE = 4

/** The steps that a step waits for: those that its fields or its condition reference, and those it `needs`. */
export function dependenciesOf(step: Step): Dependency[] {
  const { id: _, lookups: __, outputSchema: ___, when, ...fields } = step
  const found = new Map<string, boolean>()
  const note = (id: unknown, optional: boolean) => {
    if (typeof id === 'string') found.set(id, optional && (found.get(id) ?? true))
  }
  for (const { placeholder } of placeholdersIn(fields)) {
    if (placeholder.root === 'steps') note(placeholder.path[0], placeholder.optional)
  }
  for (const { root, key, guarded } of referencesOf(when)) if (root === 'steps') note(key, guarded)
  for (const id of Array.isArray(step.needs) ? step.needs : []) note(id, false)
  return [...found].map(([id, optional]) => ({ id, optional }))
}

/** A guarded mention anywhere in a condition covers the others: `has(steps.a.output.b) && steps.a.output.b`. */
function referencesOf(when: unknown): Expression['references'] {
  if (typeof when !== 'string') return []
  try {
    const { references } = parseExpression(when)
    const asked = new Set(references.filter(({ guarded }) => guarded).map(({ root, key }) => `${root}.${key}`))
    return references.map((one) => ({ ...one, guarded: asked.has(`${one.root}.${one.key}`) }))
  } catch {
    return []
  }
}

/** The list that a step goes through, and how many items at once; null for a step that runs once. */
export function forEachOf(step: Step): { items: JsonValue; concurrency: number } | null {
  const { forEach } = step
  if (forEach === undefined) return null
  if (!isJsonObject(forEach)) return { items: forEach, concurrency: ITEMS_AT_ONCE }
  const { items = null, concurrency } = forEach
  return { items, concurrency: typeof concurrency === 'number' ? concurrency : ITEMS_AT_ONCE }
}

/** A run's output: its declared aliases, else the outputs of the steps that no other step references. */
export function outputOf(
  { outputAliases, stepInstructions }: Pick<Definition, 'outputAliases' | 'stepInstructions'>,
  outputs: Scope['steps'],
): JsonObject {
  const aliases = Object.entries(outputAliases)
  const aliased = aliases.map(([alias, path]) => [alias, valueAt(outputs, parsePath(path)?.path ?? []) ?? null])
  if (aliases.length > 0) return Object.fromEntries(aliased)
  const referenced = new Set(stepInstructions.flatMap((step) => dependenciesOf(step).map(({ id }) => id)))
  const last = Object.entries(outputs).filter(([id]) => !referenced.has(id))
  return Object.fromEntries(last.map(([id, { output }]) => [id, output]))
}

/** The ids on a cycle of this graph, in order, or undefined where there is none. */
export function findCycle(edges: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>()
  const path: string[] = []
  const visit = (id: string): string[] | undefined => {
    if (done.has(id)) return undefined
    const at = path.indexOf(id)
    if (at >= 0) return [...path.slice(at), id]
    path.push(id)
    for (const next of edges.get(id) ?? []) {
      const cycle = edges.has(next) ? visit(next) : undefined
      if (cycle !== undefined) return cycle
    }
    path.pop()
    done.add(id)
    return undefined
  }
  for (const id of edges.keys()) {
    const cycle = visit(id)
    if (cycle !== undefined) return cycle
  }
  return undefined
}
