// Plain JSON: the only kind of value that crosses a boundary of this system.
// Hides how two equal documents get the same text, which content addressing relies on.
import { z } from 'zod'

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue }
export type JsonObject = { [key: string]: JsonValue }

/** True for a plain JSON object; arrays and null are not. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Names that reach into a prototype; refused as keys wherever a stranger names something. */
export function isPrototypeKey(key: string): boolean {
  return key === '__proto__' || key === 'constructor' || key === 'prototype'
}

/** Any JSON value, in a schema. */
export const Json = z.custom<JsonValue>((value) => value !== undefined)
/** Any JSON object, in a schema. */
export const JsonRecord = z.custom<JsonObject>(isJsonObject, 'must be an object').meta({ type: 'object' })
/** A moment in an answer: ISO 8601 in UTC. */
export const Instant = z.string().meta({ format: 'date-time' })

/** The value's one canonical text: object keys sorted, undefined members left out. Equal values give equal text. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null)
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`)
  return `{${members.join(',')}}`
}

/** About how many bytes a value has as JSON. It is gone through no further than `most`, so what is larger only exceeds that. */
export function jsonBytes(value: unknown, most = Number.POSITIVE_INFINITY): number {
  let bytes = 0
  const pending = [value]
  while (pending.length > 0 && bytes <= most) {
    const next = pending.pop()
    if (typeof next === 'string') bytes += next.length + 2
    else if (Array.isArray(next)) {
      bytes += next.length + 2
      if (bytes <= most) for (const item of next) pending.push(item)
    } else if (typeof next === 'object' && next !== null) {
      for (const [key, member] of Object.entries(next)) {
        bytes += key.length + 4
        pending.push(member)
      }
    } else bytes += 4
  }
  return bytes
}

/** The members of an object; none for anything else. */
export function objectOf(value: unknown): JsonObject {
  return isJsonObject(value) ? value : {}
}

/** The text of a scalar; the empty text for anything that has none of its own. */
export function textOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : ''
}
