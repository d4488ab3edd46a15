// Characters that look like nothing, or like a plain space or quote: pasted from pages, they make a document mean another
// than it looks like. Hides which they are, and what each is called.
import { pathOf, valueAtPointer } from './json-schema/pointer.ts'

const NAMES: Record<string, string> = {
  '\u00a0': 'a no-break space',
  '\u00ad': 'a soft hyphen',
  '\u200b': 'a zero width space',
  '\u2028': 'a line separator',
  '\u202f': 'a narrow no-break space',
  '\u2060': 'a word joiner',
  '\u3000': 'an ideographic space',
  '\ufeff': 'a byte order mark',
}
const HIDDEN = '(?! )[\\p{Z}\\xad\\x7f-\\x9f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2069\\ufeff]'
const QUOTE = '[\\u2018-\\u201f\\xab\\xbb]'
const ANYWHERE = new RegExp(HIDDEN, 'u')
/** Within a key, joiners and spaces may belong to a word of some language; at its ends nothing of it is meant. */
const IN_KEY = new RegExp(`^${HIDDEN}|${HIDDEN}$|[\\xad\\u200b\\u2060\\ufeff]`, 'u')
const QUOTED_KEY = new RegExp(`^${QUOTE}.*${QUOTE}$`, 'su')
const SYNTAX = new RegExp(`${HIDDEN}|${QUOTE}`, 'uy')
/** What would be a member or an item of a list, had its space been a plain one. */
const UNSPLIT = new RegExp(`^(?:-|[\\w-]{1,64}:)(${HIDDEN})`, 'u')
/** Longer texts hold such characters for good reasons. */
const VALUE_LENGTH_MAX = 200
const LINE_LENGTH_MAX = 10_000
const REMEDY = 'write a plain space, or remove it'

function nameOf(character: string): string {
  const code = character.codePointAt(0) ?? 0
  const kind = /\p{Z}/u.test(character) ? 'a space of another kind' : 'an invisible character'
  const name = NAMES[character] ?? (new RegExp(QUOTE, 'u').test(character) ? 'a curly quotation mark' : kind)
  return `${name} (U+${code.toString(16).toUpperCase().padStart(4, '0')})`
}

/** Why a key cannot be what it looks like; undefined where it is. */
export function hiddenInKey(key: string): string | undefined {
  const character = IN_KEY.exec(key)?.[0]
  if (character !== undefined) return `holds ${nameOf(character)}; ${REMEDY}`
  return QUOTED_KEY.test(key) ? `stands in ${nameOf(key.charAt(0))}; write straight quotation marks` : undefined
}

/** Why a plain scalar of YAML is a text although it looks like a member or an item; undefined for any other. */
export function hiddenInScalar(text: string): string | undefined {
  const character = UNSPLIT.exec(text)?.[1]
  return character === undefined ? undefined : `${nameOf(character)} stands here where YAML needs a space; ${REMEDY}`
}

/** What may be at fault where a text cannot be parsed: a character at this index, or a hidden one on its line. */
export function hiddenAt(text: string, offset: number): string {
  SYNTAX.lastIndex = offset
  const here = SYNTAX.exec(text)?.[0]
  if (here !== undefined) return `; it is ${nameOf(here)}`
  const start = text.lastIndexOf('\n', offset - 1) + 1
  const end = text.indexOf('\n', offset)
  const line = text.slice(start, Math.min(end < 0 ? text.length : end, start + LINE_LENGTH_MAX))
  const character = ANYWHERE.exec(line)?.[0]
  return character === undefined ? '' : `; this line holds ${nameOf(character)}: ${REMEDY}`
}

/** What the refused key or short text at the pointer holds that cannot be seen, to stand behind the reason; else empty. */
export function hiddenBelow(document: unknown, pointer: string): string {
  const value = valueAtPointer(document, pointer)
  const text = typeof value === 'string' && value.length <= VALUE_LENGTH_MAX ? value : ''
  const character = ANYWHERE.exec(pathOf(pointer).at(-1) ?? '')?.[0] ?? ANYWHERE.exec(text)?.[0]
  return character === undefined ? '' : `; it holds ${nameOf(character)}`
}

// What moves a cursor, ends a line or turns the direction of reading: with it a text can look like what a program says.
const CONTROLS = String.raw`[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]`
const CONTROL = new RegExp(CONTROLS, 'gu')
const CONTROL_OF_LINE = new RegExp(`(?![\\n\\t])${CONTROLS}`, 'gu')

/** A text of a model, a provider or a server as it may stand on one line: bounded, with a space for each control. */
export function onOneLine(text: string, lengthMax = Number.POSITIVE_INFINITY): string {
  const kept = text.length > lengthMax ? `${text.slice(0, lengthMax - 1)}…` : text
  return kept.replaceAll(CONTROL, ' ').toWellFormed()
}

/** Several lines as a terminal may see them: their ends and tabs stay, every other control is a space. */
export function onTerminal(text: string): string {
  return text.replaceAll(CONTROL_OF_LINE, ' ').toWellFormed()
}

/** JSON that a terminal may see: the value is the same, and each control an escape. */
export function jsonOnTerminal(value: unknown, indent?: number): string {
  const escape = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify(value, null, indent).replaceAll(CONTROL_OF_LINE, escape)
}
