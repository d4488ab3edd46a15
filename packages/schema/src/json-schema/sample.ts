// Values that a schema accepts, made from the schema alone. The schema's rules are kept here; what it leaves open (which
// text, which of several, how many) is a matter of taste. Hides how a value is found: the branches that come to mind
// first, then those that the first guess has met, then all in turn, until one fits or the work is too much.
import { canonicalJson, isJsonObject, objectOf, type JsonObject, type JsonValue } from '../json.ts'
import { createChecker, memberSchemas, numberOf } from './checker.ts'
import { closedTo, listOf } from './merge.ts'
import { type Choose, createRules, DEPTH, firstTelling, isWritableName, type Rules, textsOf, typesOf } from './rules.ts'
import { createScalars, type Taste } from './scalars.ts'

export interface Sampler extends Pick<Rules, 'read'> {
  /** The fields of an object schema as they are for this value: with the alternatives and conditions that it meets. */
  fields(schema: JsonValue, value?: JsonValue): ReturnType<Rules['fields']>
  /**
   * A value that the schema accepts; the nearest that was found where it accepts none, where its patterns are not
   * understood (look-around), or where finding one takes too long. At most 1,000 items and 20 levels, texts of 20,000.
   */
  sample(schema: Schema, name: string): JsonValue
  /** The author's own values that the schema accepts, best first. */
  hints(schema: Schema): JsonValue[]
}

/** Undefined where there is none, and anything goes. */
type Schema = JsonValue | undefined
/** Undefined where none was found. */
type Made = JsonValue | undefined

const ATTEMPTS = 64
const ITEMS = 1000
/** Of an author's examples and choices each. */
const HINTS = 100
/** References that lead back are followed no deeper than this, where there is a way out. */
const DEEP = 6
/** What a value may be that no keyword says anything of, likely ones first. */
const TYPES = ['string', 'integer', 'object', 'array', 'boolean', 'null']

/** Samples of the parts of one schema; `root` is what its local references point into. */
export function createSampler(root: JsonObject, taste: Taste): Sampler {
  const rulesOf = createRules(root)
  const { read, spend } = rulesOf
  const checker = createChecker(rulesOf)
  const { fits, pattern, matches } = checker
  const { makeNumber, makeText, pickFrom } = createScalars(taste, checker)
  /** Schemas that no attempt was good enough for: they get one more each time that they are met. */
  const hopeless = new Set<JsonObject>()

  /** The branch that the value meets already. */
  const metBy =
    (value: JsonValue, otherwise: Choose): Choose =>
    (branches, conditions, firm) => {
      const met = conditions.findIndex((condition) => fits(value, condition))
      return met < 0 ? otherwise(branches, conditions, firm) : met
    }
  /** The way out of references that lead back. */
  const outward: Choose = (branches, conditions, firm) => {
    const isLeaf = (types: string[]) => types.length > 0 && !types.includes('object') && !types.includes('array')
    const leaf = branches.findIndex((branch) => isJsonObject(branch) && isLeaf(typesOf(branch)))
    return leaf < 0 || !firm ? firstTelling(branches, conditions, firm) : leaf
  }

  /** `from` skips the attempts whose values are known and not wanted. */
  function make(schema: Schema, name: string, nth: number, depth: number, from = 0): Made {
    if (schema === false || depth > DEPTH) return undefined
    const key = objectOf(schema)
    const last = from + (hopeless.has(key) ? 1 : ATTEMPTS)
    let [guess, latest]: Made[] = []
    for (let attempt = from; attempt < last && spend(1); attempt += 1) {
      // The number of the attempt, written in the base of each choice, goes through all of them. Every other time what
      // the value before has met is kept, so that only the rest is chosen.
      let turn = Math.max(0, attempt - 1) >> 1
      const inTurn: Choose = ({ length }) => {
        const digit = turn % length
        turn = Math.floor(turn / length)
        return digit
      }
      const first = depth > DEEP ? outward : firstTelling
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
  function makeBy(rules: JsonObject, schema: Schema, name: string, nth: number, turn: number, depth: number): Made {
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

  function hintsOf(rules: JsonObject, schema: Schema): JsonValue[] {
    const own = taste.takesHints ? [rules.default, ...listOf(rules.examples).slice(0, HINTS)] : []
    const named = [rules.const, ...own, ...listOf(rules.enum).slice(0, HINTS)]
    const distinct = new Map(named.flatMap((value) => (value === undefined ? [] : [[canonicalJson(value), value]])))
    return [...distinct.values()].filter((value) => fits(value, schema))
  }

  function makeObject(rules: JsonObject, nth: number, extras: number, depth: number): JsonObject | undefined {
    const properties = objectOf(rules.properties)
    const required = new Set(textsOf(rules.required).filter(isWritableName))
    const most = numberOf(rules.maxProperties) ?? Infinity
    const least = Math.min(Math.max(numberOf(rules.minProperties) ?? 0, extras), most, ITEMS)
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
    const sources = Object.keys(objectOf(patternProperties))
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

  return {
    read,
    fields: (schema, value) => rulesOf.fields(schema, value === undefined ? firstTelling : metBy(value, firstTelling)),
    sample: (schema, name) => make(schema, name, 0, 0) ?? null,
    hints: (schema) => hintsOf(read(schema), schema),
  }
}

function allOf(parts: readonly JsonValue[]): JsonValue {
  const telling = parts.filter((part) => part !== true)
  return telling.length > 1 ? { allOf: telling } : (telling[0] ?? true)
}

function singular(name: string): string {
  return name.length > 3 && /[^s]s$/.test(name) ? name.replace(/ies$/, 'ys').slice(0, -1) : name
}
