// What a produced file really is: its type by content, and whether it decodes.
// Hides magic bytes and decoders; a promise by name or header counts for nothing.
import { type Inspect, StepFailure } from '@fabrique/engine'
import sharp from 'sharp'

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
  if (family === 'audio' || family === 'video') return inspectMedia(bytes, family)
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

function inspectMedia(bytes: Uint8Array, family: 'audio' | 'video') {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const text = (from: number, to: number) => data.toString('latin1', from, to)
  const found = (mimeType: string, durationMs: number | null = null) => ({
    mimeType,
    width: null,
    height: null,
    durationMs,
  })
  if (family === 'audio') {
    if (text(0, 4) === 'RIFF' && text(8, 12) === 'WAVE' && data.length > 44) {
      const bytesPerSecond = data.readUInt32LE(28)
      return found('audio/wav', bytesPerSecond === 0 ? null : Math.round(((data.length - 44) / bytesPerSecond) * 1000))
    }
    if (text(0, 3) === 'ID3' || (data.length > 2 && data.readUInt16BE(0) >= 0xffe0)) return found('audio/mpeg')
    if (text(0, 4) === 'OggS') return found('audio/ogg')
  }
  if (text(4, 8) === 'ftyp') return found(family === 'audio' ? 'audio/mp4' : 'video/mp4')
  if (data.length > 4 && data.readUInt32BE(0) === 0x1a45dfa3) return found(`${family}/webm`)
  throw bad(`is not a known kind of ${family}`)
}

function inspectText(bytes: Uint8Array, promisedType: string) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    if (promisedType === 'application/json') JSON.parse(text)
    return { mimeType: promisedType, width: null, height: null, durationMs: null }
  } catch (error) {
    throw bad(`is not ${promisedType}`, error)
  }
}

function bad(what: string, cause?: unknown): StepFailure {
  return new StepFailure('bad_output', `A produced file ${what}.`, { billed: 'yes', cause })
}
