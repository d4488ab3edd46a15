/**
 * The offline twin of an image model: composes what a prompt asks for of icons, or sets it in type on a card.
 * It hides the arrangement; the same request always gives the same bytes.
 */
import sharp, { type Sharp } from 'sharp'
import { type Chance, createChance } from './chance.ts'
import { ICON_SIDE, iconBody, iconsOf } from './icons.ts'
import { setText } from './lettering.ts'
import { markPng, markSvg, svgOf } from './mark.ts'
import { type Style, styleOf } from './styles.ts'
import { subjectsOf } from './subjects.ts'

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

/** The shorter side of a picture in its own units; filters and places are made for it. */
const SHORT = 400

interface Palette {
  readonly paper: string
  readonly calm: string
  readonly ground: string
  readonly accent: string
}

const PALETTES: readonly Palette[] = [
  { paper: '#eaf3f8', calm: '#cfe3ee', ground: '#a9cbb4', accent: '#2f6f8f' },
  { paper: '#fdf1e3', calm: '#fadcbd', ground: '#e9b98a', accent: '#b4532a' },
  { paper: '#f1edfa', calm: '#dcd2f1', ground: '#bba8de', accent: '#5a41a0' },
  { paper: '#eef6ea', calm: '#d3e8c8', ground: '#a5cb93', accent: '#3b7a44' },
  { paper: '#fdecef', calm: '#f8d0d8', ground: '#e6a3b2', accent: '#a83656' },
  { paper: '#f7f3ea', calm: '#e8dfc9', ground: '#cbbb93', accent: '#6a5a2c' },
]

/** Where something is: its middle and its side, in the picture's units. */
interface Place {
  readonly x: number
  readonly y: number
  readonly side: number
}

/** What is worn: where it lies on a face, in shares of the face's side. */
const WORN: Readonly<Record<string, Place>> = {
  scarf: { x: 0.01, y: 0.49, side: 0.5 },
  'top-hat': { x: 0, y: -0.52, side: 0.5 },
  'billed-cap': { x: 0.04, y: -0.46, side: 0.5 },
  'womans-hat': { x: 0, y: -0.46, side: 0.56 },
  'graduation-cap': { x: 0, y: -0.46, side: 0.56 },
  crown: { x: 0, y: -0.5, side: 0.44 },
  glasses: { x: 0, y: 0.06, side: 0.56 },
  sunglasses: { x: 0, y: 0.06, side: 0.56 },
  necktie: { x: 0, y: 0.58, side: 0.42 },
}

/** Icons that show a face from the front; others have one by the name `<icon>-face`. */
const FACES = new Set('fox bear panda koala lion wolf frog raccoon hamster polar-bear robot'.split(' '))

/** What hangs above rather than stands beside. */
const ALOFT =
  /\b(?:sun|moon|cloud|star|rainbow|balloon|kite|bird|airplane|planet|comet|snowflake|voltage|butterfly|honeybee)\b/

/** Draws a picture and returns its PNG bytes. Throws a RangeError for sides outside 256 to 2048. */
export async function drawPicture(request: PictureRequest): Promise<Buffer> {
  const { prompt, widthPx, heightPx, background = 'auto', seed = 0 } = request
  for (const side of [widthPx, heightPx]) {
    if (!Number.isInteger(side) || side < MIN_SIDE_PX || side > MAX_SIDE_PX) {
      throw new RangeError(`a side must be a whole number of pixels from ${MIN_SIDE_PX} to ${MAX_SIDE_PX}, not ${side}`)
    }
  }
  const short = Math.min(widthPx, heightPx)
  const [w, h] = [(widthPx / short) * SHORT, (heightPx / short) * SHORT]
  const style = styleOf(prompt)
  const chance = createChance(`${prompt.trim()}\n${seed}`)
  const scene = await compose(prompt, style, w, h, background === 'transparent', chance)
  const mark = await markSvg(w, h, style.isLine ? 'line' : 'badge')
  const sized = (content: string, columns: number, rows: number) =>
    svgOf(columns, rows, content, ` viewBox="0 0 ${w} ${h}" preserveAspectRatio="none"`)
  const finished = async (picture: Sharp) => markPng(await picture.png({ compressionLevel: 7 }).toBuffer())
  if (style.cells === undefined) return await finished(sharp(sized(scene + mark, widthPx, heightPx)))
  const cell = short / style.cells
  const small = sharp(sized(scene, Math.round(widthPx / cell), Math.round(heightPx / cell)))
  const squares = sharp(await small.png().toBuffer()).resize(widthPx, heightPx, { fit: 'fill', kernel: 'nearest' })
  return await finished(sharp(await squares.png().toBuffer()).composite([{ input: sized(mark, widthPx, heightPx) }]))
}

async function compose(prompt: string, style: Style, w: number, h: number, isClear: boolean, chance: Chance) {
  const palette = chance.pick(PALETTES)
  const { icons, label } = subjectsOf(prompt)
  const isAlone =
    isClear || /transparent|isolated|cut[ -]?out|clip[ -]?art|(?:plain|white) background|sticker/i.test(prompt)
  // The white border of a sticker would be lost on white.
  const alone = style.name === 'sticker' ? palette.calm : '#fbfaf7'
  const paper = style.isLine ? '#ffffff' : isAlone ? alone : palette.paper
  const backdrop = isClear ? '' : `<rect width="${w}" height="${h}" fill="${paper}"/>`
  const around = style.isLine ? ground(w, h, chance) : setting(w, h, palette, chance)
  const figures =
    label === null ? placed(icons, style, w, h, isAlone, chance) : await card(label, icons, style, palette, w, h)
  const filters =
    `<filter id="style" x="-25%" y="-25%" width="150%" height="150%" color-interpolation-filters="sRGB">${style.filter ?? ''}</filter>` +
    `<filter id="over" x="0" y="0" width="100%" height="100%" color-interpolation-filters="sRGB">${style.over ?? ''}</filter>`
  const picture = backdrop + (isAlone ? '' : around) + figures
  return `<defs>${filters}</defs>${style.over === undefined ? picture : `<g filter="url(#over)">${picture}</g>`}`
}

/** The icons in their places; each in a group of its own, so that the style's filter takes it whole. */
function placed(
  icons: readonly string[],
  style: Style,
  w: number,
  h: number,
  isCentred: boolean,
  chance: Chance,
): string {
  const [named = '', ...others] = icons
  const face = others.some((icon) => icon in WORN) && iconBody(`${named}-face`) !== null ? `${named}-face` : named
  const hasFace = FACES.has(face) || face.endsWith('-face') || iconsOf('People & Body').includes(face)
  const worn = hasFace ? others.filter((icon) => icon in WORN) : []
  const beside = others.filter((icon) => !worn.includes(icon))
  const isScarfed = worn.some((icon) => (WORN[icon]?.y ?? 0) > 0.4)
  const isUpright = h > w * 1.2 && !isCentred
  const room = Math.min(w, h * 1.25, SHORT * 1.25)
  // One alone fills most of the picture, two are a pair, three stand in a row; an upright picture has room below.
  const side = room * (isUpright ? 0.64 : ([isScarfed ? 0.54 : 0.62, 0.46, 0.38][beside.length] ?? 0.38))
  const level = isUpright ? 0.6 : 0.8
  const baseline = isCentred ? h / 2 + side * (isScarfed ? 0.42 : 0.5) : h * level - (isScarfed ? side * 0.12 : 0)
  const way = chance.next() < 0.5 ? -1 : 1
  const shift = beside.length === 1 && !isUpright ? -way * side * 0.34 : 0
  const main: Place = { x: w / 2 + shift, y: baseline - side / 2, side }
  const figures = [figure(face, main, style, 0)]
  for (const [i, icon] of worn.entries()) {
    const { x, y, side: share } = WORN[icon] ?? { x: 0, y: 0, side: 0.5 }
    figures.push(figure(icon, { x: main.x + x * side, y: main.y + y * side, side: side * share }, style, i + 1))
  }
  for (const [i, icon] of beside.entries()) {
    const toThe = i === 0 ? way : -way
    const small = side * (isUpright ? 0.5 : i === 0 ? 0.66 : 0.56)
    const x = isUpright ? w / 2 + toThe * w * 0.27 : main.x + toThe * (side * 0.5 + small * 0.46)
    const aloft = isUpright ? main.y - side * 0.55 : main.y - side * 0.52
    const y = ALOFT.test(icon) ? aloft : isUpright ? baseline + small * 0.15 : baseline - small / 2 + SHORT * 0.015
    figures.push(figure(icon, { x, y, side: small }, style, i + 10))
  }
  const tilt = isCentred ? chance.between(-6, 6) : chance.between(-2, 2)
  return `<g transform="rotate(${tilt.toFixed(2)} ${w / 2} ${h / 2})">${figures.join('')}</g>`
}

function figure(icon: string, { x, y, side }: Place, style: Style, number: number): string {
  const raw = (iconBody(icon) ?? '').replaceAll('id="', `id="f${number}-`).replaceAll('url(#', `url(#f${number}-`)
  const body = style.draw?.(raw) ?? raw
  const scale = side / ICON_SIDE
  const drawn = `<g transform="translate(${(x - side / 2).toFixed(2)} ${(y - side / 2).toFixed(2)}) scale(${scale.toFixed(4)})">${body}</g>`
  return style.filter === undefined ? drawn : `<g filter="url(#style)">${drawn}</g>`
}

/** A quiet place around the subject: hills, a disc or an arch, with a few dots in the air. */
function setting(w: number, h: number, { calm, ground: land, accent }: Palette, chance: Chance): string {
  const kind = chance.pick(['hills', 'disc', 'arch'] as const)
  const horizon = h * (h > w * 1.2 ? 0.58 : 0.72)
  const tilt = chance.between(-30, 30)
  const floor = `<path fill="${land}" d="M0 ${horizon + tilt}C${w * 0.3} ${horizon - 34} ${w * 0.65} ${horizon + 40} ${w} ${horizon - tilt}V${h}H0Z"/>`
  const back =
    kind === 'hills'
      ? `<path fill="${calm}" d="M0 ${horizon - 50}C${w * 0.25} ${horizon - 150} ${w * 0.5} ${horizon - 10} ${w * 0.72} ${horizon - 90}S${w * 0.95} ${horizon - 70} ${w} ${horizon - 110}V${h}H0Z"/>`
      : kind === 'disc'
        ? `<circle cx="${w / 2}" cy="${horizon - SHORT * 0.16}" r="${SHORT * 0.4}" fill="${calm}"/>`
        : `<path fill="${calm}" d="M${w / 2 - 165} ${h}V${horizon - 110}A165 165 0 0 1 ${w / 2 + 165} ${horizon - 110}V${h}Z"/>`
  const dots = Array.from({ length: Math.round((w * h) / 14_000) }, () => {
    const [x, y] = [chance.between(0.04, 0.96) * w, chance.between(0.04, 0.5) * horizon]
    return `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${chance.between(1.5, 4).toFixed(1)}" fill="${accent}" opacity="0.22"/>`
  })
  return back + dots.join('') + floor
}

/** What a page to colour in has around its subject: a hill and two clouds, open to the margin. */
function ground(w: number, h: number, chance: Chance): string {
  const level = h * (h > w * 1.2 ? 0.6 : 0.8)
  const cloud = (x: number, y: number, size: number): string =>
    `<path transform="translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${size})" d="M0 0a14 14 0 0 1 4-27 20 20 0 0 1 37-6 16 16 0 0 1 24 12 11 11 0 0 1 1 21Z"/>`
  const [near, far] = [chance.between(0.1, 0.2), chance.between(0.62, 0.72)]
  return (
    `<g fill="#ffffff" stroke="#161616" stroke-width="3" stroke-linejoin="round" stroke-linecap="round">` +
    cloud(w * near, h * 0.2, 0.9) +
    cloud(w * far, h * 0.15, 1.1) +
    `<path d="M${w * 0.1} ${level + 8}C${w * 0.3} ${level - 34} ${w * 0.7} ${level - 34} ${w * 0.9} ${level + 8}" fill="none"/>` +
    `</g>`
  )
}

/** The subject's name in type: what has no icon is never drawn as something else. */
async function card(
  label: string,
  beside: readonly string[],
  style: Style,
  palette: Palette,
  w: number,
  h: number,
): Promise<string> {
  const [width, height] = [Math.min(w * 0.78, SHORT * 1.5), Math.min(h * 0.56, SHORT * 0.6)]
  const text = `${label.charAt(0).toUpperCase()}${label.slice(1)}`
  const { lines, letters } = await setText(text, SHORT * 0.16, width * 0.84, height * 0.76)
  const [left, top] = [(w - width) / 2, (h - height) / 2]
  const first = h / 2 - ((lines.length - 1) * letters * 1.15) / 2 + letters * 0.34
  const ink = style.isLine ? 'fill="#ffffff" stroke="#161616" stroke-width="2.4"' : 'fill="#ffffff"'
  const words = lines.map(
    ({ d, width: long }, i) =>
      `<path transform="translate(${((w - long) / 2).toFixed(2)} ${(first + i * letters * 1.15).toFixed(2)})" d="${d}" ${ink}/>`,
  )
  const [fill, line] = style.isLine ? ['#ffffff', '#161616'] : [palette.accent, '#ffffff']
  const rect = (inset: number, attributes: string): string =>
    `<rect x="${left + inset}" y="${top + inset}" width="${width - inset * 2}" height="${height - inset * 2}" rx="${26 - inset}" ${attributes}/>`
  const frame = rect(0, `fill="${fill}"${style.isLine ? ` stroke="${line}" stroke-width="3"` : ''}`)
  // What goes with it stands at the corners, aloft or on the ground.
  const companions = beside.map((icon, i) => {
    const side = SHORT * 0.26
    const x = i === 0 ? left + width - side * 0.3 : left + side * 0.3
    return figure(icon, { x, y: ALOFT.test(icon) ? top - side * 0.12 : top + height - side * 0.1, side }, style, i)
  })
  return (
    frame +
    rect(9, `fill="none" stroke="${line}" stroke-width="${style.isLine ? 2 : 1.6}"`) +
    words.join('') +
    companions.join('')
  )
}
