// A run-spec from its layers: --from-file, then --input-file, then each --input, the last one on top.
// Hides where each value came from, until a problem has to be told at its place.
import { createReadStream } from 'node:fs'
import { dirname } from 'node:path'
import {
  DOCUMENT_LIMITS,
  FabriqueError,
  formatOfPath,
  hiddenBelow,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  parseDocument,
  pathOf,
  valueAtPointer,
} from '@fabrique/schema'
import { coerce } from './coerce.ts'
import { InvalidRequest } from './failure.ts'

/** One source of values; `value` is a part of a run-spec. */
export interface Layer {
  value: JsonObject
  /** The place of a pointer into the spec, as `file:line:column` or as the argument was given. */
  placeOf(pointer: string): string
  /** What its file names are relative to; null where it came from a run, whose values never name files. */
  folder: string | null
}

const SEE_WORKFLOWS = 'See: fab-workflow workflows'
const NOT_OF_THE_SPEC = new Set(['unavailable', 'internal', 'unauthenticated', 'forbidden'])
const FORBIDDEN = new Set(['__proto__', 'constructor', 'prototype'])
const REASONS: Record<string, string> = {
  ENOENT: 'there is no such file',
  EISDIR: 'this is a folder; name a file in it',
  EACCES: 'this file may not be read by you',
}

/** The contents of `input` in a file of their own. */
export async function readInputFile(path: string): Promise<Layer> {
  const { value, placeOf, folder } = await readSourceFile(path)
  return { value: { input: value }, placeOf: (pointer) => placeOf(pointer.replace(/^\/input/, '')), folder }
}

/**
 * One `--input`: `key=text` by the workflow's schema, or `key:=JSON` as it is. Dots nest. Throws `InvalidRequest` for
 * anything else.
 */
export function readArgument(argument: string, schema: JsonObject | null): Layer {
  const place = `--input ${argument}`
  const split = argument.indexOf('=')
  const isJson = split > 0 && argument[split - 1] === ':'
  const path = argument.slice(0, Math.max(0, isJson ? split - 1 : split)).split('.')
  if (split < 0 || path.some((part) => part.trim() === '')) {
    throw new InvalidRequest(`${place}: write it as key=value, a.b=value or key:=JSON`)
  }
  const forbidden = path.find((part) => FORBIDDEN.has(part))
  if (forbidden !== undefined) throw new InvalidRequest(`${place}: "${forbidden}" is not allowed as a key; rename it`)
  const text = argument.slice(split + 1)
  const value = isJson ? parseJson(text, place) : coerce(text, path, schema)
  const nested = path.reduceRight<JsonValue>((inner, key) => ({ [key]: inner }), value)
  return { value: { input: nested }, placeOf: () => place, folder: '.' }
}

/** The layers as one spec, low to high: objects merge key by key, everything else replaces what is below it. */
export function mergeLayers(layers: readonly Layer[]): JsonObject {
  return layers.reduce<JsonObject>((below, { value }) => merge(below, value), {})
}

/**
 * Every problem of a refused spec at its place: one line each, ready to be shown. Other errors are thrown as they are.
 * `remedies` says, by pointer, what to do where there is no such workflow.
 */
export function placed(
  error: unknown,
  layers: readonly Layer[],
  remedies: ReadonlyMap<string, string> = new Map(),
): InvalidRequest {
  if (!FabriqueError.is(error) || NOT_OF_THE_SPEC.has(error.code)) throw error
  const { code, message } = error
  if (code === 'not-found') {
    return invalidAt(layers, '/workflow', `${message} ${remedies.get('/workflow') ?? SEE_WORKFLOWS}`)
  }
  if (error.problems.length === 0) return invalidAt(layers, '', message)
  const lines = error.problems.map(({ pointer, detail }) => {
    const what = [withName(pointer, detail), remedies.get(pointer) ?? ''].join(' ').trimEnd()
    return invalidAt(layers, pointer, what).message
  })
  return new InvalidRequest(lines.join('\n'))
}

function invalidAt(layers: readonly Layer[], pointer: string, detail: string): InvalidRequest {
  const [layer, place] = placeIn(layers, pointer)
  return new InvalidRequest(`${place}: ${detail}${hiddenBelow(layer?.value, pointer)}`)
}

/** The highest layer that says something at the pointer and its place there; else the lowest, at the nearest place. */
export function placeIn(layers: readonly Layer[], pointer: string): [Layer | undefined, string] {
  const layer = layers.findLast(({ value }) => valueAtPointer(value, pointer) !== undefined) ?? layers[0]
  return [layer, layer?.placeOf(pointer) ?? 'the run-spec']
}

/** A detail that does not name its place itself begins with it. */
export function withName(pointer: string, detail: string): string {
  const path = pathOf(pointer)
  return path.length === 0 || /^[/"]/.test(detail) ? detail : `${path.join('.')} ${detail}`
}

/** Built from entries, so that no key can reach a prototype. */
function merge(below: JsonObject, above: JsonObject): JsonObject {
  const merged = new Map(Object.entries(below))
  for (const [key, value] of Object.entries(above)) {
    const under = merged.get(key)
    merged.set(key, isJsonObject(under) && isJsonObject(value) ? merge(under, value) : value)
  }
  return Object.fromEntries(merged)
}

/** A document that is an object, such as a run-spec. Throws `InvalidRequest` with every problem that reading it shows, each at its place. */
export async function readSourceFile(path: string, format = formatOfPath(path)): Promise<Layer> {
  if (format === undefined) {
    throw new InvalidRequest(`${path}: its format cannot be told; name it .yaml, .yml, .toml or .json`)
  }
  const outcome = parseDocument(await readBounded(path), format)
  if (!outcome.ok) {
    const lines = outcome.problems.map(({ line, column, detail }) => `${at(path, line, column)}: ${detail}`)
    throw new InvalidRequest(lines.join('\n'))
  }
  const { document } = outcome
  const placeOf = (pointer: string) => {
    const position = document.locate(pointer)
    return at(path, position?.line, position?.column)
  }
  if (!isJsonObject(document.value)) {
    throw new InvalidRequest(`${at(path, 1, 1)}: this is not an object; write keys with values, such as "workflow: …"`)
  }
  return { value: document.value, placeOf, folder: dirname(path) }
}

/** At most one byte more than a document may have, whatever the path leads to. */
async function readBounded(path: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of createReadStream(path, { end: DOCUMENT_LIMITS.bodyBytes })) chunks.push(chunk as Buffer)
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    throw new InvalidRequest(`${path}: ${REASONS[code] ?? message}`)
  }
  return Buffer.concat(chunks)
}

function at(path: string, line = 1, column = 1): string {
  return `${path}:${line}:${column}`
}

function parseJson(text: string, place: string): JsonValue {
  const outcome = parseDocument(text, 'json')
  if (outcome.ok) return outcome.document.value
  const [problem] = outcome.problems
  throw new InvalidRequest(`${place}: what follows := must be JSON: ${problem?.detail ?? ''}`)
}
