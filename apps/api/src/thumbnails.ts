// Small pictures of artifacts, made when they are first asked for.
// Hides how many are made at once and which are kept: the newest, in memory.
import { FabriqueError } from '@fabrique/schema'
import { LRUCache } from 'lru-cache'
import pLimit from 'p-limit'
import sharp from 'sharp'

const KEPT_BYTES = 67_108_864
/** Each holds a whole picture in memory, and a core. */
const AT_ONCE = 2
/** As many as providers deliver, and few enough to hold. */
const PIXELS_MAX = 100_000_000

export interface Thumbnails {
  /**
   * The picture of these bytes, known by their hash, as WebP and no wider than this. Throws what `read` throws, and
   * `not-found` where they are no picture that can be decoded.
   */
  of(sha256: string, width: number, read: () => Promise<Uint8Array>): Promise<Uint8Array<ArrayBuffer>>
}

/** The thumbnails of a process. */
export function createThumbnails(): Thumbnails {
  const kept = new LRUCache<string, Uint8Array<ArrayBuffer>>({
    maxSize: KEPT_BYTES,
    sizeCalculation: (bytes) => bytes.byteLength,
  })
  const making = new Map<string, Promise<Uint8Array<ArrayBuffer>>>()
  const inTurn = pLimit(AT_ONCE)

  async function make(width: number, bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
    try {
      const picture = sharp(bytes, { limitInputPixels: PIXELS_MAX }).rotate()
      return new Uint8Array(await picture.resize({ width, withoutEnlargement: true }).webp({ quality: 82 }).toBuffer())
    } catch (cause) {
      throw new FabriqueError('not-found', 'There is no thumbnail: the file cannot be decoded as a picture.', { cause })
    }
  }

  return {
    async of(sha256, width, read) {
      const key = `${sha256} ${width}`
      const known = kept.get(key) ?? making.get(key)
      if (known !== undefined) return await known
      const made = inTurn(async () => make(width, await read())).finally(() => making.delete(key))
      making.set(key, made)
      const bytes = await made
      kept.set(key, bytes)
      return bytes
    },
  }
}
