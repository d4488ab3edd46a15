// CEL expressions of `when` and assert gates: parsed once, checked for what they may name, evaluated on plain values.
// Hides the library, its number types, and the parts of CEL that could run for long.
import { type ASTNode, Environment, EvaluationError, ParseError } from '@marcbachmann/cel-js'
import type { JsonObject } from '@fabrique/schema'

/** What an expression may see. A step that was skipped has an empty output. */
export interface ExpressionScope {
  intake: JsonObject
  steps: JsonObject
  run: JsonObject
}

/** A name that an expression reads, and whether it asks first (`has(…)` or `.?`) if it is there. */
export interface Reference {
  root: 'intake' | 'steps'
  key: string
  guarded: boolean
}

export interface Expression {
  references: Reference[]
  /** Throws `ExpressionError` where a value is missing or of the wrong type, or the result is not a boolean. */
  holds(scope: ExpressionScope): boolean
}

/** Why an expression cannot be used; the message may be shown to anybody who may see the expression. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError'
}

const LOOP_DEPTH_MAX = 2
/**
 * What one evaluation may take: a part of the expression each time it is evaluated, and one more for 64 characters of
 * what it gives. Loops within loops multiply, so that two over a list of 9,900 would take ten seconds; this is 50 ms.
 */
const EFFORT_MAX = 1_000_000
const TOO_MUCH = 'it goes through too many items; use fewer loops, or shorter lists'
const LOOPS = ['all', 'exists', 'exists_one', 'map', 'filter']

const environment = new Environment({
  unlistedVariablesAreDyn: false,
  enableOptionalTypes: true,
  homogeneousAggregateLiterals: false,
  limits: { maxAstNodes: 500, maxDepth: 32, maxListElements: 100, maxMapEntries: 100, maxCallArguments: 16 },
})
  .registerVariable('intake', 'map')
  .registerVariable('steps', 'map')
  .registerVariable('run', 'map')
mixNumbers()

/**
 * A number of JSON is a double whatever its value, so what works for 2 works for 2.5. The literals of CEL and `size(…)`
 * are ints, and CEL defines no arithmetic between the two: these overloads do, as doubles.
 */
function mixNumbers(): void {
  const divisible = (operate: (a: number, b: number) => number) => (a: number, b: number) => {
    if (b === 0) throw new EvaluationError('division by zero')
    return operate(a, b)
  }
  const operators: Record<string, (a: number, b: number) => number> = {
    '+': (a, b) => a + b,
    '-': (a, b) => a - b,
    '*': (a, b) => a * b,
    '/': divisible((a, b) => a / b),
    '%': divisible((a, b) => a % b),
  }
  for (const [operator, operate] of Object.entries(operators)) {
    const handler = (a: number | bigint, b: number | bigint) => operate(Number(a), Number(b))
    environment.registerOperator(`double ${operator} int`, handler)
    environment.registerOperator(`int ${operator} double: double`, handler)
    // The library divides doubles by zero; `dyn<…>` is a value that comes from JSON, and goes before its overload.
    if (operator === '/') environment.registerOperator('dyn<double> / double: double', handler)
    if (operator === '%') environment.registerOperator('double % double', handler)
  }
  environment.registerOperator('int == double', (a: bigint, b: number) => Number(a) === b)
  // One overload for each pair, as the library refuses to choose where two of them fit.
  const has = (item: number | bigint, list: unknown[]) =>
    list.some((one) => (typeof one === 'number' || typeof one === 'bigint') && Number(one) === Number(item))
  for (const item of ['int', 'double', 'dyn<int>', 'dyn<double>'])
    for (const element of ['int', 'double', 'dyn']) environment.registerOperator(`${item} in list<${element}>`, has)
  const cut = (text: string, from: number | bigint, to?: number | bigint) =>
    text.substring(position(text, from), to === undefined ? undefined : position(text, to))
  for (const places of ['double', 'double, double', 'double, int', 'int, double'])
    environment.registerFunction(`string.substring(${places}): string`, cut)
}

function position(text: string, place: number | bigint): number {
  const at = Number(place)
  if (Number.isInteger(at) && at >= 0 && at <= text.length) return at
  throw new EvaluationError(`substring: there is no place ${at} in a text of ${text.length} characters`)
}

/** An expression ready to be evaluated any number of times. Throws `ExpressionError` naming what is wrong with it. */
export function parseExpression(text: string): Expression {
  let program: ReturnType<typeof environment.parse>
  try {
    program = environment.parse(text)
  } catch (error) {
    throw new ExpressionError(error instanceof ParseError ? error.summary : 'it cannot be parsed', { cause: error })
  }
  const { valid, error, type } = program.check()
  if (!valid) throw new ExpressionError(error?.summary ?? 'its types do not fit')
  if (type !== 'bool' && type !== 'dyn') throw new ExpressionError(`it gives ${type}, and must give a boolean`)
  const references: Reference[] = []
  collect(program.ast, references, { guarded: false, loops: 0 })
  const effort = { left: EFFORT_MAX }
  meter(program.ast, effort)
  return {
    references,
    holds(scope) {
      let result: unknown
      effort.left = EFFORT_MAX
      try {
        result = program(scope)
      } catch (cause) {
        const reason = cause instanceof EvaluationError ? cause.summary : 'it cannot be evaluated'
        throw new ExpressionError(effort.left < 0 ? TOO_MUCH : reason, { cause })
      }
      // Loops go on behind an item that failed, and may find what they look for.
      if (effort.left < 0) throw new ExpressionError(TOO_MUCH)
      if (typeof result !== 'boolean') throw new ExpressionError('it did not give a boolean')
      return result
    },
  }
}

/** Makes every part of the expression count what it takes, and fail once nothing is left. The library has no such limit. */
function meter(node: ASTNode, effort: { left: number }): void {
  // Not in the library's types; the tests of loops fail if it is ever renamed. It puts the one that fits in its place.
  type Evaluate = (this: ASTNode, ...args: unknown[]) => unknown
  let { evaluate } = node as unknown as { evaluate: Evaluate }
  const metered: Evaluate = (...args) => {
    if (--effort.left < 0) throw new EvaluationError(TOO_MUCH)
    const value = evaluate.apply(node, args)
    if (typeof value === 'string') effort.left -= value.length >> 6
    return value
  }
  Object.defineProperty(node, 'evaluate', {
    get: () => metered,
    set(fitting: Evaluate) {
      evaluate = fitting
    },
  })
  for (const child of childrenOf(node.args)) meter(child, effort)
}

/** Walks the tree: notes what it reads, refuses what has no place in a condition. */
function collect(node: ASTNode, found: Reference[], at: { guarded: boolean; loops: number }): void {
  const reference = referenceOf(node)
  if (reference !== null) {
    if (reference.root === 'steps' && at.guarded && reference.depth < 3) {
      throw new ExpressionError(`ask for a part of the output: has(steps.${reference.key}.output.…)`)
    }
    found.push({ root: reference.root, key: reference.key, guarded: at.guarded || reference.asks })
    for (const index of reference.indices) collect(index, found, { ...at, guarded: false })
    return
  }
  switch (node.op) {
    case 'id':
      if (node.args === 'steps' || node.args === 'intake') {
        throw new ExpressionError(
          `"${node.args}" is read by name, as in ${node.args}.${node.args === 'steps' ? 'id.output.key' : 'field'}`,
        )
      }
      return
    case 'rcall': {
      const [name, target, args] = node.args
      // The library matches by JavaScript's own engine, where a pattern can take for ever.
      if (name === 'matches')
        throw new ExpressionError('"matches" is not available; use startsWith, endsWith, contains or ==')
      const loops = at.loops + (LOOPS.includes(name) ? 1 : 0)
      if (loops > LOOP_DEPTH_MAX) throw new ExpressionError(`loops may be nested ${LOOP_DEPTH_MAX} deep`)
      collect(target, found, at)
      for (const argument of args) collect(argument, found, { ...at, loops })
      return
    }
    case 'call': {
      const [name, args] = node.args
      for (const argument of args) collect(argument, found, { ...at, guarded: at.guarded || name === 'has' })
      return
    }
    case 'value':
      return
    default:
      for (const child of childrenOf(node.args)) collect(child, found, at)
  }
}

function childrenOf(args: unknown): ASTNode[] {
  if (Array.isArray(args)) return args.flatMap(childrenOf)
  return typeof args === 'object' && args !== null && 'op' in args ? [args as ASTNode] : []
}

interface Chain {
  root: Reference['root']
  key: string
  asks: boolean
  depth: number
  /** Expressions in brackets on the way, which may read something themselves. */
  indices: ASTNode[]
}

/** `intake.a.b` or `steps.a.output.b` as root and first key; null for anything else. */
function referenceOf(node: ASTNode): Chain | null {
  const indices: ASTNode[] = []
  let asks = false
  let depth = 0
  let at: ASTNode = node
  while (at.op === '.' || at.op === '.?' || at.op === '[]' || at.op === '[?]') {
    const [target, key]: [ASTNode, string | ASTNode] = at.args
    depth += 1
    if (at.op === '.?' || at.op === '[?]') asks = true
    if (target.op === 'id') {
      const name = typeof key === 'string' ? key : key.op === 'value' ? key.args : null
      if ((target.args !== 'intake' && target.args !== 'steps') || typeof name !== 'string') return null
      return { root: target.args, key: name, asks, depth, indices }
    }
    if (typeof key === 'object') indices.push(key)
    at = target
  }
  return null
}
