// A text that matches a regular expression, found by walking over the expression once.
// Hides the grammar of patterns as far as it is understood; running an author's pattern could take for ever.

/** No text, and no part of one, gets longer. */
const TEXT_LENGTH = 20_000

class NotUnderstood extends Error {}

/**
 * A text that matches by construction, its length within the bounds; undefined where that cannot be promised.
 * Running an author's pattern could take for ever; walking over it once does not.
 */
export function textMatching(pattern: string, least: number, most: number): string | undefined {
  try {
    const build = parsePattern(pattern)
    for (const floor of [Math.max(least, 1), least]) {
      for (let more = 0; more <= Math.min(floor, 64); more++) {
        const text = build(more)
        if (Array.from(text).length >= floor && Array.from(text).length <= most) return text
      }
      const text = build(floor)
      if (Array.from(text).length >= floor && Array.from(text).length <= most) return text
    }
  } catch (error) {
    if (!(error instanceof NotUnderstood)) throw error
  }
  return undefined
}

/** Repeats everything that may be repeated so many times more than it must. */
type Build = (more: number) => string

function parsePattern(source: string): Build {
  let at = 0
  let depth = 0

  function take(shape: RegExp): string | undefined {
    const found = shape.exec(source.slice(at, at + 2000))?.[0]
    at += found?.length ?? 0
    return found
  }

  function choice(): Build {
    if (++depth > 50) throw new NotUnderstood()
    const first = sequence()
    while (source[at] === '|') {
      at++
      sequence()
    }
    depth--
    return first
  }

  function sequence(): Build {
    const parts: Build[] = []
    while (at < source.length && source[at] !== '|' && source[at] !== ')') parts.push(repetition(atom()))
    return (more) => bounded(parts.map((part) => part(more)).join(''))
  }

  function repetition(part: Build): Build {
    const quantifier = take(/^(?:[*+?]|\{\d{1,6}(?:,\d{0,6})?\})\??/)
    if (quantifier === undefined) return part
    const [, low, comma, high] = /^\{(\d+)(,?)(\d*)\}/.exec(quantifier) ?? []
    const least = low === undefined ? (quantifier.startsWith('+') ? 1 : 0) : Number(low)
    const exact = low !== undefined && comma === ''
    const most = exact ? least : quantifier.startsWith('?') ? 1 : high ? Number(high) : Infinity
    return (more) => {
      const text = part(more)
      const count = Math.min(least + more, most)
      if (text.length * count > TEXT_LENGTH) throw new NotUnderstood()
      return text.repeat(count)
    }
  }

  function atom(): Build {
    const set = take(/^\[(?:[^\]\\]|\\[^])*\]|^\\[dDwWsS]|^\\[pP]\{[^}]*\}|^\./u)
    if (set !== undefined) {
      const character = memberOfSet(set)
      return () => character
    }
    if (take(/^[$^]/) !== undefined) return () => ''
    if (take(/^\((?:\?:|\?<[A-Za-z_]\w*>)?(?!\?)/) !== undefined) {
      const inner = choice()
      if (take(/^\)/) === undefined) throw new NotUnderstood()
      return inner
    }
    const escaped = take(/^\\(?:[tnrfv]|x[\dA-Fa-f]{2}|u[\dA-Fa-f]{4}|u\{[\dA-Fa-f]+\}|[^A-Za-z\d])/u)
    const literal = escaped === undefined ? take(/^[^\\()[\]{}*+?|]/u) : unescape(escaped)
    if (literal === undefined) throw new NotUnderstood()
    return () => literal
  }

  const build = choice()
  if (at < source.length) throw new NotUnderstood()
  return build
}

function bounded(text: string): string {
  if (text.length > TEXT_LENGTH) throw new NotUnderstood()
  return text
}

function unescape(escaped: string): string {
  const code = /^\\[xu]\{?([\dA-Fa-f]+)/.exec(escaped)?.[1]
  if (code !== undefined) {
    const point = Number.parseInt(code, 16)
    if (point > 0x10ffff) throw new NotUnderstood()
    return String.fromCodePoint(point)
  }
  const named: Record<string, string> = { t: '\t', n: '\n', r: '\r', f: '\f', v: '\v' }
  return named[escaped.slice(1)] ?? escaped.slice(1)
}

function memberOfSet(set: string): string {
  let isMember: RegExp
  try {
    isMember = new RegExp(`^${set}$`, 'u')
  } catch {
    throw new NotUnderstood()
  }
  const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index))
  const found = ['a', '1', 'A', '-', ...printable.slice(1), ' ', 'é', 'я', '中', '\t', '\n', '🦊'].find((character) =>
    isMember.test(character),
  )
  if (found === undefined) throw new NotUnderstood()
  return found
}
