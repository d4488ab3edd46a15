/**
 * The offline twin of a background remover: cuts a subject out of a flat or nearly flat backdrop.
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
  const bitmap: Bitmap = { data, width: info.width, height: info.height }
  if (!isCutAlready(bitmap)) removeBackdrop(bitmap)
  const png = await sharp(data, {
    raw: { width: info.width, height: info.height, channels: 4 },
    limitInputPixels: MAX_PIXELS,
  })
    .composite(isMarked(image) ? [] : [{ input: await drawMark(info.width, info.height) }])
    .png({ compressionLevel: 7 })
    .toBuffer()
  return markPng(png)
}

function isCutAlready({ data }: Bitmap): boolean {
  let clear = 0
  for (let i = 3; i < data.length; i += 4) if ((data[i] ?? 255) < 16) clear++
  return clear > (data.length / 4) * ALREADY_CUT_SHARE
}

/** The backdrop's colour as a plane over the picture: per channel `level + acrossX * x + downY * y`. */
type Plane = readonly [level: number, acrossX: number, downY: number]

interface Backdrop {
  readonly planes: readonly [red: Plane, green: Plane, blue: Plane]
  /** The distance up to which a pixel is backdrop. */
  readonly tolerance: number
}

/** Fits the backdrop to the border: the median colour first, then a plane through the pixels that agree with it. */
function findBackdrop({ data, width, height }: Bitmap): Backdrop {
  const ring: number[] = []
  const stride = Math.max(1, Math.floor((width + height) / 1500))
  for (let x = 0; x < width; x += stride) ring.push(x, (height - 1) * width + x)
  for (let y = 0; y < height; y += stride) ring.push(y * width, y * width + width - 1)
  const channel = (pixel: number, c: number): number => data[pixel * 4 + c] ?? 0
  const middle = [0, 1, 2].map(
    (c) => ring.map((pixel) => channel(pixel, c)).sort((a, b) => a - b)[ring.length >> 1] ?? 0,
  )
  const near = (pixel: number, limit: number): boolean =>
    [0, 1, 2].every((c) => Math.abs(channel(pixel, c) - (middle[c] ?? 0)) <= limit)
  const agreeing = ring.filter((pixel) => near(pixel, 34))
  const fit = (c: number): Plane => {
    const n = agreeing.length
    const flat: Plane = [middle[c] ?? 0, 0, 0]
    if (n < ring.length / 3) return flat
    let [sx, sy, sv, sxx, syy, sxy, sxv, syv] = [0, 0, 0, 0, 0, 0, 0, 0]
    for (const pixel of agreeing) {
      const [x, y, v] = [pixel % width, Math.floor(pixel / width), channel(pixel, c)]
      sx += x
      sy += y
      sv += v
    }
    const [mx, my, mv] = [sx / n, sy / n, sv / n]
    for (const pixel of agreeing) {
      const [x, y, v] = [(pixel % width) - mx, Math.floor(pixel / width) - my, channel(pixel, c) - mv]
      sxx += x * x
      syy += y * y
      sxy += x * y
      sxv += x * v
      syv += y * v
    }
    const determinant = sxx * syy - sxy * sxy
    if (Math.abs(determinant) < 1e-6 * Math.max(1, sxx * syy)) return flat
    const across = (sxv * syy - syv * sxy) / determinant
    const down = (syv * sxx - sxv * sxy) / determinant
    return [mv - across * mx - down * my, across, down]
  }
  const planes = [fit(0), fit(1), fit(2)] as const
  const errors = agreeing.map((pixel) => distanceAt(data, pixel, width, planes)).sort((a, b) => a - b)
  const noise = errors[Math.floor(errors.length * 0.9)] ?? 0
  return { planes, tolerance: Math.min(26, Math.max(9, noise * 2.5)) }
}

const planeAt = (plane: Plane, x: number, y: number): number => plane[0] + plane[1] * x + plane[2] * y

/** How far a pixel is from the backdrop expected there, 0 to about 255, weighted as eyes weigh red, green and blue. */
function distanceAt(data: Buffer, pixel: number, width: number, planes: Backdrop['planes']): number {
  const x = pixel % width
  const y = (pixel - x) / width
  const i = pixel * 4
  const r = (data[i] ?? 0) - planeAt(planes[0], x, y)
  const g = (data[i + 1] ?? 0) - planeAt(planes[1], x, y)
  const b = (data[i + 2] ?? 0) - planeAt(planes[2], x, y)
  return Math.sqrt((2.5 * r * r + 4 * g * g + 2.5 * b * b) / 9)
}

/** Marks every pixel that is backdrop and connected to the border: 1 in the answer. */
function flood({ data, width, height }: Bitmap, { planes, tolerance }: Backdrop): Uint8Array {
  const marks = new Uint8Array(width * height)
  let queue: number[] = []
  const visit = (pixel: number): void => {
    if (marks[pixel] !== 0 || distanceAt(data, pixel, width, planes) > tolerance) return
    marks[pixel] = 1
    queue.push(pixel)
  }
  for (let x = 0; x < width; x++) {
    visit(x)
    visit((height - 1) * width + x)
  }
  for (let y = 0; y < height; y++) {
    visit(y * width)
    visit(y * width + width - 1)
  }
  while (queue.length > 0) {
    const wave = queue
    queue = []
    for (const pixel of wave) {
      const x = pixel % width
      if (x > 0) visit(pixel - 1)
      if (x < width - 1) visit(pixel + 1)
      if (pixel >= width) visit(pixel - width)
      if (pixel < width * (height - 1)) visit(pixel + width)
    }
  }
  return marks
}

/**
 * Unmixes the edge. An edge pixel is `alpha` of the subject and the rest backdrop; the subject's colour there is the
 * one found by climbing away from the backdrop until the colour no longer changes.
 */
function removeBackdrop(bitmap: Bitmap): void {
  const { data, width, height } = bitmap
  const backdrop = findBackdrop(bitmap)
  const marks = flood(bitmap, backdrop)
  const source = Buffer.from(data)
  const far = (pixel: number): number => distanceAt(source, pixel, width, backdrop.planes)
  const neighbours = (pixel: number): number[] => {
    const x = pixel % width
    const [left, right, up, down] = [x > 0, x < width - 1, pixel >= width, pixel < width * (height - 1)]
    const out: number[] = []
    if (left) out.push(pixel - 1)
    if (right) out.push(pixel + 1)
    if (up) out.push(pixel - width)
    if (down) out.push(pixel + width)
    if (left && up) out.push(pixel - width - 1)
    if (right && up) out.push(pixel - width + 1)
    if (left && down) out.push(pixel + width - 1)
    if (right && down) out.push(pixel + width + 1)
    return out
  }
  const summit = (start: number): number => {
    let pixel = start
    let reached = far(start)
    for (let step = 0; step < SOFT_EDGE_PX; step++) {
      let best = pixel
      let bestFar = reached
      for (const next of neighbours(pixel)) {
        const nextFar = far(next)
        if (nextFar > bestFar) [best, bestFar] = [next, nextFar]
      }
      if (bestFar < reached * 1.03 + 1) break
      ;[pixel, reached] = [best, bestFar]
    }
    return pixel
  }

  const unmix = (pixel: number): boolean => {
    const top = summit(pixel)
    if (top === pixel || far(top) <= backdrop.tolerance * 1.2) return false
    const x = pixel % width
    const y = (pixel - x) / width
    let [along, length] = [0, 0]
    const base = [0, 1, 2].map((c) => planeAt(backdrop.planes[c as 0 | 1 | 2], x, y))
    for (let c = 0; c < 3; c++) {
      const towards = (source[top * 4 + c] ?? 0) - (base[c] ?? 0)
      along += ((source[pixel * 4 + c] ?? 0) - (base[c] ?? 0)) * towards
      length += towards * towards
    }
    const alpha = Math.max(0, Math.min(1, along / length))
    data[pixel * 4 + 3] = Math.round(alpha * 255)
    for (let c = 0; c < 3; c++) data[pixel * 4 + c] = source[top * 4 + c] ?? 0
    return alpha < 0.98
  }

  let edge: number[] = []
  for (let pixel = 0; pixel < marks.length; pixel++) {
    if (marks[pixel] !== 1) continue
    data[pixel * 4 + 3] = 0
    let atEdge = false
    for (const next of neighbours(pixel)) {
      if (marks[next] !== 0) continue
      atEdge = true
      marks[next] = 2
      edge.push(next)
    }
    if (atEdge && far(pixel) > 2.5) unmix(pixel)
  }
  for (let depth = 0; depth < SOFT_EDGE_PX && edge.length > 0; depth++) {
    const inner: number[] = []
    for (const pixel of edge) {
      if (!unmix(pixel)) continue
      for (const next of neighbours(pixel)) {
        if (marks[next] !== 0) continue
        marks[next] = 2
        inner.push(next)
      }
    }
    edge = inner
  }
  for (let pixel = 0; pixel < marks.length; pixel++) {
    if (data[pixel * 4 + 3] === 0) data.fill(0, pixel * 4, pixel * 4 + 3)
  }
}
