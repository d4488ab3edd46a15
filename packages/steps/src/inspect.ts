// What a produced file really is: its type by content, and whether it decodes.
// Hides magic bytes and decoders; a promise by name or header counts for nothing.
import { type Inspect, StepFailure } from '@fabrique/engine'
import sharp from 'sharp'
import { mp3Facts, mp4Facts } from './containers.ts'
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

/** The facts of a file; rejects with `bad_output` what is empty, too large, not what was promised, or does not decode. */
export const inspect: Inspect = async (bytes, promisedType) => {
  if (bytes.byteLength === 0) throw bad('is empty')
  if (bytes.byteLength > FILE_BYTES_MAX) throw bad('is larger than 256 MiB')
  const family = promisedType.split('/')[0]
  if (family === 'image') return await inspectImage(bytes)
  if (family === 'audio') return inspectSound(bytes)
  if (family === 'video') return inspectFilm(bytes)
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

function inspectSound(bytes: Uint8Array) {
  const facts = (mimeType: string, durationMs: number | null) => ({ mimeType, width: null, height: null, durationMs })
  const starts = startsOf(bytes)
  if (starts.wave) {
    const wav = wavFacts(bytes)
    if (wav === null) throw bad('is a WAV that is cut off or holds no sound')
    return facts('audio/wav', wav.durationMs)
  }
  if (starts.ogg) return facts('audio/ogg', null)
  if (starts.webm) return facts('audio/webm', null)
  if (starts.mp4) {
    const mp4 = mp4Facts(bytes)
    if (mp4 === null || !mp4.hasSound) throw bad('is an MP4 that is cut off or holds no sound')
    return facts('audio/mp4', mp4.durationMs)
  }
  const mp3 = mp3Facts(bytes)
  if (mp3 === null) throw bad('is not a known kind of sound')
  return facts('audio/mpeg', mp3.durationMs)
}

function inspectFilm(bytes: Uint8Array) {
  const starts = startsOf(bytes)
  if (starts.webm) return { mimeType: 'video/webm', width: null, height: null, durationMs: null }
  if (!starts.mp4) throw bad('is not a known kind of video')
  const mp4 = mp4Facts(bytes)
  if (mp4 === null || mp4.picture === null) throw bad('is an MP4 that is cut off or holds no pictures')
  return { mimeType: 'video/mp4', ...mp4.picture, durationMs: mp4.durationMs }
}

function startsOf(bytes: Uint8Array) {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 12))
  const text = (from: number, to: number) => data.toString('latin1', from, to)
  return {
    wave: text(0, 4) === 'RIFF' && text(8, 12) === 'WAVE',
    ogg: text(0, 4) === 'OggS',
    mp4: text(4, 8) === 'ftyp',
    webm: data.length >= 12 && data.readUInt32BE(0) === 0x1a45dfa3,
  }
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
