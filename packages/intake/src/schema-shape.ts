// What of a stranger's schema reaches the compiler: bounded, understood keyword by keyword, references written out.
// Hides JSON Schema's vocabulary, and the sum that says how long any value can keep a validator busy.

import {
  compileLinearPattern,
  createReferences,
  isJsonObject,
  type JsonObject,
  PatternRefused,
  pointerTo,
  PROBLEMS_MAX,
} from '@fabrique/schema'
import { nearestName } from './sentences.ts'
import { copyValue } from './value-copy.ts'

/** One named place in a schema and how to mend it. */
export interface SchemaProblem {
  /** RFC 6901, into the schema. */
  pointer: string
  /** What is wrong and the remedy. */
  detail: string
}

type Keywords = { [keyword: string]: unknown }
export type CleanSchema = boolean | Keywords

/**
 * Upper bounds of the work that one validation can take, in checks (up to 300 ns each) and pattern steps (about 25 ns).
 */
interface Effort {
  /** Checks that happen at most once: below properties only. */
  once: number
  /** Checks that may happen for every node of the value: below items, additionalProperties and their like. */
  perNode: number
  /** Steps per character of one string, once. */
  stepsOnce: number
  /** Steps per character of the whole value. */
  stepsPerCharacter: number
}

/** A schema that may be compiled: no $ref, no annotation, no default where it would not apply. */
export interface SchemaShape {
  clean: CleanSchema
  effort: Effort
  /**
   * What compile time grows with: JSON nodes with every reference written out, subschemas among them, states of
   * patterns.
   */
  nodes: number
  subschemas: number
  patternStates: number
}

export const SCHEMA_LIMITS = {
  bytes: 256 * 1024,
  depth: 64,
  nodes: 5_000,
  expandedNodes: 10_000,
  patternStates: 50_000,
  problems: PROBLEMS_MAX,
} as const

const REFUSED_PATTERN_STATES = 500

type Child = 'plain' | 'trial' | 'each' | 'each-trial'
/** Keywords that hold subschemas; `each` runs once per item or member, `trial` may fail without the whole failing. */
const SUBSCHEMAS = new Map<string, [holds: 'one' | 'list' | 'map', child: Child]>([
  ['items', ['one', 'each']],
  ['additionalProperties', ['one', 'each']],
  ['unevaluatedItems', ['one', 'each']],
  ['unevaluatedProperties', ['one', 'each']],
  ['contains', ['one', 'each-trial']],
  ['propertyNames', ['one', 'each-trial']],
  ['not', ['one', 'trial']],
  ['if', ['one', 'trial']],
  ['then', ['one', 'trial']],
  ['else', ['one', 'trial']],
  ['allOf', ['list', 'plain']],
  ['anyOf', ['list', 'trial']],
  ['oneOf', ['list', 'trial']],
  ['prefixItems', ['list', 'plain']],
  ['properties', ['map', 'plain']],
  ['patternProperties', ['map', 'each']],
  ['dependentSchemas', ['map', 'trial']],
])
const ASSERTIONS = new Set(
  `type enum const required minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format
  minItems maxItems uniqueItems minContains maxContains minProperties maxProperties dependentRequired default writeOnly`.split(
    /\s+/,
  ),
)
const ANNOTATIONS = new Set(
  'title description examples example deprecated readOnly $comment contentEncoding contentMediaType $anchor'.split(' '),
)
const OTHERS = ['$schema', '$id', '$ref', '$defs', 'definitions']
const KNOWN = [...SUBSCHEMAS.keys(), ...ASSERTIONS, ...ANNOTATIONS, ...OTHERS]
const REMEDIES = new Map([
  ['nullable', 'is not a keyword of JSON Schema; write type: [<type>, "null"]'],
  ['additionalItems', 'is from an older draft; write items beside prefixItems'],
  ['dependencies', 'is from an older draft; write dependentRequired or dependentSchemas'],
  ['$dynamicRef', 'is not supported; write $ref to an entry of $defs'],
  ['$recursiveRef', 'is not supported; write $ref to an entry of $defs'],
  ['$dynamicAnchor', 'is not supported; put the schema under $defs and refer to it with $ref'],
  ['$recursiveAnchor', 'is not supported; put the schema under $defs and refer to it with $ref'],
  ['$vocabulary', 'is not supported; remove it'],
])
const DIALECT = /^https:\/\/json-schema\.org\/draft\/2020-12\/schema#?$/

/** Formats that a schema may name. `file` marks a file input; its value is text. */
export const FORMATS =
  `file date time date-time duration email hostname ipv4 ipv6 uri uri-reference uri-template url uuid
json-pointer relative-json-pointer regex byte int32 int64 float double password binary`.split(/\s+/)

/**
 * All structural problems of a schema, or its shape when there is none. Takes a few milliseconds at the limits, however
 * hostile the schema; never throws. What only a compiler can tell (a wrong type under a keyword) is not looked at.
 */
export function shapeSchema(schema: unknown): {
  problems: SchemaProblem[]
  /** False where the schema is too large or strange to be looked at any further. */
  inBounds: boolean
  shape?: SchemaShape
} {
  if (!isJsonObject(schema)) {
    const detail = 'the schema must be an object such as {"type": "object", "properties": {…}}'
    return { problems: [{ pointer: '', detail }], inBounds: false }
  }
  const { bytes, nodes } = SCHEMA_LIMITS
  const { problems, value } = copyValue(schema, { what: 'the schema', nodes, characters: bytes })
  if (problems.length === 0 && Buffer.byteLength(JSON.stringify(value)) > bytes) {
    problems.push({ pointer: '', detail: `the schema is larger than ${bytes / 1024} KiB; shorten it` })
  }
  return problems.length > 0 ? { problems, inBounds: false } : { inBounds: true, ...expand(schema) }
}

/** Where the walk is: what surrounds the schema at hand and which references led to it. */
interface Place {
  pointer: string
  depth: number
  trial: boolean
  each: boolean
  refs: readonly string[]
  /** Inside $defs: references are checked but not followed, else a chain of definitions would be walked many times. */
  definition: boolean
}

class ExpandedTooFar extends Error {}

function expand(root: JsonObject): { problems: SchemaProblem[]; shape?: SchemaShape } {
  const problems = new Map<string, SchemaProblem>()
  const effort: Effort = { once: 0, perNode: 0, stepsOnce: 0, stepsPerCharacter: 0 }
  const patterns = new Map<string, number>()
  const references = createReferences(root)
  let nodes = 0
  let subschemas = 0
  let patternStates = 0

  /** Below the top the sentence begins with the place. It is made where there is room only: some take time. */
  const report = (pointer: string, sentence: string | (() => string)): void => {
    if (problems.size >= SCHEMA_LIMITS.problems) return
    const place = pointer.length > 200 ? `${pointer.slice(0, 199)}…` : pointer
    const detail = place + (typeof sentence === 'string' ? sentence : sentence())
    problems.set(`${pointer} ${detail}`, { pointer, detail })
  }
  const count = (amount: number, place: Place): void => {
    nodes += amount
    if (nodes > SCHEMA_LIMITS.expandedNodes) throw new ExpandedTooFar()
    if (place.each) effort.perNode += amount
    else effort.once += amount
  }
  const countSteps = (steps: number, place: Place, forAllText = place.each): void => {
    if (forAllText) effort.stepsPerCharacter += steps
    else effort.stepsOnce += steps
  }
  const below = (place: Place, key: string | number, child: Child): Place => ({
    pointer: place.pointer + pointerTo(key),
    depth: place.depth + 1,
    trial: place.trial || child.endsWith('trial'),
    each: place.each || child.startsWith('each'),
    refs: place.refs,
    definition: place.definition,
  })

  const checkPattern = (pattern: string, pointer: string): number => {
    let steps = patterns.get(pattern)
    if (steps === undefined) {
      if (patternStates > SCHEMA_LIMITS.patternStates) {
        report('', 'the patterns of the schema are too large together; bound lengths with minLength and maxLength')
        return 1
      }
      try {
        steps = compileLinearPattern(pattern).stepsPerCharacter
      } catch (error) {
        if (!(error instanceof PatternRefused)) throw error
        report(pointer, `: the pattern ${error.message}`)
        // Finding that out took time too.
        patternStates += REFUSED_PATTERN_STATES
        return 1
      }
      patterns.set(pattern, steps)
      patternStates += steps
    }
    return steps
  }

  const visit = (schema: unknown, place: Place): CleanSchema => {
    count(1, place)
    if (typeof schema === 'boolean') return schema
    subschemas += 1
    // Anything else is told by the compiler's own check of the schema, with its place.
    if (!isJsonObject(schema)) return true
    if (place.depth > SCHEMA_LIMITS.depth) throw new ExpandedTooFar()
    const clean: Keywords = {}
    for (const [keyword, value] of Object.entries(schema)) visitKeyword(keyword, value, place, clean)
    return '$ref' in schema ? follow(schema, clean, place) : clean
  }

  const visitKeyword = (keyword: string, value: unknown, place: Place, clean: Keywords): void => {
    const pointer = place.pointer + pointerTo(keyword)
    const [holds, child] = SUBSCHEMAS.get(keyword) ?? []
    if (child !== undefined) {
      const at = below(place, keyword, child)
      if (holds === 'one') clean[keyword] = visit(value, at)
      else if (holds === 'list' && Array.isArray(value)) {
        clean[keyword] = value.map((item, index) => visit(item, below(at, index, 'plain')))
      } else if (holds === 'map' && isJsonObject(value)) {
        const members = Object.entries(value).map(([name, member]) => {
          if (keyword === 'patternProperties') {
            // Keys are tested here and once more by additionalProperties.
            subschemas += 2
            countSteps(2 * checkPattern(name, pointer + pointerTo(name)), place, true)
          }
          return [name, visit(member, below(at, name, 'plain'))]
        })
        clean[keyword] = Object.fromEntries(members)
      }
    } else if (keyword === '$defs' || keyword === 'definitions') {
      // Compiled where they are used; read here, each once, so that the unused ones are told about too.
      if (place.refs.length > 0 || !isJsonObject(value)) return
      const before = { nodes, subschemas, effort: { ...effort } }
      nodes = 0
      for (const [name, member] of Object.entries(value)) {
        visit(member, { ...below(below(place, keyword, 'plain'), name, 'plain'), definition: true })
      }
      nodes = before.nodes
      subschemas = before.subschemas
      Object.assign(effort, before.effort)
    } else if (ASSERTIONS.has(keyword)) {
      count(countNodes(value), place)
      assertion(keyword, value, pointer, place)
      // Only one branch of a trial may hold, so a default there would leak out of the others.
      if (keyword !== 'default' || !place.trial) clean[keyword] = value
    } else if (keyword === '$schema') {
      if (place.pointer !== '' || typeof value !== 'string' || !DIALECT.test(value)) {
        const dialect = 'https://json-schema.org/draft/2020-12/schema'
        report(pointer, ` must be ${dialect}, at the top only; change or remove it`)
      }
    } else if (keyword === '$id') {
      if (place.pointer !== '') report(pointer, ': an $id below the top is not supported; use $defs and $ref')
    } else if (!ANNOTATIONS.has(keyword) && keyword !== '$ref' && !keyword.startsWith('x-')) {
      report(pointer, () => ` ${REMEDIES.get(keyword) ?? unknownKeyword(keyword)}`)
    }
  }

  const assertion = (keyword: string, value: unknown, pointer: string, place: Place): void => {
    if (keyword === 'pattern' && typeof value === 'string') countSteps(checkPattern(value, pointer), place)
    else if (keyword === 'minLength' || keyword === 'maxLength') countSteps(1, place)
    else if (keyword === 'uniqueItems') countSteps(20, place, true)
    else if (keyword === 'format' && typeof value === 'string') {
      countSteps(16, place)
      if (FORMATS.includes(value)) return
      report(pointer, () => `: the format "${value.slice(0, 80)}" is not known; ${formatRemedy(value)}`)
    }
  }

  /** The schema with its reference written out. Siblings of $ref hold too (2020-12), so they meet under allOf. */
  const follow = (schema: JsonObject, clean: Keywords, place: Place): CleanSchema => {
    const reference = schema.$ref
    const pointer = place.pointer + pointerTo('$ref')
    if (typeof reference !== 'string') return clean
    const refuse = (why: string): CleanSchema => {
      report(pointer, `: ${why}`)
      return clean
    }
    if (!reference.startsWith('#')) {
      const remedy = 'copy what you need to $defs and write "#/$defs/name"'
      return refuse(`a reference to another document is never fetched; ${remedy}`)
    }
    const shown = reference.slice(0, 80)
    const target = references.pointerOf(reference)
    const found = references.target(reference)
    if (target === undefined || (typeof found !== 'boolean' && !isJsonObject(found))) {
      return refuse(`there is no schema at ${shown}; refer to an entry of $defs as "#/$defs/name"`)
    }
    if (place.refs.includes(target) || place.pointer === target || place.pointer.startsWith(`${target}/`)) {
      return refuse(`the reference ${shown} leads back to itself; write the levels out that the form needs`)
    }
    if (place.definition) return clean
    const written = visit(found, { ...place, pointer: target, depth: place.depth + 1, refs: [...place.refs, target] })
    if (typeof written === 'object' && Object.keys(clean).every((keyword) => keyword === 'default'))
      return { ...written, ...clean }
    const others = Array.isArray(clean.allOf) ? (clean.allOf as unknown[]) : []
    return { ...clean, allOf: [...others, written] }
  }

  try {
    const clean = visit(root, { pointer: '', depth: 1, trial: false, each: false, refs: [], definition: false })
    if (problems.size > 0) return { problems: [...problems.values()] }
    return { problems: [], shape: { clean, effort, nodes, subschemas, patternStates } }
  } catch (error) {
    if (!(error instanceof ExpandedTooFar)) throw error
    const most = `${SCHEMA_LIMITS.expandedNodes} values or ${SCHEMA_LIMITS.depth} levels`
    report(
      '',
      `the schema with its references written out has more than ${most}; refer less often to large definitions`,
    )
    return { problems: [...problems.values()] }
  }
}

function unknownKeyword(keyword: string): string {
  const meant = nearestName(keyword, KNOWN)
  const remedy = meant === undefined ? 'remove it, or write it as an annotation: x-…' : `did you mean ${meant}?`
  return `is not a keyword of JSON Schema 2020-12; ${remedy}`
}

function formatRemedy(format: string): string {
  const meant = nearestName(format, FORMATS)
  return meant === undefined ? `use one of ${FORMATS.join(', ')}` : `did you mean ${meant}?`
}

function countNodes(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1
  let nodes = 1
  for (const member of Object.values(value)) nodes += countNodes(member)
  return nodes
}
