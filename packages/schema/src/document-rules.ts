// What every document must satisfy, whatever its format: the limits, the keys, the text and the numbers, with one wording.
// Hides how findings are collected: what cannot be parsed (400) ends the reading, what is refused (422) is gathered.
import { isPrototypeKey, type JsonValue } from './json.ts'
import { pointerTo } from './json-schema/pointer.ts'

export type DocumentFormat = 'json' | 'yaml' | 'toml'

/**
 * How large a document may be before it is refused.
 * `depth` counts nested objects and arrays, the outermost one included; `nodes` counts values, keys excluded;
 * `stringBytes` holds for every string and key as UTF-8; `lines` bounds what the YAML and TOML parsers are given.
 */
export const DOCUMENT_LIMITS = {
  bodyBytes: 1_048_576,
  depth: 32,
  nodes: 10_000,
  stringBytes: 65_536,
  lines: 30_000,
}
export type DocumentLimits = typeof DOCUMENT_LIMITS

/** Both count from 1; the column counts UTF-16 code units, as editors do. */
export interface Position {
  line: number
  column: number
}

export type Path = readonly (string | number)[]

/** One place of the text and what is wrong there; turned into a `DocumentProblem` once, at the end. */
export interface Finding {
  path: Path
  detail: string
  /** Index into the text, or undefined where no text belongs to it. */
  offset: number | undefined
}

/** What a reader makes of a text. `offsets` finds where each value stands, by pointer; it is called at most once. */
export interface Reading {
  value: JsonValue
  offsets(): Map<string, number>
}

/** Thrown by readers for what cannot be parsed; never leaves `parseDocument`. */
export class Unparsable extends Error {
  readonly finding: Finding

  constructor(finding: Finding) {
    super(finding.detail)
    this.finding = finding
  }
}

const FINDINGS_MAX = 20

/** The place in words, for the detail of a problem. */
export function placeOf(path: Path): string {
  return path.length === 0 ? 'the document' : `"${clip(pointerTo(...path), 120)}"`
}

/** The text, shortened so that a hostile one cannot fill an answer. */
export function clip(text: string, length: number): string {
  return (text.length > length ? `${text.slice(0, length)}…` : text).toWellFormed()
}

/** The checks of one reading; each takes the path and the offset of its subject. All but the 422s throw `Unparsable`. */
export interface Rules {
  readonly limits: DocumentLimits
  /** What is refused with 422, in the order it was met. */
  readonly refused: readonly Finding[]
  fail(path: Path, offset: number | undefined, detail: string): never
  failTooManyNodes(offset: number | undefined): never
  failTooDeep(path: Path, offset: number | undefined): never
  /** Counts one value; every object, array and scalar passes here exactly once. */
  node(offset: number | undefined): void
  /** An object or array whose own place is `path`. */
  container(path: Path, offset: number | undefined): void
  /** A string or key as it was decoded. */
  text(value: string, path: Path, offset: number | undefined): void
  /** A key, the last part of `path`; `seen` if its object holds it already. Forbidden keys are a 422. */
  key(seen: boolean, path: Path, offset: number | undefined): void
  /** The number itself, or 0 once it is refused (a 422). `source` is its text where the parser may have lost digits. */
  number(value: number, source: string | undefined, path: Path, offset: number | undefined): number
}

export function createRules(limits: DocumentLimits): Rules {
  let nodes = 0
  const refused: Finding[] = []

  function fail(path: Path, offset: number | undefined, detail: string): never {
    throw new Unparsable({ path, offset, detail })
  }

  function refuse(path: Path, offset: number | undefined, detail: string): void {
    if (refused.length < FINDINGS_MAX) refused.push({ path: [...path], offset, detail })
  }

  function failTooManyNodes(offset: number | undefined): never {
    fail([], offset, `the document holds more than ${limits.nodes} values; split it or send fewer`)
  }

  function failTooDeep(path: Path, offset: number | undefined): never {
    fail(path, offset, `objects and arrays are nested more than ${limits.depth} levels deep; flatten the document`)
  }

  return {
    limits,
    refused: refused as readonly Finding[],
    fail,
    failTooManyNodes,
    failTooDeep,

    node(offset: number | undefined): void {
      if (++nodes > limits.nodes) failTooManyNodes(offset)
    },

    container(path: Path, offset: number | undefined): void {
      if (path.length >= limits.depth) failTooDeep([...path], offset)
    },

    text(value: string, path: Path, offset: number | undefined): void {
      if (value.length * 3 > limits.stringBytes && Buffer.byteLength(value) > limits.stringBytes) {
        fail([...path], offset, `the text at ${placeOf(path)} is longer than ${limits.stringBytes} bytes; shorten it`)
      }
      if (value.includes('\0')) {
        fail([...path], offset, `the text at ${placeOf(path)} holds a NUL character; remove it`)
      }
      if (!value.isWellFormed()) {
        fail(
          [...path],
          offset,
          `the text at ${placeOf(path)} holds half of a surrogate pair; write the whole character`,
        )
      }
    },

    key(seen: boolean, path: Path, offset: number | undefined): void {
      const key = String(path[path.length - 1])
      if (seen) {
        const owner = placeOf(path.slice(0, -1))
        fail([...path], offset, `the key "${clip(key, 80)}" stands twice in ${owner}; keep one of them`)
      }
      if (isPrototypeKey(key)) refuse(path, offset, `the key "${key}" is not allowed anywhere; choose another name`)
    },

    number(value: number, source: string | undefined, path: Path, offset: number | undefined): number {
      if (!Number.isFinite(value)) {
        refuse(path, offset, `the number at ${placeOf(path)} has no finite value; write a finite number or a string`)
        return 0
      }
      if (Math.abs(value) > Number.MAX_SAFE_INTEGER) {
        const most = Number.MAX_SAFE_INTEGER
        refuse(path, offset, `the number at ${placeOf(path)} is beyond ±${most} and would lose digits; write a string`)
        return 0
      }
      if (value === 0) {
        if (source !== undefined && /^[-+]?[0-9._]*[1-9]/.test(source)) {
          refuse(path, offset, `the number at ${placeOf(path)} is too small and would become 0; write 0 or a string`)
        }
        return 0 // -0 too: JSON texts and databases do not keep its sign
      }
      return value
    },
  }
}
