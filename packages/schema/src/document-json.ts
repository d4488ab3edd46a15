// JSON text to a tree by the engine's own parser, which has no limits, keeps the last of two equal keys and tells no place.
// Hides what makes up for that: a count of the signs before it, and a walk over the text once something is to be found there.
import { type DocumentLimits, fail, failTwice, type Path, type Place, type Reading } from './document-rules.ts'
import { createScanner } from './document-scanner.ts'
import { pointerTo } from './json-schema/pointer.ts'

/** Reads JSON (RFC 8259). */
export function readJson(text: string, limits: DocumentLimits): Reading {
  let found: ReadonlyMap<string, Place> | undefined
  const places = () => (found ??= scanJson(text, limits))
  const keys = countKeys(text, limits)
  // The walk ends at the first value too many, or at what is no JSON before it.
  if (keys === undefined) places()
  try {
    return { value: JSON.parse(text), places, ...(keys === undefined ? {} : { keys }) }
  } catch (error) {
    places()
    throw error
  }
}

/** How many keys the text has if it is JSON; undefined for too many values and for too deep ones. */
function countKeys(text: string, limits: DocumentLimits): number | undefined {
  let [keys, commas, depth] = [0, 0, 0]
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x22) at = endOfString(text, at)
    else if (code === 0x3a) keys++
    else if (code === 0x2c) commas++
    else if (code === 0x5b || code === 0x7b) depth++
    else if (code === 0x5d || code === 0x7d) depth--
    // Each comma stands for a value before it.
    if (commas >= limits.nodes || depth > limits.depth) return undefined
  }
  return keys
}

/** The next quote that has an even number of backslashes before it. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end
    while (text.charCodeAt(before - 1) === 0x5c) before--
    if ((end - before) % 2 === 0) return end
  }
  return text.length
}

const SPACE = /[ \t\r\n]*/y
const LITERAL = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y
const UNFINISHED = /(?:[.eE][-+]?|-)(?!\d)/y
/** A string up to its end, or to what cannot stand in it. Never goes back: each character belongs to one of the three. */
const STRING = /"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*/y

function scanJson(text: string, limits: DocumentLimits): ReadonlyMap<string, Place> {
  function failHere(path: Path, expected: string): never {
    const offset = scanner.offset()
    const found = offset >= text.length ? 'the text ends' : `there is ${JSON.stringify(charAt(text, offset))}`
    fail(path, offset, `this is not JSON: expected ${expected}, but ${found} here`)
  }

  /** The string at this place with its quotes; undefined where none begins. */
  function string(path: Path): string | undefined {
    const begun = scanner.take(STRING)
    if (begun === undefined) return undefined
    if (scanner.take(/"/y) !== undefined) return `${begun}"`
    if (scanner.take(/\\/y) !== undefined) {
      failHere(path, 'one of " \\ / b f n r t, or u and four hexadecimal digits, after a backslash')
    }
    const isEnd = scanner.offset() >= text.length
    failHere(path, isEnd ? 'a closing quote' : 'an escape such as \\n instead of a raw control character')
  }

  const scanner = createScanner(text, limits, {
    space: SPACE,
    colon: ':',
    trailingComma: false,
    fail: failHere,
    key(path) {
      const offset = scanner.offset()
      path.push(JSON.parse(string(path) ?? failHere(path, 'a key in double quotes')) as string)
      if (scanner.places.has(pointerTo(...path))) failTwice(path, offset)
      return scanner.note(path, offset)
    },
    scalar(path) {
      if (string(path) !== undefined) return
      const literal = scanner.take(LITERAL)
      if (scanner.take(UNFINISHED) !== undefined) failHere(path, 'a digit')
      if (literal === undefined) failHere(path, 'a value')
    },
  })
  scanner.value([])
  if (scanner.offset() < text.length) failHere([], 'nothing more after the document')
  return scanner.places
}

function charAt(text: string, offset: number): string {
  return String.fromCodePoint(text.codePointAt(offset) ?? 0)
}
