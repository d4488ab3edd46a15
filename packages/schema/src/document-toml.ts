// TOML text to a tree: dates become the characters they were written with, big integers are refused rather than rounded.
// Hides a walk over the text before the parser's: it bounds what the parser is given, and knows where each value stands.
import { parse, TomlError } from 'smol-toml'
import {
  clip,
  type DocumentLimits,
  fail,
  failTooDeep,
  failTooManyNodes,
  failTwice,
  type Path,
  type Place,
  placeOf,
  type Reading,
} from './document-rules.ts'
import { createScanner } from './document-scanner.ts'
import { pointerTo } from './json-schema/pointer.ts'

/** Key parts a document may have per allowed value, in headers and dotted keys; the parser makes a table for each. */
const KEY_PARTS_PER_NODE = 4
/** Converting digits to an integer takes quadratic time, and no number that can be represented needs more. */
const NUMBER_LENGTH_MAX = 1000

const SPACE = /(?:[ \t\r\n]|#[^\n]*\n)*(?:#[^\n]*)?/y
const BLANK = /[ \t]*/y
const BARE_KEY = /[\w-]+/y
const STRING = /"(?!"")(?:[^"\\\n]|\\.)*"|'(?!'')[^'\n]*'/y
/** Up to two quotes may stand before the closing three. */
const LONG_STRING = /"""(?:[^"\\]|\\[^]|"{1,2}(?!"))*"{3,5}|'''(?:[^']|'{1,2}(?!'))*'{3,5}/y
/** A number, a date, or a word. */
const PLAIN = /[^,\]}#\r\n]+/y

/** Reads TOML 1.0. A document without any key is empty, which is refused. */
export function readToml(text: string, limits: DocumentLimits): Reading {
  const { places, declared } = scanToml(text, limits)
  try {
    const value = parse(text, { integersAsBigInt: true })
    if (Object.keys(value).length === 0) fail([], 0, 'the document is empty; write at least one key')
    return { value, places: () => places }
  } catch (error) {
    if (error instanceof TomlError) failAsToml(error, text, declared)
    throw error
  }
}

function failAsToml(error: TomlError, text: string, declared: ReadonlyMap<number, Path>): never {
  let lineStart = 0
  for (let line = 1; line < error.line; line++) lineStart = text.indexOf('\n', lineStart) + 1
  const offset = lineStart + error.column - 1
  const message = (error.message.split('\n', 1)[0] ?? '').replace(/^Invalid TOML document: /, '')
  const path = message.includes('already defined') ? declared.get(offset) : undefined
  if (path) failTwice(path, offset)
  fail([], offset, `this is not TOML: ${clip(message, 200)}`)
}

/** Thrown where the walk meets what it does not understand; the parser gets no further than that either, and says why. */
const NOT_UNDERSTOOD = new Error('not TOML')

/**
 * Walks over the declarations without judging them; limits that are certainly broken are refused here, before the parser
 * builds anything. `declared` is the path of each key by the offset at which it is declared.
 */
function scanToml(
  text: string,
  limits: DocumentLimits,
): { places: ReadonlyMap<string, Place>; declared: ReadonlyMap<number, Path> } {
  const declared = new Map<number, Path>()
  /** How many tables each array of tables has so far. */
  const tableCounts = new Map<string, number>()
  let parts = 0
  const stop = (): never => {
    throw NOT_UNDERSTOOD
  }

  /** One dotted key; in a header, a part that names an array of tables means the last of them. */
  function key(path: (string | number)[], isHeader: boolean): Place {
    const declaration = scanner.offset()
    for (;;) {
      scanner.take(BLANK)
      const offset = scanner.offset()
      path.push(scanner.take(BARE_KEY) ?? textOf(scanner.take(STRING) ?? stop()))
      if (++parts > limits.nodes * KEY_PARTS_PER_NODE) failTooManyNodes(limits, offset)
      if (path.length > limits.depth * 2) failTooDeep(limits, path, offset)
      const place = scanner.note(path, offset)
      scanner.take(BLANK)
      if (scanner.take(/\./y) === undefined) {
        declared.set(declaration, [...path])
        return place
      }
      const tables = isHeader ? tableCounts.get(pointerTo(...path)) : undefined
      if (tables !== undefined) path.push(tables - 1)
    }
  }

  /** `[a.b]` or `[[a.b]]`: the path of the table that the lines below it fill. */
  function header(opening: string, offset: number): Path {
    const path: (string | number)[] = []
    scanner.count()
    key(path, true)
    if (scanner.take(opening === '[' ? /\]/y : /\]\]/y) === undefined) stop()
    if (opening === '[') return path
    const pointer = pointerTo(...path)
    const count = tableCounts.get(pointer) ?? 0
    tableCounts.set(pointer, count + 1)
    path.push(count)
    scanner.note(path, offset)
    return path
  }

  const scanner = createScanner(text, limits, {
    space: SPACE,
    colon: '=',
    trailingComma: true,
    fail: stop,
    key: (path) => key(path, false),
    scalar(path) {
      if (scanner.take(LONG_STRING) !== undefined || scanner.take(STRING) !== undefined) return
      const offset = scanner.offset()
      if ((scanner.take(PLAIN) ?? stop()).trim().length <= NUMBER_LENGTH_MAX) return
      fail(path, offset, `the value at ${placeOf(path)} is no number, date, true or false; quote it as a string`)
    },
  })
  scanner.note([], 0)
  try {
    let table: Path = []
    for (scanner.take(SPACE); scanner.offset() < text.length; scanner.take(SPACE)) {
      const offset = scanner.offset()
      const opening = scanner.take(/\[\[?/y)
      if (opening === undefined) scanner.member(table)
      else table = header(opening, offset)
    }
  } catch (error) {
    if (error !== NOT_UNDERSTOOD) throw error
  }
  return { places: scanner.places, declared }
}

/** The text of a quoted key. */
function textOf(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1)
  try {
    const { key } = parse(`key = ${quoted}`)
    return typeof key === 'string' ? key : quoted
  } catch {
    return quoted // the parser refuses the document for it
  }
}
