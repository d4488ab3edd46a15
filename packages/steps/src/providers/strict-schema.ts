// Which JSON Schemas OpenAI's strict mode takes, where the model cannot but answer by the schema; a request with any
// other is refused there. Hides the subset and its limits, as documented for Structured Outputs in 2026.
import { isJsonObject, objectOf, type JsonObject, type JsonValue } from '@fabrique/schema'

const KEYWORDS = new Set(
  `type properties required additionalProperties items enum const anyOf $ref $defs title description pattern format
multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minItems maxItems`.split(/\s+/),
)
const FORMATS = ['date-time', 'time', 'date', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uuid']
const LIMITS = {
  depth: 10,
  properties: 5_000,
  choices: 1_000,
  characters: 120_000,
  longEnum: 250,
  longEnumText: 15_000,
}

/** Whether the schema, as it stands, is one that strict mode takes. */
export function isStrictSchema(schema: JsonObject): boolean {
  const used = { properties: 0, choices: 0, characters: 0 }

  function isSupported(part: JsonValue | undefined, depth: number): boolean {
    if (!isJsonObject(part) || depth > LIMITS.depth || !Object.keys(part).every((keyword) => KEYWORDS.has(keyword)))
      return false
    const { type, properties, required, additionalProperties, items, anyOf, $ref, $defs, format } = part
    const choices = [...listOf(part.enum), ...listOf(part.const)]
    const names = isJsonObject(properties) ? Object.keys(properties) : []
    const isObject = [type].flat().includes('object') || properties !== undefined
    if (isObject && (additionalProperties !== false || names.some((name) => !listOf(required).includes(name))))
      return false
    if (type === undefined && anyOf === undefined && $ref === undefined && choices.length === 0) return false
    if (format !== undefined && !(typeof format === 'string' && FORMATS.includes(format))) return false
    const definitions = Object.entries(objectOf($defs))
    const texts = choices.map(String)
    used.properties += names.length
    used.choices += choices.length
    used.characters += [...names, ...texts, ...definitions.map(([name]) => name)].join('').length
    if (choices.length > LIMITS.longEnum && texts.join('').length > LIMITS.longEnumText) return false
    return (
      (items !== undefined || ![type].flat().includes('array')) &&
      (items === undefined || isSupported(items, depth + 1)) &&
      Object.values(objectOf(properties)).every((member) => isSupported(member, depth + 1)) &&
      listOf(anyOf).every((branch) => isSupported(branch, depth)) &&
      definitions.every(([, definition]) => isSupported(definition, depth))
    )
  }

  return (
    schema.type === 'object' &&
    schema.anyOf === undefined &&
    isSupported(schema, 1) &&
    used.properties <= LIMITS.properties &&
    used.choices <= LIMITS.choices &&
    used.characters <= LIMITS.characters
  )
}

function listOf(value: JsonValue | undefined): JsonValue[] {
  return Array.isArray(value) ? value : value === undefined ? [] : [value]
}
