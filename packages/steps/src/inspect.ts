// What a produced file really is: its type by content, and whether it decodes.
// Hides magic bytes and decoders; a promise by name or header counts for nothing.
import { type Inspect, StepFailure } from '@fabrique/engine'
import sharp from 'sharp'
import { readContainer } from './containers.ts'
import { wavFacts } from './sound.ts'

/** Pictures beyond this are refused before they are decoded: 100 megapixels are 400 MB of memory. */
export const IMAGE_PIXELS_MAX = 100_000_000
const FILE_BYTES_MAX = 256 * 1024 * 1024

const IMAGE_TYPES: Record<string, string> = {
  png: 'image/png',
  jpeg: 'image/jpeg',
  webp: 'image/webp',
  gif: 'image/gif',
  heif: 'image/avif',
}

const FILM_TYPES = new Set(['mp4', 'webm'])

/** The facts of a file; rejects with `bad_output` what is empty, too large, not what was promised, or does not decode. */
export const inspect: Inspect = async (bytes, promisedType) => {
  if (bytes.byteLength === 0) throw bad('is empty')
  if (bytes.byteLength > FILE_BYTES_MAX) throw bad('is larger than 256 MiB')
  const family = promisedType.split('/')[0]
  if (family === 'image') return await inspectImage(bytes)
  if (family === 'audio') return await inspectSound(bytes)
  if (family === 'video') return await inspectFilm(bytes)
  return inspectText(bytes, promisedType)
}

async function inspectImage(bytes: Uint8Array) {
  const picture = sharp(bytes, { limitInputPixels: IMAGE_PIXELS_MAX, failOn: 'error' })
  try {
    const { format, width, height } = await picture.metadata()
    const mimeType = IMAGE_TYPES[format]
    if (mimeType === undefined) throw bad(`is a picture of a kind that is not kept (${format})`)
    // Metadata alone believes the header; statistics read every pixel.
    await picture.stats()
    return { mimeType, width, height, durationMs: null }
  } catch (error) {
    throw StepFailure.is(error) ? error : bad('is not a picture that can be decoded', error)
  }
}

async function inspectSound(bytes: Uint8Array) {
  const noPicture = { width: null, height: null }
  if (isWave(bytes)) {
    const wav = wavFacts(bytes)
    if (wav === null) throw bad('is a WAV that is cut off or holds no sound')
    return { mimeType: 'audio/wav', ...noPicture, durationMs: wav.durationMs }
  }
  const facts = await readContainer(bytes)
  if (facts === null || !facts.hasSound) throw bad('is not a known kind of sound, is cut off, or holds none')
  return { mimeType: `audio/${facts.subtype}`, ...noPicture, durationMs: facts.durationMs }
}

async function inspectFilm(bytes: Uint8Array) {
  const facts = await readContainer(bytes)
  if (facts === null || facts.picture === null || !FILM_TYPES.has(facts.subtype)) {
    throw bad('is not a known kind of video, is cut off, or holds no pictures')
  }
  return { mimeType: `video/${facts.subtype}`, ...facts.picture, durationMs: facts.durationMs }
}

function isWave(bytes: Uint8Array): boolean {
  const start = Buffer.from(bytes.subarray(0, 12)).toString('latin1')
  return start.startsWith('RIFF') && start.endsWith('WAVE')
}

function inspectText(bytes: Uint8Array, promisedType: string) {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    if (promisedType === 'application/json') JSON.parse(text)
  } catch (error) {
    throw bad(`is not ${promisedType}`, error)
  }
  if (text.trim() === '') throw bad('has no text in it')
  return { mimeType: promisedType, width: null, height: null, durationMs: null }
}

function bad(what: string, cause?: unknown): StepFailure {
  return new StepFailure('bad_output', `A produced file ${what}.`, { billed: 'yes', cause })
}
