// The formats that pictures are converted to, one file and one line each.
import { avif } from './avif.ts'
import type { Encoder } from './encoder.ts'
import { gif } from './gif.ts'
import { jpeg } from './jpeg.ts'
import { png } from './png.ts'
import { webp } from './webp.ts'

export const ENCODERS = [webp, png, jpeg, avif, gif] as readonly Encoder[]
