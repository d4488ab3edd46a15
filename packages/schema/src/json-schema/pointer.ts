// JSON pointers (RFC 6901) and the local references of a schema, which are pointers behind a `#`.
// Hides their escapes; nothing here leaves the document or reaches a prototype.
import { isJsonObject, type JsonObject, type JsonValue } from '../json.ts'

/** Joins keys to a pointer: `pointerTo('input', 'a/b')` is `/input/a~1b`. */
export function pointerTo(...path: PropertyKey[]): string {
  return path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

/** The keys of a pointer, unescaped; none for the empty one. */
export function pathOf(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/** What stands at the pointer; undefined where nothing does. */
export function valueAtPointer(value: unknown, pointer: string): unknown {
  let found = value
  for (const key of pathOf(pointer)) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined
    found = (found as Record<string, unknown>)[key]
  }
  return found
}

/** Where the `$ref`s of one schema lead. */
export interface References {
  /** The pointer behind `#`, `#/…` or `#anchor`; undefined for another document and for an unknown anchor. */
  pointerOf(reference: string): string | undefined
  /** The schema that a `$ref` names; undefined where there is none. */
  target(reference: JsonValue | undefined): JsonValue | undefined
}

/** The references of a schema. Its anchors are looked for once, when the first is asked for. */
export function createReferences(root: JsonObject): References {
  let anchors: Map<string, string> | undefined

  function pointerOf(reference: string): string | undefined {
    if (!reference.startsWith('#')) return undefined
    if (reference !== '#' && reference[1] !== '/') return (anchors ??= anchorsOf(root)).get(reference.slice(1))
    try {
      return decodeURIComponent(reference.slice(1))
    } catch {
      return undefined
    }
  }

  return {
    pointerOf,
    target(reference) {
      const pointer = typeof reference === 'string' ? pointerOf(reference) : undefined
      return pointer === undefined ? undefined : (valueAtPointer(root, pointer) as JsonValue | undefined)
    },
  }
}

function anchorsOf(root: JsonObject): Map<string, string> {
  const anchors = new Map<string, string>()
  const pending: [JsonValue, string][] = [[root, '']]
  for (let entry = pending.pop(); entry !== undefined; entry = pending.pop()) {
    const [value, pointer] = entry
    if (typeof value !== 'object' || value === null) continue
    if (isJsonObject(value) && typeof value.$anchor === 'string') anchors.set(value.$anchor, pointer)
    for (const [key, member] of Object.entries(value)) pending.push([member, pointer + pointerTo(key)])
  }
  return anchors
}
