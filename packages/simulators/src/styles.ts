/**
 * How a picture is made: the hand that a prompt asks for, as an SVG filter or as outlines over the same icons.
 * It hides the filters.
 */
import { outlined } from './icons.ts'

export interface Style {
  readonly name: string
  /** Words that ask for it. */
  readonly asked: RegExp
  /** Draws an icon of these elements. */
  draw?(body: string): string
  /** The primitives of a filter over each figure. */
  readonly filter?: string
  /** The primitives of a filter over the whole picture. */
  readonly over?: string
  /** No colour and no scenery: black lines on white. */
  readonly isLine?: true
  /** Squares across the shorter side. */
  readonly cells?: number
}

const INK = '#161616'
const GREY = '<feColorMatrix type="saturate" values="0"/>'

/** Edges that follow a random field: hand-drawn lines, wet paint. */
const waver = (frequency: number, scale: number): string =>
  `<feTurbulence type="fractalNoise" baseFrequency="${frequency}" numOctaves="2" seed="7" result="field"/>` +
  `<feDisplacementMap in="SourceGraphic" in2="field" scale="${scale}" xChannelSelector="R" yChannelSelector="G" result="drawn"/>`

/** The figure within a border of one colour: the same shapes beneath, with a wide line around each. */
const bordered = (body: string, colour: string, width: number): string => outlined(body, colour, width, colour) + body

/** Pigment that lies unevenly. */
const GRAIN =
  `<feTurbulence type="fractalNoise" baseFrequency="0.02" numOctaves="3" seed="3"/>` +
  `<feColorMatrix values="0 0 0 0 1  0 0 0 0 1  0 0 0 0 1  1.5 0 0 0 -0.58"/><feComposite in2="drawn" operator="in" result="bloom"/>` +
  `<feMerge><feMergeNode in="drawn"/><feMergeNode in="bloom"/></feMerge>`

/** The first whose words a prompt holds is its style. */
const STYLES: readonly Style[] = [
  {
    name: 'line',
    asked: /colou?ring (?:page|book|sheet)|line[ -]art|line drawing|\boutline\b/,
    isLine: true,
    draw: (body) => outlined(body, INK, 0.42),
  },
  { name: 'pixel', asked: /pixel/, cells: 64 },
  {
    name: 'sticker',
    asked: /sticker/,
    draw: (body) => bordered(body, '#ffffff', 2.6),
  },
  { name: 'watercolor', asked: /water[ -]?colou?r|gouache|\bwash(?:es)?\b/, filter: `${waver(0.035, 9)}${GRAIN}` },
  {
    name: 'linocut',
    asked: /linocut|woodcut|engraving|block print/,
    over:
      `${GREY}<feComponentTransfer><feFuncR type="discrete" tableValues="0.13 0.13 0.96 0.96"/>` +
      `<feFuncG type="discrete" tableValues="0.2 0.2 0.93 0.93"/><feFuncB type="discrete" tableValues="0.33 0.33 0.86 0.86"/></feComponentTransfer>`,
    draw: (body) => outlined(body, '#f6eedd', 0.5, '#22314f'),
  },
  {
    name: 'pencil',
    asked: /pencil|charcoal|\bsketch\b/,
    draw: (body) => `<g opacity="0.45">${body}</g>${outlined(body, '#4a4a4f', 0.3, 'none')}`,
    filter: `${waver(0.05, 4)}<feColorMatrix type="saturate" values="0.3"/>`,
  },
  {
    name: 'doodle',
    asked: /doodle|hand[ -]drawn|crayon/,
    filter: waver(0.03, 8),
    draw: (body) => `<g transform="translate(0.7 0.6)">${body}</g>${outlined(body, '#22222a', 0.5, 'none')}`,
  },
  {
    name: 'cartoon',
    asked: /cartoon|comic/,
    draw: (body) => bordered(body, '#1d1a2b', 1.3) + outlined(body, '#1d1a2b', 0.28, 'none'),
  },
  {
    name: 'kawaii',
    asked: /kawaii|chibi|pastel/,
    draw: (body) => bordered(body, '#ffffff', 1.4),
    filter: '<feColorMatrix values="0.72 0 0 0 0.27  0 0.72 0 0 0.25  0 0 0.72 0 0.27  0 0 0 1 0"/>',
  },
  {
    name: 'realistic',
    asked: /photo|realistic|\b3d\b|render/,
    filter: '<feDropShadow dx="3" dy="9" stdDeviation="9" flood-color="#1c1530" flood-opacity="0.38"/>',
  },
]

const FLAT: Style = { name: 'flat', asked: /(?:)/ }

/** The style that a prompt asks for; flat where it names none. What it denies ("no outline") does not count. */
export function styleOf(prompt: string): Style {
  const text = prompt
    .slice(0, 4_000)
    .toLowerCase()
    .replaceAll(/\b(?:no|without)\s[^.,;]*/g, '')
  return STYLES.find(({ asked }) => asked.test(text)) ?? FLAT
}
