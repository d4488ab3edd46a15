// Pictures and sound to an MP4 that plays everywhere: H.264 4:2:0, AAC, its index in front.
// Hides ffmpeg's filters; the same parts give the same bytes on the same machine.
import { withFfmpeg } from './ffmpeg.ts'
import { secondsOf, type Sound, writeWav } from './sound.ts'

const FADE_SECONDS = 0.4

/** How far a moving picture comes nearer, as a share of its size, and where it starts so that no edge is ever seen. */
const ZOOM = 0.08
const ZOOM_REST = 1.02

/** RGB to the colours that players expect of HD, the same on every machine. */
const COLOURS = 'scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd'

/** A PNG laid over a shot. */
export interface Overlay {
  png: Buffer
  leftPx: number
  topPx: number
}

/** One picture for a while. */
export interface Shot {
  /** How many frames it is seen; at least one. */
  frames: number
  /** Its PNG of exactly the film's size, made when its turn comes, so that a long film fits into memory. */
  render(): Promise<{ png: Buffer; overlay: Overlay | null }>
}

interface FilmFormat {
  /** Even numbers: 4:2:0 halves them. */
  widthPx: number
  heightPx: number
  fps: number
  /** The film is exactly as long as its sound; without one, as its frames. */
  sound: Sound | null
  /** What the file says of itself. */
  comment?: string
}

/** A shot whose pictures lie in ffmpeg's folder under its index. */
interface Prepared {
  index: number
  frames: number
  overlay: Overlay | null
  isMoving: boolean
}

/** A film of still shots, each resting or coming slowly nearer, cut hard or crossfaded. `onShot` is told after each. */
export async function filmShots(
  format: FilmFormat & { shots: readonly Shot[]; transition: 'none' | 'fade'; motion: 'none' | 'zoom' },
  signal: AbortSignal,
  onShot: (done: number) => void = () => {},
): Promise<Buffer> {
  const { shots, fps, motion, transition } = format
  return await withFfmpeg(signal, async (ffmpeg) => {
    let before: Prepared | null = null
    for (const [index, { frames, render }] of shots.entries()) {
      signal.throwIfAborted()
      const { png, overlay } = await render()
      await ffmpeg.write(`shot-${index}.png`, png)
      if (overlay !== null) await ffmpeg.write(`over-${index}.png`, overlay.png)
      const shot: Prepared = { index, frames, overlay, isMoving: motion === 'zoom' }
      const { inputs, graph } = shotGraph(shot, transition === 'fade' ? before : null, fps)
      await ffmpeg.run([
        ...inputs,
        '-filter_complex',
        graph,
        ...flags(`-map [out] -frames:v ${frames}`),
        ...encoding(fps),
        `shot-${index}.mp4`,
      ])
      before = shot
      onShot(index + 1)
    }
    await ffmpeg.write('shots.txt', shots.map((_, index) => `file shot-${index}.mp4\n`).join(''))
    if (format.sound !== null) await ffmpeg.write('sound.wav', writeWav(format.sound))
    await ffmpeg.run([
      ...flags('-f concat -i shots.txt'),
      ...(format.sound === null ? [] : flags('-f wav -i sound.wav')),
      ...flags('-map 0:v -c:v copy'),
      ...ending(format, framesOf(shots)),
    ])
    return await ffmpeg.read('film.mp4')
  })
}

/** A film of raw RGB frames, each of exactly width × height × 3 bytes, taken as the encoder asks for them. */
export async function filmFrames(
  format: FilmFormat & { frames: Iterable<Buffer>; count: number },
  signal: AbortSignal,
) {
  const { widthPx, heightPx, fps, sound, frames, count } = format
  return await withFfmpeg(signal, async (ffmpeg) => {
    if (sound !== null) await ffmpeg.write('sound.wav', writeWav(sound))
    await ffmpeg.run(
      [
        ...flags(`-f rawvideo -pix_fmt rgb24 -s ${widthPx}x${heightPx} -r ${fps} -i pipe:0`),
        ...(sound === null ? [] : flags('-f wav -i sound.wav')),
        ...flags(`-map 0:v -vf ${COLOURS},format=yuv420p`),
        ...encoding(fps),
        ...ending(format, count),
      ],
      frames,
    )
    return await ffmpeg.read('film.mp4')
  })
}

/** A command's options as one writes them; none of them holds a space. */
function flags(line: string): string[] {
  return line.split(' ')
}

function framesOf(shots: readonly Shot[]): number {
  return shots.reduce((sum, { frames }) => sum + frames, 0)
}

/**
 * What ffmpeg reads and does for one shot; with `before`, the picture of that shot goes on beneath and fades away. The
 * shot's own words lie over both from its first frame on: two captions are never seen at once.
 */
function shotGraph(shot: Prepared, before: Prepared | null, fps: number): { inputs: string[]; graph: string } {
  const names: string[] = []
  const input = (name: string) => `[${names.push(name) - 1}:v]`
  const view = ({ index, frames, isMoving }: Prepared, from: number, count: number, label: string) =>
    `${input(`shot-${index}.png`)}${COLOURS},format=yuv444p,loop=loop=${count}:size=1:start=0,` +
    `trim=end_frame=${count},setpts=N/(${fps}*TB)${isMoving ? `,${zoom(index, frames, from)}` : ''}[${label}];`
  const fadeFrames = before === null ? 0 : Math.floor(Math.min(FADE_SECONDS * fps, before.frames / 2, shot.frames / 2))
  let graph = view(shot, 0, shot.frames, 'own')
  let seen = '[own]'
  if (before !== null && fadeFrames > 0) {
    graph +=
      `${view(before, before.frames, fadeFrames, 'old')}[old]format=yuva444p,fade=t=out:s=0:n=${fadeFrames}:alpha=1[going];` +
      `[own][going]overlay=eof_action=pass:format=yuv444[faded];`
    seen = '[faded]'
  }
  if (shot.overlay !== null) {
    const { leftPx, topPx } = shot.overlay
    graph += `${seen}${input(`over-${shot.index}.png`)}overlay=${leftPx}:${topPx}:format=yuv444[worded];`
    seen = '[worded]'
  }
  graph += `${seen}format=yuv420p[out]`
  return { inputs: names.flatMap((name) => flags(`-f png_pipe -framerate ${fps} -i ${name}`)), graph }
}

/**
 * The slow approach as a change of perspective, which knows parts of pixels: ffmpeg's own zoom moves by whole ones and
 * trembles. Every second shot withdraws instead.
 */
function zoom(index: number, frames: number, from: number): string {
  const progress = `((on+${from})/${frames})`
  const way = index % 2 === 0 ? progress : `(1-${progress})`
  const margin = `((1-1/max(1,${ZOOM_REST}+${ZOOM}*${way}))/2)`
  const [near, far] = [margin, `(1-${margin})`]
  const corners = [
    [near, near],
    [far, near],
    [near, far],
    [far, far],
  ].flatMap(([x, y], i) => [`x${i}='W*${x}'`, `y${i}='H*${y}'`])
  return `perspective=${corners.join(':')}:sense=source:eval=frame:interpolation=linear`
}

/** Two threads always: their number shows in the bytes. No B-frames, so that shots join without a gap. */
function encoding(fps: number): string[] {
  return [
    ...flags('-c:v libx264 -preset veryfast -crf 20 -pix_fmt yuv420p -bf 0 -threads 2'),
    ...flags(`-g ${fps * 2} -video_track_timescale ${fps * 512}`),
    ...flags('-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv'),
    ...flags('-flags:v +bitexact -fflags +bitexact -map_metadata -1'),
  ]
}

function ending({ sound, fps, comment }: FilmFormat, frames: number): string[] {
  const seconds = sound === null ? frames / fps : secondsOf(sound)
  return [
    ...(sound === null ? [] : flags('-map 1:a -c:a aac -b:a 160k -flags:a +bitexact')),
    ...flags(`-video_track_timescale ${fps * 512} -fflags +bitexact -map_metadata -1`),
    ...(comment === undefined ? [] : ['-metadata', `comment=${comment}`]),
    ...flags(`-t ${seconds.toFixed(3)} -movflags +faststart film.mp4`),
  ]
}
