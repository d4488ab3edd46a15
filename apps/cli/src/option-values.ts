// Durations and numbers as a person writes them on a command line, for commander's options.
import { InvalidArgumentError } from 'commander'

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }
/** What a timer can hold. */
const MOST_MS = 2_147_483_647

/** Milliseconds of `90s`, `5m`, `1h` or `500ms`; a bare number counts seconds. Throws commander's own error. */
export function durationMs(text: string): number {
  const [, amount, unit = 's'] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text.trim()) ?? []
  const ms = Number(amount) * (UNITS[unit] ?? 0)
  if (amount === undefined || ms <= 0 || ms > MOST_MS) {
    throw new InvalidArgumentError('Write it as 90s, 5m or 1h; at most 24 days.')
  }
  return Math.ceil(ms)
}

/** Reads whole numbers between these bounds. What it makes throws commander's own error. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (/^\d+$/.test(text) && number >= min && number <= max) return number
    throw new InvalidArgumentError(`Give a whole number from ${min} to ${max}.`)
  }
}
