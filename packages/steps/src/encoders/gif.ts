// GIF: 256 colours a frame, transparent or not, for animations that play anywhere.
import type { Encoder } from './encoder.ts'

export const gif: Encoder<Record<never, never>> = {
  format: 'gif',
  options: {},
  animates: true,
  encode: (picture) => picture.gif(),
}
