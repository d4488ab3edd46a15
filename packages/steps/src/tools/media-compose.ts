// `media.compose`: pictures, words and sound to one film.
// Hides how long each picture is seen, and how it is brought to the film's size.
import { type StepContext, StepFailure, type Tool } from '@fabrique/engine'
import { isJsonObject, type JsonValue } from '@fabrique/schema'
import sharp, { type Sharp } from 'sharp'
import { z } from 'zod'
import { drawCaption } from '../captions.ts'
import { ffmpegMissing } from '../ffmpeg.ts'
import { filmShots } from '../film.ts'
import { inspect } from '../inspect.ts'
import { pictureFacts, withPicture } from '../pictures.ts'
import { joinSounds, secondsOf, SOUND_SECONDS_MAX, type Sound } from '../sound.ts'
import { artifactIn, textIn } from './reference.ts'
import { openSounds } from './spoken-parts.ts'

const FRAME_SECONDS_DEFAULT = 4
const CAPTION_CHARACTERS_MAX = 300

const side = z.int().min(128).max(1920)

const Args = z.strictObject({
  /** Files, `{image, seconds?, caption?}`, or outputs of steps that made a picture. */
  frames: z.array(z.unknown()).min(1).max(60),
  /** Captions by position, where the frames do not bring their own: texts, or objects with `caption` or `text`. */
  captions: z.array(z.unknown()).max(60).nullish(),
  /** One WAV, or spoken parts; as many parts as frames: each frame lasts as long as its part. */
  audio: z.unknown().optional(),
  /** Between spoken parts. */
  pauseMs: z.int().min(0).max(5_000).default(250),
  widthPx: side.default(1280),
  heightPx: side.default(720),
  fps: z.int().min(10).max(60).default(25),
  transition: z.enum(['none', 'fade']).default('none'),
  /** `zoom` comes slowly nearer, and withdraws in every second shot. */
  motion: z.enum(['none', 'zoom']).default('none'),
  /** `contain` shows the whole picture before a blurred one of itself. */
  fit: z.enum(['cover', 'contain']).default('cover'),
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,63}$/)
    .default('video'),
})

interface Frame {
  image: JsonValue | undefined
  seconds: number | undefined
  caption: string | undefined
}

/** `{artifact, duration_ms}`: an MP4 as long as its sound, or as the seconds of its frames; at most ten minutes. */
export const mediaCompose: Tool = {
  name: 'media.compose',
  description: 'Makes a video of pictures, with captions and sound.',
  args: Args,
  outputKeys: ['artifact', 'duration_ms'],
  makes: () => 'video/mp4',
  missing: () => ffmpegMissing(),
  async run(args, context) {
    const {
      frames: given,
      captions,
      audio,
      pauseMs,
      fps,
      transition,
      motion,
      fit,
      name,
      ...sides
    } = args as z.infer<typeof Args>
    // 4:2:0 halves both sides.
    const [widthPx, heightPx] = [sides.widthPx - (sides.widthPx % 2), sides.heightPx - (sides.heightPx % 2)]
    const frames = given.map((entry, index) => frameOf(entry as JsonValue, captions?.[index] as JsonValue, index))
    const parts = await soundsOf(audio as JsonValue | undefined, context)
    const sound = parts.length === 0 ? null : joinSounds(parts, pauseMs)
    const lengths = secondsOfFrames(frames, parts, sound, pauseMs)
    if (lengths.reduce((sum, seconds) => sum + seconds, 0) > SOUND_SECONDS_MAX) {
      throw new StepFailure('invalid', `The video would be longer than ${SOUND_SECONDS_MAX / 60} minutes.`)
    }
    const counts = framesOf(lengths, fps)
    const shots = frames.map(({ image, caption }, index) => ({
      frames: counts[index] ?? 1,
      async render() {
        const { bytes } = await context.open(image, `args.frames[${index}]`)
        return {
          png: await fitted(bytes, widthPx, heightPx, fit, index),
          overlay: caption === undefined ? null : await drawCaption(caption, widthPx, heightPx),
        }
      },
    }))
    const film = { shots, widthPx, heightPx, fps, sound, transition, motion }
    const bytes = await filmShots(film, context.signal, (done) => context.progress({ done, total: shots.length }))
    const artifact = await context.store({ name, mimeType: 'video/mp4', bytes })
    return { artifact, duration_ms: (await inspect(bytes, 'video/mp4')).durationMs }
  },
}

function frameOf(entry: JsonValue, spare: JsonValue | undefined, index: number): Frame {
  const image = artifactIn(entry)
  if (image === undefined) throw new StepFailure('invalid', `"args.frames[${index}]" holds no picture.`)
  const seconds = isJsonObject(entry) ? (entry.seconds ?? undefined) : undefined
  if (seconds !== undefined && !(typeof seconds === 'number' && seconds >= 0.1 && seconds <= SOUND_SECONDS_MAX)) {
    throw new StepFailure('invalid', `"args.frames[${index}].seconds" must be a number from 0.1 to 600.`)
  }
  const caption = (isJsonObject(entry) ? textIn(entry, 'caption') : undefined) ?? textIn(spare, 'caption', 'text')
  if (caption !== undefined && caption.length > CAPTION_CHARACTERS_MAX) {
    throw new StepFailure(
      'invalid',
      `The caption of frame ${index} is longer than ${CAPTION_CHARACTERS_MAX} characters.`,
    )
  }
  return { image, seconds, caption }
}

async function soundsOf(audio: JsonValue | undefined, context: StepContext): Promise<Sound[]> {
  if (audio === undefined || audio === null) return []
  return await openSounds([audio].flat(), 'args.audio', context)
}

/** How long each frame is seen: as its spoken part, as its share of the sound, or as it says itself. */
function secondsOfFrames(frames: Frame[], parts: Sound[], sound: Sound | null, pauseMs: number): number[] {
  if (sound === null) return frames.map(({ seconds }) => seconds ?? FRAME_SECONDS_DEFAULT)
  const timed = frames.some(({ seconds }) => seconds !== undefined)
  if (!timed && parts.length === frames.length) {
    return parts.map((part, index) => secondsOf(part) + (index < parts.length - 1 ? pauseMs / 1000 : 0))
  }
  const shares = frames.map(({ seconds }) => seconds ?? (timed ? FRAME_SECONDS_DEFAULT : 1))
  const all = shares.reduce((sum, share) => sum + share, 0)
  return shares.map((share) => (share / all) * secondsOf(sound))
}

/** Whole frames whose sum stays true to the clock however many shots there are; the last one may run over. */
function framesOf(lengths: number[], fps: number): number[] {
  let at = 0
  let cut = 0
  return lengths.map((seconds, index) => {
    at += seconds * fps
    const end = index === lengths.length - 1 ? Math.ceil(at - 1e-6) : Math.round(at)
    const count = Math.max(1, end - cut)
    cut += count
    return count
  })
}

/** The picture at exactly the film's size, opaque. Sharp decodes it: ffmpeg never sees a file that others made. */
async function fitted(bytes: Uint8Array, width: number, height: number, fit: 'cover' | 'contain', index: number) {
  try {
    const facts = await pictureFacts(bytes)
    const compose = async (picture: () => Sharp) => {
      const cover = () => picture().resize(width, height, { fit: 'cover' }).flatten({ background: '#ffffff' })
      if (fit === 'cover') return await cover().removeAlpha().png({ compressionLevel: 1 }).toBuffer()
      const whole = await picture().resize(width, height, { fit: 'inside' }).png({ compressionLevel: 1 }).toBuffer()
      const backdrop = await cover()
        .blur(Math.max(4, width / 32))
        .modulate({ brightness: 0.7 })
        .png()
        .toBuffer()
      return await sharp(backdrop)
        .composite([{ input: whole }])
        .removeAlpha()
        .png({ compressionLevel: 1 })
        .toBuffer()
    }
    return await withPicture(bytes, facts, compose, { animated: false })
  } catch (error) {
    throw new StepFailure('invalid', `"args.frames[${index}]" is not a picture that can be decoded.`, { cause: error })
  }
}
