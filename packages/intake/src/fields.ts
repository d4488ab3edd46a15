// An intake schema read as a form: its fields in the author's order, and which of them take a file.
// Hides where JSON Schema lets an author say so. Tolerates schemas that were never checked.

import { pointerTo } from '@fabrique/schema'

/** One top-level field of a form. */
export interface IntakeField {
  name: string
  required: boolean
  /** The property's schema as written; `true` or `false` where the author wrote that. */
  schema: { [keyword: string]: unknown } | boolean
}

const MAX_VISITS = 10_000
const MAX_DEPTH = 64

/**
 * The top-level properties in form order: first the names in the schema's own `x-order` (a list), then by each
 * property's `x-order` (a number, low first), then as declared. A database that sorts keys loses the declared order, so
 * templates that care about it say `x-order`. A schema that is no object with properties has no fields.
 */
export function orderedFields(schema: unknown): IntakeField[] {
  if (!isObject(schema) || !isObject(schema.properties)) return []
  const listed: unknown[] = Array.isArray(schema['x-order']) ? schema['x-order'] : []
  const ranks = new Map(listed.map((name, rank) => [name, rank]))
  const required: unknown[] = Array.isArray(schema.required) ? schema.required : []
  return Object.entries(schema.properties)
    .map(([name, property], declared) => {
      const order = isObject(property) && typeof property['x-order'] === 'number' ? property['x-order'] : Infinity
      return { name, property, listed: ranks.get(name) ?? Infinity, order, declared }
    })
    .sort((a, b) => compare(a.listed, b.listed) || compare(a.order, b.order) || a.declared - b.declared)
    .map(({ name, property }) => ({
      name,
      required: required.includes(name),
      schema: isObject(property) || typeof property === 'boolean' ? property : true,
    }))
}

/**
 * Pointers into the value of every place whose schema has `format: "file"`, sorted. A `*` stands for each item of a
 * list and each undeclared member of an object: `/images/*`. Alternatives and local references are followed.
 */
export function fileFields(schema: unknown): string[] {
  const found = new Set<string>()
  let visits = 0
  const visit = (part: unknown, pointer: string, depth: number): void => {
    visits += 1
    if (!isObject(part) || depth > MAX_DEPTH || visits > MAX_VISITS) return
    if (part.format === 'file') found.add(pointer)
    if (typeof part.$ref === 'string') visit(lookUp(schema, part.$ref), pointer, depth + 1)
    for (const keyword of ['allOf', 'anyOf', 'oneOf']) {
      if (Array.isArray(part[keyword])) for (const branch of part[keyword]) visit(branch, pointer, depth + 1)
    }
    for (const keyword of ['then', 'else']) visit(part[keyword], pointer, depth + 1)
    for (const member of members(part.dependentSchemas)) visit(member[1], pointer, depth + 1)
    for (const [name, member] of members(part.properties)) visit(member, pointer + pointerTo(name), depth + 1)
    for (const [, member] of members(part.patternProperties)) visit(member, `${pointer}/*`, depth + 1)
    if (Array.isArray(part.prefixItems)) {
      for (const [index, item] of part.prefixItems.entries()) visit(item, pointer + pointerTo(index), depth + 1)
    }
    for (const keyword of ['items', 'contains', 'additionalProperties']) visit(part[keyword], `${pointer}/*`, depth + 1)
  }
  visit(schema, '', 1)
  return [...found].sort()
}

function lookUp(schema: unknown, reference: string): unknown {
  if (!reference.startsWith('#/')) return undefined
  let value = schema
  for (const part of reference.slice(2).split('/')) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    if (!isObject(value) || !Object.hasOwn(value, key)) return undefined
    value = value[key]
  }
  return value
}

function members(value: unknown): [string, unknown][] {
  return isObject(value) ? Object.entries(value) : []
}

/** By number, and two infinities are equal (their difference is not a number). */
function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1
}

function isObject(value: unknown): value is { [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
