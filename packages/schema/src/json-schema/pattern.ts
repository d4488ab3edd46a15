// Regular expressions of strangers, for whoever makes values: texts that match, and whether a text does.
// Hides the walk over the syntax tree that writes a text; what is not linear is not understood.
import type { AST } from '@eslint-community/regexpp'
import { compileLinearPattern, parsePattern } from './linear-pattern.ts'
import { TEXT_LENGTH } from './rules.ts'

export interface Pattern {
  /** The fewest characters that a match has. */
  shortest: number
  /** Whether the pattern matches anywhere in the text; false where that could take too long to find out. */
  test(text: string): boolean
  /** A text that matches and has `least` to `most` characters; undefined where none was found. */
  write(least: number, most: number, pick: (count: number) => number): string | undefined
}

/** Of matching one text, about 100 ms. */
const STEPS = 8_000_000
const TRIES = 24

type Node = AST.Alternative | AST.Element | AST.Pattern
/** Characters that the text may still have beyond the shortest match. */
type Slack = { left: number }

/** Reads a pattern as `u` does; undefined for look-around, back-references, modifiers and syntax errors. */
export function readPattern(source: string): Pattern | undefined {
  try {
    const tree = parsePattern(source)
    const linear = compileLinearPattern(source, tree)
    const test = (text: string) => text.length * linear.stepsPerCharacter <= STEPS && linear.test(text)
    return { shortest: lengthOf(tree), test, write: (least, most, pick) => write(tree, test, least, most, pick) }
  } catch {
    return undefined
  }
}

const lengths = new WeakMap<Node, number>()

/** The fewest characters that a node matches, each node's worked out once. */
function lengthOf(node: Node): number {
  const fresh = (): number => {
    if ('alternatives' in node) return node.type === 'Assertion' ? 0 : Math.min(...node.alternatives.map(lengthOf))
    if (node.type === 'Alternative') return node.elements.reduce((sum, element) => sum + lengthOf(element), 0)
    if (node.type === 'Quantifier') return lengthOf(node.element) * node.min
    return node.type === 'Assertion' ? 0 : 1
  }
  const length = lengths.get(node) ?? fresh()
  lengths.set(node, length)
  return length
}

function write(
  tree: AST.Pattern,
  test: (text: string) => boolean,
  least: number,
  most: number,
  pick: (count: number) => number,
): string | undefined {
  const sets = new Map<string, string[]>()
  let written = 0

  function textFor(node: Node, slack: Slack, nth: number): string {
    if ((written += 1) > TEXT_LENGTH) return ''
    switch (node.type) {
      case 'Pattern':
      case 'Group':
      case 'CapturingGroup': {
        const floor = lengthOf(node)
        const fitting = node.alternatives.filter((one) => lengthOf(one) <= floor + slack.left)
        const chosen = fitting[(pick(fitting.length) + nth) % fitting.length] as AST.Alternative
        slack.left -= lengthOf(chosen) - floor
        return textFor(chosen, slack, nth)
      }
      case 'Alternative':
        return node.elements.map((element) => textFor(element, slack, nth)).join('')
      case 'Quantifier': {
        const each = Math.max(1, lengthOf(node.element))
        const more = Math.min(node.max - node.min, Math.max(0, Math.floor(slack.left / each)))
        slack.left -= more * each
        let text = ''
        for (let count = 0; count < node.min + more && written <= TEXT_LENGTH; count += 1)
          text += textFor(node.element, slack, nth)
        return text
      }
      case 'Character':
        return String.fromCodePoint(node.value)
      case 'CharacterSet':
      case 'CharacterClass': {
        const members = sets.get(node.raw) ?? membersOf(node.raw)
        sets.set(node.raw, members)
        return members[pick(members.length)] as string
      }
      default:
        return ''
    }
  }

  const shortest = lengthOf(tree)
  const room = Math.max(0, least - shortest)
  // One character says more than none, where that is allowed.
  const first = room === 0 && shortest === 0 && most > 0 ? 1 : room
  for (let nth = 0; nth < TRIES; nth += 1) {
    written = 0
    // Unanchored patterns take anything behind the match, so that a text which is too short can grow.
    const text = textFor(tree, { left: first + Math.floor(nth / 2) }, nth)
    for (const candidate of [text, text.padEnd(Math.min(least, TEXT_LENGTH), 'a')]) {
      const { length } = Array.from(candidate)
      if (length >= least && length <= most && test(candidate)) return candidate
    }
  }
  return undefined
}

const PRINTABLE = [
  'a',
  '1',
  'A',
  '-',
  ...Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)),
  ' ',
]

/** Letters and digits of a class where it has some, else what can be read, else the first that it has, if any. */
function membersOf(raw: string): string[] {
  // One class against one character takes constant time, so that it can be run.
  const member = new RegExp(`^${raw}$`, 'u')
  const readable = PRINTABLE.filter((character) => member.test(character))
  const plain = readable.filter((character) => /[a-z\d]/i.test(character))
  if (plain.length > 0) return plain
  if (readable.length > 0) return readable
  for (let point = 0; point < 0x3000; point += 1) {
    const character = String.fromCodePoint(point)
    if (member.test(character)) return [character]
  }
  return [['中', '한', '🦊', '𝒳'].find((character) => member.test(character)) ?? '']
}
