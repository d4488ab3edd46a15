// `image.convert`: another format or size of a picture, by sharp.
// Hides what a picture is before it is converted: turned, animated, deep, or in colours other than sRGB.
import { StepFailure, type Tool } from '@fabrique/engine'
import { z } from 'zod'
import type { Encoder } from '../encoders/encoder.ts'
import { ENCODERS } from '../encoders/index.ts'
import { pictureFacts, withPicture } from '../pictures.ts'
import { artifactIn } from './reference.ts'

/** AVIF of 100 megapixels takes minutes, and nobody waits for less than a poster. */
const SECONDS_MAX = 120
const TRANSPARENT = { r: 0, g: 0, b: 0, alpha: 0 }

const side = z.int().min(1).max(8192).optional()

function argsOf({ format, options }: Encoder) {
  return z.strictObject({
    image: z.looseObject({}, 'must be a file that a step of this run made'),
    format: z.literal(format),
    widthPx: side,
    heightPx: side,
    fit: z.enum(['contain', 'cover', 'inside']).default('inside'),
    ...options,
  })
}

type Args = z.output<ReturnType<typeof argsOf>> & { dpi?: number }

const FORMATS = ENCODERS.map(({ format }) => format)
const ANIMATED = ENCODERS.flatMap(({ format, animates }) => (animates ? [format] : [])).join(' or ')
const variants = ENCODERS.map(argsOf) as [ReturnType<typeof argsOf>, ...ReturnType<typeof argsOf>[]]

/** `{artifact}` in the wanted format, upright and in sRGB; enlarges nothing unless both sides are given. */
export const imageConvert: Tool = {
  name: 'image.convert',
  description: 'Converts a picture to another format or size.',
  args: z.discriminatedUnion('format', variants, {
    error: ({ code }) => (code === 'invalid_union' ? `must be one of ${FORMATS.join(', ')}` : undefined),
  }),
  outputKeys: ['artifact'],
  makes: ({ format }) => `image/${FORMATS.find((known) => known === format) ?? '*'}`,
  async run(args, context) {
    const { format, widthPx, heightPx, fit, dpi, ...options } = args as Args
    const encoder = ENCODERS.find((one) => one.format === format)
    if (encoder === undefined) throw new StepFailure('invalid', `No picture can be converted to ${format}.`)
    const { record, bytes } = await context.open(artifactIn(args.image) ?? args.image, 'args.image')
    // Some text, such as SVG, could be drawn, and is no picture here.
    if (!record.mimeType.startsWith('image/'))
      throw new StepFailure('invalid', `"args.image" is ${record.mimeType}, and must be a picture.`)
    const source = await pictureFacts(bytes)
    if (source.isAnimated && (!encoder.animates || source.frames === 1)) {
      const why =
        source.frames === 1
          ? `of which only one frame can be read: have it made as ${ANIMATED}`
          : `of ${source.frames} frames, and ${format} holds one: convert it to ${ANIMATED}`
      throw new StepFailure('invalid', `"args.image" is an animation ${why}.`)
    }
    const background = encoder.background?.(options)
    const converted = await withPicture(bytes, source, async (open) => {
      let picture = open().timeout({ seconds: SECONDS_MAX })
      if (background !== undefined) picture = picture.flatten({ background })
      if (widthPx !== undefined || heightPx !== undefined) {
        picture = picture.resize({
          ...(widthPx === undefined ? {} : { width: widthPx }),
          ...(heightPx === undefined ? {} : { height: heightPx }),
          fit,
          background: background ?? TRANSPARENT,
          withoutEnlargement: widthPx === undefined || heightPx === undefined,
        })
      }
      // Density is kept in EXIF, and the rest of the source's is nobody's business.
      if (dpi !== undefined) picture = picture.withExif({}).withDensity(dpi)
      return await encoder.encode(picture, options, source).toBuffer()
    }).catch((error: unknown) => {
      throw notConverted(format, error)
    })
    return { artifact: await context.store({ name: format, mimeType: `image/${format}`, bytes: converted }) }
  },
}

function notConverted(format: string, cause: unknown): StepFailure {
  const said = cause instanceof Error ? cause.message : ''
  const why = /timeout/.test(said)
    ? `took longer than ${SECONDS_MAX} s: give "widthPx" or "heightPx", or choose another format`
    : /too large/.test(said)
      ? `is not possible at this size: give "widthPx" or "heightPx"`
      : 'failed'
  return new StepFailure('invalid', `The conversion of the picture to ${format} ${why}.`, { cause })
}
