import { monitorEventLoopDelay } from 'node:perf_hooks'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { readContainer } from './containers.ts'
import { filmShots } from './film.ts'
import { inspect } from './inspect.ts'
import { readWav } from './sound.ts'
import { aGradient, anAnimatedPng, anAnimation, made } from './testing/pictures.ts'
import { aTone } from './testing/tone.ts'

/** What a file is found to be; a file that is fine has no problem. */
async function found(bytes: Uint8Array, promised = ''): Promise<string> {
  const { mimeType, problem } = await inspect(bytes, promised)
  return problem === undefined ? mimeType : `${mimeType}: ${problem}`
}

const damaged = (type: string) => `${type}: A produced file is ${type} that is damaged or cut off.`
const notKept = (type: string) =>
  `application/octet-stream: A produced file is ${type}, a kind of file that no step takes.`

/** A silent MP3 of this many frames: MPEG 1 layer III, 128 kbit/s, 44.1 kHz, 417 bytes each. */
function mp3(frames: number): Buffer {
  const frame = Buffer.alloc(417)
  frame.writeUInt32BE(0xfffb9000, 0)
  return Buffer.concat(Array.from({ length: frames }, () => frame))
}

const VIDEO = '-f lavfi -i testsrc=d=2:s=160x90:r=25'
const SOUND = '-f lavfi -i sine=d=2.5:r=48000'

describe('the kind of a file', () => {
  const FILES: Record<string, () => Promise<Buffer>> = {
    'image/png': () => aGradient(9, 6).png().toBuffer(),
    'image/jpeg': () => aGradient(9, 6).jpeg().toBuffer(),
    'image/webp': () => aGradient(9, 6).webp().toBuffer(),
    'image/gif': () => aGradient(9, 6).gif().toBuffer(),
    'image/avif': () => aGradient(9, 6).avif().toBuffer(),
    'audio/wav': async () => aTone(1),
    'audio/mpeg': () => made('mp3', SOUND),
    'audio/ogg': () => made('opus', `${SOUND} -c:a libopus`),
    'audio/flac': () => made('flac', SOUND),
    'audio/aac': () => made('aac', `${SOUND} -c:a aac`),
    'audio/mp4': () => made('m4a', `${SOUND} -c:a aac`),
    'audio/webm': () => made('webm', `${SOUND} -c:a libopus`),
    'video/mp4': () => made('mp4', `${VIDEO} -c:v libx264 -pix_fmt yuv420p`),
    'video/quicktime': () => made('mov', `${VIDEO} -c:v libx264 -pix_fmt yuv420p`),
    'video/webm': () => made('webm', `${VIDEO} -c:v libvpx -auto-alt-ref 0`),
    'text/plain': async () => Buffer.from('BM is how this text and some pictures begin.'),
    'text/html': async () => Buffer.from('\ufeff <!DOCTYPE html><title>x</title>'),
    'application/json': async () => Buffer.from(' {"a": [1]}\n'),
  }

  it.each(Object.keys(FILES))('is found by its bytes, whatever is said of it: %s', async (type) => {
    const bytes = (await FILES[type]?.()) ?? Buffer.alloc(0)
    const headers = ['', 'application/octet-stream', 'nonsense']
    // Text is not told from other text by bytes, and nothing but text is told by a header.
    const others = /^(audio|image|video)/.test(type)
      ? ['image/jpg', 'VIDEO/MP4; q=1', 'audio/mpeg', 'text/html; charset=utf-8']
      : [`${type.toUpperCase()}; charset=utf-8`]
    for (const header of [...headers, ...others]) expect(await found(bytes, header), header).toBe(type)
  })

  it('is named where it is none that is kept, and where it is not known', async () => {
    expect(await found(await aGradient(9, 6).tiff().toBuffer(), 'image/png')).toBe(notKept('image/tiff'))
    expect(await found(Buffer.from('%PDF-1.7\n%\xe2\xe3\xcf\xd3', 'latin1'), 'image/png')).toBe(
      notKept('application/pdf'),
    )
    expect(await found(await made('mkv', `${VIDEO} -c:v libx264`), 'video/mp4')).toBe(notKept('video/matroska'))
    for (const header of ['', 'image/svg+xml', 'image/png'])
      expect(await found(Buffer.from('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'), header)).toBe(
        notKept('image/svg+xml'),
      )
    for (const bytes of [Buffer.alloc(64, 0xff), Buffer.from([0x61, 0xff])])
      expect(await found(bytes, 'image/png')).toBe(
        'application/octet-stream: A produced file is of no kind that is known.',
      )
  })

  it('is refused where there is nothing to keep', async () => {
    await expect(inspect(Buffer.alloc(0), 'image/png')).rejects.toMatchObject({ failureClass: 'bad_output' })
  })
})

describe('the facts of a picture', () => {
  it('are its size as it is seen', async () => {
    const lying = aGradient(64, 48).withMetadata({ orientation: 6 })
    for (const bytes of await Promise.all([lying.jpeg().toBuffer(), lying.webp().toBuffer(), lying.png().toBuffer()]))
      expect(await inspect(bytes, 'image/jpeg')).toMatchObject({ width: 48, height: 64 })
    expect(await inspect(await aGradient(64, 48).png().toBuffer(), '')).toEqual({
      mimeType: 'image/png',
      width: 64,
      height: 48,
      durationMs: null,
    })
  })

  it.each(['gif', 'webp'] as const)('are those of one frame for an animated %s', async (format) => {
    expect(await inspect(await anAnimation(format), '')).toMatchObject({ mimeType: `image/${format}`, height: 30 })
  })

  it('are those of an animated PNG too', async () => {
    expect(await inspect(await anAnimatedPng(), 'image/apng')).toMatchObject({ mimeType: 'image/png', height: 8 })
  })

  it('name a picture that is cut off', async () => {
    const noise = sharp({
      create: {
        width: 90,
        height: 60,
        channels: 3,
        background: '#888',
        noise: { type: 'gaussian', mean: 128, sigma: 40 },
      },
    })
    for (const format of ['png', 'jpeg', 'webp', 'gif', 'avif'] as const) {
      const bytes = await noise.clone().toFormat(format).toBuffer()
      expect(await found(bytes.subarray(0, bytes.length >> 1), ''), format).toBe(damaged(`image/${format}`))
    }
    const animation = await anAnimation('gif')
    expect(await found(animation.subarray(0, animation.length - 40), '')).toBe(damaged('image/gif'))
  })

  it('name a picture of too many pixels, which is not decoded', async () => {
    const png = await aGradient(8, 8).png().toBuffer()
    png.writeUInt32BE(20_000, 16)
    png.writeUInt32BE(20_000, 20)
    const startedMs = performance.now()
    expect(await inspect(png, 'image/png')).toMatchObject({
      mimeType: 'image/png',
      width: 20_000,
      problem: 'A produced file has 20000 × 20000 pixels, and 100 megapixels are the limit.',
    })
    expect(performance.now() - startedMs).toBeLessThan(1_000)
  })
})

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

  it.each([
    [90, [0, 65_536, 0, -65_536, 0], [128, 192]],
    [180, [-65_536, 0, 0, 0, -65_536], [192, 128]],
    [270, [0, -65_536, 0, 65_536, 0], [128, 192]],
  ])('are those of what one sees where it is turned by %i degrees', async (_, matrix, [width, height]) => {
    const turned = Buffer.from(silent)
    const at = turned.indexOf('tkhd') + 44
    for (const [index, value] of matrix.entries()) turned.writeInt32BE(value, at + index * 4)
    expect(await inspect(turned, 'video/mp4')).toMatchObject({ width, height })
  })

  it('are those of what one sees where its pixels are not square', async () => {
    const wide = await made('mp4', `${VIDEO} -c:v libx264 -pix_fmt yuv420p -aspect 4:3`)
    expect(await inspect(wide, 'video/mp4')).toMatchObject({ width: 160, height: 120 })
  })

  it('name a film that is cut off anywhere, or has no index, or no content', async () => {
    for (const length of [20, 40, 200, film.length >> 1, film.length - 1])
      expect(await found(film.subarray(0, length), 'video/mp4'), String(length)).toBe(damaged('video/mp4'))
    expect(await found(film.subarray(0, film.indexOf('mdat') + 4), 'video/mp4')).toBe(damaged('video/mp4'))
    const webm = await made('webm', `${VIDEO} -c:v libvpx -auto-alt-ref 0`)
    expect(await found(webm.subarray(0, webm.length >> 1), '')).toBe(damaged('video/webm'))
  })

  it('survive any damage to any box', async () => {
    for (let at = 0; at < Math.min(film.length, 1_500); at += 61) {
      const broken = Buffer.from(film)
      broken[at] = 0xff
      expect(await inspect(broken, 'video/mp4'), `byte ${at}`).toHaveProperty('mimeType')
    }
  })

  it('tell sound from pictures: a film without pictures is a sound', async () => {
    expect(await found(await made('mp4', `${SOUND} -c:a aac`), 'video/mp4')).toBe('audio/mp4')
    expect(await found(film, 'audio/mp4')).toBe('video/mp4')
  })
})

describe('the facts of a sound', () => {
  it.each([
    ['ogg', 'libvorbis', 'audio/ogg', 2500],
    ['opus', 'libopus', 'audio/ogg', 2500],
    ['flac', 'flac', 'audio/flac', 2500],
    ['webm', 'libopus', 'audio/webm', 2501],
    ['m4a', 'aac', 'audio/mp4', 2500],
    // Encoders add whole frames of silence.
    ['aac', 'aac', 'audio/aac', 2539],
    ['mp3', 'libmp3lame', 'audio/mpeg', 2544],
  ])('are the length of a .%s by %s', async (ending, codec, mimeType, durationMs) => {
    const bytes = await made(ending, `${SOUND} -c:a ${codec}`)
    expect(await inspect(bytes, '')).toEqual({ mimeType, width: null, height: null, durationMs })
    expect(await found(bytes.subarray(0, 30), '')).toMatch(/A produced file is/)
  })

  it('are the length of what is there, not what its header says, where it is cut off', async () => {
    for (const [ending, codec] of [
      ['mp3', 'libmp3lame'],
      ['mp3', 'libmp3lame -q:a 4'],
      ['flac', 'flac'],
    ] as const) {
      const bytes = await made(ending, `${SOUND} -c:a ${codec}`)
      const { durationMs } = await inspect(bytes.subarray(0, bytes.length >> 1), '')
      expect(durationMs, codec).toBeGreaterThan(800)
      expect(durationMs, codec).toBeLessThan(1_400)
    }
  })

  it('of a file that is crafted to be read for minutes are given up in time, and delay nothing else', async () => {
    const boxes = Buffer.alloc(50_000_000)
    boxes.write('\0\0\0\x10ftypisom\0\0\0\0', 'latin1')
    boxes.fill(Buffer.from('\0\0\0\x08free'), 16, boxes.length - 16)
    boxes.write('\0\0\0\x10mdat', boxes.length - 16, 'latin1')
    const loop = monitorEventLoopDelay({ resolution: 5 })
    loop.enable()
    const startedMs = performance.now()
    expect(await readContainer(boxes, 1_000)).toMatchObject({ mimeType: null, isWhole: false })
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

  it('are the length of a WAV whose writer did not know it', async () => {
    const whole = await inspect(aTone(1.2), '')
    for (const [riff, data] of [
      [0xffff_ffff, 0xffff_ffff],
      [2_000_000_036, 2_000_000_000],
      [36, 0],
    ] as const) {
      const wav = Buffer.from(aTone(1.2))
      wav.writeUInt32LE(riff, 4)
      wav.writeUInt32LE(data, 40)
      expect(await inspect(wav, ''), String(data)).toEqual(whole)
    }
  })

  it('name a WAV that is cut off, and what only begins like an MP3', async () => {
    const wav = aTone(1.2)
    expect(await found(wav.subarray(0, wav.length - 1000), '')).toMatch(/is a WAV that is cut off/)
    expect(await found(mp3(1), 'audio/mpeg')).toBe(damaged('audio/mpeg'))
    for (const text of ['ID3 is a tag', '{"error":"no"}'])
      expect(await found(Buffer.from(text), 'audio/mpeg')).toMatch(/not audio\/mpeg/)
  })
})

describe('the facts of a text', () => {
  it('are its promised type, for what is such a text', async () => {
    for (const [text, type] of [
      ['<p>Hello</p>', 'text/html'],
      ['# Hello', 'text/markdown'],
      ['1\n00:00:01,000 --> 00:00:02,000\nHello', 'application/x-subrip'],
      ['{"a": 1}', 'application/json'],
      ['{"a": 1}', 'text/plain'],
    ] as const) {
      expect(await found(Buffer.from(text), `${type}; charset=utf-8`)).toBe(type)
    }
  })

  it('are the type that the template promises, where it came with none and may be that', async () => {
    const typeOf = async (text: string, said: string, promised: string) =>
      (await inspect(Buffer.from(text), said, promised)).mimeType
    expect(await typeOf('# Fox', 'application/octet-stream', 'text/markdown')).toBe('text/markdown')
    expect(await typeOf('# Fox', 'text/plain; charset=utf-8', 'text/markdown')).toBe('text/markdown')
    expect(await typeOf('{"a":1}', 'text/plain', 'application/json')).toBe('application/json')
    expect(await typeOf('{"a":1}', 'text/plain', 'text/plain')).toBe('text/plain')
    expect(await typeOf('no such key', '', 'application/json')).toBe('text/plain')
    expect(await typeOf('no such key', '', 'text/html')).toBe('text/plain')
    expect(await typeOf('<html>gone</html>', '', 'text/markdown')).toBe('text/html')
    expect(await typeOf('# Fox', 'text/csv', 'text/markdown')).toBe('text/csv')
    expect(await typeOf('# Fox', '', 'image/png')).toBe('text/plain')
  })

  it('name a text that comes instead of a picture, and what it came as', async () => {
    const page = Buffer.from('<html>Bad gateway</html>')
    expect(await found(page, 'image/jpg')).toBe('text/html: A produced file is text/html, not image/jpeg.')
  })

  it('name blanks, and JSON that does not parse', async () => {
    expect(await found(Buffer.from(' \n '), 'text/plain')).toMatch(/has no text in it/)
    expect(await found(Buffer.from('{"a": '), 'application/json')).toMatch(/not application\/json/)
  })
})
