/**
 * What `npm run mutate` leaves alone because no test of behaviour should depend on it: the wording of messages, what is
 * logged, and the points at which tests of crashes kill a process.
 */

/** The part of Babel's syntax tree that is looked at. */
interface Node {
  type: string
  value?: unknown
  expression?: Node
  callee?: Node
  object?: Node
  property?: Node
  name?: string
  quasis?: { value: { raw: string } }[]
}

/** A text with two words in it is for people; codes, keys and names have no spaces. */
const TWO_WORDS = /\p{L}\S* \S/u

function isWording({ type, value, quasis = [] }: Node): boolean {
  if (type === 'StringLiteral') return TWO_WORDS.test(String(value))
  return type === 'TemplateLiteral' && TWO_WORDS.test(quasis.map(({ value: { raw } }) => raw).join('x'))
}

/** `….log.warn(…)` and `killpoint(…)`, called optionally or not, and the statement that is only that. */
function isAside({ type, expression, callee }: Node): boolean {
  if (type === 'ExpressionStatement' && expression !== undefined) return isAside(expression)
  const called = callee?.property?.name ?? callee?.name
  return called === 'killpoint' || callee?.object?.property?.name === 'log'
}

export const strykerPlugins = [
  {
    kind: 'Ignore',
    name: 'wording',
    value: {
      shouldIgnore({ node }: { node: Node }): string | undefined {
        return isWording(node) || isAside(node) ? 'a message, a log line or a kill point' : undefined
      },
    },
  },
]
