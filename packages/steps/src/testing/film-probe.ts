// For tests only: what a player would find in a film, by decoding all of it.
// Hides ffmpeg, which here reads only films that we made ourselves.
import { withFfmpeg } from '../ffmpeg.ts'

const NEVER = new AbortController().signal

/** How many frames a film decodes to, and how long its sound is; rejects where anything in it is damaged. */
export async function decodeFilm(film: Uint8Array): Promise<{ frames: number; soundSeconds: number }> {
  return await withFfmpeg(NEVER, async (ffmpeg) => {
    await ffmpeg.write('film.mp4', film)
    const streams = ['-map', '0:v', '-map', '0:a?', '-ac', '1', '-ar', '8000']
    await ffmpeg.run(['-xerror', '-i', 'film.mp4', ...streams, '-f', 'framemd5', 'decoded.txt'])
    const rows = (await ffmpeg.read('decoded.txt'))
      .toString()
      .split('\n')
      .filter((row) => /^\d/.test(row))
    const parts = rows.map((row) => row.split(',').map(Number))
    const samples = parts.filter(([stream]) => stream === 1).reduce((sum, part) => sum + (part[3] ?? 0), 0)
    return { frames: parts.filter(([stream]) => stream === 0).length, soundSeconds: samples / 8000 }
  })
}

/** One frame of a film as a PNG. */
export async function frameOf(film: Uint8Array, index: number): Promise<Buffer> {
  return await withFfmpeg(NEVER, async (ffmpeg) => {
    await ffmpeg.write('film.mp4', film)
    await ffmpeg.run(['-i', 'film.mp4', '-vf', `select=eq(n\\,${index})`, '-frames:v', '1', 'frame.png'])
    return await ffmpeg.read('frame.png')
  })
}
