// What a file of this folder exports: a format that pictures are written in, with the options that it has.
// Hides nothing.
import type { Sharp } from 'sharp'
import { z } from 'zod'
import type { PictureFacts } from '../pictures.ts'

/** A format of `image.convert`, whole: registered by one line in `index.ts`. */
export interface Encoder<Options extends z.ZodRawShape = z.ZodRawShape> {
  /** The media type without its family, as templates name it. */
  format: string
  /** The options that this format has, and no other. */
  options: Options
  /** Whether it holds an animation; one that does not refuses them. */
  animates: boolean
  /** The colour behind what is transparent, for a format that is always opaque. */
  background?(options: z.output<z.ZodObject<Options>>): string
  /** Writes 8-bit sRGB unless it says otherwise. */
  encode(picture: Sharp, options: z.output<z.ZodObject<Options>>, source: PictureFacts): Sharp
}

/** How much of a picture a lossy format keeps. */
export const Quality = z.int().min(1).max(100).default(90)

/** Dots per inch, for printing: how large the pixels are meant to be. */
export const Dpi = z.int().min(36).max(1200).optional()

/** Keeps every pixel as it is, for flat art. */
export const Lossless = z.boolean().default(false)
