// JPEG: opaque photographs.
import { z } from 'zod'
import { Dpi, type Encoder, Quality } from './encoder.ts'

const options = {
  dpi: Dpi,
  quality: Quality,
  background: z
    .string()
    .regex(/^#(?:[0-9a-fA-F]{3}){1,2}$/, 'must be a colour such as #ffffff')
    .default('#ffffff'),
}

export const jpeg: Encoder<typeof options> = {
  format: 'jpeg',
  options,
  animates: false,
  background: ({ background }) => background,
  encode: (picture, { quality }) => picture.jpeg({ quality }),
}
