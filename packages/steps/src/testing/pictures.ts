// For tests only: small pictures, and files that ffmpeg makes.
// Hides sharp's raw input.
import sharp, { type Sharp } from 'sharp'
import { withFfmpeg } from '../ffmpeg.ts'

/** A picture whose colours say where one looks: red grows to the right, green downwards; blue is 128. */
export function aGradient(width: number, height: number): Sharp {
  const samples = new Uint8Array(width * height * 3)
  for (let i = 0; i < width * height; i += 1) samples.set([i % width, Math.floor(i / width), 128], i * 3)
  return sharp(samples, { raw: { width, height, channels: 3 } })
}

/** One colour; with `alpha` below 1 see-through. */
export function aPlane(background: { r: number; g: number; b: number; alpha?: number }, width = 40, height = 30) {
  return sharp({ create: { width, height, channels: background.alpha === undefined ? 3 : 4, background } })
}

/** An animation of three frames that last 100, 200 and 300 ms, played twice. */
export async function anAnimation(format: 'gif' | 'webp'): Promise<Buffer> {
  const colours = [
    { r: 255, g: 0, b: 0 },
    { r: 0, g: 255, b: 0 },
    { r: 0, g: 0, b: 255 },
  ]
  const frames = await Promise.all(colours.map((colour) => aPlane(colour).png().toBuffer()))
  const joined = sharp(frames, { join: { animated: true } })
  const timing = { delay: [100, 200, 300], loop: 2 }
  return await (format === 'gif' ? joined.gif(timing) : joined.webp({ ...timing, lossless: true })).toBuffer()
}

/** A PNG that animated viewers play: the chunk that says so stands before the picture. */
export async function anAnimatedPng(): Promise<Buffer> {
  const png = await aGradient(8, 8).png().toBuffer()
  const afterHeader = 8 + 25
  const chunk = Buffer.from('\0\0\0\x08acTL\0\0\0\x02\0\0\0\0\xf3\x8d\x93\x70', 'latin1')
  return Buffer.concat([png.subarray(0, afterHeader), chunk, png.subarray(afterHeader)])
}

/** The sample values of a picture at one place. */
export async function pixelAt(picture: Uint8Array, x: number, y: number): Promise<number[]> {
  return [...(await sharp(picture).extract({ left: x, top: y, width: 1, height: 1 }).raw().toBuffer())]
}

/** A file that ffmpeg makes with these options. */
export async function made(ending: string, options: string): Promise<Buffer> {
  return await withFfmpeg(new AbortController().signal, async (ffmpeg) => {
    await ffmpeg.run([...options.split(' '), `made.${ending}`])
    return await ffmpeg.read(`made.${ending}`)
  })
}
