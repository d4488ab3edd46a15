// Regular expressions of strangers, matched in time linear in the text and in bounded memory. Hides RE2: what
// ECMAScript spells differently is translated; what is not linear, or not known to RE2, is refused with the remedy.

import { createRequire } from 'node:module'
import { type AST, RegExpParser } from '@eslint-community/regexpp'

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

// Loaded (12 ms) by the first pattern only.
const require = createRequire(import.meta.url)

/** The syntax tree of a pattern, read as with the `u` flag. Throws PatternRefused with the remedy. */
export function parsePattern(source: string): AST.Pattern {
  if (source.length > MAX_SOURCE) {
    throw new PatternRefused(`has ${source.length} characters; ${MAX_SOURCE} are the most. Use enum for long lists`)
  }
  try {
    return new RegExpParser({ ecmaVersion: 2025 }).parsePattern(source, 0, source.length, { unicode: true })
  } catch (error) {
    // Groups can be nested deeper than the stack.
    if (error instanceof RangeError) throw tooDeep()
    const reason = error instanceof Error ? error.message.replace(/^.*: (?=[^:]+$)/s, '') : 'syntax error'
    throw new PatternRefused(
      `is not a valid regular expression (${reason}); put a backslash before ( ) [ ] { } * + ? . ^ $ | \\ / where they stand for themselves, and before no other sign`,
    )
  }
}

/**
 * Compiles a pattern; its automaton is built by the first test. Throws PatternRefused with the remedy for look-around,
 * back-references, modifiers, a syntax error, Unicode properties that RE2 does not know, and patterns that are too long
 * or that expand to too many states (`a{1000}{1000}`).
 */
export function compileLinearPattern(source: string, tree = parsePattern(source)): LinearPattern {
  const { text, states } = translate(tree)
  const { RE2Set } = require('re2js') as typeof import('re2js')
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

/** From a syntax tree to the same in RE2's syntax. Groups capture nothing, laziness is dropped. */
function translate(tree: AST.Pattern): Part {
  const whole = alternatives(tree, 0)
  // The two of every program, and one where a match may begin.
  return { ...whole, states: bounded(whole.states + 3) }
}

function alternatives(node: AST.Pattern | AST.Group | AST.CapturingGroup, depth: number): Part {
  if (depth > MAX_GROUP_DEPTH) throw tooDeep()
  if ('modifiers' in node && node.modifiers !== null) {
    throw new PatternRefused('uses a group that is not supported; write (…) or (?:…)')
  }
  const either: Part = { text: '|', states: 1, count: 1 }
  return joined(
    node.alternatives.flatMap(({ elements }, index) => [
      ...(index === 0 ? [] : [either]),
      ...elements.map((element) => translated(element, depth)),
    ]),
  )
}

function translated(node: AST.Element, depth: number): Part {
  switch (node.type) {
    case 'Group':
    case 'CapturingGroup': {
      const inner = alternatives(node, depth + 1)
      return { ...inner, text: `(?:${inner.text})` }
    }
    case 'Quantifier':
      return repeat(translated(node.element, depth), node.min, node.max)
    case 'Assertion':
      if (node.kind === 'lookahead' || node.kind === 'lookbehind') {
        throw new PatternRefused(
          'is unsafe: look-ahead and look-behind cannot be matched in linear time. Split it into several patterns under allOf, or use not',
        )
      }
      return { text: node.raw, states: 1, count: 1 }
    case 'Backreference':
      throw new PatternRefused('is unsafe: a back-reference cannot be matched in linear time. Spell the repetition out')
    default:
      return { text: classOf(node), states: 1, count: 1 }
  }
}

function tooDeep(): PatternRefused {
  return new PatternRefused(`nests more than ${MAX_GROUP_DEPTH} groups`)
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

/** One character of several, in brackets. */
function classOf(node: AST.Element): string {
  if (node.type === 'CharacterSet' && node.kind === 'any') return String.raw`[^\n\r\x{2028}\x{2029}]`
  if (node.type !== 'CharacterClass') return `[${membersOf(node)}]`
  const members = node.elements.map(membersOf).join('')
  // RE2 has no empty brackets.
  return `[${node.negate === (members !== '') ? '^' : ''}${members || EVERYTHING}]`
}

const EVERYTHING = String.raw`\x00-\x{10FFFF}`
// RE2's \s is ASCII.
const SPACES = String.raw`\t-\r\x20\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}\x{FEFF}`
const NO_SPACES = String.raw`\x00-\x08\x0E-\x1F!-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027}\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{FEFE}\x{FF00}-\x{10FFFF}`

/** What a character, a range or an escape stands for within brackets. */
function membersOf(node: AST.Element | AST.CharacterClassElement): string {
  if (node.type === 'Character') return literal(node)
  if (node.type === 'CharacterClassRange') return `${literal(node.min)}-${literal(node.max)}`
  if (node.type !== 'CharacterSet' || node.kind === 'any') throw new PatternRefused(`is not supported at ${node.raw}`)
  if (node.kind === 'space') return node.negate ? NO_SPACES : SPACES
  return node.raw.replace(/\{(?:Script|sc|General_Category|gc)=/, '{')
}

function literal({ value }: AST.Character): string {
  return `\\x{${value.toString(16)}}`
}
