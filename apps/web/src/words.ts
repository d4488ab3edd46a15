// How amounts, times and names are written, the same on every screen.
import type { JsonObject, JsonValue } from '@fabrique/schema'

/** Dollars to the cent; what is less than a dollar to two figures, so that small amounts add up before one's eyes. */
export function money(usd: number): string {
  if (usd === 0 || Math.abs(usd) >= 1) return `$${usd.toFixed(2)}`
  const places = Math.min(6, 1 - Math.floor(Math.log10(Math.abs(usd))))
  const whole = usd.toFixed(Math.max(3, places))
  const short = String(Number(whole))
  return `$${short.length < usd.toFixed(2).length ? usd.toFixed(2) : short}`
}

/** A span of time in its two largest units. */
export function span(ms: number): string {
  const s = Math.max(0, ms) / 1_000
  if (s < 1) return `${Math.round(s * 1_000)} ms`
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`
  if (s < 3_600) return `${Math.floor(s / 60)} m ${Math.round(s % 60)} s`
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} m`
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`
}

/** How long ago, in one unit. */
export function ago(time: string, now = Date.now()): string {
  const s = Math.max(0, (now - Date.parse(time)) / 1_000)
  if (s < 10) return 'now'
  if (s < 60) return `${Math.floor(s)} s ago`
  if (s < 3_600) return `${Math.floor(s / 60)} m ago`
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ago`
  return `${Math.floor(s / 86_400)} d ago`
}

export function bytes(count: number): string {
  if (count < 1_024) return `${count} B`
  if (count < 1_048_576) return `${(count / 1_024).toFixed(0)} KB`
  return `${(count / 1_048_576).toFixed(1)} MB`
}

/** The id of a workflow in words: `a/b-c` is "A · b c". */
export function titleOf(workflowId: string): string {
  const last = workflowId.split('/').join(' · ').replaceAll('-', ' ')
  return last.charAt(0).toUpperCase() + last.slice(1)
}

/** What a run was asked for, in one line: its first text. */
export function askedFor(input: JsonObject | undefined): string {
  if (input === undefined) return ''
  for (const name of ['prompt', 'topic', 'subject', 'title', 'text', 'script']) {
    const value = input[name]
    if (typeof value === 'string' && value !== '') return value
  }
  const first = Object.values(input).find((value) => typeof value === 'string' && !value.startsWith('data:'))
  return typeof first === 'string' ? first : ''
}

/** A text of a template, which in a draft may be anything; empty where it is none. */
export const textOf = (value: JsonValue | undefined): string => (typeof value === 'string' ? value : '')

/** A value of an input in short: files by their kind, the rest as JSON. */
export function shortValue(value: JsonValue | undefined): string {
  if (typeof value === 'string')
    return value.startsWith('data:') ? `file (${value.slice(5, value.indexOf(';'))})` : value
  return JSON.stringify(value ?? null)
}
