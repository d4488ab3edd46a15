/**
 * The mark of everything simulated: a small badge in the lower right corner, and a text chunk in a PNG.
 * It hides where the badge stands, so that zooming and cropping films leave it whole.
 */
import { crc32 } from 'node:zlib'
import sharp from 'sharp'
import { setLine } from './lettering.ts'

/** What simulated files name as their maker. */
export const MAKER = 'Fabrique simulated provider'

/** The badge keeps this share of each side free: a film that comes nearer crops up to a twentieth. */
const MARGIN = 0.06

/** `badge` is readable on everything; `line` is drawn for pages to colour in. */
type MarkStyle = 'badge' | 'line'

/** The badge as SVG elements for a picture of this size, in the same units. */
export async function markSvg(width: number, height: number, style: MarkStyle = 'badge'): Promise<string> {
  const size = Math.min(width, height) * 0.028
  const line = await setLine('simulated', size)
  const [w, h] = [line.width + size * 1.2, size * 1.7]
  const [x, y] = [width * (1 - MARGIN) - w, height * (1 - MARGIN) - h]
  const [fill, ink] = style === 'line' ? ['#ffffff', '#161616'] : ['#22252e', '#ffffff']
  return (
    `<g transform="translate(${x.toFixed(2)} ${y.toFixed(2)})"><rect width="${w.toFixed(2)}" height="${h.toFixed(2)}" ` +
    `rx="${(h / 2).toFixed(2)}" fill="${fill}" stroke="${ink}" stroke-width="${(size * 0.1).toFixed(2)}"/>` +
    `<path transform="translate(${(size * 0.6).toFixed(2)} ${(size * 1.18).toFixed(2)})" d="${line.d}" fill="${ink}"/></g>`
  )
}

/** SVG elements as a document of this size. */
export function svgOf(width: number, height: number, elements: string, attributes = ''): Buffer {
  const size = `width="${width}" height="${height}"`
  return Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" ${size}${attributes}>${elements}</svg>`)
}

/** The badge alone on a transparent picture of this size. */
export async function drawMark(widthPx: number, heightPx: number): Promise<Buffer> {
  const svg = svgOf(widthPx, heightPx, await markSvg(widthPx, heightPx))
  return await sharp(svg).png({ compressionLevel: 1 }).toBuffer()
}

/** The end of a PNG's header chunk: signature 8, length 4, type 4, data 13, checksum 4. */
const AFTER_HEADER = 33

/** Returns the PNG with a `Software` text chunk after its header. The pixels are untouched. */
export function markPng(png: Buffer, software = MAKER): Buffer {
  const data = Buffer.from(`tEXtSoftware\0${software}`, 'latin1')
  const chunk = Buffer.alloc(data.length + 8)
  chunk.writeUInt32BE(data.length - 4, 0)
  data.copy(chunk, 4)
  chunk.writeUInt32BE(crc32(data), data.length + 4)
  return Buffer.concat([png.subarray(0, AFTER_HEADER), chunk, png.subarray(AFTER_HEADER)])
}

/** Whether a picture says that it is simulated, and so bears the badge already. */
export const isMarked = (picture: Uint8Array): boolean =>
  Buffer.from(picture.buffer, picture.byteOffset, Math.min(picture.byteLength, 4096)).includes(MAKER)
