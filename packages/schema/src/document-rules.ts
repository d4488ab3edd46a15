// What every document must satisfy, whatever its format: the limits, the keys, the text and the numbers, with one wording.
// Hides how findings are collected: what cannot be parsed (400) ends the reading, what is refused (422) is gathered.
import { hiddenInKey } from './hidden-characters.ts'
import { isPrototypeKey, type JsonValue } from './json.ts'
import { pointerTo } from './json-schema/pointer.ts'

export type DocumentFormat = 'json' | 'yaml' | 'toml'

/**
 * How large a document may be before it is refused.
 * `depth` counts nested objects and arrays, the outermost one included; `nodes` counts values, keys excluded;
 * `stringBytes` holds for every string and key as UTF-8; `lines` bounds what the YAML and TOML parsers are given.
 */
export const DOCUMENT_LIMITS = {
  bodyBytes: 1_048_576,
  depth: 32,
  nodes: 10_000,
  stringBytes: 65_536,
  lines: 30_000,
}
export type DocumentLimits = typeof DOCUMENT_LIMITS

/** Both count from 1; the column counts UTF-16 code units, as editors do. */
export interface Position {
  line: number
  column: number
}

export type Path = readonly (string | number)[]

/** One place of the text and what is wrong there; turned into a `DocumentProblem` once, at the end. */
export interface Finding {
  path: Path
  detail: string
  /** Index into the text, or undefined where no text belongs to it. */
  offset: number | undefined
}

/** Indexes into the text: where a value begins, and its key; an item stands for its own key. */
export interface Place {
  key: number
  value: number
}

/** What a reader makes of a text whose grammar it has judged. */
export interface Reading {
  /** As the parser gives it, so that TOML may have bigints and dates in it. */
  value: unknown
  /** How many keys the text holds, where the parser keeps one of two equal ones and says nothing. */
  keys?: number
  /** Where each value stands, by pointer. May take a pass of its own over the text; refuses what `keys` gives away. */
  places(): ReadonlyMap<string, Place>
}

/** Thrown for what cannot be parsed; never leaves `parseDocument`. */
export class Unparsable extends Error {
  readonly finding: Finding

  constructor(finding: Finding) {
    super(finding.detail)
    this.finding = finding
  }
}

const FINDINGS_MAX = 20
/** Matches in every text that holds a number too small for a float: digits far behind the point, or a large exponent. */
const MAY_VANISH = /[\d.]e-[\d_]{2}|\.[0_]{99}/i

/** The place in words, for the detail of a problem. */
export function placeOf(path: Path): string {
  return path.length === 0 ? 'the document' : `"${clip(pointerTo(...path), 120)}"`
}

/** The text, shortened so that a hostile one cannot fill an answer. */
export function clip(text: string, length: number): string {
  return (text.length > length ? `${text.slice(0, length)}…` : text).toWellFormed()
}

export function fail(path: Path, offset: number | undefined, detail: string): never {
  throw new Unparsable({ path: [...path], offset, detail })
}

export function failTooManyNodes(limits: DocumentLimits, offset: number | undefined): never {
  fail([], offset, `the document holds more than ${limits.nodes} values; split it or send fewer`)
}

export function failTooDeep(limits: DocumentLimits, path: Path, offset: number | undefined): never {
  fail(path, offset, `objects and arrays are nested more than ${limits.depth} levels deep; flatten the document`)
}

/** For a key, the last part of the path, that its object holds already. */
export function failTwice(path: Path, offset: number | undefined): never {
  const owner = placeOf(path.slice(0, -1))
  fail(path, offset, `the key "${clip(String(path.at(-1)), 80)}" stands twice in ${owner}; keep one of them`)
}

/**
 * Makes the value of a reading plain, in its own place. `refused` is what is refused in it (422), up to twenty of them in
 * the order they were met.
 */
export function toTree(
  text: string,
  reading: Reading,
  limits: DocumentLimits,
): { value: JsonValue; refused: readonly Finding[] } {
  const path: (string | number)[] = []
  const refused: Finding[] = []
  let [nodes, keys] = [0, 0]
  // The text itself holds no NUL and no half of a character; only escapes can bring them in.
  const hasEscapes = text.includes('\\')
  let mayVanish: boolean | undefined

  function offsetOf(part: keyof Place): number | undefined {
    return reading.places().get(pointerTo(...path))?.[part]
  }

  function refuse(part: keyof Place, detail: string): void {
    if (refused.length < FINDINGS_MAX) refused.push({ path: [...path], offset: offsetOf(part), detail })
  }

  /** The characters from the value's beginning that the sticky pattern matches. */
  function sourceOf(pattern: RegExp): string | undefined {
    const offset = offsetOf('value')
    if (offset === undefined) return undefined
    pattern.lastIndex = offset
    return pattern.exec(text)?.[0]
  }

  function checkText(value: string, part: keyof Place): void {
    if (value.length * 3 > limits.stringBytes && Buffer.byteLength(value) > limits.stringBytes) {
      const detail = `the text at ${placeOf(path)} is longer than ${limits.stringBytes} bytes; shorten it`
      fail(path, offsetOf(part), detail)
    }
    if (!hasEscapes) return
    if (value.includes('\0')) {
      fail(path, offsetOf(part), `the text at ${placeOf(path)} holds a NUL character; remove it`)
    }
    if (!value.isWellFormed()) {
      const detail = `the text at ${placeOf(path)} holds half of a surrogate pair; write the whole character`
      fail(path, offsetOf(part), detail)
    }
  }

  function refuseNumber(why: string): number {
    refuse('value', `the number at ${placeOf(path)} ${why}`)
    return 0
  }

  function toNumber(value: number): number {
    const most = Number.MAX_SAFE_INTEGER
    if (!Number.isFinite(value)) return refuseNumber('has no finite value; write a finite number or a string')
    if (Math.abs(value) > most) return refuseNumber(`is beyond ±${most} and would lose digits; write a string`)
    if (value !== 0) return value
    if ((mayVanish ??= MAY_VANISH.test(text)) && sourceOf(/[-+]?[0-9._]*[1-9]/y) !== undefined) {
      return refuseNumber('is too small and would become 0; write 0 or a string')
    }
    return 0 // for -0 too: JSON texts and databases do not keep its sign
  }

  function toValue(value: unknown): unknown {
    if (++nodes > limits.nodes) failTooManyNodes(limits, offsetOf('value'))
    if (typeof value === 'string') checkText(value, 'value')
    if (typeof value === 'number' || typeof value === 'bigint') return toNumber(Number(value))
    if (typeof value !== 'object' || value === null) return value
    if (value instanceof Date) return sourceOf(/[^,\]}#\r\n]*/y)?.trim() ?? value.toISOString()

    if (path.length >= limits.depth) failTooDeep(limits, path, offsetOf('value'))
    if (Array.isArray(value)) {
      for (let index = 0; index < value.length; index++) settle(value as unknown[], index)
      return value
    }
    if (Object.getPrototypeOf(value) === null) Object.setPrototypeOf(value, Object.prototype)
    for (const key of Object.keys(value)) {
      keys++
      settle(value as Record<string, unknown>, key)
    }
    return value
  }

  /** Checks a member or item, and puts what it comes to in its place. */
  function settle<Key extends string | number>(owner: Record<Key, unknown>, key: Key): void {
    path.push(key)
    if (typeof key === 'string') {
      checkText(key, 'key')
      if (isPrototypeKey(key)) refuse('key', `the key "${key}" is not allowed anywhere; choose another name`)
      const hidden = hiddenInKey(key)
      if (hidden !== undefined) refuse('key', `the key "${clip(key, 80)}" ${hidden}`)
    }
    const given = owner[key]
    const value = toValue(given)
    if (!Object.is(value, given)) owner[key] = value
    path.pop()
  }

  const value = toValue(reading.value) as JsonValue
  if (reading.keys !== undefined && reading.keys !== keys) reading.places()
  return { value, refused }
}
