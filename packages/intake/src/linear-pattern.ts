// Regular expressions of strangers, matched in time linear in the text and in bounded memory. Hides RE2: what
// ECMAScript spells differently is translated; what is not linear, or not known to RE2, is refused with the remedy.

import { RE2Set } from 're2js'

/** A compiled pattern; the part of RegExp that a validator needs. */
export interface LinearPattern {
  readonly source: string
  /** True where the pattern matches anywhere in the text, as `RegExp.test` with the `u` flag would answer. */
  test(text: string): boolean
  /** Steps per character in the worst case; what a caller multiplies with the length of a text to bound the time. */
  readonly stepsPerCharacter: number
}

/** Why a pattern is refused, and what to write instead. */
export class PatternRefused extends Error {}

const MAX_SOURCE = 2_000
const MAX_STATES = 3_000
const MAX_GROUP_DEPTH = 50
// RE2's own limit, for the product of nested counts.
const MAX_COUNT = 1_000
// Reading \p{L} or \s (many ranges) takes as long as reading this many states.
const CLASS_STATES = 20
// As RE2 counts; measured 80 KB of heap for a pattern that is fed hostile text, 13 KB for an ordinary one. Only a set
// can be told its limit, so each pattern is a set of one: on its own it would keep up to 8 MB.
const MAX_CACHE_BYTES = 64 * 1024

/**
 * Compiles a pattern; its automaton is built by the first test. Throws PatternRefused with the remedy for look-around,
 * back-references, modifiers, a syntax error, Unicode properties that RE2 does not know, and patterns that are too long
 * or that expand to too many states (`a{1000}{1000}`).
 */
export function compileLinearPattern(source: string): LinearPattern {
  if (source.length > MAX_SOURCE) {
    throw new PatternRefused(`has ${source.length} characters; ${MAX_SOURCE} are the most. Use enum for long lists`)
  }
  try {
    new RegExp(source, 'u')
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^.*: (?=[^:]+$)/s, '') : 'syntax error'
    throw new PatternRefused(
      `is not a valid regular expression (${reason}); put a backslash before ( ) [ ] { } * + ? . ^ $ | \\ / where they stand for themselves, and before no other sign`,
    )
  }
  const { text, states } = translate(source)
  const set = new RE2Set(RE2Set.UNANCHORED, 0, MAX_CACHE_BYTES)
  try {
    set.add(text)
  } catch (error) {
    const reason = error instanceof Error ? error.message.slice(0, 80) : 'syntax error'
    throw new PatternRefused(
      source.includes('{')
        ? `is not supported (${reason}). Of Unicode properties, write general categories in short (\\p{L}, \\p{Nd}) and scripts in full (\\p{Script=Greek})`
        : `is not supported (${reason})`,
    )
  }
  return {
    source,
    test: (subject) => set.match(subject).length > 0,
    stepsPerCharacter: states + CLASS_STATES * (source.match(/\\[ps]/gi)?.length ?? 0),
  }
}

/** A piece of the pattern in RE2's spelling. */
interface Part {
  text: string
  /** At least as many as RE2 compiles it to. */
  states: number
  /** Product of the nested counts in it, where it is greatest. */
  count: number
}

const ESCAPE = String.raw`\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[\da-fA-F]{4}|u\{[\da-fA-F]+\}|x[\da-fA-F]{2}|c[a-zA-Z]|k<[^>]*>|[pP]\{[^}]*\}|[^])`

/** From a valid ECMAScript pattern to the same in RE2's syntax. Groups capture nothing, laziness is dropped. */
function translate(source: string): Part {
  const tokens = new RegExp(
    String.raw`(?<opening>\((?:\?(?::|<?[=!]|<[^>]*>|[^]))?)|(?<bracket>\[(?:[^\]\\]|\\[^])*\])|(?<escape>${ESCAPE})|(?<quantifier>(?:[*+?]|\{(?<low>\d+)(?<comma>,?)(?<high>\d*)\})\??)|(?<other>[^])`,
    'gu',
  )
  let parts: Part[] = []
  const outer: Part[][] = []
  for (const { groups = {} } of source.matchAll(tokens)) {
    const { opening, bracket, escape, quantifier, low, comma, high, other } = groups
    if (opening !== undefined) {
      checkOpening(opening)
      if (outer.length === MAX_GROUP_DEPTH) throw new PatternRefused(`nests more than ${MAX_GROUP_DEPTH} groups`)
      outer.push(parts)
      parts = []
    } else if (bracket !== undefined) parts.push(bracketPart(bracket))
    else if (escape !== undefined) parts.push(escapePart(escape))
    else if (quantifier !== undefined) {
      const part = parts.pop() ?? { text: '', states: 0, count: 1 }
      const least = low === undefined ? (quantifier.startsWith('+') ? 1 : 0) : Number(low)
      const open = low === undefined ? !quantifier.startsWith('?') : comma === ',' && high === ''
      const most = low === undefined ? 1 : Number(high === '' ? low : high)
      parts.push(repeat(part, least, open ? Infinity : most))
    } else if (other === ')') {
      const inner = joined(parts)
      parts = outer.pop() ?? []
      parts.push({ ...inner, text: `(?:${inner.text})` })
    } else if (other === '^' || other === '$' || other === '|') parts.push({ text: other, states: 1, count: 1 })
    else if (other === '.') parts.push({ text: String.raw`[^\n\r\x{2028}\x{2029}]`, states: 1, count: 1 })
    else if (other !== undefined) parts.push({ text: literal(other), states: 1, count: 1 })
  }
  // The two of every program, and one where a match may begin.
  const whole = joined(parts)
  return { ...whole, states: bounded(whole.states + 3) }
}

function checkOpening(opening: string): void {
  if (/^\(\?<?[=!]/.test(opening)) {
    throw new PatternRefused(
      'is unsafe: look-ahead and look-behind cannot be matched in linear time. Split it into several patterns under allOf, or use not',
    )
  }
  if (opening.startsWith('(?') && !opening.endsWith(':') && !opening.endsWith('>')) {
    throw new PatternRefused('uses a group that is not supported; write (…) or (?:…)')
  }
}

function joined(parts: readonly Part[]): Part {
  return {
    text: parts.map((part) => part.text).join(''),
    states: bounded(parts.reduce((sum, part) => sum + part.states, 0)),
    count: Math.max(1, ...parts.map((part) => part.count)),
  }
}

function bounded(states: number): number {
  if (states <= MAX_STATES) return states
  throw new PatternRefused(
    `is too large: its repetitions expand to more than ${MAX_STATES} states. Bound the length with minLength and maxLength instead`,
  )
}

function repeat(part: Part, least: number, most: number): Part {
  // An empty group repeats to nothing, however often.
  if (part.states === 0 || most === 0) return { text: '(?:)', states: 0, count: 1 }
  const { text, count } = part
  const states = bounded(
    most === Infinity ? Math.max(1, least) * part.states + 2 : least * part.states + (most - least) * (part.states + 1),
  )
  if (most === Infinity && least <= 1) return { text: `(?:${text}${least === 0 ? '*' : '+'})`, states, count }
  const greatest = most === Infinity ? least : most
  if (greatest * count <= MAX_COUNT) {
    return { text: `(?:${text}{${least},${most === Infinity ? '' : most}})`, states, count: count * greatest }
  }
  // RE2 refuses counts that multiply to more than a thousand; the same repetition in several pieces it takes.
  const piece = Math.floor(MAX_COUNT / count)
  const inPieces = (times: number, atLeast: (size: number) => number): string =>
    Array.from({ length: Math.ceil(times / piece) }, (_, index) => {
      const size = Math.min(piece, times - index * piece)
      return `${text}{${atLeast(size)},${size}}`
    }).join('')
  const rest = most === Infinity ? `${text}+` : inPieces(most - least, () => 0)
  return {
    text: `(?:${inPieces(most === Infinity ? least - 1 : least, (size) => size)}${rest})`,
    states,
    count: count * piece,
  }
}

function escapePart(escape: string): Part {
  if (/^\\[1-9k]/.test(escape)) {
    throw new PatternRefused('is unsafe: a back-reference cannot be matched in linear time. Spell the repetition out')
  }
  if (/^\\[bB]$/.test(escape)) return { text: escape, states: 1, count: 1 }
  return { text: `[${members(escape)}]`, states: 1, count: 1 }
}

/** `[…]` with its escapes; within, nothing but a range has a meaning of its own. */
function bracketPart(bracket: string): Part {
  const negated = bracket.startsWith('[^')
  const body = bracket.slice(negated ? 2 : 1, -1)
  if (body === '') return { text: negated ? EVERYTHING : `[^${EVERYTHING.slice(1)}`, states: 1, count: 1 }
  const ranges = new RegExp(`(${ESCAPE}|[^])(?:-(${ESCAPE}|[^]))?`, 'gu')
  const text = [...body.matchAll(ranges)].map(([, from = '', to]) =>
    to === undefined ? members(from) : `${literal(from)}-${literal(to)}`,
  )
  return { text: `[${negated ? '^' : ''}${text.join('')}]`, states: 1, count: 1 }
}

const EVERYTHING = String.raw`[\x00-\x{10FFFF}]`
// RE2's \s is ASCII.
const SPACES = String.raw`\t-\r\x20\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}\x{FEFF}`
const NO_SPACES = String.raw`\x00-\x08\x0E-\x1F!-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027}\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{FEFE}\x{FF00}-\x{10FFFF}`

/** What one character or escape stands for within brackets. */
function members(atom: string): string {
  if (/^\\[dDwW]$/.test(atom)) return atom
  if (atom === '\\s') return SPACES
  if (atom === '\\S') return NO_SPACES
  if (/^\\p/i.test(atom)) return atom.replace(/\{(?:Script|sc|General_Category|gc)=/, '{')
  return literal(atom)
}

const CONTROLS: Record<string, number> = { 0: 0, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13 }

/** One character, escaped or plain, by its number. */
function literal(atom: string): string {
  const hex = /^\\[ux]\{?([\da-f]+)\}?(?:\\u([\da-f]{4}))?$/i.exec(atom)
  let codePoint = atom.codePointAt(atom.length > 1 && atom.startsWith('\\') ? 1 : 0) as number
  if (hex?.[1] !== undefined) {
    codePoint = Number.parseInt(hex[1], 16)
    if (hex[2] !== undefined) {
      codePoint = String.fromCharCode(codePoint, Number.parseInt(hex[2], 16)).codePointAt(0) as number
    }
  } else if (/^\\c[a-z]$/i.test(atom)) codePoint = atom.charCodeAt(2) % 32
  else if (/^\\[0btnvfr]$/.test(atom)) codePoint = CONTROLS[atom.charAt(1)] as number
  return `\\x{${codePoint.toString(16)}}`
}
