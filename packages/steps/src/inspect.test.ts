import { monitorEventLoopDelay } from 'node:perf_hooks'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { readContainer } from './containers.ts'
import { withFfmpeg } from './ffmpeg.ts'
import { filmShots } from './film.ts'
import { inspect } from './inspect.ts'
import { readWav } from './sound.ts'
import { aTone } from './testing/tone.ts'

const refused = { failureClass: 'bad_output' }

/** A silent MP3 of this many frames: MPEG 1 layer III, 128 kbit/s, 44.1 kHz, 417 bytes each. */
function mp3(frames: number): Buffer {
  const frame = Buffer.alloc(417)
  frame.writeUInt32BE(0xfffb9000, 0)
  return Buffer.concat(Array.from({ length: frames }, () => frame))
}

/** A file that ffmpeg makes with these options. */
async function made(ending: string, options: string): Promise<Buffer> {
  return await withFfmpeg(new AbortController().signal, async (ffmpeg) => {
    await ffmpeg.run([...options.split(' '), `made.${ending}`])
    return await ffmpeg.read(`made.${ending}`)
  })
}

describe('the facts of a film', () => {
  let film: Buffer
  let silent: Buffer
  beforeAll(async () => {
    const png = await sharp({ create: { width: 192, height: 128, channels: 3, background: '#c03020' } })
      .png()
      .toBuffer()
    const shots = [{ frames: 25, render: async () => ({ png, overlay: null }) }]
    const format = { shots, widthPx: 192, heightPx: 128, fps: 25, motion: 'none', transition: 'none' } as const
    const { signal } = new AbortController()
    film = await filmShots({ ...format, sound: readWav(aTone(1.2)) }, signal)
    silent = await filmShots({ ...format, sound: null }, signal)
  })

  it('are its size and its length', async () => {
    expect(await inspect(silent, 'video/mp4')).toEqual({
      mimeType: 'video/mp4',
      width: 192,
      height: 128,
      durationMs: 1000,
    })
  })

  it('are refused for a file that is cut off anywhere, or has no index', async () => {
    for (const length of [7, 20, 40, 200, film.length >> 1, film.length - 1]) {
      await expect(inspect(film.subarray(0, length), 'video/mp4'), String(length)).rejects.toMatchObject(refused)
    }
    const ftyp = Buffer.concat([Buffer.from([0, 0, 0, 16]), Buffer.from('ftypisom\0\0\0\0')])
    await expect(inspect(ftyp, 'video/mp4')).rejects.toMatchObject(refused)
    await expect(inspect(Buffer.from('<html>Bad gateway</html>'), 'video/mp4')).rejects.toMatchObject(refused)
  })

  it('are those of a WebM too', async () => {
    const webm = await made('webm', '-f lavfi -i testsrc=d=2:s=160x90:r=25 -c:v libvpx -auto-alt-ref 0')
    expect(await inspect(webm, 'video/webm')).toEqual({
      mimeType: 'video/webm',
      width: 160,
      height: 90,
      durationMs: 2000,
    })
    await expect(inspect(webm, 'audio/webm')).rejects.toMatchObject(refused)
  })

  it('are refused for an index without content', async () => {
    const renamed = Buffer.from(film)
    renamed.write('free', film.indexOf('mdat'), 'latin1')
    await expect(inspect(renamed, 'video/mp4')).rejects.toMatchObject(refused)
  })

  it('survive any damage to any box: facts or a refusal, never another error', async () => {
    for (let at = 0; at < Math.min(film.length, 1_500); at += 37) {
      const damaged = Buffer.from(film)
      damaged[at] = 0xff
      const outcome = await inspect(damaged, 'video/mp4').catch((error: unknown) => error)
      expect(outcome, `byte ${at}`).toSatisfy(
        (found: { mimeType?: string; failureClass?: string }) =>
          found.mimeType === 'video/mp4' || found.failureClass === 'bad_output',
      )
    }
  })

  it('tell sound from pictures: a film without sound is no audio', async () => {
    expect(await inspect(film, 'audio/mp4')).toMatchObject({ mimeType: 'audio/mp4' })
    await expect(inspect(silent, 'audio/mp4')).rejects.toMatchObject(refused)
  })
})

describe('the facts of a sound', () => {
  it.each([
    ['ogg', 'libvorbis', 'audio/ogg', 2500],
    ['opus', 'libopus', 'audio/ogg', 2500],
    ['flac', 'flac', 'audio/flac', 2500],
    ['webm', 'libopus', 'audio/webm', 2508],
    // Encoders add whole frames of silence.
    ['m4a', 'aac', 'audio/mp4', 2521],
    ['mp3', 'libmp3lame', 'audio/mpeg', 2544],
  ])('are the length of a .%s by %s', async (ending, codec, mimeType, durationMs) => {
    const bytes = await made(ending, `-f lavfi -i sine=d=2.5:r=48000 -c:a ${codec}`)
    expect(await inspect(bytes, mimeType)).toEqual({ mimeType, width: null, height: null, durationMs })
    await expect(inspect(bytes.subarray(0, 30), mimeType)).rejects.toMatchObject(refused)
    await expect(inspect(bytes, 'video/mp4')).rejects.toMatchObject(refused)
  })

  it('of a file that is crafted to be read for minutes are given up in time, and delay nothing else', async () => {
    const boxes = Buffer.alloc(50_000_000)
    boxes.write('\0\0\0\x10ftypisom\0\0\0\0', 'latin1')
    boxes.fill(Buffer.from('\0\0\0\x08free'), 16, boxes.length - 16)
    boxes.write('\0\0\0\x10mdat', boxes.length - 16, 'latin1')
    const loop = monitorEventLoopDelay({ resolution: 5 })
    loop.enable()
    const startedMs = performance.now()
    expect(await readContainer(boxes, 1_000)).toBeNull()
    loop.disable()
    expect(performance.now() - startedMs).toBeLessThan(5_000)
    expect(loop.max / 1e6).toBeLessThan(500)
  })

  it('are the length of a WAV and of an MP3', async () => {
    const wav = aTone(1.2)
    const { durationMs } = await inspect(wav, 'audio/wav')
    expect(durationMs).toBe(Math.round(((wav.length - 44) / 48_000) * 1000))
    expect(await inspect(mp3(100), 'audio/mpeg')).toMatchObject({ mimeType: 'audio/mpeg', durationMs: 2612 })
    const tagged = Buffer.concat([
      Buffer.from('ID3\x04\0\0\0\0\x01\0'),
      Buffer.alloc(128),
      mp3(100),
      Buffer.from('TAG'),
    ])
    expect(await inspect(tagged, 'audio/mpeg')).toMatchObject({ durationMs: 2612 })
  })

  it('are refused for a WAV that is cut off and for bytes that only begin like an MP3', async () => {
    const wav = aTone(1.2)
    await expect(inspect(wav.subarray(0, wav.length - 1000), 'audio/wav')).rejects.toMatchObject(refused)
    for (const bytes of [mp3(1), Buffer.from('ID3 is a tag'), Buffer.alloc(64, 0xff), Buffer.from('{"error":"no"}')]) {
      await expect(inspect(bytes, 'audio/mpeg')).rejects.toMatchObject(refused)
    }
  })
})

describe('the facts of a text', () => {
  it('are its promised type, for what is such a text', async () => {
    for (const [text, type] of [
      ['<p>Hello</p>', 'text/html'],
      ['# Hello', 'text/markdown'],
      ['{"a": 1}', 'application/json'],
    ] as const) {
      expect((await inspect(Buffer.from(text), type)).mimeType).toBe(type)
    }
  })

  it('are refused for blanks, for bytes that are no UTF-8, and for JSON that does not parse', async () => {
    await expect(inspect(Buffer.from(' \n '), 'text/plain')).rejects.toMatchObject(refused)
    await expect(inspect(Buffer.from([0x61, 0xff]), 'text/plain')).rejects.toMatchObject(refused)
    await expect(inspect(Buffer.from('{"a": '), 'application/json')).rejects.toMatchObject(refused)
  })
})
