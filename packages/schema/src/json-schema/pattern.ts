// Regular expressions of strangers, read instead of run: texts that match, and whether a text does.
// Hides the walk over the syntax tree, whose steps are counted; what cannot be matched in linear time is not understood.
import { type AST, RegExpParser } from '@eslint-community/regexpp'
import { TEXT_LENGTH } from './rules.ts'

export interface Pattern {
  /** The fewest characters that a match has. */
  shortest: number
  /** Whether the pattern matches anywhere in the text; false where that would take too long to find out. */
  test(text: string): boolean
  /** A text that matches and has `least` to `most` characters; undefined where none was found. */
  write(least: number, most: number, pick: (count: number) => number): string | undefined
}

const SOURCE_LENGTH = 2_000
const STEPS = 500_000
const TRIES = 24

class NotUnderstood extends Error {}

type Node = AST.Alternative | AST.Element | AST.Pattern
/** Characters that the text may still have beyond the shortest match. */
type Slack = { left: number }

/** Reads a pattern as `u` does; undefined for look-around, back-references, modifiers and syntax errors. */
export function readPattern(source: string): Pattern | undefined {
  if (source.length > SOURCE_LENGTH) return undefined
  try {
    const tree = new RegExpParser({ ecmaVersion: 2024 }).parsePattern(source, 0, source.length, { unicode: true })
    const shortest = createLengths()
    return {
      shortest: shortest(tree),
      test: (text) => attempt(() => matches(tree, Array.from(text))) ?? false,
      write: (least, most, pick) => attempt(() => write(tree, shortest, least, most, pick)),
    }
  } catch {
    // Also a RangeError: groups can be nested deeper than the stack.
    return undefined
  }
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof NotUnderstood || error instanceof RangeError) return undefined
    throw error
  }
}

/** The fewest characters that a node matches, each node's worked out once. Throws for what is not understood. */
function createLengths(): (node: Node) => number {
  const known = new Map<Node, number>()
  const fresh = (node: Node): number => {
    switch (node.type) {
      case 'Pattern':
      case 'Group':
      case 'CapturingGroup':
        if ('modifiers' in node && node.modifiers !== null) throw new NotUnderstood()
        return Math.min(...node.alternatives.map(lengthOf))
      case 'Alternative':
        return node.elements.reduce((sum, element) => sum + lengthOf(element), 0)
      case 'Quantifier':
        return lengthOf(node.element) * node.min
      case 'Character':
      case 'CharacterSet':
      case 'CharacterClass':
        return 1
      case 'Assertion':
        if (node.kind === 'start' || node.kind === 'end' || node.kind === 'word') return 0
    }
    throw new NotUnderstood()
  }
  function lengthOf(node: Node): number {
    const length = known.get(node) ?? fresh(node)
    known.set(node, length)
    return length
  }
  return lengthOf
}

function write(
  tree: AST.Pattern,
  shortest: (node: Node) => number,
  least: number,
  most: number,
  pick: (count: number) => number,
): string | undefined {
  const sets = new Map<string, string[]>()
  let written = 0

  function textFor(node: Node, slack: Slack, nth: number): string {
    if ((written += 1) > TEXT_LENGTH) throw new NotUnderstood()
    switch (node.type) {
      case 'Pattern':
      case 'Group':
      case 'CapturingGroup': {
        const floor = shortest(node)
        const fitting = node.alternatives.filter((one) => shortest(one) <= floor + slack.left)
        const chosen = fitting[(pick(fitting.length) + nth) % fitting.length] as AST.Alternative
        slack.left -= shortest(chosen) - floor
        return textFor(chosen, slack, nth)
      }
      case 'Alternative':
        return node.elements.map((element) => textFor(element, slack, nth)).join('')
      case 'Quantifier': {
        const each = Math.max(1, shortest(node.element))
        const more = Math.min(node.max - node.min, Math.max(0, Math.floor(slack.left / each)))
        slack.left -= more * each
        return Array.from({ length: Math.min(node.min + more, TEXT_LENGTH) }, () =>
          textFor(node.element, slack, nth),
        ).join('')
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

  const room = Math.max(0, least - shortest(tree))
  // One character says more than none, where that is allowed.
  const first = room === 0 && shortest(tree) === 0 && most > 0 ? 1 : room
  for (let nth = 0; nth < TRIES; nth += 1) {
    written = 0
    // Unanchored patterns take anything behind the match, so that a text which is too short can grow.
    const text = textFor(tree, { left: first + Math.floor(nth / 2) }, nth)
    for (const candidate of [text, text.padEnd(Math.min(least, TEXT_LENGTH), 'a')]) {
      const characters = Array.from(candidate)
      if (characters.length >= least && characters.length <= most && matches(tree, characters)) return candidate
    }
  }
  return undefined
}

/** All positions of the text are tried at once, so that the time grows with nodes times characters. */
function matches(tree: AST.Pattern, text: string[]): boolean {
  let steps = 0

  /** Where the node can end when it begins at one of these places. */
  function endsOf(node: Node, starts: ReadonlySet<number>): Set<number> {
    if ((steps += 1 + starts.size) > STEPS) throw new NotUnderstood()
    switch (node.type) {
      case 'Pattern':
      case 'Group':
      case 'CapturingGroup':
        return new Set(node.alternatives.flatMap((one) => [...endsOf(one, starts)]))
      case 'Alternative':
        return node.elements.reduce<Set<number>>((at, element) => endsOf(element, at), new Set(starts))
      case 'Quantifier': {
        let at = new Set(starts)
        for (let count = 0; count < node.min && at.size > 0; count += 1) at = endsOf(node.element, at)
        const reached = new Set(at)
        for (let count = node.min; count < node.max && at.size > 0; count += 1) {
          at = endsOf(node.element, at).difference(reached)
          for (const end of at) reached.add(end)
        }
        return reached
      }
      case 'Assertion':
        return new Set([...starts].filter((at) => holds(node, at)))
      case 'Character':
        return next(starts, (character) => character.codePointAt(0) === node.value)
      case 'CharacterSet':
      case 'CharacterClass': {
        const member = membership(node.raw)
        return next(starts, (character) => member.test(character))
      }
      default:
        throw new NotUnderstood()
    }
  }

  function next(starts: ReadonlySet<number>, isMember: (character: string) => boolean): Set<number> {
    return new Set([...starts].filter((at) => at < text.length && isMember(text[at] ?? '')).map((at) => at + 1))
  }

  function holds(node: AST.Assertion, at: number): boolean {
    if (node.kind === 'start') return at === 0
    if (node.kind === 'end') return at === text.length
    const isWord = (index: number) => /^\w$/.test(text[index] ?? '')
    return 'negate' in node && (isWord(at - 1) !== isWord(at)) !== node.negate
  }

  return endsOf(tree, new Set(text.keys()).add(text.length)).size > 0
}

/** One class against one character takes constant time, so that it can be run. */
function membership(raw: string): RegExp {
  return new RegExp(`^${raw}$`, 'u')
}

const PRINTABLE = [
  'a',
  '1',
  'A',
  '-',
  ...Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)),
  ' ',
]

/** Letters and digits of a class where it has some, else what can be read, else the first that it has. */
function membersOf(raw: string): string[] {
  const member = membership(raw)
  const readable = PRINTABLE.filter((character) => member.test(character))
  const plain = readable.filter((character) => /[a-z\d]/i.test(character))
  if (plain.length > 0) return plain
  if (readable.length > 0) return readable
  for (let point = 0; point < 0x3000; point += 1) {
    const character = String.fromCodePoint(point)
    if (member.test(character)) return [character]
  }
  for (const character of ['中', '한', '🦊', '𝒳']) if (member.test(character)) return [character]
  throw new NotUnderstood()
}
