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
} from 'yaml'
import type { JsonValue } from './json.ts'
import { pointerTo } from './json-schema/pointer.ts'
import { clip, type Path, placeOf, type Reading, type Rules } from './document-rules.ts'

/** Tokens a value may take with its key, indentation, comment and line end; plain `  key: value` takes eight. */
const TOKENS_PER_NODE = 10
const TOKENS_SPARE = 1000

/** Reads YAML (1.2.2, core schema). */
export function readYaml(text: string, rules: Rules): Reading {
  checkTokens(text, rules)
  const document = compose(text, rules)
  const root = document?.contents
  if (!root || (isScalar(root) && root.value === null && root.source === '')) {
    rules.fail([], 0, 'the document is empty; write at least one key')
  }
  return {
    value: toTree(root, rules),
    offsets() {
      const offsets = new Map<string, number>()
      toTree(root, rules, offsets)
      return offsets
    },
  }
}

/**
 * Refuses the text as soon as its tokens make certain that it breaks a limit or a rule. They are read again afterwards:
 * keeping them takes longer, since it is the garbage collector that a hundred thousand live strings occupy.
 */
function checkTokens(text: string, rules: Rules): void {
  const { nodes, depth } = rules.limits
  let [tokens, scalars, anchors, keys, values, commas, brackets, directives, offset] = [0, 0, 0, 0, 0, 0, 0, 0, 0]
  let [started, marked, filled, atScalar] = [false, false, false, false]
  const refuseStream = () =>
    rules.fail([], offset, 'several YAML documents stand in one text; send one, without a second "---"')

  for (const token of new Lexer().lex(text)) {
    if (++tokens > nodes * TOKENS_PER_NODE + TOKENS_SPARE) rules.failTooManyNodes(offset)
    if (!atScalar && token === CST.SCALAR) {
      atScalar = true
      continue
    }
    // Behind its mark a plain or block scalar may begin with any sign.
    const type = atScalar ? 'scalar' : CST.tokenType(token)
    atScalar = false
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
          rules.fail([], offset, `the directive ${clip(token, 40)} is not supported; remove the line`)
        }
        break
      case 'tag':
        rules.fail([], offset, `the tag ${clip(token, 40)} is not supported; remove it, or quote the value`)
        break
      case 'flow-error-end':
        rules.fail([], offset, 'a list or map that began with [ or { has no end; close it before this line')
        break
      case 'flow-map-start':
      case 'flow-seq-start':
        if (++brackets > depth) rules.failTooDeep([], offset)
        break
      case 'flow-map-end':
      case 'flow-seq-end':
        if (--brackets < 0)
          rules.fail([], offset, `this ${token} closes nothing; remove it, or quote the text around it`)
        break
      case 'explicit-key-ind':
        if (++keys > nodes) rules.failTooManyNodes(offset)
        break
      case 'map-value-ind':
      case 'seq-item-ind':
        // Each stands before a value of its own, so that this count never exceeds that of the values.
        if (++values > nodes) rules.failTooManyNodes(offset)
        break
      case 'comma':
        if (++commas > nodes) rules.failTooManyNodes(offset)
        break
      case 'anchor':
        if (++anchors > nodes * 2) rules.failTooManyNodes(offset)
        break
      case 'alias':
      case 'scalar':
      case 'single-quoted-scalar':
      case 'double-quoted-scalar':
        if (++scalars > nodes * 2) rules.failTooManyNodes(offset)
        break
    }
    filled ||= type !== 'doc-start' && type !== 'space' && type !== 'newline' && type !== 'comment' && started
    offset += token.length
  }
}

/**
 * The one document of a checked text. Nesting is bounded while it grows, since the composer recurses over it, and the first
 * error ends the work: the library goes on after each, and a hundred thousand bad escapes would cost it seconds.
 */
function compose(text: string, rules: Rules): Document.Parsed | undefined {
  let failure: unknown
  function fail(offset: number, message: string): never {
    try {
      rules.fail([], offset, `this is not YAML that can be read here: ${clip(message, 200)}`)
    } catch (error) {
      failure ??= error // the library catches errors in places, and reports them once more
    }
    throw failure
  }

  const parser = new Parser()
  const parsed: CST.Token[] = []
  function keep(token: CST.Token): void {
    if (token.type === 'error') fail(token.offset, token.message)
    parsed.push(token)
  }
  // Beside its collections the stack holds the document and the value just being read.
  const stackMax = rules.limits.depth + 2
  for (const token of new Lexer().lex(text)) {
    for (const done of parser.next(token)) keep(done)
    if (parser.stack.length > stackMax && parser.stack.filter(isCollectionToken).length > rules.limits.depth) {
      rules.failTooDeep([], parser.offset)
    }
  }
  for (const done of parser.end()) keep(done)

  const composer = new Composer({ schema: 'core', merge: false, stringKeys: true, strict: true, uniqueKeys: false })
  const onError: ErrorListener = (source, code, message) =>
    fail(offsetOf(source), code === 'NON_STRING_KEY' ? 'a key must be plain text' : message)
  // Private to the class, with no public way to stop early; the tests with many errors fail if it is ever renamed.
  Object.assign(composer, { onError })
  const [document] = composer.compose(parsed)
  const problem = document?.errors[0] ?? document?.warnings[0] ?? composer.streamInfo().errors[0]
  if (problem) fail(problem.pos[0], problem.message)
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

/** With `offsets` the nodes are known to be good: it records where each value stands and counts nothing twice. */
function toTree(root: Node, rules: Rules, offsets?: Map<string, number>): JsonValue {
  const checking = offsets === undefined
  const anchors = new Map<string, Node>()
  // Fixed when an alias is first met, in document order: an anchor that is written again later must not change it.
  const targets = new Map<Node, Node | undefined>()
  const open = new Set<Node>()
  const path: (string | number)[] = []
  let expanding = 0
  let expandedBytes = 0

  function toValue(node: Node | null | undefined, keyOffset?: number): JsonValue {
    const offset = node?.range?.[0] ?? keyOffset
    if (isAlias(node)) return expand(node, offset, keyOffset)
    if (checking) rules.node(offset)
    else offsets.set(pointerTo(...path), keyOffset ?? offset ?? 0)
    if (!node) return null
    if (node.anchor && expanding === 0) anchors.set(node.anchor, node)
    if (isScalar(node)) return toScalar(node.value, node.source, offset)

    if (checking) rules.container(path, offset)
    open.add(node)
    let tree: JsonValue = null
    if (isSeq(node)) {
      tree = node.items.map((item, index) => {
        path.push(index)
        const value = toValue(item as Node | null)
        path.pop()
        return value
      })
    } else if (isMap(node)) tree = toObject(node.items as { key: unknown; value: unknown }[])
    open.delete(node)
    return tree
  }

  function toObject(pairs: { key: unknown; value: unknown }[]): JsonValue {
    const members: [string, JsonValue][] = []
    const seen = new Set<string>()
    for (const { key: node, value } of pairs) {
      if (!isScalar(node)) rules.fail([...path], undefined, `a key in ${placeOf(path)} is not plain text; write it out`)
      const key = String(node.value)
      const offset = node.range?.[0]
      if (node.anchor && expanding === 0) anchors.set(node.anchor, node)
      if (checking && node.type === 'PLAIN') checkPlainKey(key, offset)
      path.push(key)
      if (checking) {
        spend(key, path, offset)
        rules.text(key, path, offset)
        rules.key(seen.has(key), path, offset)
      }
      seen.add(key)
      members.push([key, toValue(value as Node | null, offset)])
      path.pop()
    }
    return Object.fromEntries(members)
  }

  function checkPlainKey(key: string, offset: number | undefined): void {
    if (key === '<<') rules.fail([...path, key], offset, 'merge keys ("<<") are not supported; write the members out')
    if (key === '') rules.fail([...path], offset, `a key is missing before ":" in ${placeOf(path)}; write one`)
  }

  function toScalar(value: unknown, source: string | undefined, offset: number | undefined): JsonValue {
    if (typeof value === 'number') return checking ? rules.number(value, source, path, offset) : value
    if (typeof value === 'string') {
      if (checking) {
        spend(value, path, offset)
        rules.text(value, path, offset)
      }
      return value
    }
    return typeof value === 'boolean' ? value : null
  }

  /** A copy of what the alias names, so that the result is a tree; an anchor counts from where it was written last. */
  function expand(node: Alias, offset: number | undefined, keyOffset: number | undefined): JsonValue {
    const name = node.source
    if (!targets.has(node)) targets.set(node, anchors.get(name))
    const target = targets.get(node)
    const alias = `the alias *${clip(name, 40)} at ${placeOf(path)}`
    if (!target) rules.fail([...path], offset, `${alias} names no anchor before it; write &${clip(name, 40)} first`)
    if (open.has(target)) rules.fail([...path], offset, `${alias} is part of what it names; write the value out`)
    expanding++
    const value = toValue(target, keyOffset ?? offset)
    expanding--
    return value
  }

  /** Text that aliases repeat: a long string behind ten thousand aliases is few nodes, but hundreds of megabytes. */
  function spend(text: string, at: Path, offset: number | undefined): void {
    if (expanding === 0) return
    expandedBytes += Buffer.byteLength(text)
    if (expandedBytes > rules.limits.bodyBytes) {
      rules.fail([...at], offset, `aliases repeat more than ${rules.limits.bodyBytes} bytes of text; use fewer of them`)
    }
  }

  return toValue(root)
}
