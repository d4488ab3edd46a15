// Pictures as one sees them: turned by their EXIF orientation, with all frames of an animation, within bounds.
// Hides what sharp has to be told for that, and the animations that it reads one frame of.
import { Semaphore } from 'async-mutex'
import { fileTypeFromBuffer } from 'file-type'
import sharp, { type Sharp } from 'sharp'

/** A picture beyond this is refused before it is decoded: 100 megapixels are 400 MB of memory. */
export const IMAGE_PIXELS_MAX = 100_000_000
/** Of all frames; they are decoded one after another, so this is about time: ten seconds. */
const ANIMATION_PIXELS_MAX = 500_000_000
const FRAMES_MAX = 2_000

/** Decoded at a time in a process, whatever runs in it: 480 MB of memory. Larger ones are decoded alone. */
const MEGAPIXELS_AT_ONCE = 120
const megapixels = new Semaphore(MEGAPIXELS_AT_ONCE)

/** Does work that decodes so many pixels when the process has room for them. Not to be called from such work. */
export async function withPixels<Result>(pixels: number, work: () => Promise<Result>): Promise<Result> {
  const weight = Math.min(Math.max(1, Math.ceil(pixels / 1e6)), MEGAPIXELS_AT_ONCE)
  return await megapixels.runExclusive(work, weight)
}

export interface PictureFacts {
  /** The registered type: `image/png` for an animated PNG too. */
  mimeType: string
  /** As it is seen; of one frame. */
  width: number
  height: number
  /** How many frames sharp reads. */
  frames: number
  isAnimated: boolean
  /** Kept as more than 8 bits a sample. */
  isDeep: boolean
  hasProfile: boolean
  isGrey: boolean
  /** Why it is not decoded; null where it may be. */
  excess: string | null
}

/** What a picture's header says. Rejects with sharp's error where there is no such header. */
export async function pictureFacts(bytes: Uint8Array): Promise<PictureFacts> {
  const {
    mediaType = '',
    autoOrient,
    pages = 1,
    depth,
    channels,
    hasProfile,
  } = await sharp(bytes, {
    limitInputPixels: false,
  }).metadata()
  const { width, height } = autoOrient
  // The pages of AVIF are pictures beside each other, and sharp reads the first frame of its sequences.
  const frames = mediaType === 'image/avif' ? 1 : pages
  const isSequence = Buffer.from(bytes.subarray(8, 12)).toString('latin1') === 'avis'
  const isAnimated = frames > 1 || isSequence || (await fileTypeFromBuffer(bytes))?.mime === 'image/apng'
  const pixels = width * height
  const excess =
    pixels > IMAGE_PIXELS_MAX
      ? `has ${width} × ${height} pixels, and ${IMAGE_PIXELS_MAX / 1e6} megapixels are the limit`
      : frames > FRAMES_MAX || pixels * frames > ANIMATION_PIXELS_MAX
        ? `has ${frames} frames of ${width} × ${height} pixels, and ${FRAMES_MAX} frames and ${ANIMATION_PIXELS_MAX / 1e6} megapixels in all are the limit`
        : null
  const isDeep = depth !== 'uchar'
  return { mimeType: mediaType, width, height, frames, isAnimated, isDeep, hasProfile, isGrey: channels < 3, excess }
}

/**
 * Works on a picture when the process has room for it. `open` makes a pipeline over all its frames, or its first,
 * upright; damage that still gives every pixel is forgiven.
 */
export async function withPicture<Result>(
  bytes: Uint8Array,
  { width, height, frames, isDeep, hasProfile }: PictureFacts,
  work: (open: () => Sharp) => Promise<Result>,
  { animated } = { animated: true },
): Promise<Result> {
  const open = (): Sharp => {
    const picture = sharp(bytes, { limitInputPixels: ANIMATION_PIXELS_MAX, animated, failOn: 'error' }).autoOrient()
    // sharp works in sRGB, but on deep pictures with a profile in Display P3, and would write its numbers as they are.
    return isDeep && hasProfile ? picture.withIccProfile('srgb', { attach: false }) : picture
  }
  return await withPixels(width * height * (animated ? frames : 1), () => work(open))
}

/** Reads every pixel: a header alone may promise anything. Rejects with sharp's error where one is missing. */
export async function decodePicture(bytes: Uint8Array, { width, height, frames }: PictureFacts): Promise<void> {
  // The last frame stands on all that are before it, and needs the memory of one.
  const page = frames > 1 ? { page: frames - 1 } : {}
  const picture = sharp(bytes, { limitInputPixels: IMAGE_PIXELS_MAX, failOn: 'error', ...page })
  await withPixels(width * height, () => picture.stats())
}

/** Whether nothing but black can be seen: what a safety checker puts in the place of a picture. No model paints that. */
export async function isBlack(bytes: Uint8Array): Promise<boolean> {
  try {
    const { width, height } = await pictureFacts(bytes)
    const shown = sharp(bytes, { limitInputPixels: IMAGE_PIXELS_MAX }).flatten({ background: '#fff' }).greyscale()
    const small = shown.resize(32, 32, { fit: 'fill' }).raw()
    return (await withPixels(width * height, () => small.toBuffer())).every((value) => value === 0)
  } catch {
    // What does not decode is refused where it is stored.
    return false
  }
}
