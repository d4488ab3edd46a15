import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { drawPicture, type PictureRequest } from './draw-picture.ts'
import { MAKER } from './mark-png.ts'
import { styles } from './styles.ts'
import { subjects } from './subjects/index.ts'

const fox: PictureRequest = { prompt: 'A fox wearing a scarf, flat style', widthPx: 256, heightPx: 256 }

async function pixels(png: Buffer) {
  const { data, info } = await sharp(png).ensureAlpha().raw().toBuffer({ resolveWithObject: true })
  const at = (x: number, y: number): number[] => [
    ...data.subarray((y * info.width + x) * 4, (y * info.width + x) * 4 + 4),
  ]
  let clear = 0
  for (let i = 3; i < data.length; i += 4) if (data[i] === 0) clear++
  return { ...info, data, at, clearShare: clear / (info.width * info.height) }
}

/** The number of different colours on a coarse grid: noise and empty pictures fall outside what drawings have. */
async function colourCount(png: Buffer): Promise<number> {
  const { data } = await pixels(png)
  const seen = new Set<number>()
  for (let i = 0; i < data.length; i += 4) {
    seen.add((((data[i] ?? 0) >> 5) << 6) | (((data[i + 1] ?? 0) >> 5) << 3) | ((data[i + 2] ?? 0) >> 5))
  }
  return seen.size
}

describe('drawPicture', () => {
  it('gives the same bytes for the same request, in every style', async () => {
    for (const style of styles) {
      const request = { ...fox, prompt: `a fox wearing a scarf, ${style.words[0]}` }
      const [one, other] = await Promise.all([drawPicture(request), drawPicture(request)])
      expect(one.equals(other), style.name).toBe(true)
    }
  })

  it('gives exactly the size asked for, in any aspect, and says who made it', async () => {
    for (const [widthPx, heightPx] of [
      [256, 256],
      [1024, 768],
      [257, 613],
      [2048, 256],
      [768, 1024],
    ] as const) {
      for (const style of ['flat', 'pixel art']) {
        const png = await drawPicture({ prompt: `an owl, ${style}`, widthPx, heightPx })
        const { width, height, format } = await sharp(png).metadata()
        expect({ width, height, format }).toEqual({ width: widthPx, height: heightPx, format: 'png' })
        expect(png.includes(`tEXtSoftware\0${MAKER}`)).toBe(true)
      }
    }
  })

  it('refuses sizes it cannot draw', async () => {
    await expect(drawPicture({ ...fox, widthPx: 255 })).rejects.toThrow(RangeError)
    await expect(drawPicture({ ...fox, heightPx: 2049 })).rejects.toThrow(RangeError)
    await expect(drawPicture({ ...fox, heightPx: 300.5 })).rejects.toThrow(RangeError)
  })

  it('draws different pictures for different prompts, styles and seeds', async () => {
    const prompts = [
      'a fox',
      'a vixen',
      'an owl',
      'a fox, doodle',
      'a fox, watercolor',
      'a blue fox',
      'a sleeping fox',
      'a fox with a hat',
      'quarterly revenue',
      'gratitude',
    ]
    const drawn = await Promise.all(prompts.map((prompt) => drawPicture({ prompt, widthPx: 256, heightPx: 256 })))
    drawn.push(await drawPicture({ ...fox, seed: 1 }), await drawPicture({ ...fox, seed: 2 }))
    expect(new Set(drawn.map((png) => png.toString('base64'))).size).toBe(drawn.length)
  })

  it('draws every subject as a picture of several colours, without throwing', async () => {
    for (const subject of subjects) {
      const png = await drawPicture({ prompt: `a ${subject.words[0]}`, widthPx: 256, heightPx: 256 })
      expect(await colourCount(png), subject.name).toBeGreaterThan(5)
    }
  })

  it('leaves real alpha around the subject when a transparent background is asked for in the parameters', async () => {
    for (const prompt of [
      'a fox wearing a scarf',
      'an owl, watercolor',
      'a robot sticker',
      'a cat, pixel art',
      'a city skyline',
    ]) {
      const picture = await pixels(
        await drawPicture({ prompt, widthPx: 320, heightPx: 320, background: 'transparent' }),
      )
      expect(picture.clearShare, prompt).toBeGreaterThan(0.2)
      for (const [x, y] of [
        [0, 0],
        [319, 0],
        [0, 319],
        [319, 319],
      ] as const)
        expect(picture.at(x, y)[3], prompt).toBe(0)
      expect(picture.at(160, 160)[3], prompt).toBe(255)
    }
  })

  it('draws words about transparency on one flat, very light colour instead', async () => {
    const picture = await pixels(
      await drawPicture({ ...fox, prompt: 'a fox, flat style, clip art, transparent background' }),
    )
    const corner = picture.at(0, 0)
    expect(Math.min(...corner)).toBeGreaterThan(220)
    for (const [x, y] of [
      [255, 0],
      [0, 255],
      [255, 255],
      [128, 3],
      [3, 128],
    ] as const)
      expect(picture.at(x, y)).toEqual(corner)
  })

  it('takes the subject, its colour and the background colour from the words', async () => {
    const dominant = async (prompt: string): Promise<number[]> =>
      (await pixels(await drawPicture({ prompt, widthPx: 256, heightPx: 256 }))).at(128, 175)
    const [red = 0, , blue = 0] = await dominant('a red heart, clip art, transparent background')
    expect(red).toBeGreaterThan(blue + 60)
    const [red2 = 0, , blue2 = 0] = await dominant('a blue heart, clip art, transparent background')
    expect(blue2).toBeGreaterThan(red2 + 60)
  })

  it('draws a colouring page in black on white only', async () => {
    const { data } = await pixels(
      await drawPicture({ prompt: 'a dinosaur, coloring page', widthPx: 256, heightPx: 256 }),
    )
    let coloured = 0
    for (let i = 0; i < data.length; i += 4) {
      const [r = 0, g = 0, b = 0] = [data[i], data[i + 1], data[i + 2]]
      if (Math.max(r, g, b) - Math.min(r, g, b) > 12) coloured++
    }
    expect(coloured).toBe(0)
  })

  it('survives any text as a prompt', async () => {
    for (const prompt of [
      '',
      '   ',
      '<svg onload="x">&amp;"\'',
      '狐 🦊',
      'constructor __proto__ toString',
      'a'.repeat(50_000),
    ]) {
      const { width } = await sharp(await drawPicture({ ...fox, prompt })).metadata()
      expect(width).toBe(256)
    }
  })
})
