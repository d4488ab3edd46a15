// Text from a command line as the value that a workflow's schema wants there.
// Hides which of a schema's words say so. What does not fit stays text, and the schema then says what it wants.
import {
  childrenOf,
  createReferences,
  isJsonObject,
  objectOf,
  type JsonObject,
  type JsonValue,
  type References,
  sidesOf,
  typesOf,
} from '@fabrique/schema'

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

/** The value for `text` at this path of the input. Where the schema takes text, or says nothing, it stays text. */
export function coerce(text: string, path: readonly string[], schema: JsonObject | null): JsonValue {
  const root: JsonObject = schema ?? {}
  const references = createReferences(root)
  const properties = { ...objectOf(root.properties), ...UNIVERSAL }
  let places = sidesOf({ ...root, properties }, references)
  for (const part of path) places = below(places, part, references)
  return convert(text, places, references)
}

/** The schemas of a member or an item: those that name it, else those for any. */
function below(places: readonly JsonObject[], key: string, references: References): JsonObject[] {
  const children = places.flatMap(childrenOf)
  const named = children.filter(([name]) => name === key)
  const chosen = named.length > 0 ? named : children.filter(([name]) => name === '*')
  return chosen.flatMap(([, child]) => sidesOf(child, references))
}

function convert(text: string, places: readonly JsonObject[], references: References): JsonValue {
  const types = new Set(places.flatMap(typesOf))
  if (types.has('string')) return text
  const plain = text.trim()
  if (types.has('integer') && /^[+-]?\d+$/.test(plain) && Number.isSafeInteger(Number(plain))) return Number(plain)
  if (
    types.has('number') &&
    /^[+-]?(\d+(?:\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(plain) &&
    Number.isFinite(Number(plain))
  ) {
    return Number(plain)
  }
  if (types.has('boolean') && (plain === 'true' || plain === 'false')) return plain === 'true'
  if (types.has('null') && plain === 'null') return null
  if (types.has('array')) return listOf(plain, places, references)
  if (types.has('object')) return parsed(plain, isJsonObject) ?? text
  return text
}

/** `a,b` or `["a","b"]`; each item of the first spelling by the schema of the items. */
function listOf(text: string, places: readonly JsonObject[], references: References): JsonValue {
  if (text.startsWith('[')) return parsed(text, Array.isArray) ?? text
  const items = below(places, '*', references)
  return text === '' ? [] : text.split(',').map((item) => convert(item.trim(), items, references))
}

function parsed(text: string, fits: (value: unknown) => boolean): JsonValue | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return fits(value) ? (value as JsonValue) : undefined
  } catch {
    return undefined
  }
}
