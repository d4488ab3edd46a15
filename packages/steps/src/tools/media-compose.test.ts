import type { JsonObject } from '@fabrique/schema'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { decodeFilm, frameOf } from '../testing/film-probe.ts'
import { aTone } from '../testing/tone.ts'
import { createToolBench } from '../testing/tool-bench.ts'
import { mediaCompose } from './media-compose.ts'

const SIZE = { widthPx: 320, heightPx: 240, fps: 20 }

async function setup() {
  const bench = createToolBench()
  const paint = async (background: string, width = 400, height = 300) =>
    await bench.put(
      await sharp({ create: { width, height, channels: 3, background } })
        .png()
        .toBuffer(),
      'image/png',
    )
  const [red, blue] = [await paint('#d02020'), await paint('#2040d0')]
  const say = async (text: string) => {
    const bytes = aTone(text.length / 15)
    return { reference: await bench.put(bytes, 'audio/wav'), seconds: (bytes.length - 44) / 48_000 }
  }
  const compose = async (args: JsonObject) => {
    const { artifact, duration_ms } = await bench.run(mediaCompose, { ...SIZE, ...args })
    return { film: bench.fileOf(artifact), durationMs: Number(duration_ms) }
  }
  return { bench, paint, red, blue, say, compose }
}

/** The mean colour of a region of a frame. */
async function colourAt(film: Uint8Array, frame: number, region = { left: 100, top: 20, width: 100, height: 60 }) {
  const { channels } = await sharp(
    await sharp(await frameOf(film, frame))
      .extract(region)
      .png()
      .toBuffer(),
  ).stats()
  const [red, , blue] = channels.map(({ mean }) => mean)
  return { red: red ?? 0, blue: blue ?? 0 }
}

describe('media.compose', () => {
  it('shows each picture for its seconds, in a film of that size and length that decodes whole', async () => {
    const { compose, red, blue } = await setup()
    const { film, durationMs } = await compose({
      frames: [
        { image: red, seconds: 1 },
        { image: blue, seconds: 0.5 },
      ],
    })
    expect(film.record).toMatchObject({ mimeType: 'video/mp4', width: 320, height: 240, durationMs: 1500 })
    expect(durationMs).toBe(1500)
    expect(await decodeFilm(film.bytes)).toEqual({ frames: 30, soundSeconds: 0 })
    expect((await colourAt(film.bytes, 19)).red).toBeGreaterThan(150)
    expect((await colourAt(film.bytes, 20)).blue).toBeGreaterThan(150)
    expect(Buffer.from(film.bytes.subarray(0, 4096)).includes('moov')).toBe(true)
  })

  it('takes files and outputs of steps as frames alike, and spreads them over the sound', async () => {
    const { compose, red, blue, say } = await setup()
    const { reference, seconds } = await say('The keeper climbed the stairs and lit the lamp.')
    const { film, durationMs } = await compose({ frames: [red, { artifact: blue }], audio: { artifact: reference } })
    expect(Math.abs(durationMs / 1000 - seconds)).toBeLessThan(0.2)
    const { frames, soundSeconds } = await decodeFilm(film.bytes)
    expect(Math.abs(frames / SIZE.fps - seconds)).toBeLessThan(0.2)
    expect(Math.abs(soundSeconds - seconds)).toBeLessThan(0.2)
    const middle = Math.round(frames / 2)
    expect((await colourAt(film.bytes, middle - 2)).red).toBeGreaterThan(150)
    expect((await colourAt(film.bytes, middle + 1)).blue).toBeGreaterThan(150)
  })

  it('shows each picture as long as its spoken part where there are as many', async () => {
    const { compose, red, blue, say } = await setup()
    const [short, long] = [await say('One.'), await say('Two three four five six seven.')]
    const { film } = await compose({
      frames: [red, blue],
      audio: [short.reference, { artifact: long.reference }],
      pauseMs: 200,
    })
    const cut = Math.round((short.seconds + 0.2) * SIZE.fps)
    expect((await colourAt(film.bytes, cut - 1)).red).toBeGreaterThan(150)
    expect((await colourAt(film.bytes, cut)).blue).toBeGreaterThan(150)
    const { soundSeconds } = await decodeFilm(film.bytes)
    expect(Math.abs(soundSeconds - (short.seconds + 0.2 + long.seconds))).toBeLessThan(0.2)
  })

  it('crossfades and moves without losing or adding a frame', async () => {
    const { compose, red, blue, bench } = await setup()
    const frames = [red, blue, red].map((image) => ({ image, seconds: 1 }))
    const { film } = await compose({ frames, transition: 'fade', motion: 'zoom' })
    expect((await decodeFilm(film.bytes)).frames).toBe(60)
    const fading = await colourAt(film.bytes, 23)
    expect(fading.red).toBeGreaterThan(60)
    expect(fading.blue).toBeGreaterThan(60)
    expect(bench.progress.at(-1)).toEqual({ done: 3, total: 3 })
  })

  it('never shows the words of two frames at once, not even while one picture fades into the next', async () => {
    const { compose, blue } = await setup()
    const captions = ['An uncommonly long first caption, on more lines', 'Two']
    const film = async (words: (string | null)[]) =>
      (
        await compose({
          frames: [blue, blue].map((image) => ({ image, seconds: 1 })),
          captions: words,
          transition: 'fade',
        })
      ).film.bytes
    const [both, second] = [await film(captions), await film([null, 'Two'])]
    const lower = { left: 0, top: 120, width: 320, height: 120 }
    expect((await colourAt(both, 19, lower)).blue).toBeLessThan((await colourAt(second, 19, lower)).blue - 5)
    for (const frame of [20, 22, 26]) {
      const [one, other] = [await colourAt(both, frame, lower), await colourAt(second, frame, lower)]
      expect(Math.abs(one.blue - other.blue)).toBeLessThan(1)
    }
  })

  it('writes captions into the lower third as they are, markup and all', async () => {
    const { compose, blue } = await setup()
    const caption = 'Fish & <b>chips</b> are "great" for those who read long captions to their very end'
    const { film } = await compose({ frames: [{ image: blue, seconds: 0.5, caption }] })
    const { film: plain } = await compose({ frames: [{ image: blue, seconds: 0.5 }] })
    const lower = { left: 60, top: 165, width: 200, height: 50 }
    const [withWords, without] = [await colourAt(film.bytes, 3, lower), await colourAt(plain.bytes, 3, lower)]
    expect(without.blue - withWords.blue).toBeGreaterThan(30)
    expect(Math.abs((await colourAt(film.bytes, 3)).blue - (await colourAt(plain.bytes, 3)).blue)).toBeLessThan(3)
    const { film: beside } = await compose({ frames: [{ image: blue, seconds: 0.5 }], captions: [{ text: caption }] })
    expect(Buffer.compare(beside.bytes, film.bytes)).toBe(0)
  })

  it('shows the whole of a picture of another shape with contain', async () => {
    const { compose, paint } = await setup()
    const tall = await paint('#d02020', 100, 400)
    const { film } = await compose({ frames: [{ image: tall, seconds: 0.5 }], fit: 'contain', widthPx: 321 })
    expect(film.record.width).toBe(320)
    const edge = await colourAt(film.bytes, 1, { left: 4, top: 100, width: 20, height: 20 })
    expect((await colourAt(film.bytes, 1)).red - edge.red).toBeGreaterThan(5)
  })

  it('gives the same bytes for the same parts', async () => {
    const { compose, red, blue, say } = await setup()
    const { reference } = await say('One two three.')
    const args = { frames: [red, blue], audio: reference, transition: 'fade', motion: 'zoom' }
    const [first, second] = [await compose(args), await compose(args)]
    expect(Buffer.compare(first.film.bytes, second.film.bytes)).toBe(0)
  })

  it('names the frame that holds no picture and refuses films without end', async () => {
    const { compose, bench, red } = await setup()
    const text = await bench.put(Buffer.from('no picture'), 'text/plain')
    await expect(compose({ frames: [red, null] })).rejects.toMatchObject({
      message: expect.stringContaining('frames[1]'),
    })
    await expect(compose({ frames: [text] })).rejects.toMatchObject({ message: expect.stringContaining('frames[0]') })
    const long = Array.from({ length: 3 }, () => ({ image: red, seconds: 300 }))
    await expect(compose({ frames: long })).rejects.toMatchObject({ message: expect.stringContaining('10 minutes') })
    expect(mediaCompose.args.safeParse({ frames: Array.from({ length: 61 }, () => red) }).success).toBe(false)
    expect(mediaCompose.args.safeParse({ frames: [red], widthPx: 4000 }).success).toBe(false)
  })
})
