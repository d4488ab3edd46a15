// The one front door that turns bytes into a plain tree, for request bodies and files alike, in JSON, YAML and TOML.
// Hides three parsers behind one answer: the same document gives the same value, or the same refusal, in every format.
import { isUtf8 } from 'node:buffer'
import { readJson } from './document-json.ts'
import {
  DOCUMENT_LIMITS,
  type DocumentFormat,
  type DocumentLimits,
  fail,
  type Finding,
  type Position,
  type Reading,
  toTree,
  Unparsable,
} from './document-rules.ts'
import { readToml } from './document-toml.ts'
import { readYaml } from './document-yaml.ts'
import { hiddenAt } from './hidden-characters.ts'
import type { JsonValue } from './json.ts'
import { pointerTo } from './json-schema/pointer.ts'

export { DOCUMENT_LIMITS, type DocumentFormat, type DocumentLimits, type Position } from './document-rules.ts'

/** One thing wrong with a document. `pointer` is a JSON pointer (RFC 6901); `detail` names the place and the remedy. */
export interface DocumentProblem {
  pointer: string
  detail: string
  line?: number
  column?: number
}

export interface ParsedDocument {
  format: DocumentFormat
  /** Plain objects and arrays with own members only, no part of it shared with another. */
  value: JsonValue
  /**
   * Where the value of a pointer stands, or its nearest ancestor that exists; undefined if it is not a pointer.
   * A member stands where its key does, an item where it begins. The first call takes another pass over the text.
   */
  locate(pointer: string): Position | undefined
}

export type DocumentOutcome =
  | { ok: true; document: ParsedDocument }
  | { ok: false; status: 400 | 413 | 422; problems: DocumentProblem[] }

const READERS = { json: readJson, yaml: readYaml, toml: readToml }
const POINTER_PART_MAX = 1000
const NAME_LENGTH_MAX = 128
const CANDIDATES_MAX = 1000
const EXTENSIONS: Record<string, DocumentFormat> = { json: 'json', yaml: 'yaml', yml: 'yaml', toml: 'toml' }
const MEDIA_TYPES: Record<string, DocumentFormat> = {
  'application/json': 'json',
  'application/yaml': 'yaml',
  'application/x-yaml': 'yaml',
  'text/yaml': 'yaml',
  'application/toml': 'toml',
}

/**
 * Reads one document; never throws, whatever the bytes.
 * 413: more than `bodyBytes`. 400: cannot be parsed (encoding, syntax, duplicate keys, what the formats do not share)
 * or breaks another limit. 422: can be parsed, but holds keys or numbers that are refused, all of them (up to 20) named.
 * Dates in TOML become the characters they were written with, as in YAML.
 */
export function parseDocument(
  bytes: Uint8Array | string,
  format: DocumentFormat,
  limits: Partial<DocumentLimits> = {},
): DocumentOutcome {
  const bounds = { ...DOCUMENT_LIMITS, ...limits }
  const size = typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.byteLength
  if (size > bounds.bodyBytes) {
    const detail = `the document has ${size} bytes; at most ${bounds.bodyBytes} are allowed`
    return refusal(413, '', [{ path: [], offset: undefined, detail }])
  }

  const text = typeof bytes === 'string' ? bytes.replace(/^\uFEFF/, '') : new TextDecoder().decode(bytes)
  try {
    if (typeof bytes !== 'string' && !isUtf8(bytes)) {
      fail([], firstInvalid(bytes), 'the text is not UTF-8 from here on; save it as UTF-8 and send it again')
    }
    checkCharacters(text, format, bounds)
    const reading = READERS[format](text, bounds)
    const { value, refused } = toTree(text, reading, bounds)
    if (refused.length > 0) return refusal(422, text, refused)
    return { ok: true, document: { format, value, locate: createLocator(text, reading) } }
  } catch (error) {
    if (error instanceof Unparsable) {
      const { detail, offset, ...finding } = error.finding
      const hidden = offset === undefined || !detail.startsWith('this is not ') ? '' : hiddenAt(text, offset)
      return refusal(400, text, [{ ...finding, offset, detail: `${detail}${hidden}` }])
    }
    // A parser met something that its authors did not foresee; its own words could hold anything.
    const detail = `this cannot be read as ${format}; simplify it`
    return refusal(400, text, [{ path: [], offset: undefined, detail }])
  }
}

/** The format of a Content-Type header; undefined for any other type, and for a charset other than UTF-8. */
export function formatOfMediaType(contentType: string | undefined): DocumentFormat | undefined {
  const [, type = '', parameters = ''] = /^\s*([^\s;]+)\s*(?:;(.*))?$/s.exec(contentType ?? '') ?? []
  const names = type.toLowerCase()
  for (const [, quoted, plain] of parameters.matchAll(/(?:^|;)\s*charset\s*=\s*(?:"([^"]*)"|([^\s;]*))/gi)) {
    if (!/^utf-?8$/i.test(quoted ?? plain ?? '')) return undefined
  }
  if (Object.hasOwn(MEDIA_TYPES, names)) return MEDIA_TYPES[names]
  return /^application\/[a-z0-9!#$&^_.-]+\+json$/.test(names) ? 'json' : undefined
}

/** The format that a file's extension promises, in any case of letters. */
export function formatOfPath(path: string): DocumentFormat | undefined {
  const extension = /[^/\\]\.([a-z]+)$/i.exec(path)?.[1]?.toLowerCase() ?? ''
  return Object.hasOwn(EXTENSIONS, extension) ? EXTENSIONS[extension] : undefined
}

/**
 * The valid key that somebody most likely meant, or undefined if none is close; case, `-` and `_` weigh nothing.
 * Both sides may be a stranger's: keys longer than 128 characters and those behind the thousandth are not looked at.
 */
export function nearestKey(wrong: string, valid: readonly string[]): string | undefined {
  if (wrong.length > NAME_LENGTH_MAX) return undefined
  const plain = plainKey(wrong)
  // One slip in short words, two in words of six letters and more, three from twelve on.
  let reach = plain.length < 6 ? 1 : plain.length < 12 ? 2 : 3
  let nearest: string | undefined
  for (const candidate of valid.slice(0, CANDIDATES_MAX)) {
    if (candidate.length > NAME_LENGTH_MAX) continue
    const distance = editDistance(plain, plainKey(candidate), reach)
    if (distance > reach || distance >= plain.length) continue
    if (distance === reach && nearest !== undefined) continue
    nearest = candidate
    reach = distance
  }
  return nearest
}

function plainKey(key: string): string {
  return key.toLowerCase().replaceAll(/[-_ ]/g, '')
}

/**
 * Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment), where there are `most` or
 * fewer; else any number above. Only cells that near to the diagonal can lead there, so the others are not computed.
 */
function editDistance(a: string, b: string, most: number): number {
  const far = most + 1
  let beforeLast: number[] = []
  let last = Array.from({ length: Math.min(b.length, most) + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current: number[] = []
    const [from, to] = [Math.max(1, row - most), Math.min(b.length, row + most)]
    if (row <= most) current[0] = row
    let nearest = current[0] ?? far
    for (let column = from; column <= to; column++) {
      const same = a[row - 1] === b[column - 1]
      let least = Math.min(
        (last[column] ?? far) + 1,
        (current[column - 1] ?? far) + 1,
        (last[column - 1] ?? far) + (same ? 0 : 1),
      )
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
      if (swapped) least = Math.min(least, (beforeLast[column - 2] ?? far) + 1)
      current[column] = least
      nearest = Math.min(nearest, least)
    }
    if (nearest > most) return far
    beforeLast = last
    last = current
  }
  return last[b.length] ?? far
}

/** The index of the first replacement character that does not stand in the bytes themselves. */
function firstInvalid(bytes: Uint8Array): number {
  const written = Buffer.from(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes))
  const same = bytes.findIndex((byte, index) => byte !== written[index])
  // What is the same may end within a character that is not: a stream holds its beginning back.
  return new TextDecoder('utf-8').decode(bytes.subarray(0, same < 0 ? undefined : same), { stream: true }).length
}

/** What no format allows. The line limit spares the parsers whose work per line is large. */
function checkCharacters(text: string, format: DocumentFormat, limits: DocumentLimits): void {
  if (!/\S/.test(text)) fail([], 0, 'the document is empty; write at least one key')
  const nul = text.indexOf('\0')
  if (nul >= 0) fail([], nul, 'the text holds a NUL character here; remove it')
  if (!text.isWellFormed()) {
    fail([], text.search(/\p{Surrogate}/u), 'the text holds half of a surrogate pair here; write the whole character')
  }
  if (format === 'json') return
  let end = -1
  for (let line = 1; (end = text.indexOf('\n', end + 1)) >= 0; line++) {
    if (line > limits.lines) fail([], end, `the document has more than ${limits.lines} lines; split it or send fewer`)
  }
}

function createLocator(text: string, reading: Reading): ParsedDocument['locate'] {
  const positionAt = createPositions(text)
  return (pointer) => {
    if (pointer !== '' && !pointer.startsWith('/')) return undefined
    for (let known = pointer; ; known = known.slice(0, known.lastIndexOf('/'))) {
      const place = reading.places().get(known)
      if (place !== undefined) return positionAt(place.key)
      if (known === '') return undefined
    }
  }
}

function refusal(status: 400 | 413 | 422, text: string, findings: readonly Finding[]): DocumentOutcome {
  const positionAt = createPositions(text)
  const problems = findings.map(({ path, detail, offset }) => {
    // A key that is too long to be sent back ends the pointer; what stands behind it has no name worth telling.
    const long = path.findIndex((part) => String(part).length > POINTER_PART_MAX)
    const pointer = pointerTo(...path.slice(0, long < 0 ? undefined : long))
    return { pointer, detail, ...(offset === undefined ? {} : positionAt(offset)) }
  })
  return { ok: false, status, problems }
}

/** Turns indexes of the text to lines and columns, by a table of where lines begin that the first one makes. */
function createPositions(text: string): (offset: number) => Position {
  let starts: number[] | undefined
  return (offset) => {
    starts ??= lineStarts(text)
    let [line, after] = [0, starts.length]
    while (after - line > 1) {
      const middle = (line + after) >> 1
      if ((starts[middle] ?? 0) <= offset) line = middle
      else after = middle
    }
    return { line: line + 1, column: offset - (starts[line] ?? 0) + 1 }
  }
}

function lineStarts(text: string): number[] {
  const starts = [0]
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', end + 1)) starts.push(end + 1)
  return starts
}
