import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { cutOut } from './cut-out.ts'
import { drawPicture } from './picture.ts'

async function alphaOf(png: Buffer) {
  const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true })
  expect(info.channels).toBe(4)
  const at = (x: number, y: number): number[] => [
    ...data.subarray((y * info.width + x) * 4, (y * info.width + x) * 4 + 4),
  ]
  const share = (test: (alpha: number) => boolean): number => {
    let count = 0
    for (let i = 3; i < data.length; i += 4) if (test(data[i] ?? 0)) count++
    return count / (info.width * info.height)
  }
  return { ...info, data, at, share }
}

const disc = (background: string, fill = '#c03050', size = 200): Promise<Buffer> =>
  sharp(
    Buffer.from(
      `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}">` +
        `<rect width="${size}" height="${size}" fill="${background}"/><circle cx="100" cy="100" r="60" fill="${fill}"/></svg>`,
    ),
  )
    .png()
    .toBuffer()

describe('cutOut', () => {
  it('removes the backdrop of a drawn picture: corners clear, subject opaque, edge soft', async () => {
    for (const style of [
      'flat',
      'doodle',
      'watercolor',
      'cartoon',
      'kawaii',
      'sticker',
      'realistic',
      'pixel art',
      'pencil',
    ]) {
      const picture = await drawPicture({
        prompt: `a fox wearing a scarf, ${style}, transparent background`,
        widthPx: 400,
        heightPx: 300,
      })
      const cut = await alphaOf(await cutOut(picture))
      expect({ width: cut.width, height: cut.height }).toEqual({ width: 400, height: 300 })
      expect(
        cut.share((alpha) => alpha === 0),
        style,
      ).toBeGreaterThan(0.45)
      expect(
        cut.share((alpha) => alpha === 255),
        style,
      ).toBeGreaterThan(0.12)
      for (const [x, y] of [
        [0, 0],
        [399, 0],
        [0, 299],
        [399, 299],
      ] as const)
        expect(cut.at(x, y), style).toEqual([0, 0, 0, 0])
      expect(cut.at(190, 150)[3], style).toBe(255)
    }
  })

  it('leaves no halo: every edge pixel has the colour of the subject, not of the backdrop', async () => {
    const cut = await alphaOf(await cutOut(await disc('#f4f1ea')))
    let soft = 0
    // Below the disc stands the badge.
    for (let i = 0; i < 165 * 200 * 4; i += 4) {
      const alpha = cut.data[i + 3] ?? 0
      if (alpha === 0) continue
      if (alpha < 255) soft++
      expect(Math.abs((cut.data[i] ?? 0) - 0xc0)).toBeLessThan(10)
      expect(Math.abs((cut.data[i + 1] ?? 0) - 0x30)).toBeLessThan(10)
    }
    expect(soft).toBeGreaterThan(100)
    expect(cut.share((alpha) => alpha > 127)).toBeCloseTo((Math.PI * 60 * 60) / (200 * 200), 1)
  })

  it('keeps what is enclosed by the subject, even in the colour of the backdrop', async () => {
    const ring = await sharp(
      Buffer.from(
        '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"><rect width="100" height="100" fill="#fff"/><circle cx="50" cy="50" r="30" fill="#fff" stroke="#111" stroke-width="4"/></svg>',
      ),
    )
      .png()
      .toBuffer()
    expect((await alphaOf(await cutOut(ring))).at(50, 50)).toEqual([255, 255, 255, 255])
  })

  it('removes the backdrop of a JPEG', async () => {
    const jpeg = await sharp(await disc('#f4f1ea'))
      .jpeg({ quality: 70 })
      .toBuffer()
    expect((await alphaOf(await cutOut(jpeg))).share((alpha) => alpha === 0)).toBeGreaterThan(0.66)
  })

  it('keeps the alpha of an image that is cut out already', async () => {
    const picture = await drawPicture({ prompt: 'a fox', widthPx: 256, heightPx: 256, background: 'transparent' })
    const before = await sharp(picture).ensureAlpha().raw().toBuffer()
    const after = await sharp(await cutOut(picture))
      .raw()
      .toBuffer()
    expect(after.equals(before)).toBe(true)
  })

  it('gives the same bytes for the same bytes', async () => {
    const picture = await disc('#f4f1ea')
    expect((await cutOut(picture)).equals(await cutOut(picture))).toBe(true)
  })

  it('rejects what is no image and what is too large', async () => {
    await expect(cutOut(Buffer.from('not an image'))).rejects.toThrow()
    const huge = await sharp({ create: { width: 8000, height: 6400, channels: 3, background: '#fff' } })
      .png()
      .toBuffer()
    await expect(cutOut(huge)).rejects.toThrow(/pixel limit/)
  })
})
