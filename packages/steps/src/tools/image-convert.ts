// `image.convert`: another format or size of a picture, by sharp.
import { StepFailure, type Tool } from '@fabrique/engine'
import sharp from 'sharp'
import { z } from 'zod'
import { IMAGE_PIXELS_MAX } from '../inspect.ts'

const Args = z.strictObject({
  image: z.unknown(),
  format: z.enum(['webp', 'png', 'jpeg', 'avif']),
  widthPx: z.int().min(1).max(8192).optional(),
  heightPx: z.int().min(1).max(8192).optional(),
  fit: z.enum(['contain', 'cover', 'inside']).default('inside'),
  quality: z.int().min(1).max(100).default(90),
  /** Dots per inch, for printing: how large the pixels are meant to be. */
  dpi: z.int().min(36).max(1200).optional(),
  /** Exact pixels, for flat art; webp and avif only. */
  lossless: z.boolean().default(false),
})

/** `{artifact}` in the wanted format; enlarges nothing unless both sides are given. */
export const imageConvert: Tool = {
  name: 'image.convert',
  description: 'Converts a picture to another format or size.',
  args: Args,
  outputKeys: ['artifact'],
  async run(args, context) {
    const { format, widthPx, heightPx, fit, quality, lossless, dpi } = args as z.infer<typeof Args>
    const input = await context.open(args.image, 'args.image')
    let picture = sharp(input.bytes, { limitInputPixels: IMAGE_PIXELS_MAX })
    if (widthPx !== undefined || heightPx !== undefined) {
      picture = picture.resize({
        ...(widthPx === undefined ? {} : { width: widthPx }),
        ...(heightPx === undefined ? {} : { height: heightPx }),
        fit,
        background: { r: 0, g: 0, b: 0, alpha: 0 },
        withoutEnlargement: widthPx === undefined || heightPx === undefined,
      })
    }
    if (dpi !== undefined) picture = picture.withMetadata({ density: dpi })
    const encoded =
      format === 'webp' || format === 'avif'
        ? picture.toFormat(format, { quality, lossless })
        : picture.toFormat(format, { quality })
    const bytes = await encoded.toBuffer().catch((error: unknown) => {
      throw new StepFailure('invalid', `The picture cannot be converted to ${format}.`, { cause: error })
    })
    return { artifact: await context.store({ name: format, mimeType: `image/${format}`, bytes }) }
  },
}
