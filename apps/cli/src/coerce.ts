// Text from a command line as the value that a workflow's schema wants there.
// Hides which of a schema's words say so. What does not fit stays text, and the schema then says what it wants.
import { isJsonObject, type JsonObject, type JsonValue } from '@fabrique/schema'

/** Part of every workflow's input, beside its own schema. */
const UNIVERSAL: JsonObject = {
  variants: { type: 'integer' },
  regenerate: {
    properties: {
      keep: { type: 'array', items: { type: 'string' } },
      parent_variant_index: { type: 'integer' },
    },
  },
}
const DEPTH_MAX = 16

/** The value for `text` at this path of the input. Where the schema takes text, or says nothing, it stays text. */
export function coerce(text: string, path: readonly string[], schema: JsonObject | null): JsonValue {
  const root: JsonObject = schema ?? {}
  let places = expand(
    { ...root, properties: { ...(isJsonObject(root.properties) ? root.properties : {}), ...UNIVERSAL } },
    root,
  )
  for (const part of path) places = places.flatMap((place) => member(place, part, root))
  return convert(text, places, root)
}

function convert(text: string, places: readonly JsonObject[], root: JsonObject): JsonValue {
  const types = new Set(places.flatMap(typesOf))
  if (types.has('string')) return text
  const plain = text.trim()
  if (types.has('integer') && /^[+-]?\d+$/.test(plain) && Number.isSafeInteger(Number(plain))) return Number(plain)
  if (types.has('number') && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain) && Number.isFinite(Number(plain))) {
    return Number(plain)
  }
  if (types.has('boolean') && (plain === 'true' || plain === 'false')) return plain === 'true'
  if (types.has('null') && plain === 'null') return null
  if (types.has('array')) return listOf(plain, places, root)
  if (types.has('object')) return parsed(plain, isJsonObject) ?? text
  return text
}

/** `a,b` or `["a","b"]`; each item of the first spelling by the schema of the items. */
function listOf(text: string, places: readonly JsonObject[], root: JsonObject): JsonValue {
  if (text.startsWith('[')) return parsed(text, Array.isArray) ?? text
  const items = places.flatMap((place) => expand(place.items, root))
  return text === '' ? [] : text.split(',').map((item) => convert(item.trim(), items, root))
}

function parsed(text: string, fits: (value: unknown) => boolean): JsonValue | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return fits(value) ? (value as JsonValue) : undefined
  } catch {
    return undefined
  }
}

function typesOf(place: JsonObject): string[] {
  if (typeof place.type === 'string') return [place.type]
  if (Array.isArray(place.type)) return place.type.map(String)
  const values = Array.isArray(place.enum) ? place.enum : place.const === undefined ? [] : [place.const]
  return values.map((value) => {
    if (value === null) return 'null'
    if (Array.isArray(value)) return 'array'
    return typeof value === 'number' && Number.isInteger(value) ? 'integer' : typeof value
  })
}

function member(place: JsonObject, name: string, root: JsonObject): JsonObject[] {
  const { properties, additionalProperties } = place
  if (isJsonObject(properties) && Object.hasOwn(properties, name)) return expand(properties[name], root)
  return expand(additionalProperties, root)
}

/** A schema with its local references and alternatives, side by side. */
function expand(schema: unknown, root: JsonObject, depth = 0): JsonObject[] {
  if (!isJsonObject(schema) || depth > DEPTH_MAX) return []
  const found = [schema]
  if (typeof schema.$ref === 'string') found.push(...expand(target(schema.$ref, root), root, depth + 1))
  for (const keyword of ['allOf', 'anyOf', 'oneOf']) {
    const branches = schema[keyword]
    if (Array.isArray(branches)) found.push(...branches.flatMap((branch) => expand(branch, root, depth + 1)))
  }
  return found
}

function target(reference: string, root: JsonObject): JsonValue | undefined {
  if (!reference.startsWith('#/')) return undefined
  let value: JsonValue | undefined = root
  for (const part of reference.slice(2).split('/')) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    value = isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined
  }
  return value
}
