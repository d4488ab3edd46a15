// Ajv's errors as sentences that name the place, what is allowed and what was found.
// Hides Ajv's vocabulary, and how the errors of alternatives become one sentence instead of dozens.

import { canonicalJson, nearestKey, pointerTo, PROBLEMS_MAX } from '@fabrique/schema'
import type { ErrorObject } from 'ajv'

/** One named place in a value and how to mend it. */
export interface ValueProblem {
  /** RFC 6901, into the value. */
  pointer: string
  /**
   * What is wrong and the remedy; shows at most 80 characters of the value, and nothing of a password or writeOnly
   * field.
   */
  detail: string
}

const MAX_SHOWN = 80
/** Described and sorted at most; the rest is only counted. */
const MAX_CONSIDERED = 1_000
/** Names that a misspelt one is compared with; a hundred such sentences take about 30 ms. */
const MAX_CANDIDATES = 40
const MAX_NAME = 40

interface Finding {
  error: ErrorObject
  /** Made only for those that are shown: looking for what was meant takes time. */
  describe(): ValueProblem
  /** "a string", "one of a, b": set where the finding is about the kind of value as a whole. */
  expects?: string
}

/**
 * The sentences for a list of Ajv errors (made with `verbose`), by place, each once, 100 at the most. Without
 * `showsValues` every field is treated like a secret one.
 */
export function describeErrors(errors: readonly ErrorObject[], showsValues = true): ValueProblem[] {
  const findings: Finding[] = []
  for (const found of errors) {
    if (found.keyword === 'if') continue
    const secret = { writeOnly: { value: true } }
    const error = showsValues ? found : { ...found, parentSchema: Object.create(found.parentSchema ?? null, secret) }
    const children = GATHERING.has(error.keyword) ? takeChildren(findings, error) : []
    findings.push(findingOf(error, children))
  }
  const order = new Intl.Collator('en', { numeric: true })
  const byPlace = findings
    .slice(0, MAX_CONSIDERED)
    .sort((a, b) => order.compare(a.error.instancePath, b.error.instancePath))
    // A finding and its twin (one definition that holds twice) make one problem, so look a little further.
    .slice(0, PROBLEMS_MAX + 20)
  const problems = new Map<string, ValueProblem>()
  for (const finding of byPlace) {
    const problem = finding.describe()
    problems.set(`${problem.pointer} ${problem.detail}`, problem)
  }
  const sorted = [...problems.values()].sort(
    (a, b) => order.compare(a.pointer, b.pointer) || order.compare(a.detail, b.detail),
  )
  if (sorted.length <= PROBLEMS_MAX && findings.length === byPlace.length) return sorted
  const shown = sorted.slice(0, PROBLEMS_MAX - 1)
  return [...shown, { pointer: '', detail: `and ${findings.length - shown.length} more problems` }]
}

/** These come after the errors of the subschemas that they tried. */
const GATHERING = new Set(['anyOf', 'oneOf', 'contains', 'propertyNames'])

function takeChildren(findings: Finding[], error: ErrorObject): Finding[] {
  const children: Finding[] = []
  for (let last = findings.at(-1); last !== undefined; last = findings.at(-1)) {
    const { schemaPath, instancePath } = last.error
    // Children of an alternative stand below it in the schema. The same schema at the item before, say, is not of this one.
    if (!schemaPath.startsWith(`${error.schemaPath}/`)) break
    if (instancePath !== error.instancePath && !instancePath.startsWith(`${error.instancePath}/`)) break
    children.push(last)
    findings.pop()
  }
  return children.reverse()
}

function findingOf(error: ErrorObject, children: Finding[]): Finding {
  if (error.keyword === 'anyOf' || error.keyword === 'oneOf') return alternatives(error, children)
  const expects = expectation(error)
  if (expects === undefined) return { error, describe: () => describe(error, children) }
  return { error, expects, describe: () => at(error, `must be ${expects}${got(error)}${suggestion(error)}`) }
}

/** What kind of value a type, const or enum asks for. */
function expectation(error: ErrorObject): string | undefined {
  if (error.keyword === 'type') {
    const types: unknown = error.params.type
    return join((Array.isArray(types) ? types : [types]).map((type) => TYPE_NAMES[String(type)] ?? String(type)))
  }
  if (error.keyword === 'const') return show(error.params.allowedValue)
  if (error.keyword === 'enum') {
    const allowed: unknown[] = error.params.allowedValues
    if (allowed.length === 1) return show(allowed[0])
    const shown = allowed
      .slice(0, 20)
      .map((value) => (typeof value === 'string' ? value.slice(0, MAX_SHOWN) : show(value)))
    return `one of ${shown.join(', ')}${allowed.length > 20 ? `, … (${allowed.length} in all)` : ''}`
  }
  return undefined
}

const TYPE_NAMES: Record<string, string> = {
  string: 'a string',
  number: 'a number',
  integer: 'an integer',
  boolean: 'true or false',
  object: 'an object',
  array: 'a list',
  null: 'null',
}

function alternatives(error: ErrorObject, children: Finding[]): Finding {
  const fitting: unknown = error.params.passingSchemas
  if (Array.isArray(fitting)) {
    const forms = fitting.map((index) => `${Number(index) + 1}`).join(' and ')
    return {
      error,
      describe: () => at(error, `fits more than one of its allowed forms (${forms}); make it fit one only`),
    }
  }
  const branchOf = (child: Finding) => child.error.schemaPath.slice(error.schemaPath.length + 1).split('/', 1)[0]
  const branches = [...Map.groupBy(children, branchOf).values()]
  const ownKind = (child?: Finding) => (child?.error.instancePath === error.instancePath ? child.expects : undefined)
  const kinds = branches.map(([only, ...more]) => (more.length === 0 ? ownKind(only) : undefined))
  if (kinds.length > 0 && kinds.every((kind) => kind !== undefined)) {
    const expects = join([...new Set(kinds)])
    return { error, expects, describe: () => at(error, `must be ${expects}${got(error)}`) }
  }
  // The nearest form is the one that already takes this kind of value and asks for the fewest changes.
  const cost = (branch: Finding[]) => branch.length + (branch.some((child) => ownKind(child) !== undefined) ? 1e6 : 0)
  const [closest = []] = branches.sort((a, b) => cost(a) - cost(b))
  const describeNearest = () => {
    const wishes = closest.slice(0, 3).map((child) => child.describe().detail)
    const nearestForm = wishes.length > 0 ? `; for the nearest of them, ${wishes.join('; ')}` : ''
    return at(error, `fits none of its ${(error.schema as unknown[]).length} allowed forms${nearestForm}`)
  }
  return { error, describe: describeNearest }
}

function describe(error: ErrorObject, children: Finding[]): ValueProblem {
  const { missingProperty, additionalProperty, unevaluatedProperty, propertyName } = error.params
  const named = missingProperty ?? additionalProperty ?? unevaluatedProperty ?? propertyName
  const member = typeof named === 'string' ? named : undefined
  const sentence = SENTENCES[error.keyword]?.(error, member ?? '', children)
  return at(error, sentence ?? `does not satisfy ${error.keyword}`, member)
}

type Sentence = (error: ErrorObject, member: string, children: Finding[]) => string

const tooMany: Sentence = ({ params, data }) =>
  `must have at most ${plural(Number(params.limit ?? params.len), 'item')}; it has ${lengthOf(data)}`
const strange: Sentence = ({ parentSchema }, name) => {
  const names = Object.keys((parentSchema?.properties as object | undefined) ?? {})
  const meant = nearestName(name, names.slice(0, MAX_CANDIDATES))
  return `is not a field here; ${meant === undefined ? 'remove it' : `did you mean ${meant}?`}`
}

const SENTENCES: Record<string, Sentence> = {
  required: () => 'is required',
  dependentRequired: ({ params }) => `is required when ${short(String(params.property))} is given`,
  minimum: (error) => `must be at least ${error.params.limit}${got(error)}`,
  maximum: (error) => `must be at most ${error.params.limit}${got(error)}`,
  exclusiveMinimum: (error) => `must be greater than ${error.params.limit}${got(error)}`,
  exclusiveMaximum: (error) => `must be less than ${error.params.limit}${got(error)}`,
  multipleOf: (error) => `must be a multiple of ${error.params.multipleOf}${got(error)}`,
  minLength: ({ params: { limit }, data }) =>
    limit === 1 ? 'must not be empty' : `must have at least ${limit} characters; it has ${lengthOf(data)}`,
  maxLength: ({ params, data }) => `must have at most ${plural(params.limit, 'character')}; it has ${lengthOf(data)}`,
  minItems: ({ params, data }) => `must have at least ${plural(params.limit, 'item')}; it has ${lengthOf(data)}`,
  maxItems: tooMany,
  items: tooMany,
  unevaluatedItems: tooMany,
  uniqueItems: ({ data }) => {
    const texts = (data as unknown[]).map(canonicalJson)
    const earlier = new Map(texts.map((text, index) => [text, index]).reverse() as [string, number][])
    const again = texts.findIndex((text, index) => earlier.get(text) !== index)
    return `must not hold an item twice; items ${earlier.get(texts[again] ?? '')} and ${again} (from 0) are equal`
  },
  minProperties: ({ params }) => `must have at least ${plural(params.limit, 'member')}`,
  maxProperties: ({ params }) => `must have at most ${plural(params.limit, 'member')}`,
  pattern: (error) => `must match the pattern ${short(String(error.params.pattern))}${got(error)}`,
  format: (error) => {
    const format = String(error.params.format)
    return `must be a valid ${short(format)}${FORMAT_EXAMPLES[format] ?? ''}${got(error)}`
  },
  additionalProperties: strange,
  unevaluatedProperties: strange,
  propertyNames: (_error, _member, children) => {
    const reason = children[0]?.describe().detail.replace(/^.*? (?=must )/s, '')
    return `has a name that is not allowed${reason === undefined ? '' : `: it ${reason}`}`
  },
  contains: ({ params: { minContains = 1, maxContains } }) =>
    `must hold at least ${plural(minContains, 'fitting item')}${maxContains === undefined ? '' : ` and at most ${maxContains}`}`,
  not: (error) => `is a value that is ruled out here${got(error)}`,
  'false schema': () => 'is not allowed here; remove it',
}

const FORMAT_EXAMPLES: Record<string, string> = {
  date: ' such as 2026-05-16',
  time: ' such as 09:30:00Z',
  'date-time': ' such as 2026-05-16T09:30:00Z',
  duration: ' such as PT30S',
  email: ' such as name@example.org',
  file: ', its bytes as a data: URI such as data:image/png;base64,iVBORw0…',
  uri: ' such as https://example.org/page',
  url: ' such as https://example.org/page',
}

/** The name that was most likely meant. Longer ones are not looked at: both sides are a stranger's, and it adds up. */
export function nearestName(wrong: string, valid: readonly string[]): string | undefined {
  if (wrong.length > MAX_NAME) return undefined
  return nearestKey(
    wrong,
    valid.filter((name) => name.length <= MAX_NAME),
  )
}

/** A problem where the error is, or at a member there. */
function at({ instancePath }: ErrorObject, sentence: string, member?: string): ValueProblem {
  const pointer = instancePath + (member === undefined ? '' : pointerTo(member))
  return { pointer, detail: `${pointer === '' ? 'the value' : short(pointer, 200)} ${sentence}` }
}

/** `; got "flatt"`; nothing where the schema marks the field as secret. */
function got(error: ErrorObject): string {
  const schema = error.parentSchema
  if (schema?.format === 'password' || schema?.writeOnly === true) return ''
  return `; got ${show(error.data)}`
}

function show(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'object' && value !== null) return 'an object'
  if (typeof value !== 'string') return String(value)
  return value.length > MAX_SHOWN
    ? `${JSON.stringify(value.slice(0, MAX_SHOWN - 1)).slice(0, -1)}…"`
    : JSON.stringify(value)
}

function suggestion(error: ErrorObject): string {
  if (error.keyword !== 'enum' || typeof error.data !== 'string' || got(error) === '') return ''
  const allowed = (error.params.allowedValues as unknown[]).filter((value) => typeof value === 'string')
  const meant = nearestName(error.data, allowed.slice(0, MAX_CANDIDATES))
  return meant === undefined ? '' : ` — did you mean ${meant}?`
}

function join(words: readonly string[]): string {
  if (words.length < 2) return words.join('')
  return `${words.slice(0, -1).slice(0, 20).join(', ')} or ${words.at(-1) ?? ''}`
}

function short(text: string, most = MAX_SHOWN): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** Characters as minLength counts them (code points), items of a list. */
function lengthOf(data: unknown): number {
  if (typeof data !== 'string') return Array.isArray(data) ? data.length : 0
  let length = 0
  for (const _ of data) length += 1
  return length
}
