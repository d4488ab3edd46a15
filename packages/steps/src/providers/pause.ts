// How long a provider asks to be left alone, by the headers and the text of its answer.
// Hides the half dozen ways in which they say it, and what nobody should believe.

/** A longer pause is cut: a day's quota is asked about again after an hour. */
const PAUSE_MAX_MS = 3_600_000
const HEADER_SCANNED = 64
const TEXT_SCANNED = 4_096

const PLAIN_NUMBER = /^\d{1,15}(?:\.\d{1,15})?$/
/** `1m`, `20.5 seconds`, `634ms`; or a number alone, of seconds. At a place, and bounded, so that a scan is linear. */
const PART =
  /(\d{1,9}(?:\.\d{1,15})?)(?: {0,2}(ms|mil[a-z]{1,10}|s(?:ec[a-z]{0,4})?|m(?:in[a-z]{0,4})?|h(?:(?:ou)?rs?)?|d(?:ays?)?)(?![a-z_])|(?=["},\]]|\.? |\.?$)(?! {0,2}[a-z]))[ ,]{0,2}/iy
const PART_MS: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
/** "Please try again in", "Retry-After:", `"retryDelay": "`, "wait" and their kin, up to the number. */
const BEFORE_HINT =
  /\b(?:(?:again|retry|retrying|resets?)[ _-]?(?:in|after|delay)|wait(?: for)?)(?:[ _](?:about|approximately|seconds))?["':= ]{1,4}/gi

/**
 * Milliseconds for which the provider asks to be left alone, at most an hour. Undefined where it does not say, says
 * nothing that can be read, or names an instant that is past. Instants count from the answer's own `Date`.
 */
export function pauseOf(headers: Pick<Headers, 'get'> | null | undefined, bodyText = ''): number | undefined {
  const header = (name: string) => headers?.get(name)?.trim().slice(0, HEADER_SCANNED) ?? ''
  const nowMs = instantOf(header('date')) || Date.now()
  const resets = ['-requests', '-tokens', ''].map((of) =>
    numberOf(header(`x-ratelimit-remaining${of}`)) === 0 ? untilReset(header(`x-ratelimit-reset${of}`), nowMs) : 0,
  )
  const asked = [
    numberOf(header('retry-after-ms')),
    numberOf(header('retry-after')) * 1_000,
    instantOf(header('retry-after')) - nowMs,
    Math.max(...resets),
    hintIn(bodyText.slice(0, TEXT_SCANNED)),
  ].find((ms) => ms > 0)
  return asked === undefined ? undefined : Math.min(Math.ceil(asked), PAUSE_MAX_MS)
}

/** NaN for anything but a plain number; no comparison holds for it. */
function numberOf(text: string): number {
  return PLAIN_NUMBER.test(text) ? Number(text) : Number.NaN
}

/** NaN for anything that does not say that it is in UTC. */
function instantOf(text: string): number {
  return /(?:GMT|Z)$/.test(text) ? Date.parse(text) : Number.NaN
}

/** Of a reset as an instant (large numbers are Unix time, in seconds or milliseconds) or a duration; 0 for anything else. */
function untilReset(reset: string, nowMs: number): number {
  const number = numberOf(reset)
  const instantMs = number >= 1e12 ? number : number >= 1e9 ? number * 1_000 : instantOf(reset)
  return Number.isNaN(instantMs) ? (durationAt(reset, 0) ?? 0) : instantMs - nowMs
}

/** Of the first hint such as "try again in 1m20.5s"; 0 where there is none. */
function hintIn(text: string): number {
  for (const { 0: found, index } of text.matchAll(BEFORE_HINT)) {
    const ms = durationAt(text, index + found.length)
    if (ms !== undefined) return ms
  }
  return 0
}

/** The duration that is written at a place, of up to four parts. */
function durationAt(text: string, start: number): number | undefined {
  let ms: number | undefined
  PART.lastIndex = start
  for (let parts = 0; parts < 4; parts += 1) {
    const part = PART.exec(text)
    if (part === null) break
    const unit = part[2]?.toLowerCase() ?? 's'
    ms = (ms ?? 0) + Number(part[1]) * (/^m(?:s|il)/.test(unit) ? 1 : (PART_MS[unit.charAt(0)] ?? 0))
    if (part[2] === undefined) break
  }
  return ms
}
