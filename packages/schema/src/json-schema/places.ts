// A schema seen from the places of a value: what may apply there, and what lies below. Tolerates what was never checked.
// Hides where JSON Schema lets an author say so; for the rules that hold for one value see `rules.ts`.
import { isJsonObject, type JsonObject, type JsonValue } from '../json.ts'
import { listOf } from './merge.ts'
import { createReferences, pointerTo, type References } from './pointer.ts'
import { createRules, typesOf } from './rules.ts'

const VISITS = 10_000
const DEPTH = 64

/** What a schema says of the place in a value that a path leads to. */
export interface Place {
  /** `never`: no value has anything there. `unnamed`: one may, but the schema does not speak of it. `open`: it says too little. */
  is: 'named' | 'unnamed' | 'never' | 'open'
  /** The types of what may stand there; none where that is open. */
  types: string[]
  /** Of a place that is named: what it says of it, one for each alternative. */
  schemas: JsonValue[]
  /** Where the way ends before: the key that is not there, and those that are. */
  missing?: { key: string; known: string[] }
}

/** Finds places by paths of keys and indices. What takes too long to find out is `open`, and so is what lies too deep. */
export function createPlaces(root: JsonObject): (path: readonly (string | number)[]) => Place {
  const rules = createRules(root)
  /** What holds whatever alternatives are taken. */
  const read = (schema: JsonValue) => rules.read(schema, () => -1)

  function typesAt(schema: JsonValue, depth = 0): string[] {
    const own = typesOf(read(schema))
    if (own.length > 0 || !isJsonObject(schema) || depth > DEPTH) return own
    const target = rules.target(schema.$ref)
    const branches = [...listOf(schema.anyOf), ...listOf(schema.oneOf), ...(target === undefined ? [] : [target])]
    return together(branches.map((branch) => typesAt(branch, depth + 1)))
  }

  return (path) => {
    let here: JsonValue[] = [root]
    for (const part of path) {
      const key = String(part)
      const isIndex = /^\d+$/.test(key)
      const wholes = here.map(read)
      const canHold = ({ maxItems }: JsonObject, types: string[]): boolean => {
        if (types.length === 0 || types.includes('object')) return true
        return isIndex && types.includes('array') && Number(key) < (typeof maxItems === 'number' ? maxItems : Infinity)
      }
      const sides = here.flatMap((schema) => sidesOf(schema, rules))
      if (path.length > DEPTH || !rules.spend(sides.length)) return { is: 'open', types: [], schemas: [] }
      const missing = () => ({
        key,
        known: [...new Set(sides.flatMap(({ properties }) => members(properties).map(([name]) => name)))],
      })
      if (!wholes.some((whole, index) => canHold(whole, typesAt(here[index] ?? true))))
        return { is: 'never', types: [], schemas: [], missing: missing() }
      const next = sides.flatMap((side) => below(side, key, isIndex))
      if (next.length === 0) {
        const isClosed = wholes.every(({ additionalProperties }) => additionalProperties === false)
        const absent = missing()
        const is = isClosed ? 'never' : absent.known.length > 0 ? 'unnamed' : 'open'
        return { is, types: [], schemas: [], missing: absent }
      }
      here = next
    }
    return { is: 'named', types: together(here.map((schema) => typesAt(schema))), schemas: here }
  }
}

/** The types of alternatives; none where one of them is open. */
function together(alternatives: string[][]): string[] {
  return alternatives.some((types) => types.length === 0) ? [] : [...new Set(alternatives.flat())]
}

/** What one side says of a member or item. */
function below(side: JsonObject, key: string, isIndex: boolean): JsonValue[] {
  const own = isJsonObject(side.properties) && Object.hasOwn(side.properties, key) ? side.properties[key] : undefined
  const others = [...members(side.patternProperties).map(([, part]) => part), side.additionalProperties]
  const items = isIndex ? [listOf(side.prefixItems)[Number(key)] ?? side.items] : []
  return [...(own === undefined ? others : [own]), ...items].filter((part) => part !== undefined && part !== false)
}

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
