// Two sets of rules as one, which a value meets that meets both.
// Hides how each keyword is put together, and what of one side judges the members of the other.
import { canonicalJson, isJsonObject, objectOf, type JsonObject, type JsonValue } from '../json.ts'

const HIGHER_OF = ['minimum', 'exclusiveMinimum', 'minLength', 'minItems', 'minProperties']
const LOWER_OF = ['maximum', 'exclusiveMaximum', 'maxLength', 'maxItems', 'maxProperties']
/** Keywords that are one schema, and keywords that only go together. */
const SCHEMAS = ['items', 'additionalProperties', 'propertyNames']
const GROUPS = [['contains', 'minContains', 'maxContains'], ['pattern'], ['format'], ['multipleOf']]

/** The rules that both have; what of them cannot be one keyword stays under `allOf`. */
export function merge(a: JsonObject, b: JsonObject): JsonObject {
  const merged: { [keyword: string]: JsonValue | undefined } = { ...b, ...a }
  for (const names of [HIGHER_OF, LOWER_OF]) {
    for (const keyword of names) {
      const [left, right] = [a[keyword], b[keyword]]
      if (typeof left !== 'number' || typeof right !== 'number') continue
      merged[keyword] = names === HIGHER_OF ? Math.max(left, right) : Math.min(left, right)
    }
  }
  if (a.required !== undefined && b.required !== undefined)
    merged.required = [...listOf(a.required), ...listOf(b.required)]
  if (a.type !== undefined && b.type !== undefined) merged.type = commonTypes(listOf(a.type), listOf(b.type))
  const [choices, others] = [closedTo(a), closedTo(b)]
  if (choices !== undefined && others !== undefined) {
    delete merged.const
    merged.enum = choices.filter((value) => isAmong(others, value))
  }
  for (const keyword of SCHEMAS) merged[keyword] = both(a[keyword], b[keyword])
  if (a.prefixItems !== undefined || b.prefixItems !== undefined) {
    const [left, right] = [listOf(a.prefixItems), listOf(b.prefixItems)]
    const length = Math.max(left.length, right.length)
    const judged = (index: number) => both(left[index] ?? a.items, right[index] ?? b.items) ?? true
    merged.prefixItems = Array.from({ length }, (_, index) => judged(index))
  }
  // A pattern may take what is not declared, so that `additionalProperties` does not judge it.
  const undeclared = [a, b].map((side) =>
    side.patternProperties === undefined ? side.additionalProperties : undefined,
  )
  merged.properties = mergeMembers([a.properties, b.properties], undeclared)
  merged.patternProperties = mergeMembers([a.patternProperties, b.patternProperties], [])
  const rest = [...listOf(a.allOf), ...listOf(b.allOf)]
  for (const [first = '', ...others] of GROUPS) {
    if (a[first] === undefined || b[first] === undefined || a[first] === b[first]) continue
    const left = [first, ...others].flatMap((keyword) => (b[keyword] === undefined ? [] : [[keyword, b[keyword]]]))
    for (const keyword of others) if (a[keyword] === undefined) delete merged[keyword]
    rest.push(Object.fromEntries(left) as JsonObject)
  }
  if (rest.length > 0) merged.allOf = rest
  return Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== undefined)) as JsonObject
}

/** The values that a `const` or `enum` leaves; undefined where neither does. */
export function closedTo(rules: JsonObject): JsonValue[] | undefined {
  if (rules.const === undefined) return Array.isArray(rules.enum) ? rules.enum : undefined
  return Array.isArray(rules.enum) && !isAmong(rules.enum, rules.const) ? [] : [rules.const]
}

export function commonTypes(a: JsonValue[], b: JsonValue[]): JsonValue[] {
  const within = (list: JsonValue[]) => (type: JsonValue) =>
    list.includes(type) || (type === 'integer' && list.includes('number'))
  return [...new Set([...a.filter(within(b)), ...b.filter(within(a))])]
}

function both(a: JsonValue | undefined, b: JsonValue | undefined): JsonValue | undefined {
  if (a === undefined || a === true || b === false) return b ?? a
  if (b === undefined || b === true || a === false) return a
  return { allOf: [a, b] }
}

/** Each name's schemas of both sides; a side that does not know a name judges it by its one of `others`. */
function mergeMembers(sides: (JsonValue | undefined)[], others: (JsonValue | undefined)[]): JsonObject | undefined {
  if (!sides.some(isJsonObject)) return undefined
  const known = sides.map((side) => objectOf(side))
  const names = new Set(known.flatMap((side) => Object.keys(side)))
  const judge = (name: string) => known.map((side, at) => (Object.hasOwn(side, name) ? side[name] : others[at]))
  return Object.fromEntries([...names].map((name) => [name, judge(name).reduce(both) ?? true]))
}

export function isAmong(list: readonly JsonValue[], value: JsonValue): boolean {
  if (typeof value !== 'object' || value === null) return list.includes(value)
  const text = canonicalJson(value)
  return list.some((item) => typeof item === 'object' && item !== null && canonicalJson(item) === text)
}

export function listOf(value: JsonValue | undefined): JsonValue[] {
  return Array.isArray(value) ? value : value === undefined ? [] : [value]
}
