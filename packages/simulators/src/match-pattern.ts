/**
 * Texts that match a regular expression, for the simple patterns that schemas use.
 * It hides a small reader of literals, classes, groups, alternatives and counts.
 */
import type { Chance } from './chance.ts'

/**
 * A text that matches a simple pattern and has `least` to `most` characters, or undefined when the pattern is beyond
 * us (back references, look-around) or no length fits.
 */
export function matchingText(pattern: string, least: number, most: number, chance: Chance): string | undefined {
  let regex: RegExp
  try {
    regex = new RegExp(pattern, 'u')
  } catch {
    return undefined
  }
  for (let extra = 0; extra <= 64; extra = extra * 2 + 1) {
    const text = expandPattern(pattern, Math.max(extra, extra > 0 ? least : 0), chance)
    if (text === undefined) return undefined
    const length = Array.from(text).length
    if (length <= 2_000 && length >= least && length <= most && regex.test(text)) return text
  }
  return undefined
}

/** Walks a pattern once, writing one text it could match; open-ended counts take `extra` more than their least. */
function expandPattern(pattern: string, extra: number, chance: Chance): string | undefined {
  const letters = 'abcdefghijklmnopqrstuvwxyz'
  const digits = '0123456789'
  const classes: Readonly<Record<string, string>> = {
    d: digits,
    w: letters + digits,
    s: ' ',
    D: letters,
    W: '-',
    S: letters,
  }
  let at = 0
  const fail = (): never => {
    throw new SyntaxError('beyond simple patterns')
  }
  const set = (): string => {
    const negated = pattern[at] === '^'
    if (negated) at++
    let members = ''
    for (let first = true; first || pattern[at] !== ']'; first = false) {
      let character = pattern[at++] ?? fail()
      if (character === '\\') {
        const escape = pattern[at++] ?? fail()
        const known = classes[escape]
        if (known !== undefined) {
          members += known
          continue
        }
        character = escape
      }
      if (pattern[at] === '-' && pattern[at + 1] !== ']' && pattern[at + 1] !== undefined) {
        const end = pattern.charCodeAt(at + 1)
        at += 2
        for (let code = character.charCodeAt(0); code <= end && members.length < 300; code++)
          members += String.fromCharCode(code)
      } else members += character
    }
    at++
    return negated
      ? Array.from(letters + digits)
          .filter((one) => !members.includes(one))
          .join('') || fail()
      : members
  }
  const count = (): number => {
    const rest = pattern.slice(at)
    const braces = rest.match(/^\{(\d+)(,(\d*))?\}/)
    let [low, high] = [1, 1]
    if (braces !== null) {
      low = Number(braces[1])
      high = braces[2] === undefined ? low : braces[3] === '' ? low + extra : Math.min(Number(braces[3]), low + extra)
      at += braces[0].length
    } else if (/^[*+?]/.test(rest)) {
      low = rest[0] === '+' ? 1 : 0
      high = rest[0] === '?' ? Math.min(1, extra) : low + extra
      at++
    } else return 1
    if (pattern[at] === '?') at++
    if (low > 2_000) fail()
    return Math.max(low, high)
  }
  const atom = (): (() => string) => {
    const character = pattern[at++] ?? fail()
    if (character === '(') {
      if (pattern.startsWith('?:', at)) at += 2
      else if (pattern[at] === '?') {
        const named = pattern.slice(at).match(/^\?<[A-Za-z]\w*>/)
        if (named === null) fail()
        else at += named[0].length
      }
      const inner = alternatives()
      if (pattern[at++] !== ')') fail()
      return inner
    }
    const oneOf = (members: string) => (): string => members[Math.floor(chance.next() * members.length)] ?? ''
    if (character === '[') return oneOf(set())
    if (character === '.') return oneOf(letters)
    if (character === '\\') {
      const escape = pattern[at++] ?? fail()
      if (/[bBkpPux1-9]/.test(escape)) fail()
      return oneOf(classes[escape] ?? { n: '\n', t: '\t', r: '\r' }[escape] ?? escape)
    }
    if (/[*+?{]/.test(character)) fail()
    return () => character
  }
  const sequence = (): (() => string) => {
    const parts: (() => string)[] = []
    while (at < pattern.length && pattern[at] !== '|' && pattern[at] !== ')') {
      if (pattern[at] === '^' || pattern[at] === '$') {
        at++
        continue
      }
      const one = atom()
      const times = count()
      parts.push(() => Array.from({ length: times }, one).join(''))
    }
    return () => parts.map((part) => part()).join('')
  }
  const alternatives = (): (() => string) => {
    const first = sequence()
    while (pattern[at] === '|') {
      at++
      sequence()
    }
    return first
  }
  try {
    const write = alternatives()
    return at < pattern.length ? undefined : write()
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
