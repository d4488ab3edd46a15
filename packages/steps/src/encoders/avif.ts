// AVIF: lossy or exact, with transparency; one frame.
import { Dpi, type Encoder, Lossless, Quality } from './encoder.ts'

const options = { dpi: Dpi, quality: Quality, lossless: Lossless }

export const avif: Encoder<typeof options> = {
  format: 'avif',
  options,
  animates: false,
  encode: (picture, { quality, lossless }) => picture.avif({ quality, lossless }),
}
