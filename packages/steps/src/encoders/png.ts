// PNG: every pixel as it is, in true colour, with 16 bits a sample where the source has more than 8.
import { z } from 'zod'
import { Dpi, type Encoder } from './encoder.ts'

const remedy = 'must be left out: a PNG loses nothing, and is made smaller by "palette: true"'

const options = {
  dpi: Dpi,
  /** At most 256 colours of 8 bits. */
  palette: z.boolean().default(false),
  // True of every PNG, so they may be said, but not otherwise.
  lossless: z.literal(true, remedy).optional(),
  quality: z.literal(100, remedy).optional(),
}

export const png: Encoder<typeof options> = {
  format: 'png',
  options,
  animates: false,
  encode(picture, { palette }, { isDeep, isGrey }) {
    if (palette) return picture.png({ palette })
    return (isDeep ? picture.toColourspace(isGrey ? 'grey16' : 'rgb16') : picture).png()
  },
}
