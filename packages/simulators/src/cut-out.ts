/**
 * The offline twin of a background remover: cuts a subject out of a flat backdrop.
 * It hides how the backdrop is recognised, flooded from the borders and unmixed from the subject's soft edge.
 */
import sharp from 'sharp'
import { drawMark, isMarked, markPng } from './mark.ts'

/** The largest picture accepted, in pixels: about 200 MB of memory for its colours. */
const MAX_PIXELS = 50_000_000

/** How far an edge may be soft, in pixels: an antialiased line is 1 to 2, a soft shadow or wash more. */
const SOFT_EDGE_PX = 7

/** The share of see-through pixels from which an image counts as cut out already. */
const ALREADY_CUT_SHARE = 0.005

/** How far from the backdrop's colour a pixel still belongs to it, as `distance` counts: JPEG's noise stays below. */
const TOLERANCE = 9

/** A picture's pixels, four bytes each. */
interface Bitmap {
  readonly data: Buffer
  readonly width: number
  readonly height: number
}

/**
 * Returns a PNG of the same size with a real alpha matte: the backdrop is gone, the subject opaque, the edge between
 * them soft and free of the backdrop's colour. An image that has see-through parts keeps its own alpha. Same bytes in,
 * same bytes out. Rejects with sharp's error for what is no image, is damaged or has more than `MAX_PIXELS` pixels.
 */
export async function cutOut(image: Buffer): Promise<Buffer> {
  const { data, info } = await sharp(image, { limitInputPixels: MAX_PIXELS, failOn: 'error' })
    .autoOrient()
    .toColourspace('srgb')
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  const { width, height } = info
  let clear = 0
  for (let i = 3; i < data.length; i += 4) if ((data[i] ?? 255) < 16) clear++
  if (clear <= width * height * ALREADY_CUT_SHARE) removeBackdrop({ data, width, height })
  const png = await sharp(data, { raw: { width, height, channels: 4 }, limitInputPixels: MAX_PIXELS })
    .composite(isMarked(image) ? [] : [{ input: await drawMark(width, height) }])
    .png({ compressionLevel: 7 })
    .toBuffer()
  return markPng(png)
}

/** The pixels of the border. */
function borderOf({ width, height }: Bitmap): number[] {
  const border: number[] = []
  for (let x = 0; x < width; x++) border.push(x, (height - 1) * width + x)
  for (let y = 0; y < height; y++) border.push(y * width, y * width + width - 1)
  return border
}

/**
 * Floods the backdrop from the borders, then unmixes its edge: a pixel there is `alpha` of the subject and the rest
 * backdrop. The subject's colour is the one found by climbing away from the backdrop until it no longer changes.
 */
function removeBackdrop(bitmap: Bitmap): void {
  const { data, width, height } = bitmap
  const source = Buffer.from(data)
  const border = borderOf(bitmap)
  const channel = (pixel: number, c: number): number => source[pixel * 4 + c] ?? 0
  const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? 0
  const backdrop = [0, 1, 2].map((c) => median(border.map((pixel) => channel(pixel, c))))
  const [red = 0, green = 0, blue = 0] = backdrop
  /** How far a pixel is from the backdrop, 0 to about 255, weighted as eyes weigh red, green and blue. */
  const distance = (pixel: number): number => {
    const r = channel(pixel, 0) - red
    const g = channel(pixel, 1) - green
    const b = channel(pixel, 2) - blue
    return Math.sqrt((2.5 * r * r + 4 * g * g + 2.5 * b * b) / 9)
  }
  const neighbours = (pixel: number): number[] => {
    const [x, y] = [pixel % width, Math.floor(pixel / width)]
    const around: number[] = []
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) {
        const isInside = x + dx >= 0 && x + dx < width && y + dy >= 0 && y + dy < height
        if (isInside && (dx !== 0 || dy !== 0)) around.push(pixel + dy * width + dx)
      }
    }
    return around
  }
  const summit = (start: number): number => {
    let [pixel, reached] = [start, distance(start)]
    for (let step = 0; step < SOFT_EDGE_PX; step++) {
      let [best, bestFar] = [pixel, reached]
      for (const next of neighbours(pixel)) if (distance(next) > bestFar) [best, bestFar] = [next, distance(next)]
      if (bestFar < reached * 1.03 + 1) break
      ;[pixel, reached] = [best, bestFar]
    }
    return pixel
  }
  /** Sets the alpha of a pixel of the edge; answers whether it is soft, so that the edge goes on behind it. */
  const unmix = (pixel: number): boolean => {
    const top = summit(pixel)
    if (top === pixel || distance(top) <= TOLERANCE * 1.2) return false
    let [along, length] = [0, 0]
    for (const [c, base] of backdrop.entries()) {
      const towards = channel(top, c) - base
      along += (channel(pixel, c) - base) * towards
      length += towards * towards
    }
    const alpha = Math.max(0, Math.min(1, along / length))
    source.copy(data, pixel * 4, top * 4, top * 4 + 3)
    data[pixel * 4 + 3] = Math.round(alpha * 255)
    return alpha < 0.98
  }

  const isKnown = new Uint8Array(width * height)
  const gone: number[] = []
  /** Answers whether the flood ends before this pixel. */
  const visit = (pixel: number): boolean => {
    if (isKnown[pixel] !== 0) return false
    if (distance(pixel) > TOLERANCE) return true
    isKnown[pixel] = 1
    gone.push(pixel)
    return false
  }
  for (const pixel of border) visit(pixel)
  // The list grows while it is walked.
  let edge: number[] = []
  for (const pixel of gone) {
    const x = pixel % width
    let isEdge = x > 0 && visit(pixel - 1)
    isEdge = (x < width - 1 && visit(pixel + 1)) || isEdge
    isEdge = (pixel >= width && visit(pixel - width)) || isEdge
    isEdge = (pixel < width * (height - 1) && visit(pixel + width)) || isEdge
    if (isEdge) edge.push(pixel)
    data.fill(0, pixel * 4, pixel * 4 + 4)
  }
  for (const pixel of edge) if (distance(pixel) > 2.5) unmix(pixel)
  for (let depth = 0; depth <= SOFT_EDGE_PX && edge.length > 0; depth++) {
    const inner = [...new Set(edge.flatMap(neighbours))].filter((pixel) => isKnown[pixel] === 0)
    for (const pixel of inner) isKnown[pixel] = 1
    edge = inner.filter(unmix)
  }
}
