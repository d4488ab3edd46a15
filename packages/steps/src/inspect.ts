// What a produced file really is: its kind by its bytes, and whether it decodes.
// Hides magic bytes and decoders. What a header or name says tells texts apart, and nothing else.
import { isUtf8 } from 'node:buffer'
import { type Inspect, StepFailure } from '@fabrique/engine'
import { canonicalType } from '@fabrique/schema'
import { fileTypeFromBuffer } from 'file-type'
import { readContainer } from './containers.ts'
import { decodePicture, pictureFacts } from './pictures.ts'
import { wavFacts } from './sound.ts'

const FILE_BYTES_MAX = 256 * 1024 * 1024
/** Every kind of file shows itself within these. */
const SNIFFED_BYTES = 64 * 1024
/** A longer text is not parsed to find out that it is JSON. */
const SNIFFED_JSON_CHARACTERS = 8 * 1024 * 1024
const GIF_TRAILER = 0x3b

const PICTURES = new Set(['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif'])
const CONTAINERS = new Set(
  ['mp4', 'webm', 'quicktime']
    .map((kind) => `video/${kind}`)
    .concat(['mpeg', 'mp4', 'webm', 'ogg', 'flac', 'aac'].map((kind) => `audio/${kind}`)),
)
const TEXTS = /^(?:text\/[a-z0-9.+-]{1,60}|application\/[a-z0-9.+-]{0,50}(?:json|xml|yaml|toml|subrip))$/
/** Nothing of these kinds is text, so a text that comes as one is something else, such as the page of an error. */
const NO_TEXTS = /^(?:audio|font|image|model|video)\//

type Found = Awaited<ReturnType<Inspect>>

const UNKNOWN: Found = { mimeType: 'application/octet-stream', width: null, height: null, durationMs: null }

/** The facts of a file; what is wrong with it is its `problem`. Rejects with `bad_output` what is empty or too large. */
export const inspect: Inspect = async (bytes, saidType, promisedType = '') => {
  if (bytes.byteLength === 0) throw bad('is empty')
  if (bytes.byteLength > FILE_BYTES_MAX) throw bad('is larger than 256 MiB')
  const said = canonicalType(saidType)
  const promised = canonicalType(promisedType)
  const isText = isUtf8(bytes)
  // Text is looked for first: by their first letters some texts are taken for programs.
  if (isText && !bytes.includes(0)) return inspectText(bytes, said, promised)
  const sniffed = await fileTypeFromBuffer(bytes.subarray(0, SNIFFED_BYTES)).catch(() => undefined)
  if (isText && sniffed === undefined) return inspectText(bytes, said, promised)
  const kind = canonicalType(sniffed?.mime ?? '')
  if (kind.startsWith('image/')) return await inspectPicture(bytes, kind)
  if (kind === 'audio/wav') return inspectWave(bytes)
  const { mimeType, isWhole, ...facts } = await readContainer(bytes)
  const found = mimeType ?? kind
  if (CONTAINERS.has(found)) return { ...facts, mimeType: found, ...wrong(isWhole ? undefined : broken(found)) }
  return { ...UNKNOWN, ...wrong(found === '' ? 'is of no kind that is known' : notKept(found)) }
}

async function inspectPicture(bytes: Uint8Array, kind: string): Promise<Found> {
  const facts = await pictureFacts(bytes).catch(() => null)
  const mimeType = facts?.mimeType ?? kind
  if (!PICTURES.has(mimeType)) return { ...UNKNOWN, ...wrong(notKept(mimeType)) }
  if (facts === null) return { ...UNKNOWN, mimeType, ...wrong(broken(mimeType)) }
  const { width, height, excess } = facts
  // The reader of GIF gives the frames that are there.
  const isCut = mimeType === 'image/gif' && bytes.findLast((byte) => byte !== 0) !== GIF_TRAILER
  const decodes =
    excess === null &&
    !isCut &&
    (await decodePicture(bytes, facts).then(
      () => true,
      () => false,
    ))
  return { mimeType, width, height, durationMs: null, ...wrong(excess ?? (decodes ? undefined : broken(mimeType))) }
}

function inspectWave(bytes: Uint8Array): Found {
  const durationMs = wavFacts(bytes)?.durationMs ?? null
  const problem = durationMs === null ? 'is a WAV that is cut off or holds no sound' : undefined
  return { ...UNKNOWN, mimeType: 'audio/wav', durationMs, ...wrong(problem) }
}

function inspectText(bytes: Uint8Array, said: string, promised: string): Found {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    .toString('utf8')
    .replace(/^\ufeff/, '')
  const mimeType = typeOfText(text, said, promised)
  if (text.trim() === '') return { ...UNKNOWN, mimeType: 'text/plain', ...wrong('has no text in it') }
  if (mimeType === 'image/svg+xml') return { ...UNKNOWN, ...wrong(notKept(mimeType)) }
  if (NO_TEXTS.test(said)) return { ...UNKNOWN, mimeType, ...wrong(`is ${mimeType}, not ${said}`) }
  if (mimeType === 'application/json' && !isJson(text))
    return { ...UNKNOWN, mimeType: 'text/plain', ...wrong('is text that is not JSON, not application/json') }
  return { ...UNKNOWN, mimeType }
}

/** What it came as, where that says anything; else what was promised, if it may be that; else what it looks like. */
function typeOfText(text: string, said: string, promised: string): string {
  if (TEXTS.test(said) && said !== 'text/plain') return said
  const kind = kindOfText(text)
  const isAnyText = kind === 'text/plain' && promised !== 'text/html' && promised !== 'application/json'
  if (TEXTS.test(promised) && (kind === promised || isAnyText)) return promised
  return said === 'text/plain' ? said : kind
}

/** The kind of a text that nobody has named. */
function kindOfText(text: string): string {
  const start = text.slice(0, 1_000).trimStart().toLowerCase()
  if (/^<(?:!doctype html|html)\b/.test(start)) return 'text/html'
  if (start.startsWith('<') && /<svg\b/.test(start)) return 'image/svg+xml'
  const mayBeJson = /^[[{]/.test(start) && text.length <= SNIFFED_JSON_CHARACTERS
  return mayBeJson && isJson(text) ? 'application/json' : 'text/plain'
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function notKept(kind: string): string {
  return `is ${kind}, a kind of file that no step takes`
}

function broken(kind: string): string {
  return `is ${kind} that is damaged or cut off`
}

/** The problem of a file as its facts hold it: absent where there is none. */
function wrong(what: string | undefined): { problem?: string } {
  return what === undefined ? {} : { problem: `A produced file ${what}.` }
}

function bad(what: string): StepFailure {
  return new StepFailure('bad_output', `A produced file ${what}.`, { billed: 'yes' })
}
