// A value that an intake schema accepts, made from the schema alone: it stands in a fresh run-spec until somebody edits it.
// Hides which of the author's hints are taken, and what of JSON Schema is understood to make a value where there is none.
import { canonicalJson, isJsonObject, type JsonObject, type JsonValue } from './json.ts'
import { textMatching } from './scaffold-pattern.ts'

/** A property of an object schema, in the author's order. */
export interface SchemaField {
  name: string
  required: boolean
  /** With references, `allOf`, the first alternative and a condition that holds merged in. */
  schema: JsonObject
}

export interface Placeholders {
  /** The properties: names in the schema's `x-order`, then by each property's own `x-order`, then as declared. */
  fields(schema: JsonValue): SchemaField[]
  /** A property's items, properties and so on, as `SchemaField.schema`. */
  read(schema: JsonValue | undefined): JsonObject
  /**
   * A valid value as far as the schema can be understood: `const`, `default`, `examples` and `enum` where they fit, else
   * made from the constraints. `not`, `propertyNames`, `patternProperties` and patterns with assertions are not understood.
   */
  placeholder(schema: JsonValue | undefined, name: string): JsonValue
  /** The author's own values that meet the schema (patterns are not tried), best first. */
  hints(schema: JsonValue | undefined): JsonValue[]
}

/** Steps for one schema, properties counted: references may multiply without end. An ordinary one takes hundreds. */
const STEPS = 200_000
const DEPTH = 20
/** Values that one placeholder may hold, below what a document may. */
const ITEMS = 1000
const TEXT_LENGTH = 20_000
/** Of an author's examples and choices each. */
const HINTS = 100
const NAME_LENGTH = 200
/** Refused in every document (`document-rules.ts`). */
const FORBIDDEN_NAMES = ['__proto__', 'constructor', 'prototype']
const HIGHER_OF = ['minimum', 'exclusiveMinimum', 'minLength', 'minItems', 'minProperties']
const LOWER_OF = ['maximum', 'exclusiveMaximum', 'maxLength', 'maxItems', 'maxProperties']
/** One transparent pixel: an input of format `file` is inline data wherever the spec may go. */
const PIXEL =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=='

const FORMATS: Record<string, (nth: number) => string> = {
  date: (nth) => `2026-01-${String((nth % 28) + 1).padStart(2, '0')}`,
  'date-time': (nth) => `2026-01-${String((nth % 28) + 1).padStart(2, '0')}T12:00:00Z`,
  time: (nth) => `12:${String(nth % 60).padStart(2, '0')}:00Z`,
  duration: (nth) => `PT${nth + 1}M`,
  email: (nth) => `person${nth || ''}@example.com`,
  hostname: (nth) => `www${nth || ''}.example.com`,
  ipv4: (nth) => `192.0.2.${(nth % 254) + 1}`,
  ipv6: (nth) => `2001:db8::${((nth % 254) + 1).toString(16)}`,
  uri: (nth) => `https://example.com/${nth || ''}`,
  url: (nth) => `https://example.com/${nth || ''}`,
  'uri-reference': (nth) => `/${nth || ''}`,
  'uri-template': (nth) => `https://example.com/{id}${nth || ''}`,
  uuid: (nth) => `00000000-0000-4000-8000-${String(nth).padStart(12, '0')}`,
  'json-pointer': (nth) => `/${nth}`,
  'relative-json-pointer': (nth) => String(nth),
  regex: (nth) => 'a'.repeat(nth + 1),
  byte: () => 'ZXhhbXBsZQ==',
  file: () => PIXEL,
}

/** Reads the parts of one schema; `root` is what its local references (`#/$defs/x`) point into. */
export function createPlaceholders(root: JsonObject): Placeholders {
  let steps = STEPS

  function read(schema: JsonValue | undefined, depth = 0): JsonObject {
    if (!isJsonObject(schema) || depth > DEPTH || steps <= 0) return {}
    steps -= 1 + (isJsonObject(schema.properties) ? Object.keys(schema.properties).length : 0)
    const { $ref, allOf, anyOf, oneOf, if: condition, then, else: otherwise, ...own } = schema
    const parts = [lookUp(root, $ref), ...listOf(allOf), alternative(anyOf), alternative(oneOf)]
    const merged = parts.reduce<JsonObject>((whole, part) => merge(whole, read(part, depth + 1)), own)
    if (condition === undefined) return merged
    const holds = fits(make(merged, '', 0, depth + 1), condition, depth + 1)
    return merge(merged, read(holds ? then : otherwise, depth + 1))
  }

  function fields(schema: JsonValue, depth = 0): SchemaField[] {
    const whole = read(schema, depth)
    const properties = isJsonObject(whole.properties) ? whole.properties : {}
    const required = new Set(listOf(whole.required).filter((name) => typeof name === 'string'))
    const dependent = isJsonObject(whole.dependentRequired) ? whole.dependentRequired : {}
    for (const name of required) {
      const more = Object.hasOwn(dependent, name) ? dependent[name] : undefined
      for (const also of listOf(more)) if (typeof also === 'string') required.add(also)
    }
    const ranks = new Map(listOf(whole['x-order']).map((name, rank) => [name, rank]))
    return [...new Set([...Object.keys(properties), ...required])]
      .filter(isWritableName)
      .map((name) => {
        const property = Object.hasOwn(properties, name) ? read(properties[name], depth + 1) : {}
        const own = property['x-order']
        return { name, property, rank: ranks.get(name) ?? Infinity, order: typeof own === 'number' ? own : Infinity }
      })
      .sort((a, b) => compare(a.rank, b.rank) || compare(a.order, b.order))
      .map(({ name, property }) => ({ name, required: required.has(name), schema: property }))
  }

  /** Whether the value meets the schema, as far as `placeholder` understands it; patterns are never run. */
  function fits(value: JsonValue, schema: JsonValue | undefined, depth = 0): boolean {
    if (schema === false) return false
    const rules = read(schema, depth)
    if (rules.const !== undefined && canonicalJson(rules.const) !== canonicalJson(value)) return false
    if (Array.isArray(rules.enum) && !includes(rules.enum, value)) return false
    if (rules.type !== undefined && !listOf(rules.type).some((type) => isOfType(value, type))) return false
    if (typeof value === 'string') return isWritableText(value) && isWithin(Array.from(value).length, rules, 'Length')
    if (typeof value === 'number') return isNumberWithin(value, rules)
    if (typeof value !== 'object' || value === null) return true
    if (depth > DEPTH) return false
    if (Array.isArray(value)) {
      if (!isWithin(value.length, rules, 'Items')) return false
      if (rules.uniqueItems === true && new Set(value.map(canonicalJson)).size < value.length) return false
      return value.every((item, index) => fits(item, itemSchema(rules, index), depth + 1))
    }
    const names = Object.keys(value)
    if (!names.every(isWritableName) || !isWithin(names.length, rules, 'Properties')) return false
    const declared = fields(rules, depth)
    if (declared.some(({ name, required }) => required && !Object.hasOwn(value, name))) return false
    return names.every((name) => {
      const field = declared.find((candidate) => candidate.name === name)
      return fits(value[name] ?? null, field?.schema ?? rules.additionalProperties, depth + 1)
    })
  }

  function hints(schema: JsonValue | undefined, depth = 0): JsonValue[] {
    const rules = read(schema, depth)
    const lists = [...listOf(rules.examples).slice(0, HINTS), ...listOf(rules.enum).slice(0, HINTS)]
    const named = [rules.const, rules.default, ...lists]
    const distinct = new Map(named.filter((value) => value !== undefined).map((value) => [canonicalJson(value), value]))
    return [...distinct.values()].filter((value) => fits(value, rules, depth))
  }

  /** `nth` makes the values of a list differ. */
  function make(schema: JsonValue | undefined, name: string, nth: number, depth: number): JsonValue {
    const rules = read(schema, depth)
    const known = hints(rules, depth)
    const telling = known.filter((value) => value !== null)
    const isClosed = Array.isArray(rules.enum) || rules.const !== undefined
    const hint = telling[nth] ?? (isClosed ? (telling[nth % telling.length] ?? known[0]) : undefined)
    if (hint !== undefined) return hint
    switch (typeFor(rules)) {
      case 'object':
        return makeObject(rules, nth, depth)
      case 'array':
        return makeList(rules, name, depth)
      case 'number':
      case 'integer':
        return makeNumber(rules, nth)
      case 'boolean':
        return nth % 2 === 1
      case 'null':
        return null
      default:
        return makeText(rules, name, nth)
    }
  }

  function makeObject(rules: JsonObject, nth: number, depth: number): JsonObject {
    if (depth > DEPTH || steps <= 0) return {}
    const known = fields(rules, depth)
    const least = Math.min(numberOf(rules.minProperties) ?? 0, ITEMS)
    const chosen = known.filter(({ required }) => required)
    chosen.push(...known.filter(({ required }) => !required).slice(0, Math.max(0, least - chosen.length)))
    const value = Object.fromEntries(
      chosen.map((field) => [field.name, make(field.schema, field.name, nth, depth + 1)]),
    )
    for (let extra = 1; Object.keys(value).length < least && rules.additionalProperties !== false; extra++) {
      value[`key_${extra}`] ??= make(rules.additionalProperties, 'value', nth, depth + 1)
    }
    return value
  }

  /** One item more than demanded shows what an item looks like, where that is allowed. */
  function makeList(rules: JsonObject, name: string, depth: number): JsonValue[] {
    const shown = depth < 4 && itemSchema(rules, 0) !== false ? 1 : 0
    const least = Math.max(numberOf(rules.minItems) ?? 0, shown)
    const length = Math.min(least, numberOf(rules.maxItems) ?? ITEMS, ITEMS)
    const items: JsonValue[] = []
    const seen = new Set<string>()
    for (let nth = 0; items.length < length && depth <= DEPTH && steps > 0; nth++) {
      const item = make(itemSchema(rules, items.length), singular(name), nth, depth + 1)
      const text = canonicalJson(item)
      // Hints and made values may meet; after that many of them there is nothing new to find.
      if (seen.has(text) && rules.uniqueItems === true && nth < length * 3) continue
      seen.add(text)
      items.push(item)
    }
    return items
  }

  return {
    fields: (schema) => fields(schema),
    read: (schema) => read(schema),
    placeholder: (schema, name) => make(schema, name, 0, 0),
    hints: (schema) => hints(schema),
  }
}

function makeNumber(rules: JsonObject, nth: number): number {
  const low = Math.max(numberOf(rules.minimum) ?? -Infinity, numberOf(rules.exclusiveMinimum) ?? -Infinity)
  const high = Math.min(numberOf(rules.maximum) ?? Infinity, numberOf(rules.exclusiveMaximum) ?? Infinity)
  const step = numberOf(rules.multipleOf) ?? 1
  const bounds = [low, low + 1, high, high - 1, (low + high) / 2].filter(Number.isFinite)
  const steps = [low, high].filter(Number.isFinite).flatMap((bound) => {
    const whole = Math.floor(bound / step)
    return [whole * step, (whole + 1) * step, (whole - 1) * step]
  })
  const candidates = [
    1,
    0,
    step,
    ...bounds,
    ...bounds.flatMap((bound) => [Math.ceil(bound), Math.floor(bound)]),
    ...steps,
  ]
  const isWhole = typeFor(rules) === 'integer'
  const good = candidates.filter((value) => (!isWhole || Number.isInteger(value)) && isNumberWithin(value, rules))
  const base = good[0] ?? 0
  const further = [base + nth * step, base - nth * step, ...good.slice(nth)]
  return further.find((value) => isNumberWithin(value, rules)) ?? base
}

function makeText(rules: JsonObject, name: string, nth: number): string {
  const least = Math.min(numberOf(rules.minLength) ?? 0, TEXT_LENGTH)
  const most = numberOf(rules.maxLength) ?? TEXT_LENGTH
  if (typeof rules.pattern === 'string') {
    const matching = textMatching(rules.pattern, least, most)
    if (matching !== undefined) return matching
  }
  const format = typeof rules.format === 'string' && Object.hasOwn(FORMATS, rules.format) ? rules.format : ''
  const formatted = FORMATS[format]?.(nth)
  if (formatted !== undefined) return /^ur[il]/.test(format) ? formatted.padEnd(least, 'a') : formatted
  const base = name.replaceAll(/[^\p{L}\p{N}]+/gu, ' ').trim() || 'text'
  const text = nth === 0 ? base : `${base} ${nth + 1}`
  const word = Array.from(text)
  const characters = [...word]
  while (characters.length < least) characters.push(' ', ...word)
  const length = Math.min(most, Math.max(least, word.length))
  return characters.slice(0, length).join('').replace(/ $/, 's')
}

function merge(a: JsonObject, b: JsonObject): JsonObject {
  const merged: JsonObject = { ...b, ...a }
  for (const [keyword, pick] of [
    ...HIGHER_OF.map((name) => [name, Math.max] as const),
    ...LOWER_OF.map((name) => [name, Math.min] as const),
  ]) {
    const [left, right] = [a[keyword], b[keyword]]
    if (typeof left === 'number' && typeof right === 'number') merged[keyword] = pick(left, right)
  }
  if (Array.isArray(a.required) && Array.isArray(b.required)) merged.required = [...a.required, ...b.required]
  if (Array.isArray(a.enum) && Array.isArray(b.enum)) {
    const other = b.enum
    merged.enum = a.enum.filter((value) => includes(other, value))
  }
  if (a.type !== undefined && b.type !== undefined) {
    const other = listOf(b.type)
    const common = listOf(a.type).filter(
      (type) => other.includes(type) || (type === 'integer' && other.includes('number')),
    )
    merged.type = common.length > 0 ? common : b.type
  }
  if (isJsonObject(a.properties) && isJsonObject(b.properties)) {
    const properties: JsonObject = { ...a.properties }
    for (const [name, property] of Object.entries(b.properties)) {
      const known = Object.hasOwn(properties, name) ? properties[name] : undefined
      properties[name] = known === undefined ? property : { allOf: [known, property] }
    }
    merged.properties = properties
  }
  if (a.items !== undefined && b.items !== undefined) merged.items = { allOf: [a.items, b.items] }
  return merged
}

/** Null says little in a form, so it is chosen only where nothing else is. */
function alternative(list: JsonValue | undefined): JsonValue | undefined {
  const branches = listOf(list)
  return branches.find((branch) => !(isJsonObject(branch) && branch.type === 'null')) ?? branches[0]
}

function typeFor(rules: JsonObject): string {
  const types = listOf(rules.type).filter((type) => typeof type === 'string')
  const declared = types.find((type) => type !== 'null') ?? types[0]
  if (declared !== undefined) return declared
  if (rules.properties !== undefined || rules.required !== undefined) return 'object'
  if (rules.items !== undefined || rules.minItems !== undefined) return 'array'
  const numeric = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']
  return numeric.some((keyword) => rules[keyword] !== undefined) ? 'number' : 'string'
}

function isOfType(value: JsonValue, type: JsonValue): boolean {
  if (type === 'integer') return Number.isInteger(value)
  if (type === 'null') return value === null
  if (type === 'array') return Array.isArray(value)
  return type === 'object' ? isJsonObject(value) : typeof value === type
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

function isWithin(count: number, rules: JsonObject, what: 'Length' | 'Items' | 'Properties'): boolean {
  return count >= (numberOf(rules[`min${what}`]) ?? 0) && count <= (numberOf(rules[`max${what}`]) ?? Infinity)
}

function itemSchema(rules: JsonObject, index: number): JsonValue | undefined {
  const prefix = listOf(rules.prefixItems)[index]
  if (prefix !== undefined) return prefix
  if (index > 0 || rules.contains === undefined) return rules.items
  return rules.items === undefined ? rules.contains : { allOf: [rules.items, rules.contains] }
}

/** What a document may hold as a key and a person may want to read. */
function isWritableName(name: string): boolean {
  return !FORBIDDEN_NAMES.includes(name) && name.length <= NAME_LENGTH && isWritableText(name)
}

function isWritableText(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed() && text.length <= TEXT_LENGTH
}

function lookUp(root: JsonObject, reference: JsonValue | undefined): JsonValue | undefined {
  if (typeof reference !== 'string' || !/^#(?:\/|$)/.test(reference)) return undefined
  let value: JsonValue | undefined = root
  for (const part of reference.split('/').slice(1)) {
    const key = decoded(part).replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as JsonObject)[key]
  }
  return value
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

function includes(list: JsonValue[], value: JsonValue): boolean {
  const isNested = (item: JsonValue) => typeof item === 'object' && item !== null
  return list.some(
    (item) => item === value || (isNested(item) && isNested(value) && canonicalJson(item) === canonicalJson(value)),
  )
}

function listOf(value: JsonValue | undefined): JsonValue[] {
  return Array.isArray(value) ? value : value === undefined ? [] : [value]
}

function numberOf(value: JsonValue | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function singular(name: string): string {
  return name.length > 3 && /[^s]s$/.test(name) ? name.slice(0, -1) : name
}

/** By number, and two infinities are equal (their difference is not a number). */
function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1
}
