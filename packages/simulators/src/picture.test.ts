import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { MAKER } from './mark.ts'
import { drawPicture, type PictureRequest } from './picture.ts'

const fox: PictureRequest = { prompt: 'A fox wearing a scarf, flat', widthPx: 256, heightPx: 256 }

async function pixels(png: Buffer) {
  const { data, info } = await sharp(png).ensureAlpha().raw().toBuffer({ resolveWithObject: true })
  const at = (x: number, y: number): number[] => [
    ...data.subarray((y * info.width + x) * 4, (y * info.width + x) * 4 + 4),
  ]
  return { ...info, data, at }
}

/** The part of a picture where the badge is, as the share of dark and of light pixels in it. */
async function badgeIn(png: Buffer) {
  const { data, width, height } = await pixels(png)
  let [dark, light] = [0, 0]
  for (let y = Math.round(height * 0.905); y < height * 0.935; y++) {
    for (let x = Math.round(width * 0.8); x < width * 0.93; x++) {
      const [r = 0, , , alpha = 0] = data.subarray((y * width + x) * 4, (y * width + x) * 4 + 4)
      if (alpha === 255 && r < 80) dark++
      if (alpha === 255 && r > 230) light++
    }
  }
  return { dark, light }
}

const STYLES = [
  'flat',
  'line art',
  'pixel art',
  'sticker',
  'watercolor',
  'linocut',
  'pencil',
  'doodle',
  'cartoon',
  'kawaii',
  'photograph',
]

describe('drawPicture', () => {
  it('gives the same bytes for the same request, and another picture in every style', async () => {
    const drawn = new Set<string>()
    for (const style of STYLES) {
      const request = { ...fox, prompt: `a fox wearing a scarf, ${style}` }
      const [one, other] = await Promise.all([drawPicture(request), drawPicture(request)])
      expect(one.equals(other), style).toBe(true)
      drawn.add(one.toString('base64'))
    }
    expect(drawn.size).toBe(STYLES.length)
  })

  it('gives exactly the size asked for, in any aspect, and says in the file who made it', async () => {
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

  it('bears a badge that can be read, on scenes, cards, clear grounds and pages to colour in', async () => {
    const requests: Partial<PictureRequest>[] = [
      {},
      { prompt: 'a lighthouse' },
      { background: 'transparent' },
      { prompt: 'a fox, coloring page' },
      { prompt: 'a fox, pixel art' },
    ]
    for (const request of requests) {
      const { dark, light } = await badgeIn(await drawPicture({ ...fox, widthPx: 800, heightPx: 800, ...request }))
      expect(dark, JSON.stringify(request)).toBeGreaterThan(200)
      expect(light, JSON.stringify(request)).toBeGreaterThan(200)
    }
  })

  it('refuses sizes it cannot draw', async () => {
    await expect(drawPicture({ ...fox, widthPx: 255 })).rejects.toThrow(RangeError)
    await expect(drawPicture({ ...fox, heightPx: 2049 })).rejects.toThrow(RangeError)
    await expect(drawPicture({ ...fox, heightPx: 300.5 })).rejects.toThrow(RangeError)
  })

  it('draws different pictures for different subjects, seeds and unknown words, cut out or in a scene', async () => {
    const subjects = ['lighthouse', 'typewriter', 'croissant', 'rocket', 'wireless speaker', 'sailboat', 'gratitude']
    for (const ending of ['', ', clip art, transparent background']) {
      const prompts = subjects.map((subject) => `a ${subject}${ending}`)
      const drawn = await Promise.all(prompts.map((prompt) => drawPicture({ ...fox, prompt })))
      for (const seed of [1, 2]) drawn.push(await drawPicture({ ...fox, prompt: `a rocket${ending}`, seed }))
      expect(new Set(drawn.map((png) => png.toString('base64'))).size).toBe(drawn.length)
    }
  })

  it('leaves real alpha around the subject when a transparent background is asked for in the parameters', async () => {
    for (const prompt of [
      'a fox wearing a scarf',
      'an owl, watercolor',
      'a robot sticker',
      'a cat, pixel art',
      'gratitude',
    ]) {
      const picture = await pixels(
        await drawPicture({ prompt, widthPx: 320, heightPx: 320, background: 'transparent' }),
      )
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
    const prompt = 'a fox, flat style, clip art, transparent background'
    const picture = await pixels(await drawPicture({ ...fox, prompt }))
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

  it('draws a colouring page in black lines on white only', async () => {
    const { data } = await pixels(
      await drawPicture({ ...fox, prompt: 'a dinosaur, coloring page', widthPx: 800, heightPx: 1200 }),
    )
    let [coloured, dark] = [0, 0]
    for (let i = 0; i < data.length; i += 4) {
      const [r = 0, g = 0, b = 0] = [data[i], data[i + 1], data[i + 2]]
      if (Math.max(r, g, b) - Math.min(r, g, b) > 12) coloured++
      if (r < 128) dark++
    }
    expect(coloured).toBe(0)
    expect(dark / (800 * 1200)).toBeLessThan(0.06)
  })

  it('survives any text as a prompt', async () => {
    const hostile = [
      '',
      '   ',
      '<svg onload="x">&amp;"\'',
      '狐 🦊',
      'constructor __proto__ toString',
      'a'.repeat(50_000),
    ]
    for (const prompt of hostile) {
      const { width } = await sharp(await drawPicture({ ...fox, prompt })).metadata()
      expect(width).toBe(256)
    }
  })
})
