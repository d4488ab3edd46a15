// A schema as plain rules: its references followed, its `allOf` merged, one branch taken of each alternative.
// Hides how keywords of several schemas become one, and what it means for a schema not to hold.
import { isJsonObject, objectOf, isPrototypeKey, type JsonObject, type JsonValue } from '../json.ts'
import { closedTo, commonTypes, listOf, merge } from './merge.ts'
import { createReferences } from './pointer.ts'

/** A property of an object schema. */
export interface SchemaField {
  name: string
  required: boolean
  /** As rules. */
  schema: JsonObject
}

/**
 * Chooses one of alternative schemas by its index; -1 takes none. `conditions` are what tells each of them apart.
 * `firm`: one of them must hold, and not only where its condition does.
 */
export type Choose = (branches: readonly JsonValue[], conditions: readonly JsonValue[], firm: boolean) => number

export interface Rules {
  /**
   * The keywords that a value has to heed, without applicators; what cannot be merged is left under `allOf`.
   * A schema that takes nothing has an empty `enum`. Without `choose` alternatives count by the first that is not null.
   */
  read(schema: JsonValue | undefined, choose?: Choose, depth?: number): JsonObject
  /** The properties: names in the schema's `x-order`, then by each property's own `x-order`, then as declared. */
  fields(schema: JsonValue | undefined, choose?: Choose): SchemaField[]
  target(reference: JsonValue | undefined): JsonValue | undefined
  /** Counts work; false once there was too much of it: references may multiply without end. */
  spend(steps: number): boolean
}

const STEPS = 100_000
export const DEPTH = 20
const NAME_LENGTH = 200
/** No text that is made or taken over is longer. */
export const TEXT_LENGTH = 20_000
const TYPES = ['string', 'number', 'object', 'array', 'boolean', 'null']

/** Reads the parts of one schema; `root` is what its local references point into. */
export function createRules(root: JsonObject): Rules {
  const { target } = createReferences(root)
  let steps = STEPS
  const spend = (count: number) => (steps -= count) > 0

  function read(schema: JsonValue | undefined, choose: Choose = firstTelling, depth = 0): JsonObject {
    if (schema === false) return { enum: [] }
    if (!isJsonObject(schema) || depth > DEPTH) return {}
    const { properties, $ref, allOf, anyOf, oneOf, not, if: condition, then, else: otherwise, ...own } = schema
    if (!spend(1 + (isJsonObject(properties) ? Object.keys(properties).length : 0))) return {}
    const { dependentSchemas, dependentRequired, unevaluatedProperties, unevaluatedItems, ...plain } = own
    if (properties !== undefined) plain.properties = properties
    const parts: JsonValue[] = [target($ref) ?? true, ...listOf(allOf)]
    const take = (all: JsonValue[], conditions = all, firm = true) => {
      const possible = [...all.keys()].filter((index) => mayMeet(plain, all[index] ?? true))
      const given = (list: JsonValue[]) => possible.map((index) => list[index] ?? true)
      const chosen = possible.length === 0 ? -1 : choose(given(all), given(conditions), firm)
      // Where nothing is possible, neither is the whole.
      const none = firm && possible.length === 0 && all.length > 0 ? false : true
      parts.push(all[possible[chosen] ?? -1] ?? none)
    }
    take(listOf(anyOf))
    take(listOf(oneOf))
    if (not !== undefined) take(negations(not), undefined, false)
    if (condition !== undefined) {
      const holds = [condition, { not: condition }]
      const branches = [
        then !== false && { allOf: [condition, then ?? true] },
        otherwise !== false && { allOf: [{ not: condition }, otherwise ?? true] },
      ]
      take(branches, holds, false)
    }
    for (const [name, part] of dependencies(dependentSchemas, dependentRequired)) {
      const [given, absent] = [{ required: [name] }, { properties: { [name]: false } }]
      take([{ allOf: [given, part] }, absent], [given, absent], false)
    }
    const whole = parts.reduce<JsonObject>((rules, part) => merge(rules, read(part, choose, depth + 1)), plain)
    if (unevaluatedProperties !== undefined) whole.additionalProperties ??= unevaluatedProperties
    if (unevaluatedItems !== undefined) whole.items ??= unevaluatedItems
    return whole
  }

  return {
    read,
    target,
    spend,
    fields(schema, choose) {
      const whole = read(schema, choose)
      const properties = objectOf(whole.properties)
      const required = new Set(textsOf(whole.required))
      const ranks = new Map(listOf(whole['x-order']).map((name, rank) => [name, rank]))
      return (
        [...new Set([...Object.keys(properties), ...required])]
          .filter(isWritableName)
          .map((name) => {
            const property = read(Object.hasOwn(properties, name) ? properties[name] : {}, choose, 1)
            const own = property['x-order']
            return {
              name,
              property,
              rank: ranks.get(name) ?? Infinity,
              order: typeof own === 'number' ? own : Infinity,
            }
          })
          // Two infinities differ by NaN, which counts as equal.
          .sort((a, b) => a.rank - b.rank || a.order - b.order)
          .map(({ name, property }) => ({ name, required: required.has(name), schema: property }))
      )
    },
  }
}

/**
 * The properties that every object of the schema may have, whatever alternatives it takes; null where it names none.
 * Tolerates what is no schema.
 */
export function declaredFields(schema: unknown): SchemaField[] | null {
  if (!isJsonObject(schema)) return null
  const rules = createRules(schema)
  const none = () => -1
  return rules.read(schema, none).properties === undefined ? null : rules.fields(schema, none)
}

/** Null says little in a form, so it is chosen only where nothing else is. A condition is not assumed to hold. */
export const firstTelling: Choose = (branches, _, firm) =>
  firm
    ? Math.max(
        0,
        branches.findIndex((branch) => !(isJsonObject(branch) && branch.type === 'null')),
      )
    : -1

function dependencies(schemas: JsonValue | undefined, names: JsonValue | undefined): [string, JsonValue][] {
  const required = Object.entries(objectOf(names))
  return [
    ...Object.entries(objectOf(schemas)),
    ...required.map(([name, others]): [string, JsonValue] => [name, { required: others }]),
  ]
}

/** By keyword, schemas of which each makes its value fail. */
const NEGATIONS = new Map<string, (value: JsonValue) => JsonValue[]>(
  Object.entries({
    minimum: (value) => [{ type: 'number', exclusiveMaximum: value }],
    maximum: (value) => [{ type: 'number', exclusiveMinimum: value }],
    exclusiveMinimum: (value) => [{ type: 'number', maximum: value }],
    exclusiveMaximum: (value) => [{ type: 'number', minimum: value }],
    required: (value) => textsOf(value).map((name) => ({ type: 'object', properties: { [name]: false } })),
    properties: (value) =>
      Object.entries(objectOf(value)).map(([name, property]) => {
        return { type: 'object', required: [name], properties: { [name]: { not: property } } }
      }),
    items: (value) => [{ type: 'array', minItems: 1, prefixItems: [{ not: value }] }],
    contains: (value) => [{ type: 'array', items: { not: value } }],
    not: (value) => [value],
    anyOf: (value) => [{ allOf: listOf(value).map((branch) => ({ not: branch })) }],
    allOf: (value) => listOf(value).map((branch) => ({ not: branch })),
    type: (value) => [{ type: TYPES.filter((one) => !listOf(value).includes(one)) }],
  } satisfies Record<string, (value: JsonValue) => JsonValue[]>),
)

/** Schemas of which each makes the given one fail. Where a keyword has none, only its type is told. */
function negations(schema: JsonValue): JsonValue[] {
  if (typeof schema === 'boolean') return [!schema]
  if (!isJsonObject(schema)) return [true]
  // The type last: what stands beside the negation mostly asks for the same.
  const { type: named, ...others } = schema
  const found = Object.entries({ ...others, type: named }).flatMap(([keyword, value]): JsonValue[] => {
    if (value === undefined) return []
    const [, side, what = ''] = /^(min|max)(Length|Items|Properties)$/.exec(keyword) ?? []
    const type = { Length: 'string', Items: 'array', Properties: 'object' }[what]
    if (type === undefined || typeof value !== 'number') return NEGATIONS.get(keyword)?.(value) ?? []
    return [{ type, ...(side === 'min' ? { [`max${what}`]: value - 1 } : { [`min${what}`]: value + 1 }) }]
  })
  return found.length > 0 ? found : [true]
}

/** The types that a schema names, or that its keywords are about, the telling ones first; none where it says nothing. */
export function typesOf(rules: JsonObject): string[] {
  if (rules.type !== undefined) {
    return textsOf(rules.type).toSorted((a, b) => Number(a === 'null') - Number(b === 'null'))
  }
  const values = closedTo(rules)
  if (values !== undefined) return [...new Set(values.map(typeOfValue))]
  const about = (type: string, ...keywords: string[]) =>
    keywords.some((word) => rules[word] !== undefined) ? [type] : []
  return [
    ...about('object', 'properties', 'required', 'minProperties', 'patternProperties', 'propertyNames'),
    ...about('array', 'items', 'minItems', 'prefixItems', 'contains', 'uniqueItems'),
    ...about('number', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'),
    ...about('string', 'minLength', 'maxLength', 'pattern', 'format'),
  ]
}

export function typeOfValue(value: JsonValue): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return typeof value === 'number' && Number.isInteger(value) ? 'integer' : typeof value
}

/** Whether the types of two schemas leave room for a value of both. */
function mayMeet(a: JsonObject, b: JsonValue): boolean {
  if (!isJsonObject(b)) return b !== false
  const [left, right] = [a, b].map((rules) => ((rules.type ?? closedTo(rules)) === undefined ? [] : typesOf(rules)))
  return !left?.length || !right?.length || commonTypes(left, right).length > 0
}

/** What a document may hold as a key and a person may want to read. */
export function isWritableName(name: string): boolean {
  return !isPrototypeKey(name) && name.length <= NAME_LENGTH && isWritableText(name)
}

export function isWritableText(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed() && text.length <= TEXT_LENGTH
}

export function textsOf(value: JsonValue | undefined): string[] {
  return listOf(value).filter((text) => typeof text === 'string')
}
