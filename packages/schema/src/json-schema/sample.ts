// Values that a schema accepts, made from the schema alone. The schema's rules are kept here; what it leaves open (which
// text, which of several, how many) is a matter of taste. Hides how a value is found: the branches that come to mind
// first, then those that the first guess has met, then all in turn, until one fits or the work is too much.
import { canonicalJson, isJsonObject, type JsonObject, type JsonValue } from '../json.ts'
import { createChecker, memberSchemas, numberOf } from './checker.ts'
import {
  type Choose,
  closedTo,
  createRules,
  DEPTH,
  firstTelling,
  isWritableName,
  listOf,
  type Rules,
  TEXT_LENGTH,
  typesOf,
} from './rules.ts'

/** The free choices of a sample. `nth` makes the values of a list differ. */
export interface Taste {
  /** Whether the author's `default` and `examples` come before anything that is made. */
  takesHints: boolean
  /** One of so many that are equally good, from 0. */
  pick(count: number): number
  /** Whether a member is written that may be left out. */
  includes(name: string, depth: number): boolean
  /** How many items a list has, where it may. */
  count(name: string, depth: number): number
  /** A number between the bounds, which may be infinite; it is brought to a multiple of `step`. */
  number?(name: string, low: number, high: number, step: number): number
  truth(name: string, nth: number): boolean
  text(name: string, nth: number): string
  /** What a text goes on with that has to be longer. */
  more(name: string): string
  /** Texts of formats that it has an own idea of. */
  format?(format: string, nth: number): string | undefined
}

export interface Sampler extends Pick<Rules, 'read'> {
  /** The fields of an object schema as they are for this value: with the alternatives and conditions that it meets. */
  fields(schema: JsonValue, value?: JsonValue): ReturnType<Rules['fields']>
  /**
   * A value that the schema accepts; the nearest that was found where it accepts none, where its patterns are not
   * understood (look-around), or where finding one takes too long. At most 1,000 items and 20 levels, texts of 20,000.
   */
  sample(schema: JsonValue | undefined, name: string): JsonValue
  /** The author's own values that the schema accepts, best first. */
  hints(schema: JsonValue | undefined): JsonValue[]
}

const ATTEMPTS = 64
const ITEMS = 1000
/** Of an author's examples and choices each. */
const HINTS = 100
/** References that lead back are followed no deeper than this, where there is a way out. */
const DEEP = 6
const TYPES = ['string', 'integer', 'object', 'array', 'boolean', 'null']
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

/** For lengths that leave no room for better ones. */
const SHORTEST: Record<string, string> = { email: 'a@b.co', hostname: 'a.co', uri: 'http://a.b', url: 'http://a.b' }

/** Samples of the parts of one schema; `root` is what its local references point into. */
export function createSampler(root: JsonObject, taste: Taste): Sampler {
  const rulesOf = createRules(root)
  const { read, spend } = rulesOf
  const { fits, pattern } = createChecker(rulesOf)
  /** Schemas that no attempt was good enough for: they get one more each time that they are met. */
  const hopeless = new Set<JsonObject>()

  const metBy =
    (value: JsonValue, otherwise: Choose): Choose =>
    (branches, conditions, firm) => {
      const met = conditions.findIndex((condition) => fits(value, condition))
      return met < 0 ? otherwise(branches, conditions, firm) : met
    }
  const deep: Choose = (branches, conditions, firm) => {
    const leaf = branches.findIndex(
      (branch) => isJsonObject(branch) && !/object|array|undefined/.test(`${branch.type}`),
    )
    return leaf < 0 || !firm ? firstTelling(branches, conditions, firm) : leaf
  }

  const pickFrom = (nth: number) => (count: number) => (taste.pick(count) + nth) % count

  /** `from` skips the attempts whose values are known and not wanted. */
  function make(
    schema: JsonValue | undefined,
    name: string,
    nth: number,
    depth: number,
    from = 0,
  ): JsonValue | undefined {
    if (schema === false || depth > DEPTH) return undefined
    const key = isJsonObject(schema) ? schema : {}
    const last = from + (hopeless.has(key) ? 1 : ATTEMPTS)
    let [guess, latest]: (JsonValue | undefined)[] = []
    for (let attempt = from; attempt < last && spend(1); attempt += 1) {
      // The number of the attempt, written in the base of each choice, goes through all of them. Every other time what
      // the value before has met is kept, so that only the rest is chosen.
      let turn = Math.max(0, attempt - 1) >> 1
      const inTurn: Choose = ({ length }) => {
        const digit = turn % length
        turn = Math.floor(turn / length)
        return digit
      }
      const first = depth > DEEP ? deep : firstTelling
      const choose = attempt === 0 ? first : attempt % 2 === 1 && latest !== undefined ? metBy(latest, inTurn) : inTurn
      const rules = read(schema, choose)
      latest = makeBy(rules, schema, name, nth, turn, depth)
      if (latest !== undefined && fits(latest, schema)) return latest
      guess ??= latest
    }
    hopeless.add(key)
    return guess
  }

  /** A value by rules; `turn` is how many were made before that did not fit. */
  function makeBy(
    rules: JsonObject,
    schema: JsonValue | undefined,
    name: string,
    nth: number,
    turn: number,
    depth: number,
  ): JsonValue | undefined {
    const closed = closedTo(rules)
    const known = closed !== undefined || taste.takesHints ? hintsOf(rules, schema) : []
    const telling = known.some((value) => value !== null) ? known.filter((value) => value !== null) : known
    if (closed !== undefined || (nth + turn < telling.length && telling[0] !== null)) {
      const first = taste.takesHints ? 0 : taste.pick(Math.max(1, telling.length))
      return telling[(first + nth + turn) % telling.length]
    }
    const named = typesOf(rules)
    const types = rules.type === undefined ? [...new Set([...named, ...TYPES])] : named
    const type = types[turn % types.length]
    const again = Math.floor(turn / Math.max(1, types.length))
    const further = nth + again
    switch (type) {
      case 'object':
        return makeObject(rules, further, again % 2, depth)
      case 'array':
        return makeList(rules, name, further, depth)
      case 'number':
      case 'integer':
        return makeNumber({ ...rules, type }, name, further)
      case 'boolean':
        return taste.truth(name, further)
      case 'null':
        return null
      default:
        return type === undefined ? undefined : makeText(rules, name, further)
    }
  }

  function hintsOf(rules: JsonObject, schema: JsonValue | undefined): JsonValue[] {
    const own = taste.takesHints ? [rules.default, ...listOf(rules.examples).slice(0, HINTS)] : []
    const named = [rules.const, ...own, ...listOf(rules.enum).slice(0, HINTS)]
    const distinct = new Map(named.flatMap((value) => (value === undefined ? [] : [[canonicalJson(value), value]])))
    return [...distinct.values()].filter((value) => fits(value, schema))
  }

  function makeObject(rules: JsonObject, nth: number, extras: number, depth: number): JsonObject | undefined {
    const properties = isJsonObject(rules.properties) ? rules.properties : {}
    const required = new Set(listOf(rules.required).map(String).filter(isWritableName))
    const most = numberOf(rules.maxProperties) ?? Infinity
    const least = Math.min(Math.max(numberOf(rules.minProperties) ?? 0, extras), most, ITEMS)
    const matches = (source: string, text: string) => pattern(source)?.test(text) ?? false
    const partFor = (name: string) => allOf(memberSchemas(rules, name, matches))
    const chosen = new Set(required)
    for (const name of Object.keys(properties).filter(isWritableName)) {
      const wanted = chosen.size < least || (chosen.size < most && taste.includes(name, depth))
      if (wanted && properties[name] !== false) chosen.add(name)
    }
    const value = new Map<string, JsonValue>()
    for (const name of new Set([...Object.keys(properties), ...chosen])) {
      if (!chosen.has(name)) continue
      const part = partFor(name)
      const member = make(part, name, nth, depth + 1)
      if (required.has(name) && member === undefined) return undefined
      if (member !== undefined && (required.has(name) || fits(member, part))) value.set(name, member)
    }
    for (let extra = 1; value.size < least && extra <= least + ATTEMPTS && spend(1); extra += 1) {
      for (const name of namesFor(rules, extra)) {
        const part = partFor(name)
        if (value.size >= least || value.has(name) || !isWritableName(name) || !fits(name, rules.propertyNames))
          continue
        const member = make(part, 'value', nth + extra - 1, depth + 1)
        if (member !== undefined && fits(member, part)) value.set(name, member)
      }
    }
    return Object.fromEntries(value)
  }

  /** Names for members that nobody has declared. */
  function namesFor({ patternProperties, propertyNames }: JsonObject, nth: number): string[] {
    const sources = Object.keys(isJsonObject(patternProperties) ? patternProperties : {})
    const patterned = sources.map((source) => pattern(source)?.write(0, 40, pickFrom(nth)))
    const named = propertyNames === undefined ? [] : [make(allOf([{ type: 'string' }, propertyNames]), 'key', nth, 1)]
    return [`key_${nth}`, ...patterned, ...named].filter((name) => typeof name === 'string')
  }

  function makeList(rules: JsonObject, name: string, nth: number, depth: number): JsonValue[] | undefined {
    const prefix = listOf(rules.prefixItems)
    const wishes = [rules, ...listOf(rules.allOf)].filter(isJsonObject).filter((part) => part.contains !== undefined)
    // One item may meet several wishes, or each its own; behind the others, or before them.
    const [isAtEnd, isShared] = [nth % 2 === 0, nth % 4 > 1]
    const times = (wish: JsonObject) => Math.min(numberOf(wish.minContains) ?? 1, ITEMS)
    const needed = isShared
      ? Array<JsonValue>(Math.max(0, ...wishes.map(times))).fill(allOf(wishes.map(({ contains = true }) => contains)))
      : wishes.flatMap((wish) => Array<JsonValue>(times(wish)).fill(wish.contains ?? true))
    const limited = wishes
      .filter((wish) => wish.maxContains !== undefined)
      .map((wish) => ({ not: wish.contains ?? true }))
    const most = Math.min(numberOf(rules.maxItems) ?? ITEMS, ITEMS, rules.items === false ? prefix.length : ITEMS)
    const least = Math.min(Math.max(numberOf(rules.minItems) ?? 0, needed.length), most)
    const shown = taste.count(name, depth)
    const behind = isAtEnd && needed.length > 0 ? prefix.length + needed.length : 0
    const length = Math.min(most, Math.max(least, shown, shown > 0 ? prefix.length : 0, behind))
    const start = isAtEnd ? length - needed.length : 0
    const partFor = (index: number) => {
      const wish = needed[index - start]
      return allOf([prefix[index] ?? rules.items ?? true, ...(wish === undefined ? limited : [wish])])
    }
    const items: JsonValue[] = []
    const seen = new Set<string>()
    let repeated = 0
    for (let tries = 0; items.length < length && tries < length * 3 + ATTEMPTS && spend(1); tries += 1) {
      const part = partFor(items.length)
      const item = make(part, singular(name), nth + tries, depth + 1, repeated)
      if (item === undefined || (items.length >= least && !fits(item, part))) break
      const text = canonicalJson(item)
      if (rules.uniqueItems === true && seen.has(text)) repeated += 1
      else items.push(item)
      seen.add(text)
    }
    return items
  }

  function makeNumber(rules: JsonObject, name: string, nth: number): number {
    const low = Math.max(numberOf(rules.minimum) ?? -Infinity, numberOf(rules.exclusiveMinimum) ?? -Infinity)
    const high = Math.min(numberOf(rules.maximum) ?? Infinity, numberOf(rules.exclusiveMaximum) ?? Infinity)
    const multiples = [rules, ...listOf(rules.allOf)].flatMap(
      (part) => (isJsonObject(part) ? numberOf(part.multipleOf) : undefined) ?? [],
    )
    const step = multiples.every(Number.isInteger)
      ? multiples.reduce((a, b) => (a / divisor(a, b)) * b, 1)
      : Math.max(...multiples)
    const wish = taste.number?.(name, low, high, rules.type === 'integer' || multiples.length > 0 ? step : 0.01)
    const anchors = [low, high].filter(Number.isFinite)
    const near = anchors.flatMap((bound) => [bound, bound + 1, bound - 1, Math.ceil(bound), Math.floor(bound)])
    const onGrid = [0, ...anchors].flatMap((bound) =>
      Array.from({ length: 12 }, (_, index) => (Math.floor(bound / step) + index - (bound === high ? 10 : 0)) * step),
    )
    const wished = wish === undefined ? [] : [Number((Math.round(wish / step) * step).toFixed(10)), wish]
    const middle = anchors.length === 2 ? [(low + high) / 2, low + (high - low) / (nth + 3)] : []
    const candidates = [...wished, 1, 0, step, ...near, ...middle, ...onGrid, 0.5, -0.5]
    const isGood = (value: number) => (rules.type !== 'integer' || Number.isInteger(value)) && fits(value, rules)
    const good = [...new Set(candidates)].filter(isGood)
    const base = good[0] ?? 0
    return [base + nth * step, base - nth * step, ...good.slice(nth)].find(isGood) ?? base
  }

  function makeText(rules: JsonObject, name: string, nth: number): string {
    const least = Math.min(numberOf(rules.minLength) ?? 0, TEXT_LENGTH)
    const most = Math.min(numberOf(rules.maxLength) ?? TEXT_LENGTH, TEXT_LENGTH)
    const parts = [rules, ...listOf(rules.allOf)].filter(isJsonObject)
    const patterns = parts.flatMap(
      ({ pattern: source }) => (typeof source === 'string' ? pattern(source) : undefined) ?? [],
    )
    const floor = Math.min(most, Math.max(least, ...patterns.map(({ shortest }) => shortest)))
    const patterned = patterns.map(({ write }) => write(floor, most, pickFrom(nth)))
    const formatted = parts.flatMap(({ format }) => {
      if (typeof format !== 'string') return []
      const own = Object.hasOwn(FORMATS, format) ? FORMATS[format]?.(nth) : undefined
      const texts = [taste.format?.(format, nth), own, SHORTEST[format]].filter((text) => text !== undefined)
      return texts.flatMap((text) => [text, text.padEnd(least, 'a'), text.padStart(least, 'a')])
    })
    const free = fitted(taste.text(name, nth), least, most, () => taste.more(name))
    const candidates = [...patterned, ...formatted, free].filter((text) => text !== undefined)
    return candidates.find((text) => fits(text, rules)) ?? candidates[nth % candidates.length] ?? free
  }

  return {
    read,
    fields: (schema, value) => rulesOf.fields(schema, value === undefined ? firstTelling : metBy(value, firstTelling)),
    sample: (schema, name) => make(schema, name, 0, 0) ?? null,
    hints: (schema) => hintsOf(read(schema), schema),
  }
}

/** Brings a text to a length, counted as JSON Schema does: more of it, or cut at a word where that leaves half of it. */
function fitted(text: string, least: number, most: number, more: () => string): string {
  const parts = [text]
  for (let length = Array.from(text).length; length < least; ) {
    const part = more() || 'text'
    parts.push(part)
    length += Array.from(part).length + 1
  }
  const characters = Array.from(parts.join(' '))
  if (characters.length <= most) return characters.join('')
  const cut = characters.slice(0, Math.floor(most)).join('')
  const atWord = cut.replace(/\s+\S*$/, '').replace(/[\s,;:]+$/, '')
  if (Array.from(atWord).length >= Math.max(least, most / 2, 1)) return atWord
  return cut.replace(/\s$/, 's')
}

function allOf(parts: readonly JsonValue[]): JsonValue {
  const telling = parts.filter((part) => part !== true)
  return telling.length > 1 ? { allOf: telling } : (telling[0] ?? true)
}

function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b)
}

export function singular(name: string): string {
  return name.length > 3 && /[^s]s$/.test(name) ? name.replace(/ies$/, 'ys').slice(0, -1) : name
}
