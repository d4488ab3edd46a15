// JSON text to a tree, in one pass over the characters: grammar, duplicate keys and limits, then the engine's own parser.
// Hides why both are needed: `JSON.parse` keeps the last of two equal keys, rounds numbers, and has no limits or positions.
import type { JsonValue } from './json.ts'
import { pointerTo } from './json-schema/pointer.ts'
import type { Reading, Rules } from './document-rules.ts'

const QUOTE = 0x22
const MINUS = 0x2d
const BACKSLASH = 0x5c

/** Reads JSON (RFC 8259). */
export function readJson(text: string, rules: Rules): Reading {
  const { negativeZero } = scanJson(text, rules)
  const value: JsonValue = JSON.parse(text)
  return {
    value: negativeZero ? withoutNegativeZero(value) : value,
    offsets() {
      const offsets = new Map<string, number>()
      scanJson(text, rules, offsets)
      return offsets
    },
  }
}

/** With `offsets` the text is known to be good: it records where each value stands and checks nothing twice. */
function scanJson(text: string, rules: Rules, offsets?: Map<string, number>): { negativeZero: boolean } {
  const path: (string | number)[] = []
  const checking = offsets === undefined
  let negativeZero = false
  let at = 0

  function skipSpace(): void {
    for (;;) {
      const code = text.charCodeAt(at)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
      at++
    }
  }

  function fail(expected: string, offset = at): never {
    const found = offset >= text.length ? 'the text ends' : `there is ${describe(text, offset)}`
    rules.fail([...path], Math.min(offset, text.length), `this is not JSON: expected ${expected}, but ${found} here`)
  }

  /** Moves behind the string whose opening quote is at `at`, and says whether it has escapes (1) or `\u` ones (2). */
  function skipString(): 0 | 1 | 2 {
    let escapes: 0 | 1 | 2 = 0
    for (at++; ; at++) {
      const code = text.charCodeAt(at)
      if (code === QUOTE) break
      if (code === BACKSLASH) {
        const kind = text[++at] ?? ''
        if (kind === 'u') {
          for (let digit = 0; digit < 4; digit++) {
            if (!isHexDigit(text.charCodeAt(++at))) fail('four hexadecimal digits after \\u')
          }
          escapes = 2
        } else {
          if (kind === '' || !'"\\/bfnrt'.includes(kind)) fail('one of " \\ / b f n r t u after a backslash')
          if (escapes === 0) escapes = 1
        }
      } else if (!(code >= 0x20)) {
        fail(at >= text.length ? 'a closing quote' : 'an escape such as \\n instead of a raw control character')
      }
    }
    at++
    return escapes
  }

  /** Length, NUL and surrogates; raw text was checked for the last two before, so that only escapes can hide them. */
  function checkString(start: number, escapes: 0 | 1 | 2): void {
    if (escapes === 2 || (at - start) * 3 > rules.limits.stringBytes) {
      rules.text(decode(text.slice(start, at), escapes), path, start)
    }
  }

  function string(): void {
    const start = at
    const escapes = skipString()
    if (checking) checkString(start, escapes)
  }

  function skipDigits(): void {
    const start = at
    while (isDigit(text.charCodeAt(at))) at++
    if (at === start) fail('a digit')
  }

  function number(): void {
    const start = at
    let exponent = false
    if (text.charCodeAt(at) === MINUS) at++
    const first = text.charCodeAt(at)
    if (first === 0x30) at++
    else skipDigits()
    if (text.charCodeAt(at) === 0x2e) {
      at++
      skipDigits()
    }
    if ((text.charCodeAt(at) | 0x20) === 0x65) {
      exponent = true
      at++
      const sign = text.charCodeAt(at)
      if (sign === 0x2b || sign === MINUS) at++
      skipDigits()
    }
    if (!checking) return
    // Fifteen digits without an exponent are always exact enough.
    if (exponent || at - start > 15) {
      const source = text.slice(start, at)
      rules.number(Number(source), source, path, start)
    }
    if (first === 0x30 && start + 1 < at && text.charCodeAt(start) === MINUS) negativeZero = true
  }

  function word(expected: string): void {
    if (!text.startsWith(expected, at)) fail('a value')
    at += expected.length
  }

  function object(): void {
    // Most objects are small: comparing with each earlier key beats hashing, up to about eight.
    const few: string[] = []
    let many: Set<string> | undefined
    at++
    skipSpace()
    if (text.charCodeAt(at) === 0x7d) {
      at++
      return
    }
    for (;;) {
      if (text.charCodeAt(at) !== QUOTE) fail('a key in double quotes')
      const start = at
      const escapes = skipString()
      const key = decode(text.slice(start, at), escapes)
      path.push(key)
      if (checking) {
        checkString(start, escapes)
        rules.key(many === undefined ? few.includes(key) : many.has(key), path, start)
        if (many !== undefined) many.add(key)
        else if (few.push(key) > 8) many = new Set(few)
      }
      skipSpace()
      if (text.charCodeAt(at) !== 0x3a) fail('":" after the key')
      at++
      value(start)
      path.pop()
      const code = text.charCodeAt(at)
      if (code === 0x7d) break
      if (code !== 0x2c) fail('"," or "}"')
      at++
      skipSpace()
    }
    at++
  }

  function array(): void {
    at++
    skipSpace()
    if (text.charCodeAt(at) === 0x5d) {
      at++
      return
    }
    for (let index = 0; ; index++) {
      path.push(index)
      value()
      path.pop()
      const code = text.charCodeAt(at)
      if (code === 0x5d) break
      if (code !== 0x2c) fail('"," or "]"')
      at++
    }
    at++
  }

  /** One value with the space around it; a member of an object stands where its key does. */
  function value(keyOffset?: number): void {
    skipSpace()
    if (checking) rules.node(at)
    else offsets.set(pointerTo(...path), keyOffset ?? at)
    const code = text.charCodeAt(at)
    if (code === QUOTE) string()
    else if (code === 0x7b || code === 0x5b) {
      rules.container(path, at)
      if (code === 0x7b) object()
      else array()
    } else if (code === MINUS || isDigit(code)) number()
    else if (code === 0x74) word('true')
    else if (code === 0x66) word('false')
    else if (code === 0x6e) word('null')
    else fail('a value')
    skipSpace()
  }

  value()
  if (at < text.length) fail('nothing more after the document')
  return { negativeZero }
}

/** The string of a quoted slice that is known to be good. */
function decode(quoted: string, escapes: 0 | 1 | 2): string {
  return escapes === 0 ? quoted.slice(1, -1) : (JSON.parse(quoted) as string)
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39
}

function isHexDigit(code: number): boolean {
  return isDigit(code) || ((code | 0x20) >= 0x61 && (code | 0x20) <= 0x66)
}

function describe(text: string, offset: number): string {
  return JSON.stringify(String.fromCodePoint(text.codePointAt(offset) ?? 0))
}

function withoutNegativeZero(value: JsonValue): JsonValue {
  if (typeof value === 'number') return value === 0 ? 0 : value
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(withoutNegativeZero)
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, withoutNegativeZero(member)]))
}
