/**
 * The styles a picture can be drawn in, as data: the words that ask for a style and how its pen behaves.
 * A new style is one entry; the pen knows the ways of filling, the entry says which one and how bold.
 */

/** How a closed shape is filled. */
type Fill = 'flat' | 'wash' | 'crayon' | 'gradient' | 'paper' | 'hatch'

export interface Style {
  readonly name: string
  /** Phrases that ask for this style; matched at word boundaries, the earliest style in the list wins. */
  readonly words: readonly string[]
  readonly fill: Fill
  /** Outline width in drawing units (the subject's box is 400 wide). */
  readonly line: number
  /** How far lines tremble, in drawing units; 0 for a vector-clean line. */
  readonly tremble: number
  readonly eyes: 'dot' | 'round' | 'sparkle' | 'deep'
  /** Every thing gets a face, every face rosy cheeks. */
  readonly cute: boolean
  /** Outlines are black, whatever the palette. */
  readonly blackInk: boolean
  /** How much colours move towards pastel, 0 to 1. */
  readonly pastel: number
  /** White cut-out border, in drawing units. */
  readonly border: number
  /** Cells across the shorter side, or 0 for no pixel grid. */
  readonly cells: number
}

const plain: Omit<Style, 'name' | 'words'> = {
  fill: 'flat',
  line: 8,
  tremble: 0,
  eyes: 'dot',
  cute: false,
  blackInk: false,
  pastel: 0,
  border: 0,
  cells: 0,
}

/** Clean shapes and bold outlines: what a prompt without any style word gets. */
export const flatStyle: Style = {
  ...plain,
  name: 'flat',
  words: ['flat', 'vector', 'minimal', 'minimalist', 'bold outlines', 'clean shapes', 'geometric', 'clip art'],
}

/** All styles, the most telling first: "flat vector sticker" is a sticker, "doodle colouring page" a colouring page. */
export const styles: readonly Style[] = [
  {
    ...plain,
    name: 'colouring-page',
    words: ['coloring page', 'colouring page', 'coloring book', 'colouring book', 'coloring sheet', 'colouring sheet'],
    fill: 'paper',
    line: 7,
    eyes: 'round',
    blackInk: true,
  },
  {
    ...plain,
    name: 'pixel',
    words: ['pixel', 'pixel art', 'pixelart', '8-bit', '8 bit', '16-bit'],
    line: 9,
    cells: 72,
  },
  { ...plain, name: 'sticker', words: ['sticker', 'stickers', 'die-cut', 'die cut'], line: 7, border: 20 },
  {
    ...plain,
    name: 'kawaii',
    words: ['kawaii', 'chibi', 'adorable', 'super cute'],
    line: 6,
    eyes: 'sparkle',
    cute: true,
    pastel: 0.28,
  },
  {
    ...plain,
    name: 'watercolor',
    words: ['watercolor', 'watercolour', 'water color', 'water colour', 'aquarelle', 'gouache', 'painterly', 'painted'],
    fill: 'wash',
    line: 2,
    tremble: 3.2,
  },
  {
    ...plain,
    name: 'pencil',
    words: ['pencil', 'sketch', 'sketched', 'charcoal', 'graphite', 'engraving', 'etching'],
    fill: 'hatch',
    line: 3,
    tremble: 3,
    blackInk: true,
  },
  {
    ...plain,
    name: 'doodle',
    words: [
      'doodle',
      'doodles',
      'hand-drawn',
      'hand drawn',
      'handdrawn',
      'crayon',
      'scribble',
      'childlike',
      'whimsical',
    ],
    fill: 'crayon',
    line: 4.4,
    tremble: 5,
  },
  {
    ...plain,
    name: 'line-art',
    words: ['line art', 'line-art', 'lineart', 'line drawing', 'outline', 'outline only', 'monoline', 'ink drawing'],
    fill: 'paper',
    line: 5,
    blackInk: true,
  },
  {
    ...plain,
    name: 'realistic',
    words: [
      'realistic',
      'photo',
      'photograph',
      'photorealistic',
      'photographic',
      '3d',
      'render',
      'cinematic',
      'lifelike',
    ],
    fill: 'gradient',
    line: 1.6,
    eyes: 'deep',
  },
  {
    ...plain,
    name: 'cartoon',
    words: ['cartoon', 'cartoonish', 'comic', 'playful', 'animated'],
    line: 10,
    eyes: 'round',
  },
  flatStyle,
]
