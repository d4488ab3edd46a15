/**
 * The offline twin of an image model: draws what a prompt asks for as vectors and rasterises it.
 * It hides how words become a composition; the same request always gives the same bytes.
 */
import sharp from 'sharp'
import { type Chance, createChance, hashText } from './chance.ts'
import { brightness, difference, lit, mix, type Palette, palettes, shaded } from './colours.ts'
import { markPng } from './mark-png.ts'
import { BOX, oval, star } from './path.ts'
import { createPen, createSilhouettePen, type Look, type Pen } from './pen.ts'
import { readPrompt, type Wish } from './read-prompt.ts'
import type { Style } from './styles.ts'
import type { Subject } from './subjects/subject.ts'
import { wardrobe } from './wear.ts'

/** A picture to draw. Sides are 256 to 2048 pixels; any aspect. */
export interface PictureRequest {
  readonly prompt: string
  readonly widthPx: number
  readonly heightPx: number
  /**
   * `transparent` leaves real alpha around the subject. Otherwise the picture is opaque, and a prompt that speaks of
   * a transparent or plain background gets a flat, very light one that is easy to cut out.
   */
  readonly background?: 'transparent' | 'opaque' | 'auto'
  /** Another seed gives another picture of the same prompt. Default 0. */
  readonly seed?: number
}

const MIN_SIDE_PX = 256
const MAX_SIDE_PX = 2048

/** Washes are drawn up to this size and enlarged: they are soft anyway, and their grain takes seconds beyond it. */
const MAX_GRAIN_PX = 1280

/** Draws a picture and returns its PNG bytes. Throws a RangeError for sides outside 256 to 2048. */
export async function drawPicture(request: PictureRequest): Promise<Buffer> {
  const { widthPx, heightPx } = request
  for (const side of [widthPx, heightPx]) {
    if (!Number.isInteger(side) || side < MIN_SIDE_PX || side > MAX_SIDE_PX) {
      throw new RangeError(`a side must be a whole number of pixels from ${MIN_SIDE_PX} to ${MAX_SIDE_PX}, not ${side}`)
    }
  }
  const chance = createChance(`${request.prompt.trim()}\n${request.seed ?? 0}`)
  const wish = readPrompt(request.prompt, () => chance.next())
  const short = Math.min(widthPx, heightPx)
  const [w, h] = [(widthPx / short) * BOX, (heightPx / short) * BOX]
  const svg = composeSvg(wish, w, h, request.background === 'transparent', chance, hashText(request.prompt))
  if (wish.style.cells > 0) return markPng(await rasterisePixels(svg, widthPx, heightPx, wish.style.cells))
  const shrink = wish.style.fill === 'wash' ? Math.min(1, MAX_GRAIN_PX / Math.max(widthPx, heightPx)) : 1
  if (shrink < 1) {
    // In two steps, because sharp would otherwise rasterise the vectors at the final size.
    const [columns, rows] = [Math.round(widthPx * shrink), Math.round(heightPx * shrink)]
    const small = await sharp(Buffer.from(sized(svg, w, h, columns, rows)))
      .png({ compressionLevel: 1 })
      .toBuffer()
    return markPng(
      await sharp(small).resize(widthPx, heightPx, { fit: 'fill' }).png({ compressionLevel: 7 }).toBuffer(),
    )
  }
  const png = await sharp(Buffer.from(sized(svg, w, h, widthPx, heightPx)))
    .png({ compressionLevel: 7 })
    .toBuffer()
  return markPng(png)
}

const sized = (content: string, w: number, h: number, widthPx: number, heightPx: number): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="${widthPx}" height="${heightPx}" viewBox="0 0 ${w} ${h}" ` +
  `preserveAspectRatio="none">${content}</svg>`

/** Draws small and enlarges without smoothing, so that every cell is one square of one colour. */
async function rasterisePixels(svg: string, widthPx: number, heightPx: number, cells: number): Promise<Buffer> {
  const cellPx = Math.max(1, Math.round(Math.min(widthPx, heightPx) / cells))
  const [columns, rows] = [Math.ceil(widthPx / cellPx), Math.ceil(heightPx / cellPx)]
  const short = Math.min(widthPx, heightPx)
  const [w, h] = [(columns * cellPx * BOX) / short, (rows * cellPx * BOX) / short]
  const small = await sharp(Buffer.from(sized(svg, w, h, columns, rows)))
    .ensureAlpha()
    .raw()
    .toBuffer()
  for (let i = 0; i < small.length; i += 4) {
    const solid = (small[i + 3] ?? 0) > 110
    for (let c = 0; c < 3; c++) small[i + c] = solid ? Math.min(255, Math.round((small[i + c] ?? 0) / 17) * 17) : 0
    small[i + 3] = solid ? 255 : 0
  }
  const enlarged = await sharp(small, { raw: { width: columns, height: rows, channels: 4 } })
    .resize(columns * cellPx, rows * cellPx, { kernel: 'nearest' })
    .png()
    .toBuffer()
  return sharp(enlarged)
    .extract({ left: 0, top: 0, width: widthPx, height: heightPx })
    .png({ compressionLevel: 9 })
    .toBuffer()
}

/** One subject, ready to be placed. */
interface Figure {
  readonly subject: Subject
  readonly pen: Pen
  readonly chanceName: string
}

function composeSvg(wish: Wish, w: number, h: number, transparent: boolean, chance: Chance, hash: number): string {
  const { style } = wish
  const natural = wish.subjects[0]?.natural
  const main = wish.look.tint ?? (natural === undefined ? undefined : chance.pick(natural))
  const palette = choosePalette(main, chance)
  const free = main ?? chance.pick([palette.accent, palette.second])
  const look = dressed(wish.look, free, palette, chance)
  const ground = groundColour(wish, palette)
  const penFor = (index: number, colour: string, worn: Look): Pen =>
    createPen({
      style,
      look: worn,
      palette: apart(palette, colour),
      main: colour,
      ground,
      seed: (hash % 9973) + index,
      ids: `p${index}-`,
    })

  const naked: Look = { text: look.text, wears: new Map(), mood: look.mood }
  const figures = wish.subjects.map((subject, i): Figure => {
    const colour = i === 0 ? free : chance.pick(subject.natural ?? [palette.accent, palette.second])
    return { subject, pen: penFor(i, colour, i === 0 ? look : naked), chanceName: `${hash}-${i}` }
  })

  const layers: string[] = []
  const scenery = wish.scene !== undefined && !transparent
  const boxed = scenery && wish.isolated
  if (!transparent) layers.push(`<rect width="${w + 20}" height="${h + 20}" fill="${ground}"/>`)
  if (wish.scene !== undefined && (scenery ? !boxed || figures.length === 0 : figures.length === 0)) {
    const pen = createPen({
      style: { ...style, line: style.line * 0.5, border: 0 },
      look: naked,
      palette,
      main: free,
      ground,
      seed: hash % 9973,
      ids: 's-',
    })
    const place = wish.scene.draw(pen, w, h, createChance(`${hash}-scene`))
    const frame = oval(w / 2, h / 2, w * 0.44, h * 0.44)
    layers.push(
      boxed || transparent
        ? `<clipPath id="frame"><path d="${frame}"/></clipPath><g clip-path="url(#frame)">${place}</g>${pen.line(frame, 2)}`
        : place,
    )
  } else if (!transparent && !wish.isolated && style.fill !== 'paper') {
    layers.push(vignette(style, palette, wish.backdrop, w, h, figures[0]?.pen, chance))
  }
  layers.push(arrange(figures, w, h, style, !wish.isolated && !transparent, wish.scene !== undefined && scenery))
  return withTexture(layers.join(''), style, hash)
}

/** One of the four palettes whose accent stands out best from the subject's own colour. */
function choosePalette(main: string | undefined, chance: Chance): Palette {
  if (main === undefined) return chance.pick(palettes)
  const score = (palette: Palette): number =>
    Math.min(difference(palette.accent, main), difference(palette.calm, main) * 1.2)
  return chance.pick([...palettes].sort((a, b) => score(b) - score(a)).slice(0, 4))
}

/** The palette with its two free colours away from a subject's own, so that its parts can be told apart. */
function apart(palette: Palette, main: string): Palette {
  const [one, two] = [palette.accent, palette.second]
  if (difference(two, main) >= 110)
    return difference(one, main) >= 110 ? palette : { ...palette, accent: shaded(main, 0.35) }
  return { ...palette, second: difference(one, main) >= 110 ? mix(one, '#ffffff', 0.15) : lit(main, 0.5) }
}

/** Gives every worn thing a colour: the one asked for, its usual one, or the palette colour furthest from its wearer. */
function dressed(look: Look, main: string, palette: Palette, chance: Chance): Look {
  const options = [palette.accent, palette.second].filter((colour) => difference(colour, main) > 150)
  const usual = options.length > 0 ? chance.pick(options) : difference('#2f8f8a', main) > 150 ? '#2f8f8a' : '#dc5a48'
  const wears = new Map([...look.wears].map(([name, colour]) => [name, colour || (wardrobe[name]?.colour ?? usual)]))
  return { ...look, wears }
}

function groundColour(wish: Wish, palette: Palette): string {
  if (wish.backdrop !== undefined && brightness(wish.backdrop) > 0.94) return '#ffffff'
  if (wish.backdrop !== undefined) return lit(wish.backdrop, 0.45)
  if (wish.style.fill === 'paper') return '#ffffff'
  if (wish.style.fill === 'hatch') return '#f6f3ec'
  if (wish.style.border > 0) return palette.calm
  return palette.paper
}

/** The calm disc behind a subject and a few small ornaments around it. */
function vignette(
  style: Style,
  palette: Palette,
  backdrop: string | undefined,
  w: number,
  h: number,
  pen: Pen | undefined,
  chance: Chance,
): string {
  if (pen === undefined || style.fill === 'hatch' || style.border > 0) return ''
  const calm = backdrop === undefined ? palette.calm : lit(backdrop, 0.2)
  const [cx, cy] = [w / 2, h / 2]
  const disc = pen.patch(oval(cx, cy, 176), calm)
  const soft = mix(calm, palette.accent, 0.45)
  const start = chance.between(0, 40)
  const kind = chance.pick(['dots', 'sparkles', 'leaves'] as const)
  const ornaments = [200, 228, 318, 342, 150, 30].map((angle, i) => {
    const t = ((angle + start * 0.4) * Math.PI) / 180
    const [x, y] = [cx + Math.cos(t) * 178 * Math.min(w / BOX, 1.35), cy + Math.sin(t) * 176 * Math.min(h / BOX, 1.35)]
    const size = 7 + ((i * 5) % 9)
    if (kind === 'dots') return pen.patch(oval(x, y, size * 0.8), i % 2 === 0 ? soft : mix(calm, palette.second, 0.6))
    if (kind === 'sparkles')
      return pen.patch(star(x, y, 4, size * 1.7, size * 0.5, 2), i % 2 === 0 ? soft : mix(calm, palette.second, 0.6))
    return pen.patch(
      oval(x, y, size * 1.5, size * 0.6, angle + 40),
      i % 2 === 0 ? soft : mix(calm, palette.second, 0.55),
    )
  })
  return disc + ornaments.join('')
}

/** Places the figures: one in the middle, companions smaller at its sides. */
function arrange(
  figures: readonly Figure[],
  w: number,
  h: number,
  style: Style,
  open: boolean,
  inScene: boolean,
): string {
  const size = style.border > 0 ? 0.76 : inScene ? 0.66 : 0.84
  const wide = w > h * 1.25
  const places: readonly (readonly [x: number, scale: number])[] =
    figures.length <= 1
      ? [[0, size]]
      : figures.length === 2
        ? wide
          ? [
              [-0.17 * w, size * 0.9],
              [0.19 * w, size * 0.72],
            ]
          : [
              [-78, size * 0.7],
              [106, size * 0.5],
            ]
        : wide
          ? [
              [0, size * 0.9],
              [0.29 * w, size * 0.64],
              [-0.29 * w, size * 0.64],
            ]
          : [
              [0, size * 0.56],
              [134, size * 0.36],
              [-134, size * 0.36],
            ]
  const floor = inScene ? h - 14 : h / 2 + 200 * (places[0]?.[1] ?? size) * 0.86
  return figures
    .map((figure, i) => {
      const [x, share] = places[i] ?? [0, 0.4]
      const bust = figure.subject.bust === true && open && figures.length === 1
      const hatted = [...figure.pen.look.wears.keys()].some((name) => wardrobe[name]?.place === 'head')
      const scale = bust ? (hatted ? 0.84 : 0.95) : share * (hatted ? 0.84 : 1)
      const centre = figure.subject.centre ?? 200
      const left = w / 2 + x - centre * scale
      const onFloor = floor - 372 * scale - (figure.subject.floats ? h * 0.08 : 0)
      const centred = h / 2 - (hatted ? 176 : 204) * scale
      const top = bust ? h - 386 * scale : inScene || figures.length > 1 ? onFloor : centred
      const drawing = figure.subject.draw(figure.pen, createChance(figure.chanceName))
      const parts: string[] = []
      if (open && !figure.subject.floats && style.fill !== 'paper' && style.border === 0) {
        const footing = figure.subject.footing ?? 110
        parts.push(`<ellipse cx="${centre}" cy="372" rx="${footing + 22}" ry="17" fill="#2a1c3e" opacity="0.15"/>`)
      }
      if (style.border > 0) {
        const outline = (colour: string): string =>
          figure.subject.draw(createSilhouettePen(figure.pen, colour, style.border), createChance(figure.chanceName))
        if (open) {
          parts.push(
            `<filter id="soft${i}" x="-20%" y="-20%" width="140%" height="140%"><feGaussianBlur stdDeviation="7"/></filter>`,
            `<g filter="url(#soft${i})" opacity="0.3" transform="translate(5 10)">${outline('#2a1c3e')}</g>`,
          )
        }
        parts.push(outline('#ffffff'))
      }
      return `<g transform="translate(${left.toFixed(2)} ${top.toFixed(2)}) scale(${scale.toFixed(4)})">${parts.join('')}${drawing}</g>`
    })
    .join('')
}

/** The grain of the paper, for washes: pigment lies unevenly, so alpha and colour vary softly. */
function withTexture(content: string, style: Style, hash: number): string {
  if (style.fill !== 'wash') return content
  return (
    `<filter id="grain" x="0" y="0" width="100%" height="100%" color-interpolation-filters="sRGB">` +
    `<feTurbulence type="fractalNoise" baseFrequency="0.011" numOctaves="4" seed="${hash % 997}" result="noise"/>` +
    `<feColorMatrix in="noise" type="matrix" values="0 0 0 0 1  0 0 0 0 1  0 0 0 0 1  1.5 0 0 0 -0.52" result="bloom"/>` +
    `<feComposite in="bloom" in2="SourceAlpha" operator="in" result="light"/>` +
    `<feBlend in="light" in2="SourceGraphic" mode="soft-light"/></filter><g filter="url(#grain)">${content}</g>`
  )
}
