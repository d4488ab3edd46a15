// Whether a value meets a schema, for whoever makes values: no sentences, and no pattern is run.
// Hides the keywords of JSON Schema 2020-12; `unevaluated…` and unknown formats are not looked at. Strangers' values are
// judged by the intake package, in linear time and with the place of each fault.
import { canonicalJson, isJsonObject, objectOf, type JsonObject, type JsonValue } from '../json.ts'
import { isOfFormat } from './formats.ts'
import { closedTo, isAmong, listOf } from './merge.ts'
import { type Pattern, readPattern } from './pattern.ts'
import { DEPTH, isWritableName, isWritableText, type Rules, textsOf, typeOfValue } from './rules.ts'

export interface Checker {
  /** False also where finding out would take too long, and for what no document may hold. */
  fits(value: JsonValue, schema: JsonValue | undefined): boolean
  /** The pattern, read once; undefined where it is not understood. */
  pattern(source: string): Pattern | undefined
  /** Whether the pattern is understood and matches the text. */
  matches(source: string, text: string): boolean
}

export function createChecker({ target, spend }: Pick<Rules, 'target' | 'spend'>): Checker {
  const patterns = new Map<string, Pattern | undefined>()
  function pattern(source: string): Pattern | undefined {
    if (!patterns.has(source)) patterns.set(source, readPattern(source))
    return patterns.get(source)
  }
  const matches = (source: string, text: string) => pattern(source)?.test(text) ?? false

  function fits(value: JsonValue, schema: JsonValue | undefined, depth = 0): boolean {
    if (schema === false) return false
    if (!isJsonObject(schema)) return true
    if (depth > 2 * DEPTH || !spend(1)) return false
    const below = (part: JsonValue | undefined) => fits(value, part, depth + 1)
    const choices = closedTo(schema)
    if (choices !== undefined && !isAmong(choices, value)) return false
    if (schema.type !== undefined && !listOf(schema.type).some((type) => isOfType(value, type))) return false
    if (schema.$ref !== undefined && !below(target(schema.$ref))) return false
    if (!listOf(schema.allOf).every(below)) return false
    if (schema.anyOf !== undefined && !listOf(schema.anyOf).some(below)) return false
    if (schema.oneOf !== undefined && listOf(schema.oneOf).filter(below).length !== 1) return false
    if (schema.not !== undefined && below(schema.not)) return false
    if (schema.if !== undefined && !below(below(schema.if) ? schema.then : schema.else)) return false
    if (typeof value === 'string') return fitsText(value, schema)
    if (typeof value === 'number') return isNumberWithin(value, schema)
    if (Array.isArray(value)) return fitsList(value, schema, depth)
    return !isJsonObject(value) || fitsObject(value, schema, depth)
  }

  function fitsText(text: string, schema: JsonObject): boolean {
    if (!isWritableText(text) || !isWithin(Array.from(text).length, schema, 'Length')) return false
    if (typeof schema.pattern === 'string' && !matches(schema.pattern, text)) return false
    return isOfFormat(text, schema.format)
  }

  function fitsList(list: JsonValue[], schema: JsonObject, depth: number): boolean {
    if (!isWithin(list.length, schema, 'Items')) return false
    if (schema.uniqueItems === true && new Set(list.map(canonicalJson)).size < list.length) return false
    const prefix = listOf(schema.prefixItems)
    if (!list.every((item, index) => fits(item, prefix[index] ?? schema.items, depth + 1))) return false
    if (schema.contains === undefined) return true
    const found = list.filter((item) => fits(item, schema.contains, depth + 1)).length
    return found >= (numberOf(schema.minContains) ?? 1) && found <= (numberOf(schema.maxContains) ?? Infinity)
  }

  function fitsObject(value: JsonObject, schema: JsonObject, depth: number): boolean {
    const names = Object.keys(value)
    if (!names.every(isWritableName) || !isWithin(names.length, schema, 'Properties')) return false
    if (!hasAll(value, schema.required)) return false
    for (const [name, others] of Object.entries(objectOf(schema.dependentRequired)))
      if (Object.hasOwn(value, name) && !hasAll(value, others)) return false
    for (const [name, part] of Object.entries(objectOf(schema.dependentSchemas)))
      if (Object.hasOwn(value, name) && !fits(value, part, depth + 1)) return false
    return names.every(
      (name) =>
        fits(name, schema.propertyNames, depth + 1) &&
        memberSchemas(schema, name, matches).every((part) => fits(value[name] ?? null, part, depth + 1)),
    )
  }

  return { fits: (value, schema) => fits(value, schema), pattern, matches }
}

/** Names that no document may hold are not asked for. */
function hasAll(value: JsonObject, names: JsonValue | undefined): boolean {
  return textsOf(names).every((name) => Object.hasOwn(value, name) || !isWritableName(name))
}

/** Every schema of the rules that judges a member of that name. */
export function memberSchemas(
  { properties, patternProperties, additionalProperties }: JsonObject,
  name: string,
  matches: (source: string, text: string) => boolean,
): JsonValue[] {
  const own = isJsonObject(properties) && Object.hasOwn(properties, name) ? [properties[name] ?? true] : []
  const patterned = Object.entries(objectOf(patternProperties))
  const found = [...own, ...patterned.filter(([source]) => matches(source, name)).map(([, part]) => part)]
  return found.length > 0 ? found : [additionalProperties ?? true]
}

function isNumberWithin(value: number, rules: JsonObject): boolean {
  const multiple = numberOf(rules.multipleOf)
  return (
    Math.abs(value) <= Number.MAX_SAFE_INTEGER &&
    value >= (numberOf(rules.minimum) ?? -Infinity) &&
    value <= (numberOf(rules.maximum) ?? Infinity) &&
    value > (numberOf(rules.exclusiveMinimum) ?? -Infinity) &&
    value < (numberOf(rules.exclusiveMaximum) ?? Infinity) &&
    (multiple === undefined || Number.isInteger(value / multiple))
  )
}

export function numberOf(value: JsonValue | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function isOfType(value: JsonValue, type: JsonValue): boolean {
  const own = typeOfValue(value)
  return own === type || (own === 'integer' && type === 'number')
}

function isWithin(count: number, rules: JsonObject, what: 'Length' | 'Items' | 'Properties'): boolean {
  return count >= (numberOf(rules[`min${what}`]) ?? 0) && count <= (numberOf(rules[`max${what}`]) ?? Infinity)
}
