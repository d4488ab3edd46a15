// WebP: lossy or exact, with transparency and animation.
import { Dpi, type Encoder, Lossless, Quality } from './encoder.ts'

const options = { dpi: Dpi, quality: Quality, lossless: Lossless }

export const webp: Encoder<typeof options> = {
  format: 'webp',
  options,
  animates: true,
  encode: (picture, { quality, lossless }) => picture.webp({ quality, lossless }),
}
