/**
 * Colours as #rrggbb text: mixing, the words people use for them, and the palettes a picture may be drawn in.
 * Palettes are made to be seen together; a picture takes all its free colours from one of them.
 */

/** One set of colours that go together. */
export interface Palette {
  readonly name: string
  /** Outlines and eyes. */
  readonly ink: string
  /** The very light backdrop. */
  readonly paper: string
  /** The calm disc behind a subject. */
  readonly calm: string
  readonly accent: string
  readonly second: string
}

export const palettes: readonly Palette[] = [
  { name: 'harbour', ink: '#1f2a44', paper: '#f4f1ea', calm: '#c9e2e6', accent: '#21867a', second: '#e76f51' },
  { name: 'berry', ink: '#3a1f3d', paper: '#f8f1f4', calm: '#f4d3de', accent: '#c2375e', second: '#5b7fa6' },
  { name: 'meadow', ink: '#23352b', paper: '#f3f6ea', calm: '#d3e6bd', accent: '#3f8f5b', second: '#f0ae2e' },
  { name: 'dusk', ink: '#2b2250', paper: '#f3f1fa', calm: '#d9d2f2', accent: '#6757d8', second: '#fb9768' },
  { name: 'sunbeam', ink: '#40281a', paper: '#fbf5e6', calm: '#fbe2a4', accent: '#159895', second: '#e4572e' },
  { name: 'ocean', ink: '#12304a', paper: '#eef5f9', calm: '#bbdff0', accent: '#1f77b4', second: '#ff8a5c' },
  { name: 'clay', ink: '#3b2a26', paper: '#f8f2ec', calm: '#efd6c5', accent: '#4f7675', second: '#b5533c' },
  { name: 'mint', ink: '#1d3a3a', paper: '#eff8f4', calm: '#c2eadb', accent: '#13967c', second: '#f0688f' },
]

/** Colour words in English and what they look like here: a little muted, so that they sit well in every palette. */
export const colourWords: Readonly<Record<string, string>> = {
  red: '#dc4638',
  crimson: '#c02a43',
  scarlet: '#dd3b2a',
  orange: '#ef7f2d',
  amber: '#f2a52f',
  yellow: '#f6c944',
  gold: '#e8b33c',
  golden: '#e8b33c',
  green: '#4ea35c',
  lime: '#9ccb45',
  olive: '#8a8f45',
  mint: '#8fd7bb',
  teal: '#1f9488',
  turquoise: '#35b8b0',
  cyan: '#41b9d6',
  blue: '#3f7fd0',
  navy: '#2d4373',
  indigo: '#4a4fb3',
  purple: '#8156c0',
  violet: '#8a63cf',
  lavender: '#b9a5e6',
  magenta: '#cc4aa0',
  pink: '#f08bae',
  rose: '#e46d8c',
  brown: '#96623c',
  chestnut: '#8d4f31',
  tan: '#d0a674',
  beige: '#e2cfae',
  cream: '#f4e6c8',
  black: '#3a3a44',
  grey: '#96a0aa',
  gray: '#96a0aa',
  silver: '#b5bec8',
  white: '#f7f7f4',
  blonde: '#edc96b',
  blond: '#edc96b',
  ginger: '#e0762f',
  copper: '#c26a3d',
  coral: '#f47c66',
  peach: '#f9b792',
  maroon: '#8b2f3f',
}

type Rgb = readonly [red: number, green: number, blue: number]

const rgbOf = (colour: string): Rgb => {
  const value = Number.parseInt(colour.slice(1), 16)
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255]
}

/** `share` of the way from one colour to another. */
export function mix(from: string, to: string, share: number): string {
  const [a, b] = [rgbOf(from), rgbOf(to)]
  const part = (i: 0 | 1 | 2): string =>
    Math.round(a[i] + (b[i] - a[i]) * share)
      .toString(16)
      .padStart(2, '0')
  return `#${part(0)}${part(1)}${part(2)}`
}

/** The colour in shade: darker and a little bluer, as shade is outdoors. */
export const shaded = (colour: string, amount = 0.2): string => mix(colour, '#2a1650', amount)

/** The colour in light: lighter and a little warmer. */
export const lit = (colour: string, amount = 0.25): string => mix(colour, '#fffaf0', amount)

/** How bright a colour looks, 0 (black) to 1 (white). */
export function brightness(colour: string): number {
  const [r, g, b] = rgbOf(colour)
  return (0.299 * r + 0.587 * g + 0.114 * b) / 255
}

/** How different two colours look, 0 to about 765 (the weighted "redmean" distance). */
export function difference(one: string, other: string): number {
  const [a, b] = [rgbOf(one), rgbOf(other)]
  const mean = (a[0] + b[0]) / 2
  const [r, g, bl] = [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
  return Math.sqrt((2 + mean / 256) * r * r + 4 * g * g + (2 + (255 - mean) / 256) * bl * bl)
}
