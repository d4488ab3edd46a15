/**
 * Clothes: each worn thing is drawn at an anchor that the subject gives (its neck, the top of its head), so a scarf
 * fits a fox and a snowman alike. A new thing is one entry in `wardrobe` plus its drawing.
 */
import { lit, shaded } from './colours.ts'
import { box, mirrored, oval, placed, polygon, star } from './path.ts'
import type { Pen } from './pen.ts'

/** Where a thing is worn: the middle of the place and half its width. */
export interface WornAt {
  readonly x: number
  readonly y: number
  readonly half: number
}

interface Garment {
  readonly words: readonly string[]
  readonly place: 'neck' | 'head' | 'eyes'
  /** Its usual colour; without one it takes the palette's accent. */
  readonly colour?: string
  /** Drawn for a place of half width 100 at the origin, then scaled. */
  readonly draw: (pen: Pen, colour: string, fit: (d: string) => string) => string
}

const scarf: Garment['draw'] = (pen, colour, fit) => {
  const band = fit(
    'M-104 -30 C-60 2 60 2 104 -30 C122 -22 124 22 106 36 C60 66 -60 66 -106 36 C-124 22 -122 -22 -104 -30 Z',
  )
  const end = fit('M34 26 C66 30 84 40 88 52 C96 84 100 112 104 142 L50 150 C48 114 42 80 26 50 Z')
  const stripe = (d: string): string => pen.patch(fit(d), lit(colour, 0.72))
  const tassel = (x: number): string => fit(`M${x} ${148 - (x - 58) * 0.14} L${x + 2} ${168 - (x - 58) * 0.14}`)
  const fringe = [60, 78, 96]
    .map((x) =>
      pen.style.fill === 'paper'
        ? pen.line(tassel(x), 0.7)
        : pen.line(tassel(x), 2.1) + pen.line(tassel(x), 0.7, lit(colour, 0.3)),
    )
    .join('')
  return (
    fringe +
    pen.shape(end, colour, stripe('M36 88 L110 76 L112 95 L40 107 Z') + stripe('M42 120 L114 110 L116 124 L44 134 Z')) +
    pen.shape(
      band,
      colour,
      stripe('M-72 -30 L-48 -30 L-56 70 L-84 70 Z') +
        stripe('M-14 -30 L12 -30 L10 70 L-18 70 Z') +
        stripe('M80 -40 L102 -40 L92 70 L66 70 Z'),
    ) +
    pen.shape(fit('M20 8 C44 0 70 8 76 26 C80 48 60 62 38 58 C18 52 10 24 20 8 Z'), colour)
  )
}

const bow: Garment['draw'] = (pen, colour, fit) => {
  const wing = 'M4 20 C-40 -26 -76 -24 -82 -14 C-90 10 -90 34 -80 54 C-70 62 -40 60 4 24 Z'
  return (
    pen.shape(fit(wing), colour) +
    pen.shape(fit(mirrored(wing, 0)), colour) +
    pen.shape(fit(oval(0, 21, 20, 22)), shaded(colour, 0.12))
  )
}

const tie: Garment['draw'] = (pen, colour, fit) =>
  pen.shape(
    fit('M-16 26 L16 26 L40 140 L0 176 L-40 140 Z'),
    colour,
    pen.patch(fit('M-60 90 L60 50 L60 74 L-60 114 Z'), lit(colour, 0.5)),
  ) + pen.shape(fit('M-26 -6 L26 -6 L16 32 L-16 32 Z'), shaded(colour, 0.1))

const beanie: Garment['draw'] = (pen, colour, fit) =>
  pen.shape(fit(star(0, -132, 11, 34, 27, 6)), lit(colour, 0.7)) +
  pen.shape(
    fit('M-88 6 C-92 -74 -52 -118 0 -118 C52 -118 92 -74 88 6 Z'),
    colour,
    pen.patch(fit(box(-110, -64, 220, 24)), lit(colour, 0.6)),
  ) +
  pen.shape(
    fit('M-96 -16 Q0 -40 96 -16 C106 -10 106 22 96 28 Q0 4 -96 28 C-106 22 -106 -10 -96 -16 Z'),
    lit(colour, 0.25),
  )

const topHat: Garment['draw'] = (pen, colour, fit) =>
  pen.shape(
    fit('M-62 0 L-70 -128 Q0 -146 70 -128 L62 0 Z'),
    colour,
    pen.patch(fit(box(-90, -42, 180, 30)), pen.colours.second),
  ) + pen.shape(fit('M-108 -6 Q0 -28 108 -6 Q122 8 104 16 Q0 -4 -104 16 Q-122 8 -108 -6 Z'), colour)

const strawHat: Garment['draw'] = (pen, colour, fit) =>
  pen.shape(fit('M-64 4 C-64 -96 64 -96 64 4 Z'), colour, pen.patch(fit(box(-90, -30, 180, 26)), pen.colours.second)) +
  pen.shape(
    fit('M-130 4 C-80 -26 80 -26 130 4 C140 18 120 24 100 20 C50 8 -50 8 -100 20 C-120 24 -140 18 -130 4 Z'),
    colour,
  )

const cap: Garment['draw'] = (pen, colour, fit) =>
  pen.shape(
    fit('M-84 8 C-88 -90 88 -90 84 8 Q0 -14 -84 8 Z'),
    colour,
    pen.patch(fit('M-20 -90 L20 -90 L26 20 L-26 20 Z'), lit(colour, 0.6)),
  ) +
  pen.shape(
    fit('M-40 2 Q40 -22 96 -2 C136 8 150 26 132 30 C100 22 20 14 -36 22 C-52 16 -52 8 -40 2 Z'),
    shaded(colour, 0.14),
  )

const crown: Garment['draw'] = (pen, colour, fit) =>
  pen.shape(
    fit('M-70 10 L-86 -78 L-40 -38 L0 -98 L40 -38 L86 -78 L70 10 Q0 -8 -70 10 Z'),
    colour,
    pen.patch(fit(box(-90, -16, 180, 14)), lit(colour, 0.5)),
  ) +
  [
    [-86, -84],
    [0, -106],
    [86, -84],
  ]
    .map(([x = 0, y = 0]) => pen.shape(fit(oval(x, y, 12)), pen.colours.second))
    .join('')

const coneHat: Garment['draw'] = (pen, colour, fit) =>
  pen.shape(
    fit(
      polygon(
        [
          [-66, 6],
          [0, -160],
          [66, 6],
          [0, -10],
        ],
        12,
      ),
    ),
    colour,
    pen.patch(fit('M-70 -20 L70 -62 L70 -38 L-70 4 Z'), lit(colour, 0.65)) +
      pen.patch(fit('M-70 -84 L70 -126 L70 -104 L-70 -62 Z'), lit(colour, 0.65)),
  ) + pen.shape(fit(star(0, -162, 9, 26, 17, 4)), pen.colours.second)

const wizardHat: Garment['draw'] = (pen, colour, fit) =>
  pen.shape(
    fit('M-72 2 C-50 -70 -30 -120 16 -186 C40 -180 52 -160 70 -150 C40 -146 36 -128 44 -96 C52 -60 64 -30 72 2 Z'),
    colour,
    pen.patch(fit(star(-6, -60, 5, 22, 9, 2)), '#f6c944') + pen.patch(fit(star(22, -112, 5, 14, 6, 2)), '#f6c944'),
  ) +
  pen.shape(
    fit('M-116 0 C-70 -30 70 -30 116 0 C126 14 110 22 90 18 C44 4 -44 4 -90 18 C-110 22 -126 14 -116 0 Z'),
    shaded(colour, 0.1),
  )

const flowerCrown: Garment['draw'] = (pen, colour, fit) =>
  [-72, -38, 0, 38, 72]
    .map((x, i) => {
      const y = -14 - (72 - Math.abs(x)) * 0.22
      return (
        pen.shape(fit(star(x, y, 6, 28, 19, 9, i * 20)), i % 2 === 0 ? colour : lit(colour, 0.6)) +
        pen.spot(fit(oval(x, y, 8)), '#f2b134')
      )
    })
    .join('')

const nothing: Garment['draw'] = () => ''

/** Everything that can be worn, by name. Glasses are drawn with the eyes, where they must fit. */
export const wardrobe: Readonly<Record<string, Garment>> = {
  scarf: { words: ['scarf', 'scarves', 'muffler', 'bandana', 'neckerchief'], place: 'neck', draw: scarf },
  'bow tie': { words: ['bow tie', 'bowtie', 'bow-tie', 'ribbon', 'bow'], place: 'neck', draw: bow },
  tie: { words: ['tie', 'necktie'], place: 'neck', draw: tie },
  beanie: {
    words: ['beanie', 'woolly hat', 'wool hat', 'knit hat', 'bobble hat', 'winter hat', 'hat', 'santa hat'],
    place: 'head',
    draw: beanie,
  },
  'top hat': { words: ['top hat', 'tophat', 'bowler'], place: 'head', colour: '#3a3a4c', draw: topHat },
  'straw hat': {
    words: ['straw hat', 'sun hat', 'cowboy hat', 'sombrero', 'fedora'],
    place: 'head',
    colour: '#e6bd6a',
    draw: strawHat,
  },
  cap: { words: ['cap', 'baseball cap', 'helmet', 'beret'], place: 'head', draw: cap },
  crown: {
    words: ['crown', 'tiara', 'king', 'queen', 'prince', 'princess'],
    place: 'head',
    colour: '#f2c230',
    draw: crown,
  },
  'party hat': { words: ['party hat', 'birthday', 'birthday hat'], place: 'head', draw: coneHat },
  'wizard hat': {
    words: ['wizard hat', 'witch hat', 'wizard', 'witch'],
    place: 'head',
    colour: '#5a4aa8',
    draw: wizardHat,
  },
  'flower crown': { words: ['flower crown', 'wreath', 'garland'], place: 'head', colour: '#f08bae', draw: flowerCrown },
  sunglasses: { words: ['sunglasses', 'shades'], place: 'eyes', colour: '#2b2b3a', draw: nothing },
  glasses: {
    words: ['glasses', 'spectacles', 'eyeglasses', 'monocle'],
    place: 'eyes',
    colour: '#3a3f55',
    draw: nothing,
  },
}

/** Draws what is worn at a place; an empty text if nothing is. */
export function worn(pen: Pen, place: 'neck' | 'head', at: WornAt): string {
  const scale = at.half / 100
  let out = ''
  for (const [name, colour] of pen.look.wears) {
    const garment = wardrobe[name]
    if (garment?.place === place) out += garment.draw(pen, colour, (d) => placed(d, at.x, at.y, scale))
  }
  return out
}
