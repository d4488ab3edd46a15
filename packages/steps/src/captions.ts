// Words on pictures: captions in the lower third.
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
