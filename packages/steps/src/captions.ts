// Words on pictures: captions in the lower third, and the mark of simulated films.
// Hides measuring, wrapping and escaping; text is never read as markup.
import sharp from 'sharp'
import type { Overlay } from './film.ts'

const FONT = 'DejaVu Sans, Noto Sans, Inter, Helvetica, Arial, sans-serif'

/** Smaller letters are tried down to this share of their first size before a caption may grow over its third. */
const SHRINK_MIN = 0.5

/** A caption for a picture of this size: white on a dark band, wrapped, inside the margins that players leave free. */
export async function drawCaption(caption: string, widthPx: number, heightPx: number): Promise<Overlay> {
  const upright = heightPx > widthPx
  const lineWidthPx = Math.round(widthPx * (upright ? 0.8 : 0.72))
  const firstPx = Math.round(Math.min(widthPx, heightPx) * 0.055)
  let text = await setText(caption, firstPx, lineWidthPx)
  for (let share = 0.9; text.height > heightPx * 0.26 && share > SHRINK_MIN; share -= 0.1) {
    text = await setText(caption, firstPx * share, lineWidthPx)
  }
  const padPx = Math.round(firstPx * 0.55)
  const [bandWidth, bandHeight] = [text.width + padPx * 2.4, text.height + padPx * 1.6].map(Math.round) as [
    number,
    number,
  ]
  const band = Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${bandWidth}" height="${bandHeight}">` +
      `<rect width="100%" height="100%" rx="${padPx * 0.7}" fill="#0b0d12" fill-opacity="0.66"/></svg>`,
  )
  const png = await sharp(band)
    .composite([{ input: text.png, left: Math.round(padPx * 1.2), top: Math.round(padPx * 0.8) }])
    .png({ compressionLevel: 1 })
    .toBuffer()
  // Upright films are shown under a row of buttons: their captions stand higher.
  const bottomPx = Math.round(heightPx * (upright ? 0.16 : 0.07))
  return {
    png,
    leftPx: Math.round((widthPx - bandWidth) / 2),
    topPx: Math.max(0, heightPx - bottomPx - bandHeight),
  }
}

async function setText(text: string, sizePx: number, widthPx: number) {
  const escaped = text
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
  const { data, info } = await sharp({
    text: {
      text: `<span foreground="#ffffff">${escaped.replaceAll('>', '&gt;')}</span>`,
      font: `${FONT} bold ${Math.max(8, Math.round(sizePx))}`,
      width: widthPx,
      align: 'centre',
      wrap: 'word-char',
      rgba: true,
      dpi: 72,
    },
  })
    .png({ compressionLevel: 1 })
    .toBuffer({ resolveWithObject: true })
  return { png: data, width: info.width, height: info.height }
}

/** The letters of the mark as strokes on a grid of 10 × 20: drawn, so that they need no font and look the same everywhere. */
const LETTERS: Readonly<Record<string, string>> = {
  s: 'M8 9Q7 7 4.500 7Q1.500 7 1.500 9.200Q1.500 11 4.500 11.500Q8 12 8 14.200Q8 16.500 4.500 16.500Q1.800 16.500 1 14.500',
  i: 'M3 7V16.500M3 3V3.400',
  m: 'M1 16.500V7M1 10Q1.500 7 4 7Q6.500 7 6.500 10V16.500M6.500 10Q7 7 9.500 7Q12 7 12 10V16.500',
  u: 'M1.500 7V13.500Q1.500 16.500 4.500 16.500Q8 16.500 8 13M8 7V16.500',
  l: 'M3 2V16.500',
  a: 'M8 11.700Q8 7 4.700 7Q1 7 1 11.700Q1 16.500 4.700 16.500Q8 16.500 8 11.700M8 7V16.500',
  t: 'M3.500 3V14Q3.500 16.500 6 16.500M1 7H6.500',
  e: 'M1.200 11.500H8Q8 7 4.700 7Q1 7 1 11.700Q1 16.500 4.800 16.500Q7 16.500 8 14.600',
  d: 'M8 11.700Q8 7 4.700 7Q1 7 1 11.700Q1 16.500 4.700 16.500Q8 16.500 8 11.700M8 2V16.500',
}
const ADVANCE: Readonly<Record<string, number>> = { i: 6, l: 6, m: 15, t: 9 }

/** The word "simulated", for the lower right corner of a picture of this size. */
export async function drawSimulatedMark(widthPx: number, heightPx: number): Promise<Overlay> {
  const scale = Math.max(0.6, (Math.min(widthPx, heightPx) * 0.03) / 20)
  let x = 8
  const letters = Array.from('simulated', (letter) => {
    const drawn = `<path transform="translate(${x} 4)" d="${LETTERS[letter]}"/>`
    x += ADVANCE[letter] ?? 11
    return drawn
  })
  const [width, height] = [Math.round((x + 6) * scale), Math.round(28 * scale)]
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${x + 6} 28">` +
    `<rect width="100%" height="100%" rx="7" fill="#0b0d12" fill-opacity="0.6"/>` +
    `<g fill="none" stroke="#ffffff" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">${letters.join('')}</g></svg>`
  const png = await sharp(Buffer.from(svg)).png().toBuffer()
  const marginPx = Math.round(Math.min(widthPx, heightPx) * 0.03)
  return { png, leftPx: widthPx - width - marginPx, topPx: heightPx - height - marginPx }
}
