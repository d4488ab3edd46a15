// Placeholders: how intake, lookups and step outputs get into prompts and arguments.
// Hides the grammar and its safety: own properties only, values inserted once, never expanded again.
import {
  isJsonObject,
  jsonBytes,
  type JsonObject,
  type JsonValue,
  type Lookup,
  ownFields,
  type Step,
  textOf,
} from '@fabrique/schema'
import { LRUCache } from 'lru-cache'
import type { Instance } from '../specification.ts'

export interface Placeholder {
  root: string
  path: (string | number)[]
  optional: boolean
  /** As written, for messages: `{intake.style}`. */
  text: string
}

type Segment = string | Placeholder

// `{name.path}`, `{item}`, `{index}`, and the two escapes. Every other brace is literal text.
const TOKEN = /\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)((?:\.[A-Za-z0-9_-]+|\[\d{1,6}\])*)(\?)?\}/g
const KEY = /\.([A-Za-z0-9_-]+)|\[(\d+)\]/g

/** Templates are rendered again for each run, item and estimate. */
const parsed = new LRUCache<string, readonly Segment[]>({ max: 1_000 })
const CACHED_LENGTH = 8_192

/** Splits a template into literal text and placeholders. Never throws: what is not a placeholder is text. */
export function parseTemplate(template: string): readonly Segment[] {
  const known = parsed.get(template)
  if (known !== undefined) return known
  const segments = split(template)
  if (template.length <= CACHED_LENGTH) parsed.set(template, segments)
  return segments
}

function split(template: string): Segment[] {
  const segments: Segment[] = []
  let literal = ''
  let end = 0
  for (const match of template.matchAll(TOKEN)) {
    const [text, root, keys, optional] = match
    literal += template.slice(end, match.index)
    end = match.index + text.length
    if (text === '{{') literal += '{'
    else if (text === '}}') literal += '}'
    else if (root === undefined || (keys === '' && root !== 'item' && root !== 'index')) literal += text
    else {
      if (literal !== '') segments.push(literal)
      literal = ''
      const path = [...(keys ?? '').matchAll(KEY)].map(([, key, index]) => key ?? Number(index))
      segments.push({ root, path, optional: optional === '?', text })
    }
  }
  literal += template.slice(end)
  if (literal !== '') segments.push(literal)
  return segments
}

/** Every placeholder in the strings of a value, with the JSON path of the string that holds it. */
export function placeholdersIn(
  value: unknown,
  at: (string | number)[] = [],
): { at: (string | number)[]; placeholder: Placeholder }[] {
  if (typeof value === 'string') {
    return parseTemplate(value).flatMap((segment) =>
      typeof segment === 'string' ? [] : [{ at, placeholder: segment }],
    )
  }
  if (Array.isArray(value)) return value.flatMap((item, index) => placeholdersIn(item, [...at, index]))
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value).flatMap(([key, member]) => placeholdersIn(member, [...at, key]))
  }
  return []
}

/** What placeholders may see. `steps` holds the outputs of finished steps; skipped ones are absent. */
export interface Scope {
  intake: JsonObject
  steps: { [stepId: string]: { output: JsonValue } }
  run: JsonObject
  regenerate: JsonObject
  /** The attempt, from 1, and what was wrong with the answer before it. */
  retry?: { attempt: number; problem?: string }
  lookups: Record<string, Lookup>
  item?: JsonValue
  index?: number
}

/** The scope of a run's step: its intake with the injected keys, the outputs so far, and the step's own lookups. */
export function runScope(
  run: { id: string; workflow: string; organizationId: string; instance: Instance },
  outputs: Scope['steps'],
  lookups: Record<string, Lookup>,
): Scope {
  const { intake, regenerate, variantIndex, variants } = run.instance
  return {
    intake: {
      ...intake,
      _fabric_run_id: run.id,
      _fabric_organization_id: run.organizationId,
      _fabric_variants: variants,
      _fabric_variant_index: variantIndex ?? 0,
      output_dir: `runs/${run.id}`,
    },
    steps: outputs,
    run: { id: run.id, workflow: run.workflow, variant_index: variantIndex ?? 0, seed: variantIndex ?? 0 },
    regenerate,
    retry: { attempt: 1 },
    lookups,
  }
}

/** The value that a path leads to by own properties and array elements only; undefined where there is none. */
export function valueAt(root: unknown, path: readonly (string | number)[]): JsonValue | undefined {
  let value = root
  for (const key of path) {
    if (Array.isArray(value) && /^\d+$/.test(String(key))) value = value[Number(key)]
    else if (isJsonObject(value) && Object.hasOwn(value, key)) value = value[key]
    else return undefined
  }
  return value as JsonValue | undefined
}

/** `intake.a.b[0]` as a root and path, the form of `outputAliases` and `lookups.from`; undefined if it is not one. */
export function parsePath(text: string): Placeholder | undefined {
  const [segment, ...more] = parseTemplate(`{${text}}`)
  return more.length === 0 && typeof segment === 'object' ? segment : undefined
}

/** A lookup's fragment for the intake at hand: its map's own entry, else its default. */
export function resolveLookup(lookup: Lookup, intake: JsonObject): { fragment: string; fellBack: boolean } {
  const source = parsePath(lookup.from)
  const key = source === undefined ? undefined : valueAt(intake, source.path)
  const found = key !== undefined && key !== null && typeof key !== 'object' && Object.hasOwn(lookup.map, String(key))
  return { fragment: found ? (lookup.map[String(key)] as string) : lookup.default, fellBack: !found }
}

/** The value of one placeholder, or undefined where there is none. */
function lookUp(placeholder: Placeholder, scope: Scope): JsonValue | undefined {
  const { root, path } = placeholder
  switch (root) {
    case 'intake':
    case 'steps':
    case 'run':
    case 'regenerate':
    case 'retry':
    case 'item':
      return valueAt(scope[root], path)
    case 'lookup': {
      const [name, ...rest] = path
      if (rest.length > 0 || name === undefined || !Object.hasOwn(scope.lookups, name)) return undefined
      return resolveLookup(scope.lookups[name] as Lookup, scope.intake).fragment
    }
    case 'index':
      return path.length === 0 ? scope.index : undefined
    default:
      return undefined
  }
}

/** How much text the fields of a step may come to: more than any model reads. Texts are cut there. */
export const RENDERED_LENGTH_MAX = 4 * 1_048_576

interface Room {
  left: number
}

/** The text of a template; required placeholders without a value are named in `missing` and leave a gap. */
export function renderText(
  template: string,
  scope: Scope,
  room: Room = { left: RENDERED_LENGTH_MAX },
): { text: string; missing: string[] } {
  const missing: string[] = []
  const pieces: string[] = []
  // Each placeholder may bring megabytes, and a template may hold thousands of them.
  for (const segment of parseTemplate(template)) {
    if (room.left < 0) break
    const piece = pieceOf(segment)
    room.left -= piece.length
    pieces.push(piece)
  }
  return { text: pieces.join(''), missing }

  function pieceOf(segment: Segment): string {
    if (typeof segment === 'string') return segment
    const value = lookUp(segment, scope)
    if (value === undefined || value === null || value === '') {
      if (!segment.optional) missing.push(segment.text)
      return ''
    }
    if (typeof value !== 'object') return String(value)
    // Steps pass values on without copying them, so that a small one can stand for gigabytes of text.
    if (jsonBytes(value, room.left) <= room.left) return JSON.stringify(value)
    room.left = -1
    return ''
  }
}

/**
 * A copy of a value with its strings rendered. A string that is exactly one placeholder keeps the value's type;
 * if that placeholder is optional and empty, the member that holds it is left out.
 */
export function renderValue(
  value: JsonValue,
  scope: Scope,
  room: Room = { left: RENDERED_LENGTH_MAX },
): { value: JsonValue | undefined; missing: string[] } {
  if (typeof value === 'string') {
    const [only, ...more] = parseTemplate(value)
    if (typeof only === 'object' && more.length === 0) {
      const found = lookUp(only, scope)
      const absent = found === undefined || found === null
      return { value: absent ? undefined : found, missing: absent && !only.optional ? [only.text] : [] }
    }
    const { text, missing } = renderText(value, scope, room)
    return { value: text, missing }
  }
  const missing: string[] = []
  const rendered = (member: JsonValue): JsonValue | undefined => {
    const { value: found, missing: own } = renderValue(member, scope, room)
    missing.push(...own)
    return found
  }
  if (Array.isArray(value)) return { value: value.map(rendered).filter((item) => item !== undefined), missing }
  if (isJsonObject(value)) {
    const members = Object.entries(value).map(([key, member]) => [key, rendered(member)] as const)
    return { value: Object.fromEntries(members.filter(([, member]) => member !== undefined)) as JsonObject, missing }
  }
  return { value, missing }
}

/** A step's own fields with their placeholders filled, what had no value, and whether they came to too much text. */
export function renderFields(step: Step, renders: { field: string; as: 'text' | 'value' }[], scope: Scope) {
  const fields = ownFields(step)
  const missing: string[] = []
  const room: Room = { left: RENDERED_LENGTH_MAX }
  for (const { field, as } of renders) {
    const template = fields[field]
    if (template === undefined) continue
    const rendered = as === 'value' ? renderValue(template, scope, room) : renderText(textOf(template), scope, room)
    missing.push(...rendered.missing)
    fields[field] = ('text' in rendered ? rendered.text : rendered.value) ?? null
    if ('text' in rendered && rendered.text.trim() === '' && rendered.missing.length === 0)
      missing.push(`its whole ${field}`)
  }
  return { fields, missing, isCut: room.left < 0 }
}
