// Numbers and texts that heed their rules, and the taste that chooses among them.
// Hides how a wish is brought within bounds, to a length or to a pattern.
import { isJsonObject, type JsonObject } from '../json.ts'
import { type Checker, numberOf } from './checker.ts'
import { examplesOf } from './formats.ts'
import { listOf } from './merge.ts'
import { TEXT_LENGTH } from './rules.ts'

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

/** Values of rules whose `type` is one; each the best that was found. */
export interface Scalars {
  makeNumber(rules: JsonObject, name: string, nth: number): number
  makeText(rules: JsonObject, name: string, nth: number): string
  /** Chooses from so many as the taste does, another for each `nth`. */
  pickFrom(nth: number): (count: number) => number
}

export function createScalars(taste: Taste, { fits, pattern }: Checker): Scalars {
  const pickFrom = (nth: number) => (count: number) => (taste.pick(count) + nth) % count

  function makeNumber(rules: JsonObject, name: string, nth: number): number {
    const low = Math.max(numberOf(rules.minimum) ?? -Infinity, numberOf(rules.exclusiveMinimum) ?? -Infinity)
    const high = Math.min(numberOf(rules.maximum) ?? Infinity, numberOf(rules.exclusiveMaximum) ?? Infinity)
    const multiples = [rules, ...listOf(rules.allOf)].flatMap(
      (part) => (isJsonObject(part) ? numberOf(part.multipleOf) : undefined) ?? [],
    )
    const step = multiples.every(Number.isInteger)
      ? multiples.reduce((a, b) => (a / divisor(a, b)) * b, 1)
      : Math.max(...multiples)
    const grid = rules.type === 'integer' || multiples.length > 0 ? step : 0.01
    const wish = taste.number?.(name, low, high, grid)
    const anchors = [low, high].filter(Number.isFinite)
    const near = anchors.flatMap((bound) => [bound, bound + 1, bound - 1, Math.ceil(bound), Math.floor(bound)])
    const onGrid = [0, ...anchors].flatMap((bound) =>
      Array.from({ length: 12 }, (_, index) => (Math.floor(bound / step) + index - (bound === high ? 10 : 0)) * step),
    )
    const wished = wish === undefined ? [] : [Number((Math.round(wish / grid) * grid).toFixed(10)), wish]
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
      const texts = [taste.format?.(format, nth), ...examplesOf(format, nth)].filter((text) => text !== undefined)
      return texts.flatMap((text) => [text, text.padEnd(least, 'a'), text.padStart(least, 'a')])
    })
    const free = fitted(taste.text(name, nth), least, most, () => taste.more(name))
    const candidates = [...patterned, ...formatted, free].filter((text) => text !== undefined)
    return candidates.find((text) => fits(text, rules)) ?? candidates[nth % candidates.length] ?? free
  }

  return { makeNumber, makeText, pickFrom }
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
  const atWord = cut.replace(/(?<!\s)\s+\S*$/, '').replace(/(?<![\s,;:])[\s,;:]+$/, '')
  if (Array.from(atWord).length >= Math.max(least, most / 2, 1)) return atWord
  return cut.replace(/\s$/, 's')
}

function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b)
}
