/**
 * The offline twin of video models: a still picture that speaks, or one that the camera comes nearer to.
 * It hides how loudness becomes movement; every film says in its corner that it is simulated.
 */
import { type InputFile, type ProviderRequest, StepFailure } from '@fabrique/engine'
import { objectOf, textOf } from '@fabrique/schema'
import { IMAGE_PIXELS_MAX } from '@fabrique/steps'
import { filmFrames, filmShots } from '@fabrique/steps/film'
import { loudness, readWav, secondsOf, SOUND_SECONDS_MAX, type Sound } from '@fabrique/steps/sound'
import sharp from 'sharp'
import { drawMark, isMarked, MAKER, svgOf } from './mark.ts'
import { drawPicture } from './picture.ts'

const FPS = 25
const LONG_SIDE_PX_MAX = 1280
const SECONDS_DEFAULT = 5
const SECONDS_MAX = 30

/** How many steps there are between silence and the loudest sound; each is drawn once. */
const LEVELS = 12

/**
 * Makes the film that a video model would be asked for: with a sound file a speaking picture, as long as the sound;
 * without, `duration` seconds of the picture, or of one drawn from the prompt. Same request, same bytes.
 */
export async function filmOf({ request, files, signal }: ProviderRequest): Promise<Buffer> {
  const args = objectOf(request.args)
  const picture = await openPicture(files.image ?? files.image_url, textOf(args.prompt))
  const sound = openSound(files.audio ?? files.audio_url)
  const { widthPx, heightPx } = await sizeFor(picture, textOf(args.resolution))
  const still = await sharp(picture, { limitInputPixels: IMAGE_PIXELS_MAX })
    .autoOrient()
    .resize(widthPx, heightPx, { fit: 'cover' })
    .flatten({ background: '#ffffff' })
    .removeAlpha()
    .png({ compressionLevel: 1 })
    .toBuffer()
  // A second badge would stand beside the first while the picture moves.
  const mark = isMarked(picture) ? null : await drawMark(widthPx, heightPx)
  const overlay = mark && { png: mark, leftPx: 0, topPx: 0 }
  const film = { widthPx, heightPx, fps: FPS, comment: MAKER }
  if (sound === null) {
    const asked = Number(args.duration ?? SECONDS_DEFAULT)
    const seconds = Number.isFinite(asked) ? Math.min(Math.max(asked, 1), SECONDS_MAX) : SECONDS_DEFAULT
    const shots = [{ frames: Math.round(seconds * FPS), render: async () => ({ png: still, overlay }) }]
    return await filmShots({ ...film, sound: null, shots, transition: 'none', motion: 'zoom' }, signal)
  }
  const count = Math.ceil(secondsOf(sound) * FPS)
  const moments = levelsOf(sound, count)
  const drawn = new Map<number, Buffer>()
  for (const level of new Set(moments)) {
    const picture = await speaking(still, level, widthPx, heightPx)
    const marked = await sharp(picture)
      .composite(mark === null ? [] : [{ input: mark }])
      .removeAlpha()
      .raw()
      .toBuffer()
    drawn.set(level, marked)
  }
  const frames = moments.flatMap((level) => drawn.get(level) ?? [])
  return await filmFrames({ ...film, sound, frames, count }, signal)
}

async function openPicture(file: InputFile | undefined, prompt: string): Promise<Uint8Array> {
  if (file !== undefined) return file.bytes
  if (prompt.trim() === '') throw new StepFailure('invalid', 'There is neither a picture nor a prompt to film.')
  return await drawPicture({ prompt, widthPx: LONG_SIDE_PX_MAX, heightPx: 720 })
}

function openSound(file: InputFile | undefined): Sound | null {
  if (file === undefined) return null
  const sound = readWav(file.bytes)
  if (sound === null || secondsOf(sound) > SOUND_SECONDS_MAX) {
    throw new StepFailure('invalid', 'A simulated film needs its sound as a PCM WAV of at most ten minutes.')
  }
  return sound
}

/** The picture's own shape with a short side of 480 or 720 pixels, as `resolution` says; even, as films must be. */
async function sizeFor(picture: Uint8Array, resolution: string): Promise<{ widthPx: number; heightPx: number }> {
  const { autoOrient } = await sharp(picture, { limitInputPixels: IMAGE_PIXELS_MAX }).metadata()
  const { width, height } = autoOrient
  const wanted = resolution === '720p' ? 720 : 480
  const scale = Math.min(wanted / Math.min(width, height), LONG_SIDE_PX_MAX / Math.max(width, height))
  const even = (side: number) => Math.max(128, Math.round((side * scale) / 2) * 2)
  return { widthPx: even(width), heightPx: even(height) }
}

/** The loudness at each frame in steps, fast to rise and slow to fall, as a face moves. */
function levelsOf(sound: Sound, count: number): number[] {
  let now = 0
  return loudness(sound, count).map((loud) => {
    now = Math.max(loud, now * 0.72)
    return Math.round(now * LEVELS)
  })
}

/** The picture at one loudness: a touch nearer, over bars as high as the voice is loud. */
async function speaking(still: Buffer, level: number, widthPx: number, heightPx: number): Promise<Buffer> {
  const loud = level / LEVELS
  const near = 1 + 0.035 * loud
  const [width, height] = [Math.round(widthPx * near), Math.round(heightPx * near)]
  const unit = Math.min(widthPx, heightPx) * 0.02
  const bars = [0.45, 0.75, 1, 0.75, 0.45].map((share, i) => {
    const high = unit * (1 + 5 * loud * share)
    const x = widthPx / 2 + (i - 2) * unit * 1.9 - unit / 2
    const y = heightPx * 0.9 - high / 2
    return `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${unit.toFixed(1)}" height="${high.toFixed(1)}" rx="${(unit / 2).toFixed(1)}"/>`
  })
  const strokes = `stroke="#0b0d12" stroke-opacity="0.45" stroke-width="${(unit / 6).toFixed(1)}"`
  const svg = svgOf(widthPx, heightPx, `<g fill="#ffffff" fill-opacity="0.92" ${strokes}>${bars.join('')}</g>`)
  const nearer = await sharp(still)
    .resize(width, height, { fit: 'fill', kernel: 'cubic' })
    // A nod: the lower the picture hangs, the louder the voice.
    .extract({
      left: Math.round((width - widthPx) / 2),
      top: Math.round((height - heightPx) * 0.35),
      width: widthPx,
      height: heightPx,
    })
    .png({ compressionLevel: 1 })
    .toBuffer()
  return await sharp(nearer)
    .composite([{ input: svg }])
    .png({ compressionLevel: 1 })
    .toBuffer()
}
