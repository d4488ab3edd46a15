/**
 * The offline twin of a language model: writes plausible text about a prompt, or a JSON value that satisfies a schema.
 * It hides how a schema is walked and what a field's name says about the text that belongs in it.
 */
import { type Chance, createChance } from './chance.ts'
import { matchingText } from './match-pattern.ts'
import { capitalised, createWriter, topicOf, topicWords, type Writer } from './prose.ts'

/** A JSON Schema object, as far as it is read here. */
export type JsonSchema = Readonly<Record<string, unknown>>

export interface TextRequest {
  readonly prompt: string
  readonly system?: string
  readonly outputSchema?: JsonSchema
  /** Another seed gives another text. Default 0. */
  readonly seed?: number
}

/** The text; with an output schema, `json` is the value and `text` the same value as JSON. */
export interface WrittenText {
  readonly text: string
  readonly json?: unknown
}

const MAX_DEPTH = 12
const MAX_ITEMS = 100
/** Bounds on what a hostile schema can make us write; a schema that demands more is not satisfied. */
const MAX_VALUES = 20_000
const MAX_TEXT = 100_000

/**
 * Writes a text. Same request, same text. With `outputSchema` the value satisfies types, enum, const, required,
 * lengths, bounds, formats, local `$ref`s and the first branch of `oneOf`/`anyOf`; patterns by best effort
 * (literals, classes, groups, alternatives and counts). Beyond twelve levels only required fields are written.
 */
export function writeText({ prompt, system = '', outputSchema, seed = 0 }: TextRequest): WrittenText {
  const chance = createChance(`${system}\n${prompt}\n${seed}`)
  const writer = createWriter(prompt, chance)
  if (outputSchema !== undefined) {
    const json = createFiller(outputSchema, prompt, writer, chance).fill(outputSchema, '', 0)
    return { text: JSON.stringify(json), json }
  }
  const asked = prompt.match(/\b(\d{1,2}|one|two|three|four|five|six)[ -](?:short )?paragraphs?\b/i)?.[1]?.toLowerCase()
  const spelled = ['zero', 'one', 'two', 'three', 'four', 'five', 'six'].indexOf(asked ?? '')
  const paragraphs = Math.min(20, Math.max(1, spelled > 0 ? spelled : Number(asked ?? 3) || 3))
  const body = Array.from({ length: paragraphs }, () => writer.paragraph(3 + Math.floor(chance.next() * 2)))
  return { text: [writer.title(), ...body].join('\n\n') }
}

/** Whether a text says of itself, by `[unsafe]`, that it is to be found unsafe: refusals can be tried offline. */
export const isMarkedUnsafe = (text: string): boolean => text.toLowerCase().includes('[unsafe]')

interface Filler {
  fill(schema: unknown, name: string, depth: number): unknown
}

const isObject = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
const numberOf = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined

function createFiller(root: JsonSchema, prompt: string, writer: Writer, chance: Chance): Filler {
  let spent = 0
  let written = 0

  /** The schema with its reference followed, its first branch taken and its `allOf` parts merged in. */
  const settled = (schema: unknown, hops = 0): JsonSchema => {
    if (!isObject(schema)) return {}
    if (hops > 20 || ++spent > MAX_VALUES * 4) return {}
    const reference = schema['$ref']
    if (typeof reference === 'string') {
      const { $ref: _, ...rest } = schema
      return merge(settled(lookUp(root, reference), hops + 1), rest)
    }
    const { oneOf, anyOf, allOf, ...own } = schema
    const branch = listOf(oneOf)[0] ?? listOf(anyOf)[0]
    const parts = [...(branch === undefined ? [] : [branch]), ...listOf(allOf)]
    return parts.reduce<JsonSchema>((merged, part) => merge(merged, settled(part, hops + 1)), own)
  }

  const fillObject = (schema: JsonSchema, name: string, depth: number): unknown => {
    const properties = isObject(schema['properties']) ? schema['properties'] : {}
    const required = new Set(listOf(schema['required']).filter((key) => typeof key === 'string'))
    const out: Record<string, unknown> = {}
    for (const [key, property] of Object.entries(properties)) {
      if (property === false || (!required.has(key) && depth >= MAX_DEPTH / 2)) continue
      define(out, key, fill(property, key, depth + 1))
    }
    const extra = isObject(schema['additionalProperties']) ? schema['additionalProperties'] : {}
    for (const key of required) if (!Object.hasOwn(out, key)) define(out, key, fill(extra, key, depth + 1))
    const least = numberOf(schema['minProperties']) ?? 0
    for (let i = 1; Object.keys(out).length < least && i <= MAX_ITEMS; i++) {
      define(out, `${name || 'field'}_${i}`, fill(extra, name, depth + 1))
    }
    return out
  }

  const fillArray = (schema: JsonSchema, name: string, depth: number): unknown[] => {
    const first = listOf(schema['prefixItems'])
    const least = numberOf(schema['minItems']) ?? 0
    const most = Math.min(numberOf(schema['maxItems']) ?? MAX_ITEMS, MAX_ITEMS)
    const usual = depth >= MAX_DEPTH / 2 ? 0 : (askedCount(prompt, name) ?? 3)
    const length =
      schema['items'] === false ? first.length : Math.max(least, Math.min(most, Math.max(usual, first.length)))
    const item = singular(name)
    const out: unknown[] = []
    const seen = new Set<string>()
    for (let i = 0; out.length < length && i < length * 30 && written < MAX_VALUES; i++) {
      const value = fill(first[out.length] ?? schema['items'] ?? { type: 'string' }, item, depth + 1)
      const unique = schema['uniqueItems'] !== true || !seen.has(JSON.stringify(value))
      if (!unique) continue
      seen.add(JSON.stringify(value))
      out.push(value)
    }
    return out
  }

  const fill = (given: unknown, name: string, depth: number): unknown => {
    if (depth > MAX_DEPTH * 2 || ++written > MAX_VALUES) return null
    const schema = settled(given)
    if (Object.hasOwn(schema, 'const')) return schema['const']
    const options = listOf(schema['enum'])
    if (options.length > 0) return chance.pick(options)
    switch (typeOf(schema)) {
      case 'object':
        return fillObject(schema, name, depth)
      case 'array':
        return fillArray(schema, name, depth)
      case 'integer':
        return fillNumber(schema, name, 1, chance)
      case 'number':
        return fillNumber(schema, name, 0, chance)
      case 'boolean':
        return /^(is_?)?safe$/i.test(name) ? !isMarkedUnsafe(prompt) : chance.next() < 0.7
      case 'null':
        return null
      default:
        return fillString(schema, name, prompt, writer, chance)
    }
  }
  return { fill }
}

/** A plain own property, also for keys such as `__proto__`. */
const define = (target: Record<string, unknown>, key: string, value: unknown): void => {
  Object.defineProperty(target, key, { value, enumerable: true, writable: true, configurable: true })
}

function merge(one: JsonSchema, other: JsonSchema): JsonSchema {
  const properties = {
    ...(isObject(one['properties']) ? one['properties'] : {}),
    ...(isObject(other['properties']) ? other['properties'] : {}),
  }
  const required = [...listOf(one['required']), ...listOf(other['required'])]
  return {
    ...one,
    ...other,
    ...(Object.keys(properties).length > 0 ? { properties } : {}),
    ...(required.length > 0 ? { required } : {}),
  }
}

function lookUp(root: JsonSchema, reference: string): unknown {
  if (!reference.startsWith('#')) return {}
  let at: unknown = root
  for (const part of reference
    .slice(1)
    .split('/')
    .filter((piece) => piece !== '')) {
    const key = decodeURIComponent(part).replace(/~1/g, '/').replace(/~0/g, '~')
    if (Array.isArray(at)) at = at[Number(key)]
    else if (isObject(at) && Object.hasOwn(at, key)) at = at[key]
    else return {}
  }
  return at
}

function typeOf(schema: JsonSchema): string {
  const type = Array.isArray(schema['type']) ? (schema['type'].find((one) => one !== 'null') ?? 'null') : schema['type']
  if (typeof type === 'string') return type
  if (isObject(schema['properties']) || schema['required'] !== undefined || schema['minProperties'] !== undefined)
    return 'object'
  if (schema['items'] !== undefined || schema['minItems'] !== undefined || schema['prefixItems'] !== undefined)
    return 'array'
  if (schema['minimum'] !== undefined || schema['maximum'] !== undefined || schema['multipleOf'] !== undefined)
    return 'number'
  return 'string'
}

/** How many of a thing the prompt asks for: "5 hooks" for a field `hooks`. */
function askedCount(prompt: string, name: string): number | undefined {
  const noun = singular(name).replace(/[^a-z]/gi, '')
  if (noun.length < 3) return undefined
  const count = prompt.match(new RegExp(`\\b(\\d{1,2})\\s+(?:[\\w-]+\\s+){0,2}${noun}s?\\b`, 'i'))?.[1]
  return count === undefined ? undefined : Math.max(1, Number(count))
}

const singular = (name: string): string => name.replace(/ies$/, 'y').replace(/([^s])s$/, '$1')

function fillNumber(schema: JsonSchema, name: string, whole: 0 | 1, chance: Chance): number {
  const step = numberOf(schema['multipleOf']) ?? (whole === 1 ? 1 : 0.01)
  const above = numberOf(schema['exclusiveMinimum'])
  const below = numberOf(schema['exclusiveMaximum'])
  const usual = usualRange(name)
  let low = Math.max(numberOf(schema['minimum']) ?? -Infinity, above === undefined ? -Infinity : above + step * 1e-6)
  let high = Math.min(numberOf(schema['maximum']) ?? Infinity, below === undefined ? Infinity : below - step * 1e-6)
  if (low === -Infinity) low = high === Infinity ? usual[0] : Math.min(usual[0], high - step * 10)
  if (high === Infinity) high = Math.max(usual[1], low + step * 10)
  const [first, last] = [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)]
  if (last < first) return whole === 1 ? Math.ceil(low) : (low + high) / 2
  const value = (first + Math.floor(chance.next() * (last - first + 1))) * step
  const rounded = Number(value.toFixed(10))
  return whole === 1 ? Math.round(rounded) : Math.min(high, Math.max(low, rounded))
}

const usualRange = (name: string): readonly [number, number] =>
  /score|rating|confidence|share|ratio|probability/i.test(name)
    ? [0, 1]
    : /year/i.test(name)
      ? [1950, 2025]
      : /second|duration/i.test(name)
        ? [3, 12]
        : [1, 20]

/** What a field's name says about its text, the first match counts. */
const fieldTexts: readonly (readonly [RegExp, (writer: Writer, prompt: string, chance: Chance) => string])[] = [
  [
    /(^|_)(id|slug|key|handle)$|Id$/,
    (_, prompt, chance) => `${slugOf(prompt)}-${chance.pick(['one', 'two', 'three', 'four', 'five', 'six'])}`,
  ],
  [/url|link|href|uri/i, (_, prompt) => `https://example.com/${slugOf(prompt)}`],
  [/email/i, (_, prompt) => `hello@${slugOf(prompt).slice(0, 40)}.example.com`],
  [/date|_at$/i, (_, __, chance) => dateOf(chance)],
  [/hook|opener|opening|teaser/i, (writer) => writer.hook()],
  [
    /(image|visual|picture|illustration|scene|art).*(prompt|description)|prompt/i,
    (_, prompt, chance) =>
      `An illustration of ${topicOf(prompt)}, ${chance.pick(['flat vector style', 'watercolor', 'hand-drawn doodle style', 'cartoon style'])}`,
  ],
  [/title|headline|heading|name$|label|subject/i, (writer) => writer.title()],
  [/caption|alt|tagline|subtitle|description|dek|blurb/i, (writer) => writer.sentence()],
  [/hashtag|tag|keyword|topic|category/i, (_, prompt, chance) => chance.pick(topicWords(prompt).slice(0, 8))],
  [
    /script|narration|voice|dialogue|monologue|speech|transcript/i,
    (writer) => `${writer.hook()} ${writer.paragraph(4)}`,
  ],
  [
    /body|content|article|essay|paragraph|section|text|story|markdown/i,
    (writer) => `${writer.paragraph(4)}\n\n${writer.paragraph(3)}`,
  ],
  [
    /summary|abstract|overview|intro|conclusion|outro|explanation|rationale|reason|note/i,
    (writer) => writer.paragraph(2),
  ],
  [/cta|call_?to_?action/i, (_, prompt) => `Follow along for more on ${topicOf(prompt)}.`],
  [/question/i, (_, prompt) => `What do you notice first about ${topicOf(prompt)}?`],
  [/answer|fact|point|bullet|item|step|line|sentence|tip/i, (writer) => writer.sentence()],
  [/colou?r/i, (_, __, chance) => chance.pick(['#e76f51', '#21867a', '#5b7fa6', '#f0ae2e', '#6757d8'])],
  [/lang|locale/i, () => 'en'],
]

const slugOf = (prompt: string): string =>
  topicOf(prompt)
    .normalize('NFD')
    .replace(/[^a-zA-Z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .toLowerCase() || 'idea'

const dateOf = (chance: Chance): string => {
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${2020 + Math.floor(chance.next() * 6)}-${two(1 + Math.floor(chance.next() * 12))}-${two(1 + Math.floor(chance.next() * 28))}`
}

function formatted(format: unknown, prompt: string, chance: Chance): string | undefined {
  const hex = (digits: number): string =>
    Array.from({ length: digits }, () => Math.floor(chance.next() * 16).toString(16)).join('')
  switch (format) {
    case 'date':
      return dateOf(chance)
    case 'date-time':
      return `${dateOf(chance)}T09:30:00Z`
    case 'time':
      return '09:30:00Z'
    case 'duration':
      return 'PT30S'
    case 'uri':
    case 'url':
    case 'iri':
    case 'uri-reference':
      return `https://example.com/${slugOf(prompt)}`
    case 'email':
      return `hello@${slugOf(prompt).slice(0, 40).replace(/-$/, '')}.example.com`
    case 'hostname':
      return `${slugOf(prompt).slice(0, 40).replace(/-$/, '')}.example.com`
    case 'ipv4':
      return '192.0.2.1'
    case 'ipv6':
      return '2001:db8::1'
    case 'uuid':
      return `${hex(8)}-${hex(4)}-4${hex(3)}-8${hex(3)}-${hex(12)}`
    default:
      return undefined
  }
}

function fillString(schema: JsonSchema, name: string, prompt: string, writer: Writer, chance: Chance): string {
  const least = Math.max(0, numberOf(schema['minLength']) ?? 0)
  const most = numberOf(schema['maxLength']) ?? Infinity
  const fixed = formatted(schema['format'], prompt, chance)
  if (fixed !== undefined) return fixed
  if (typeof schema['pattern'] === 'string') {
    const matching = matchingText(schema['pattern'], least, most, chance)
    if (matching !== undefined) return matching
  }
  const write = fieldTexts.find(([field]) => field.test(name))?.[1]
  return fitted(write === undefined ? capitalised(writer.phrase()) : write(writer, prompt, chance), least, most, writer)
}

/** Brings a text to a length, counted in code points as JSON Schema does: more sentences, or cut at a word. */
function fitted(text: string, least: number, most: number, writer: Writer): string {
  const wanted = Math.min(least, MAX_TEXT)
  const sentences: string[] = [text]
  for (let length = Array.from(text).length; length < wanted; ) {
    const sentence = writer.sentence()
    sentences.push(sentence)
    length += Array.from(sentence).length + 1
  }
  const points = Array.from(sentences.join(' '))
  if (points.length <= most) return points.join('')
  const cut = points.slice(0, Math.floor(most)).join('')
  const atWord = cut.replace(/\s+\S*$/, '').replace(/[\s,;:]+$/, '')
  return Array.from(atWord).length >= Math.max(least, most * 0.5, 1) ? atWord : cut
}
