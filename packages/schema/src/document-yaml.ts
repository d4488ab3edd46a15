// YAML text to a tree: 1.2 core schema, one document, no tags, no merge keys, benign anchors.
// Hides how a hostile text is stopped early: tokens are counted before anything is built, and aliases are expanded on a budget.
import {
  type Alias,
  CST,
  Composer,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  type Node,
  Parser,
  type Scalar,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml'
import {
  clip,
  type DocumentLimits,
  fail,
  failTooDeep,
  failTooManyNodes,
  failTwice,
  type Place,
  placeOf,
  type Reading,
  Unparsable,
} from './document-rules.ts'
import { hiddenInScalar } from './hidden-characters.ts'
import { pointerTo } from './json-schema/pointer.ts'

/** Tokens a value may take with its key, indentation, comment and line end; plain `  key: value` takes eight. */
const TOKENS_PER_NODE = 10
const TOKENS_SPARE = 1000

/** Reads YAML (1.2.2, core schema). */
export function readYaml(text: string, limits: DocumentLimits): Reading {
  checkTokens(text, limits)
  const root = compose(text, limits)?.contents
  if (!root || (isScalar(root) && root.value === null && root.source === '')) {
    fail([], 0, 'the document is empty; write at least one key')
  }
  let found: Map<string, Place> | undefined
  return {
    value: expand(root, limits),
    places() {
      if (found === undefined) expand(root, limits, (found = new Map()))
      return found
    },
  }
}

/**
 * Refuses the text as soon as its tokens make certain that it breaks a limit or a rule. They are read again afterwards:
 * keeping them takes longer, since it is the garbage collector that a hundred thousand live strings occupy.
 */
function checkTokens(text: string, limits: DocumentLimits): void {
  const counter = (perNode: number) => ({ count: 0, most: limits.nodes * perNode })
  const [values, scalars] = [counter(1), counter(2)]
  const counters = new Map<string | null, ReturnType<typeof counter>>([
    ['explicit-key-ind', counter(1)],
    // Each stands before a value of its own, so that their count never exceeds that of the values.
    ['map-value-ind', values],
    ['seq-item-ind', values],
    ['comma', counter(1)],
    ['anchor', counter(2)],
    ['alias', scalars],
    ['scalar', scalars],
    ['single-quoted-scalar', scalars],
    ['double-quoted-scalar', scalars],
  ])
  let [tokens, brackets, directives, offset] = [0, 0, 0, 0]
  let [started, marked, filled, atScalar] = [false, false, false, false]
  const refuse = (detail: string) => fail([], offset, detail)
  const refuseStream = () => refuse('several YAML documents stand in one text; send one, without a second "---"')

  for (const token of new Lexer().lex(text)) {
    if (++tokens > limits.nodes * TOKENS_PER_NODE + TOKENS_SPARE) failTooManyNodes(limits, offset)
    if (!atScalar && token === CST.SCALAR) {
      atScalar = true
      continue
    }
    // Behind its mark a plain or block scalar may begin with any sign.
    const type = atScalar ? 'scalar' : CST.tokenType(token)
    atScalar = false
    if (type === 'space' || type === 'newline' || type === 'comment') {
      offset += token.length
      continue
    }
    switch (type) {
      case 'doc-mode':
        if (started) refuseStream()
        started = true
        continue
      case 'doc-start':
        if (marked || filled) refuseStream()
        marked = true
        break
      case 'directive-line':
        if (!/^%YAML[ \t]+1\.2$/.test(token) || ++directives > 1) {
          refuse(`the directive ${clip(token, 40)} is not supported; remove the line`)
        }
        break
      case 'tag':
        refuse(`the tag ${clip(token, 40)} is not supported; remove it, or quote the value`)
        break
      case 'flow-error-end':
        refuse('a list or map that began with [ or { has no end; close it before this line')
        break
      case 'flow-map-start':
      case 'flow-seq-start':
        if (++brackets > limits.depth) failTooDeep(limits, [], offset)
        break
      case 'flow-map-end':
      case 'flow-seq-end':
        if (--brackets < 0) refuse(`this ${token} closes nothing; remove it, or quote the text around it`)
    }
    const counted = counters.get(type)
    if (counted !== undefined && ++counted.count > counted.most) failTooManyNodes(limits, offset)
    filled ||= type !== 'doc-start' && started
    offset += token.length
  }
}

/**
 * The one document of a checked text. Nesting is bounded while it grows, since the composer recurses over it, and the first
 * error ends the work: the library goes on after each, and a hundred thousand bad escapes would cost it seconds.
 */
function compose(text: string, limits: DocumentLimits): Document.Parsed | undefined {
  let failure: Unparsable | undefined
  function failHere(offset: number, message: string): never {
    const detail = `this is not YAML that can be read here: ${clip(message, 200)}`
    failure ??= new Unparsable({ path: [], offset, detail }) // the library catches errors in places, and reports them again
    throw failure
  }

  const parser = new Parser()
  const parsed: CST.Token[] = []
  function keep(token: CST.Token): void {
    if (token.type === 'error') failHere(token.offset, token.message)
    parsed.push(token)
  }
  // Beside its collections the stack holds the document and the value just being read.
  const stackMax = limits.depth + 2
  for (const token of new Lexer().lex(text)) {
    for (const done of parser.next(token)) keep(done)
    if (parser.stack.length > stackMax && parser.stack.filter(isCollectionToken).length > limits.depth) {
      failTooDeep(limits, [], parser.offset)
    }
  }
  for (const done of parser.end()) keep(done)

  const composer = new Composer({ schema: 'core', merge: false, stringKeys: true, strict: true, uniqueKeys: false })
  const onError: ErrorListener = (source, code, message) =>
    failHere(offsetOf(source), code === 'NON_STRING_KEY' ? 'a key must be plain text' : message)
  // Private to the class, with no public way to stop early; the tests with many errors fail if it is ever renamed.
  Object.assign(composer, { onError })
  const [document] = composer.compose(parsed)
  const problem = document?.errors[0] ?? document?.warnings[0] ?? composer.streamInfo().errors[0]
  if (problem) failHere(problem.pos[0], problem.message)
  return document as Document.Parsed | undefined
}

type ErrorListener = (source: number | readonly number[] | { offset: number }, code: string, message: string) => void

function offsetOf(source: number | readonly number[] | { offset: number }): number {
  if (typeof source === 'number') return source
  return 'offset' in source ? source.offset : (source[0] ?? 0)
}

function isCollectionToken(token: CST.Token): boolean {
  return token.type === 'block-map' || token.type === 'block-seq' || token.type === 'flow-collection'
}

/** The values of the nodes, what aliases name copied so that the result is a tree; notes where each stands. */
function expand(root: Node, limits: DocumentLimits, places?: Map<string, Place>): unknown {
  const anchors = new Map<string, Node>()
  // Fixed when an alias is first met, in document order: an anchor that is written again later must not change it.
  const targets = new Map<Node, Node | undefined>()
  const open = new Set<Node>()
  const path: (string | number)[] = []
  let [nodes, expanding, expandedBytes] = [0, 0, 0]

  function toValue(node: Node | null | undefined, keyOffset?: number): unknown {
    const offset = node?.range?.[0] ?? keyOffset ?? 0
    if (isAlias(node)) return toCopy(node, offset, keyOffset)
    if (++nodes > limits.nodes) failTooManyNodes(limits, offset)
    places?.set(pointerTo(...path), { key: keyOffset ?? offset, value: offset })
    if (!node) return null
    if (node.anchor && expanding === 0) anchors.set(node.anchor, node)
    if (isScalar(node)) {
      if (typeof node.value === 'string') spend(node.value, offset)
      checkPlain(node, offset)
      return node.value
    }
    open.add(node)
    const tree = isMap(node) ? toObject(node) : isSeq(node) ? toList(node) : null
    open.delete(node)
    return tree
  }

  function toList({ items }: YAMLSeq): unknown[] {
    return items.map((item, index) => {
      path.push(index)
      const value = toValue(item as Node | null)
      path.pop()
      return value
    })
  }

  function toObject({ items }: YAMLMap): object {
    const members = new Map<string, unknown>()
    for (const { key: node, value } of items) {
      if (!isScalar(node)) fail(path, undefined, `a key in ${placeOf(path)} is not plain text; write it out`)
      const key = String(node.value)
      const offset = node.range?.[0]
      if (node.anchor && expanding === 0) anchors.set(node.anchor, node)
      if (node.type === 'PLAIN' && key === '') {
        fail(path, offset, `a key is missing before ":" in ${placeOf(path)}; write one`)
      }
      path.push(key)
      checkPlain(node, offset)
      if (node.type === 'PLAIN' && key === '<<') {
        fail(path, offset, 'merge keys ("<<") are not supported; write the members out')
      }
      spend(key, offset)
      if (members.has(key)) failTwice(path, offset)
      members.set(key, toValue(value as Node | null, offset))
      path.pop()
    }
    return Object.fromEntries(members)
  }

  function checkPlain({ type, value }: Scalar, offset: number | undefined): void {
    const hidden = type === 'PLAIN' && typeof value === 'string' ? hiddenInScalar(value) : undefined
    if (hidden !== undefined) fail(path, offset, hidden)
  }

  /** What the alias names; an anchor counts from where it was written last. */
  function toCopy(node: Alias, offset: number, keyOffset: number | undefined): unknown {
    const name = node.source
    if (!targets.has(node)) targets.set(node, anchors.get(name))
    const target = targets.get(node)
    const alias = `the alias *${clip(name, 40)} at ${placeOf(path)}`
    if (!target) fail(path, offset, `${alias} names no anchor before it; write &${clip(name, 40)} first`)
    if (open.has(target)) fail(path, offset, `${alias} is part of what it names; write the value out`)
    expanding++
    const value = toValue(target, keyOffset ?? offset)
    expanding--
    return value
  }

  /** Text that aliases repeat: a long string behind ten thousand aliases is few nodes, but hundreds of megabytes. */
  function spend(text: string, offset: number | undefined): void {
    if (expanding === 0) return
    expandedBytes += Buffer.byteLength(text)
    if (expandedBytes > limits.bodyBytes) {
      fail(path, offset, `aliases repeat more than ${limits.bodyBytes} bytes of text; use fewer of them`)
    }
  }

  return toValue(root)
}
