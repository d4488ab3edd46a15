// TOML text to a tree: dates become the characters they were written with, big integers are refused rather than rounded.
// Hides a scan of our own before the parser's: it bounds what the parser is given, and knows where each value stands.
import { parse, TomlError } from 'smol-toml'
import { clip, type Path, placeOf, type Reading, type Rules } from './document-rules.ts'
import type { JsonValue } from './json.ts'
import { pointerTo } from './json-schema/pointer.ts'

/** Key parts a document may have per allowed value, in headers and dotted keys; the parser makes a table for each. */
const KEY_PARTS_PER_NODE = 4
/** Converting digits to an integer takes quadratic time, and no number that can be represented needs more. */
const NUMBER_LENGTH_MAX = 1000

/** Where things stand, by pointer; `declared` is the pointer of each key by the offset at which its line begins it. */
interface Places {
  keys: Map<string, number>
  values: Map<string, number>
  declared: Map<number, Path>
}

/** Reads TOML 1.0. A document without any key is empty, which is refused. */
export function readToml(text: string, rules: Rules): Reading {
  const places = scanToml(text, rules)
  let table: unknown
  try {
    table = parse(text, { integersAsBigInt: true })
  } catch (error) {
    if (error instanceof TomlError) failAsToml(error, text, places, rules)
    throw error
  }
  const value = toTree(table, text, places, rules)
  if (Object.keys(value as object).length === 0) rules.fail([], 0, 'the document is empty; write at least one key')
  return { value, offsets: () => places.keys }
}

function failAsToml(error: TomlError, text: string, places: Places, rules: Rules): never {
  let lineStart = 0
  for (let line = 1; line < error.line; line++) lineStart = text.indexOf('\n', lineStart) + 1
  const offset = lineStart + error.column - 1
  const message = (error.message.split('\n', 1)[0] ?? '').replace(/^Invalid TOML document: /, '')
  const path = message.includes('already defined') ? places.declared.get(offset) : undefined
  if (path) rules.key(true, path, offset)
  rules.fail([], offset, `this is not TOML: ${clip(message, 200)}`)
}

/** The parser's tables as plain objects. */
function toTree(root: unknown, text: string, places: Places, rules: Rules): JsonValue {
  const path: (string | number)[] = []

  function toValue(value: unknown): JsonValue {
    const pointer = pointerTo(...path)
    const keyOffset = places.keys.get(pointer)
    const offset = places.values.get(pointer) ?? keyOffset
    rules.node(offset)
    if (typeof value === 'boolean') return value
    if (typeof value === 'string') {
      rules.text(value, path, offset)
      return value
    }
    if (typeof value === 'bigint') return rules.number(Number(value), undefined, path, offset)
    if (typeof value === 'number') {
      return rules.number(value, value === 0 ? sourceAt(text, offset) : undefined, path, offset)
    }
    if (value instanceof Date) return sourceAt(text, offset) ?? value.toISOString()
    rules.container(path, offset)
    if (Array.isArray(value)) return value.map((item, index) => toMember(index, item))
    return Object.fromEntries(
      Object.entries(value as object).map(([key, member]) => {
        path.push(key)
        const memberOffset = places.keys.get(pointerTo(...path))
        rules.text(key, path, memberOffset)
        rules.key(false, path, memberOffset)
        path.pop()
        return [key, toMember(key, member)]
      }),
    )
  }

  function toMember(key: string | number, member: unknown): JsonValue {
    path.push(key)
    const value = toValue(member)
    path.pop()
    return value
  }

  return toValue(root)
}

/** The characters of a date or number as they were written. */
function sourceAt(text: string, offset: number | undefined): string | undefined {
  return offset === undefined ? undefined : text.slice(offset, scalarEnd(text, offset)).trim()
}

function scalarEnd(text: string, start: number): number {
  let end = start
  while (end < text.length && !',]}#\n\r'.includes(text.charAt(end))) end++
  return end
}

/**
 * Walks over the declarations without judging them. At the first thing it does not understand it ends, since the parser
 * gets no further than that either; limits that are certainly broken are refused here, before the parser builds anything.
 */
function scanToml(text: string, rules: Rules): Places {
  const { nodes, depth } = rules.limits
  const places: Places = { keys: new Map([['', 0]]), values: new Map(), declared: new Map() }
  /** How many tables each array of tables has so far. */
  const tableCounts = new Map<string, number>()
  let [at, values, parts] = [0, 0, 0]

  function skipSpace(lines: boolean): void {
    for (; at < text.length; at++) {
      const char = text.charAt(at)
      if (char === '#' && lines) {
        const end = text.indexOf('\n', at)
        at = end < 0 ? text.length : end
      } else if (char !== ' ' && char !== '\t' && !(lines && (char === '\n' || char === '\r'))) return
    }
  }

  /** Moves behind a string of any of the four kinds and gives its content, escapes undone; undefined if it has no end. */
  function skipString(): string | undefined {
    const quote = text.charAt(at)
    const multiline = text.startsWith(quote.repeat(3), at)
    const ending = multiline ? quote.repeat(3) : quote
    const start = at + ending.length
    for (at = start; at < text.length; at++) {
      const char = text.charAt(at)
      if (char === '\\' && quote === '"') at++
      else if (char === '\n' && !multiline) return undefined
      else if (char === quote && text.startsWith(ending, at)) {
        // Up to two quotes may stand before the closing three.
        if (multiline) for (let extra = 0; extra < 2 && text.charAt(at + 3) === quote; extra++) at++
        const content = text.slice(start, at)
        at += ending.length
        return content.includes('\\') && quote === '"' && !multiline ? unescape(content) : content
      }
    }
    return undefined
  }

  /** One dotted key; appends its parts to `path` and notes each. False if this is no key. */
  function key(path: (string | number)[], header: boolean): boolean {
    const declaration = at
    for (;;) {
      skipSpace(false)
      const offset = at
      const char = text.charAt(at)
      let part: string | undefined
      if (char === '"' || char === "'") part = skipString()
      else {
        while (isBare(text.charCodeAt(at))) at++
        if (at > offset) part = text.slice(offset, at)
      }
      if (part === undefined) return false
      if (++parts > nodes * KEY_PARTS_PER_NODE) rules.failTooManyNodes(offset)
      path.push(part)
      if (path.length > depth * 2) rules.failTooDeep([...path], offset)
      const pointer = pointerTo(...path)
      if (!places.keys.has(pointer)) places.keys.set(pointer, offset)
      skipSpace(false)
      if (text.charAt(at) !== '.') {
        places.declared.set(declaration, [...path])
        return true
      }
      at++
      const tables = header ? tableCounts.get(pointer) : undefined
      if (tables !== undefined) path.push(tables - 1)
    }
  }

  function countValue(offset: number): void {
    if (++values > nodes) rules.failTooManyNodes(offset)
  }

  /** The value at `at`, whose place is `path`. False if the rest cannot be understood. */
  function value(path: (string | number)[]): boolean {
    skipSpace(false)
    countValue(at)
    const pointer = pointerTo(...path)
    places.values.set(pointer, at)
    if (!places.keys.has(pointer)) places.keys.set(pointer, at)
    const char = text.charAt(at)
    if (char === '"' || char === "'") return skipString() !== undefined
    if (char === '[' || char === '{') {
      rules.container(path, at)
      return char === '[' ? array(path) : inlineTable(path)
    }
    const start = at
    at = scalarEnd(text, at)
    if (at - start > NUMBER_LENGTH_MAX && text.slice(start, at).trim().length > NUMBER_LENGTH_MAX) {
      rules.fail(
        [...path],
        start,
        `the value at ${placeOf(path)} is no number, date, true or false; quote it as a string`,
      )
    }
    return at > start
  }

  function array(path: (string | number)[]): boolean {
    at++
    for (let index = 0; ; index++) {
      skipSpace(true)
      if (text.charAt(at) === ']') break
      if (!value([...path, index])) return false
      skipSpace(true)
      if (text.charAt(at) === ']') break
      if (text.charAt(at) !== ',') return false
      at++
    }
    at++
    return true
  }

  function inlineTable(path: (string | number)[]): boolean {
    at++
    for (;;) {
      skipSpace(true)
      if (text.charAt(at) === '}') break
      if (!pair([...path])) return false
      skipSpace(true)
      if (text.charAt(at) === '}') break
      if (text.charAt(at) !== ',') return false
      at++
    }
    at++
    return true
  }

  function pair(path: (string | number)[]): boolean {
    if (!key(path, false) || text.charAt(at) !== '=') return false
    at++
    return value(path)
  }

  /** `[a.b]` or `[[a.b]]`: the path of the table that the lines below it fill. */
  function header(): (string | number)[] | undefined {
    const ending = text.startsWith('[[', at) ? ']]' : ']'
    const path: (string | number)[] = []
    const offset = at
    at += ending.length
    countValue(offset)
    if (!key(path, true) || !text.startsWith(ending, at)) return undefined
    at += ending.length
    if (ending === ']') return path
    const pointer = pointerTo(...path)
    const count = tableCounts.get(pointer) ?? 0
    tableCounts.set(pointer, count + 1)
    path.push(count)
    places.keys.set(pointerTo(...path), offset)
    return path
  }

  let table: (string | number)[] = []
  for (skipSpace(true); at < text.length; skipSpace(true)) {
    if (text.charAt(at) === '[') {
      const path = header()
      if (!path) break
      table = path
    } else if (!pair([...table])) break
  }
  return places
}

function unescape(content: string): string {
  try {
    return JSON.parse(`"${content}"`) as string
  } catch {
    return content // escapes that only TOML has; such a key is merely not found again
  }
}

function isBare(code: number): boolean {
  return (
    (code >= 0x30 && code <= 0x39) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x61 && code <= 0x7a) ||
    code === 0x2d ||
    code === 0x5f
  )
}
