import sharp, { type Sharp } from 'sharp'
import { beforeEach, describe, expect, it } from 'vitest'
import { imageConvert } from './image-convert.ts'
import { aGradient, anAnimatedPng, anAnimation, aPlane, pixelAt } from '../testing/pictures.ts'
import { createToolBench } from '../testing/tool-bench.ts'
import { aTone } from '../testing/tone.ts'

let bench: ReturnType<typeof createToolBench>
beforeEach(() => {
  bench = createToolBench()
})

/** The bytes of a picture converted. */
async function convert(picture: Sharp | Buffer, args: object): Promise<Uint8Array> {
  const bytes = Buffer.isBuffer(picture) ? picture : await picture.toBuffer()
  const { artifact } = await bench.run(imageConvert, { image: await bench.put(bytes, ''), ...args })
  return bench.fileOf(artifact).bytes
}

function messagesOf(args: object): string[] {
  return imageConvert.args.safeParse({ image: {}, ...args }).error?.issues.map(({ message }) => message) ?? []
}

describe('image.convert', () => {
  it.each(['png', 'jpeg', 'webp', 'avif', 'gif'])('turns a picture as it is seen: %s', async (format) => {
    const upright = aGradient(80, 40)
      .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
      .withMetadata({ orientation: 6 })
    const converted = await convert(upright, { format })
    expect(await sharp(converted).metadata()).toMatchObject({ width: 40, height: 80 })
    expect((await sharp(converted).metadata()).orientation ?? 1).toBe(1)
    // What was at the left is at the top: red grows downwards now.
    const [topRed = 0] = await pixelAt(await sharp(converted).png().toBuffer(), 20, 2)
    const [bottomRed = 0] = await pixelAt(await sharp(converted).png().toBuffer(), 20, 77)
    expect(bottomRed - topRed).toBeGreaterThan(50)
  })

  it('measures the sides that are asked for on the picture as it is seen', async () => {
    const upright = aGradient(80, 40).jpeg().withMetadata({ orientation: 8 })
    expect(await sharp(await convert(upright, { format: 'png', widthPx: 20 })).metadata()).toMatchObject({
      width: 20,
      height: 40,
    })
  })

  it('keeps every colour in a PNG, unless a palette is asked for', async () => {
    const source = aGradient(256, 256).png()
    const full = await convert(source, { format: 'png', quality: 100, lossless: true })
    expect(await pixelAt(full, 200, 100)).toEqual([200, 100, 128])
    expect((await sharp(full).metadata()).isPalette).toBe(false)
    const small = await convert(source, { format: 'png', palette: true })
    expect(await sharp(small).metadata()).toMatchObject({ isPalette: true })
    expect(small.byteLength).toBeLessThan(full.byteLength)
    // A palette that comes in does not go out.
    expect(await sharp(await convert(Buffer.from(small), { format: 'png' })).metadata()).toMatchObject({
      isPalette: false,
    })
  })

  it('gives JPEG a background, white unless another is named, also where the picture is padded', async () => {
    const half = aPlane({ r: 255, g: 0, b: 0, alpha: 0.5 }).png()
    const near = (wanted: number[]) => wanted.map((value) => expect.closeTo(value, -1))
    expect(await pixelAt(await convert(half, { format: 'jpeg' }), 5, 5)).toEqual(near([255, 128, 128]))
    const green = { format: 'jpeg', background: '#00ff00', widthPx: 60, heightPx: 60, fit: 'contain' }
    const padded = await convert(half, green)
    expect(await pixelAt(padded, 30, 2)).toEqual(near([0, 255, 0]))
    expect(await pixelAt(padded, 30, 30)).toEqual(near([128, 128, 0]))
    expect((await sharp(await convert(half, { format: 'webp' })).metadata()).hasAlpha).toBe(true)
  })

  it.each(['png', 'webp', 'jpeg'])('brings the colours of a profile to sRGB: %s', async (format) => {
    const wide = await aPlane({ r: 200, g: 30, b: 30 }).withIccProfile('p3').png().toBuffer()
    // In Display P3 other numbers mean the same red.
    const [written = 200] = await sharp(wide, { ignoreIcc: true }).raw().toBuffer()
    expect(written).toBeLessThan(190)
    const converted = await convert(wide, { format, quality: 100 })
    expect((await sharp(converted).metadata()).hasProfile).toBe(false)
    const [r = 0, g = 0, b = 0] = await pixelAt(converted, 5, 5)
    expect([r, g, b]).toEqual([200, 30, 30].map((value) => expect.closeTo(value, -1)))
  })

  it.each(['png', 'webp', 'jpeg', 'avif', 'gif'])('brings CMYK to sRGB: %s', async (format) => {
    const cmyk = await aPlane({ r: 230, g: 230, b: 30 }).toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer()
    expect(await sharp(cmyk).metadata()).toMatchObject({ space: 'cmyk' })
    const converted = await sharp(await convert(cmyk, { format })).toBuffer()
    expect(await sharp(converted).metadata()).toMatchObject({ space: 'srgb' })
    const [r = 0, , b = 255] = await pixelAt(converted, 5, 5)
    expect(r).toBeGreaterThan(190)
    expect(b).toBeLessThan(90)
  })

  it('keeps 16 bits in a PNG, in colour and in grey, and makes 8 of them elsewhere', async () => {
    for (const [channels, space] of [
      [3, 'rgb16'],
      [1, 'grey16'],
    ] as const) {
      const samples = Uint16Array.from({ length: 64 * 64 * channels }, (_, index) => index * 5)
      const deep = sharp(samples, { raw: { width: 64, height: 64, channels } })
        .toColourspace(space)
        .png()
      const raw = (bytes: Uint8Array) => sharp(bytes).toColourspace(space).raw({ depth: 'ushort' }).toBuffer()
      const png = await convert(deep, { format: 'png' })
      expect((await raw(png)).equals(await raw(await deep.toBuffer()))).toBe(true)
      for (const format of ['webp', 'jpeg', 'avif', 'gif'])
        expect(await sharp(await convert(deep, { format })).metadata(), format).toMatchObject({ depth: 'uchar' })
      expect(await sharp(await convert(deep, { format: 'png', palette: true })).metadata()).toMatchObject({
        depth: 'uchar',
      })
    }
  })

  it.each(['png', 'webp'])('brings the colours of a profile to sRGB in 16 bits as well: %s', async (format) => {
    const samples = Uint16Array.from({ length: 8 * 8 * 3 }, (_, index) => (index % 3 === 0 ? 50_000 : 10_000))
    const red = async (bytes: Uint8Array, ignoreIcc: boolean) => {
      const raw = sharp(bytes, { ignoreIcc }).toColourspace('rgb16').raw({ depth: 'ushort' })
      return (await raw.toBuffer()).readUInt16LE(0)
    }
    for (const [profile, more] of [
      ['srgb', 0],
      ['p3', 4_000],
    ] as const) {
      const deep = sharp(samples, { raw: { width: 8, height: 8, channels: 3 } }).toColourspace('rgb16')
      const source = await deep.withIccProfile(profile).png().toBuffer()
      expect(await sharp(source).metadata()).toMatchObject({ depth: 'ushort', hasProfile: true })
      const converted = await convert(source, { format, lossless: true })
      expect((await sharp(converted).metadata()).hasProfile).toBe(false)
      const wanted = (await red(source, true)) + more
      expect(Math.abs((await red(converted, true)) - wanted), profile).toBeLessThan(1_000)
    }
  })

  it.each([
    ['gif', 'webp'],
    ['webp', 'gif'],
    ['gif', 'gif'],
    ['webp', 'webp'],
  ] as const)('keeps the frames of an animation, their times and repeats: %s to %s', async (from, to) => {
    const converted = await convert(await anAnimation(from), { format: to, widthPx: 20, heightPx: 20, fit: 'contain' })
    expect(await sharp(converted).metadata()).toMatchObject({
      format: to,
      width: 20,
      height: 20,
      pages: 3,
      delay: [100, 200, 300],
      loop: 2,
    })
  })

  it('refuses an animation where it would stand still, and says what to do', async () => {
    for (const format of ['png', 'jpeg', 'avif'])
      await expect(convert(await anAnimation('webp'), { format })).rejects.toThrow(
        `"args.image" is an animation of 3 frames, and ${format} holds one: convert it to webp or gif.`,
      )
    for (const format of ['png', 'webp', 'gif'])
      await expect(convert(await anAnimatedPng(), { format })).rejects.toThrow(
        'is an animation of which only one frame can be read: have it made as webp or gif.',
      )
  })

  it('says what it was given instead of a picture', async () => {
    await expect(convert(aTone(1), { format: 'png' })).rejects.toThrow(
      '"args.image" is audio/wav, and must be a picture.',
    )
  })

  it('writes the density, and nothing that the source says of its maker', async () => {
    const source = aGradient(40, 30)
      .jpeg()
      .withExif({ IFD0: { Copyright: 'somebody' } })
    for (const format of ['png', 'jpeg']) {
      const converted = await convert(source, { format, dpi: 300 })
      expect((await sharp(converted).metadata()).density).toBe(300)
      expect(Buffer.from(converted).includes('somebody')).toBe(false)
    }
  })

  it('takes no option that a format does not have', () => {
    const remedy = 'must be left out: a PNG loses nothing, and is made smaller by "palette: true"'
    expect(messagesOf({ format: 'png', quality: 80 })).toEqual([remedy])
    expect(messagesOf({ format: 'png', lossless: false })).toEqual([remedy])
    for (const args of [
      { format: 'webp', palette: true },
      { format: 'avif', background: '#ffffff' },
      { format: 'jpeg', lossless: true },
      { format: 'gif', quality: 80 },
      { format: 'gif', dpi: 300 },
    ])
      expect(messagesOf(args), JSON.stringify(args)).toEqual([expect.stringContaining('Unrecognized key')])
    expect(messagesOf({ format: 'bmp' })).toHaveLength(1)
    expect(messagesOf({ format: 'jpeg', background: 'white' })).toEqual(['must be a colour such as #ffffff'])
    expect(messagesOf({ format: 'png', palette: true, dpi: 300, widthPx: 10 })).toEqual([])
  })
})
