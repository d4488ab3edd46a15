// A schema seen from the places of a value: what may apply there, and what lies below. Tolerates what was never checked.
// Hides where JSON Schema lets an author say so; for the rules that hold for one value see `rules.ts`.
import { isJsonObject, type JsonObject, type JsonValue } from '../json.ts'
import { createReferences, pointerTo, type References } from './pointer.ts'

const VISITS = 10_000
const DEPTH = 64

/** The schema and everything that may apply where it does: targets of references, alternatives, conditions. */
export function sidesOf(schema: unknown, { target }: Pick<References, 'target'>): JsonObject[] {
  const sides = new Set<JsonObject>()
  const pending = [schema]
  while (pending.length > 0 && sides.size < VISITS) {
    const side = pending.pop()
    if (!isJsonObject(side) || sides.has(side)) continue
    sides.add(side)
    const { $ref, allOf, anyOf, oneOf, if: condition, then, else: otherwise, dependentSchemas } = side
    pending.push(target($ref), condition, then, otherwise, ...members(dependentSchemas).map(([, part]) => part))
    for (const list of [allOf, anyOf, oneOf]) if (Array.isArray(list)) pending.push(...list)
  }
  return [...sides]
}

/** What the schema says of members and items, by key; `*` stands for any that it does not name. */
export function childrenOf(side: JsonObject): [key: string, schema: JsonValue][] {
  const prefix = Array.isArray(side.prefixItems) ? side.prefixItems : []
  const each = [
    side.items,
    side.contains,
    side.additionalProperties,
    ...members(side.patternProperties).map(([, part]) => part),
  ]
  return [
    ...members(side.properties),
    ...prefix.map((item, index): [string, JsonValue] => [String(index), item]),
    ...each.flatMap((part): [string, JsonValue][] => (part === undefined ? [] : [['*', part]])),
  ]
}

/**
 * Pointers into the value of every place whose schema has `format: "file"`, sorted. A `*` stands for each item of a
 * list and each undeclared member of an object: `/images/*`.
 */
export function fileFields(schema: JsonObject): string[] {
  const references = createReferences(schema)
  const found = new Set<string>()
  let visits = 0
  const visit = (part: JsonValue, pointer: string, depth: number): void => {
    for (const side of depth > DEPTH ? [] : sidesOf(part, references)) {
      if ((visits += 1) > VISITS) return
      if (side.format === 'file') found.add(pointer)
      for (const [key, child] of childrenOf(side)) visit(child, pointer + pointerTo(key), depth + 1)
    }
  }
  visit(schema, '', 1)
  return [...found].sort()
}

function members(value: JsonValue | undefined): [string, JsonValue][] {
  return isJsonObject(value) ? Object.entries(value) : []
}
