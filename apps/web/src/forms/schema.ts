// A JSON Schema 2020-12 as fields to fill in: references followed, order kept, conditions applied.
// Hides what decides how a value is asked for; how the fields look is the form's business.
import { type Schema as CfSchema, Validator } from '@cfworker/json-schema'
import type { JsonObject, JsonValue } from '@fabrique/schema'

export type Schema = JsonObject

export type FieldKind =
  | 'const'
  | 'choice'
  | 'boolean'
  | 'number'
  | 'text'
  | 'long-text'
  | 'date-time'
  | 'file'
  | 'choices'
  | 'list'
  | 'object'
  | 'json'

export interface Choice {
  value: JsonValue
  label: string
}

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const listOf = (value: unknown): JsonValue[] => (Array.isArray(value) ? (value as JsonValue[]) : [])
const textOf = (value: JsonValue | undefined) => (typeof value === 'string' ? value : JSON.stringify(value ?? null))
const DEPTH_MAX = 16

/** The schema that is meant, its local references followed; `null` beside one other type only says that it may be left out. */
export function resolve(schema: JsonValue | undefined, root: Schema, depth = 0): Schema {
  if (!isObject(schema) || depth > DEPTH_MAX) return {}
  const { $ref: ref, ...rest } = schema
  if (typeof ref === 'string' && ref.startsWith('#/')) {
    const target = ref
      .slice(2)
      .split('/')
      .map((part) => decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~'))
      .reduce<JsonValue | undefined>((at, part) => (isObject(at) ? at[part] : undefined), root)
    return { ...resolve(target, root, depth + 1), ...rest }
  }
  const alternatives = listOf(schema.anyOf ?? schema.oneOf).filter((one) => !(isObject(one) && one.type === 'null'))
  const [only] = alternatives
  if (alternatives.length === 1 && !Object.hasOwn(only as object, 'const')) {
    const { anyOf: _any, oneOf: _one, ...outer } = schema
    return { ...resolve(only, root, depth + 1), ...outer }
  }
  return schema
}

/** A schema's type; of several the one that is not null. */
function typeOf({ type, properties, items }: Schema): string | undefined {
  const types = (Array.isArray(type) ? type : [type]).filter((one) => one !== 'null')
  if (types.length === 1 && typeof types[0] === 'string') return types[0]
  return properties === undefined ? (items === undefined ? undefined : 'array') : 'object'
}

/** The values that can be picked, where the schema lists them. */
export function choicesOf(schema: Schema): Choice[] {
  if (Array.isArray(schema.enum))
    return schema.enum.filter((value) => value !== null).map((value) => ({ value, label: textOf(value) }))
  const consts = listOf(schema.oneOf ?? schema.anyOf).filter(
    (one): one is JsonObject => isObject(one) && Object.hasOwn(one, 'const') && one.const !== null,
  )
  return consts.map((one) => ({ value: one.const ?? null, label: textOf(one.title ?? one.const) }))
}

/** How a value of the schema is asked for. */
export function kindOf(schema: Schema, root: Schema): FieldKind {
  if (Object.hasOwn(schema, 'const')) return 'const'
  if (choicesOf(schema).length > 0) return 'choice'
  switch (typeOf(schema)) {
    case 'boolean':
      return 'boolean'
    case 'integer':
    case 'number':
      return 'number'
    case 'string':
      if (schema.format === 'file') return 'file'
      if (schema.format === 'date-time') return 'date-time'
      return Number(schema.maxLength ?? 0) >= 200 ? 'long-text' : 'text'
    case 'array': {
      if (schema.prefixItems !== undefined || schema.items === undefined) return 'json'
      const items = resolve(schema.items, root)
      return schema.uniqueItems === true && choicesOf(items).length > 0 ? 'choices' : 'list'
    }
    case 'object':
      return isObject(schema.properties) ? 'object' : 'json'
    default:
      return 'json'
  }
}

export interface Field {
  name: string
  schema: Schema
  kind: FieldKind
  isRequired: boolean
}

/** The fields of an object's schema in the author's order, those of its conditions included as they hold for the value. */
export function fieldsOf(schema: Schema, value: JsonObject, root: Schema): Field[] {
  const properties: Record<string, JsonValue> = {}
  const required = new Set<string>()
  const order: string[] = []
  for (const part of partsOf(schema, value, root)) {
    for (const [name, property] of Object.entries(isObject(part.properties) ? part.properties : {})) {
      const known = properties[name]
      properties[name] = isObject(known) && isObject(property) ? { ...known, ...property } : property
    }
    for (const name of listOf(part.required)) required.add(textOf(name))
    order.push(...listOf(part['x-order']).map(textOf))
  }
  const names = Object.keys(properties)
  const place = (name: string) => {
    const index = order.indexOf(name)
    return index === -1 ? order.length + names.indexOf(name) : index
  }
  return names
    .toSorted((a, b) => place(a) - place(b))
    .map((name) => {
      const resolved = resolve(properties[name], root)
      return { name, schema: resolved, kind: kindOf(resolved, root), isRequired: required.has(name) }
    })
}

/** The schema itself, and what of `allOf` and `if` applies to the value. */
function partsOf(schema: Schema, value: JsonObject, root: Schema, depth = 0): Schema[] {
  if (depth > DEPTH_MAX) return []
  const parts = [schema]
  for (const one of listOf(schema.allOf)) parts.push(...partsOf(resolve(one, root), value, root, depth + 1))
  if (isObject(schema.if)) {
    const branch = holds(schema.if, value, root) ? schema.then : schema.else
    if (isObject(branch)) parts.push(...partsOf(resolve(branch, root), value, root, depth + 1))
  }
  return parts
}

function holds(condition: Schema, value: JsonObject, root: Schema): boolean {
  try {
    const whole = { ...condition, $defs: root.$defs ?? {} }
    return new Validator(whole as CfSchema, '2020-12').validate(value).valid
  } catch {
    return false
  }
}

/** What a form begins with: defaults and constants, and nothing else. */
export function initialValue(schema: Schema, root: Schema, depth = 0): JsonValue | undefined {
  const resolved = resolve(schema, root)
  if (Object.hasOwn(resolved, 'const')) return resolved.const
  if (resolved.default !== undefined) return resolved.default
  if (kindOf(resolved, root) !== 'object' || depth > DEPTH_MAX) return undefined
  const made: JsonObject = {}
  for (const field of fieldsOf(resolved, {}, root)) {
    const value = initialValue(field.schema, root, depth + 1)
    if (value !== undefined) made[field.name] = value
  }
  return Object.keys(made).length === 0 && depth > 0 ? undefined : made
}

/** A field's name for people. */
export function labelOf({ name, schema }: Pick<Field, 'name' | 'schema'>): string {
  if (typeof schema.title === 'string') return schema.title
  const words = name.replaceAll(/[_-]/g, ' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}
