/**
 * Places: backdrops that fill a picture of any shape, alone or behind a subject. Drawn with the same pen as subjects.
 */
import type { Chance } from './chance.ts'
import { lit, mix, shaded } from './colours.ts'
import { box, oval, placed, polygon, star } from './path.ts'
import type { Pen } from './pen.ts'

export interface Scene {
  readonly name: string
  readonly words: readonly string[]
  /** Draws the place `w` by `h` units large; the shorter side is 400. */
  readonly draw: (pen: Pen, w: number, h: number, chance: Chance) => string
}

const sky = (pen: Pen, w: number, h: number, colour: string): string =>
  pen.style.fill === 'paper' ? '' : pen.patch(box(-20, -20, w + 40, h + 40), colour)

/** A rolling edge from left to right at about `y`, closed below the picture. */
function ridge(w: number, h: number, y: number, swing: number, chance: Chance, pieces = 4): string {
  let d = `M-20 ${h + 20} L-20 ${y}`
  const step = (w + 40) / pieces
  for (let i = 0; i < pieces; i++) {
    const x = -20 + i * step
    const up = y - chance.between(0.4, 1) * swing
    const end = y + chance.between(-0.3, 0.3) * swing
    d += ` C${x + step * 0.3} ${up} ${x + step * 0.6} ${up} ${x + step} ${end}`
  }
  return `${d} L${w + 20} ${h + 20} Z`
}

const puffs = (pen: Pen, w: number, h: number, chance: Chance, colour = '#ffffff'): string =>
  [0.14, 0.52, 0.84]
    .map((share) => {
      const cloud = 'M-46 12 C-64 12 -64 -12 -44 -14 C-42 -34 -12 -38 -4 -22 C14 -34 38 -22 36 -6 C56 -8 60 12 44 12 Z'
      return pen.shape(
        placed(
          cloud,
          w * (share + chance.between(-0.06, 0.06)),
          h * chance.between(0.1, 0.26),
          chance.between(0.6, 0.9),
        ),
        colour,
      )
    })
    .join('')

const pineAt = (pen: Pen, x: number, y: number, size: number, colour: string): string =>
  pen.shape(box(x - size * 0.07, y - size * 0.2, size * 0.14, size * 0.22), '#7a5236') +
  pen.shape(
    polygon(
      [
        [x, y - size * 0.8],
        [x + size * 0.32, y - size * 0.14],
        [x - size * 0.32, y - size * 0.14],
      ],
      size * 0.06,
    ),
    colour,
  ) +
  pen.shape(
    polygon(
      [
        [x, y - size * 1.05],
        [x + size * 0.24, y - size * 0.48],
        [x - size * 0.24, y - size * 0.48],
      ],
      size * 0.05,
    ),
    lit(colour, 0.1),
  )

const roundTree = (pen: Pen, x: number, y: number, size: number, colour: string): string =>
  pen.shape(box(x - size * 0.06, y - size * 0.4, size * 0.12, size * 0.42), '#7a5236') +
  pen.shape(
    oval(x, y - size * 0.66, size * 0.32, size * 0.38),
    colour,
    pen.patch(oval(x - size * 0.1, y - size * 0.78, size * 0.1, size * 0.07, -30), lit(colour, 0.3)),
  )

const stars = (pen: Pen, w: number, h: number, chance: Chance, count = 26): string =>
  Array.from({ length: count }, () => {
    const [x, y, r] = [chance.between(0, w), chance.between(0, h), chance.between(1.2, 3.4)]
    return r > 2.9 ? pen.patch(star(x, y, 4, r * 3.2, r), '#fff4cf') : pen.patch(oval(x, y, r), '#fff8e6')
  }).join('')

const landscape: Scene = {
  name: 'landscape',
  words: [
    'landscape',
    'mountains',
    'hills',
    'valley',
    'countryside',
    'scenery',
    'nature',
    'horizon',
    'lake',
    'river',
    'sunset',
    'sunrise',
  ],
  draw: (pen, w, h, chance) => {
    const warm = chance.next() < 0.5
    const far = warm ? '#a796c4' : '#8fb0cc'
    const peaks = Array.from({ length: Math.ceil(w / 200) + 1 }, (_, i) => {
      const [x, height] = [i * 200 + chance.between(-40, 40), h * chance.between(0.28, 0.44)]
      const top = h * 0.66 - height
      return pen.shape(
        polygon(
          [
            [x, top],
            [x + 170, h * 0.7],
            [x - 170, h * 0.7],
          ],
          10,
        ),
        mix(far, '#5d6d92', chance.between(0, 0.35)),
        pen.patch(
          `M${x - 70} ${top + 78} L${x - 34} ${top + 52} L${x - 12} ${top + 78} L${x + 14} ${top + 50} L${x + 40} ${top + 74} L${x + 80} ${top + 60} L${x} ${top - 30} Z`,
          '#fbfaf6',
        ),
      )
    }).join('')
    return [
      sky(pen, w, h, warm ? '#fcd9b0' : '#cfe8f3'),
      pen.shape(oval(w * 0.7, h * 0.26, 40), warm ? '#fb9a5b' : '#fbd46a'),
      puffs(pen, w, h, chance),
      peaks,
      pen.shape(ridge(w, h, h * 0.7, h * 0.08, chance), '#8fbf7f'),
      pen.shape(ridge(w, h, h * 0.8, h * 0.1, chance, 3), '#68a867'),
      [0.08, 0.2, 0.86, 0.95].map((s) => pineAt(pen, w * s, h * 0.86, chance.between(56, 88), '#3f8561')).join(''),
      pen.shape(ridge(w, h, h * 0.93, h * 0.06, chance, 3), '#4c9158'),
    ].join('')
  },
}

const forest: Scene = {
  name: 'forest',
  words: ['forest', 'woods', 'woodland', 'jungle', 'rainforest', 'grove'],
  draw: (pen, w, h, chance) => {
    const row = (y: number, size: number, colour: string, gap: number): string =>
      Array.from({ length: Math.ceil(w / gap) + 2 }, (_, i) =>
        (chance.next() < 0.6 ? pineAt : roundTree)(
          pen,
          (i - 0.5) * gap + chance.between(-10, 10),
          y + chance.between(-8, 8),
          size * chance.between(0.85, 1.15),
          colour,
        ),
      ).join('')
    return [
      sky(pen, w, h, '#dcefe0'),
      pen.shape(oval(w * 0.3, h * 0.22, 34), '#fbe08a'),
      pen.shape(ridge(w, h, h * 0.6, h * 0.08, chance), '#b5d8b4'),
      row(h * 0.66, 150, '#86bb93', 62),
      pen.shape(ridge(w, h, h * 0.72, h * 0.04, chance), '#8cc084'),
      row(h * 0.8, 190, '#4f9a6c', 104),
      pen.shape(ridge(w, h, h * 0.86, h * 0.05, chance, 3), '#69ab65'),
    ].join('')
  },
}

const city: Scene = {
  name: 'city',
  words: ['city', 'skyline', 'cityscape', 'town', 'street', 'downtown', 'skyscraper', 'urban', 'metropolis'],
  draw: (pen, w, h, chance) => {
    const tower = (x: number, width: number, top: number, colour: string, windows: string): string => {
      let lights = ''
      for (let y = top + 18; y < h - 46; y += 24) {
        for (let wx = x + 11; wx < x + width - 12; wx += 19) {
          if (chance.next() < 0.78) lights += pen.patch(box(wx, y, 9, 12, 2), windows)
        }
      }
      const roof = chance.next() < 0.35 ? pen.line(`M${x + width / 2} ${top} L${x + width / 2} ${top - 26}`, 0.7) : ''
      return roof + pen.shape(box(x, top, width, h - top + 20, 5), colour, lights)
    }
    const night = chance.next() < 0.4
    const row = (base: number, spread: number, colours: readonly string[], windows: string): string => {
      let out = ''
      for (let x = -16; x < w; ) {
        const width = chance.between(46, 84)
        out += tower(x, width, h * (base + chance.between(-spread, spread)), chance.pick(colours), windows)
        x += width + chance.between(-4, 10)
      }
      return out
    }
    return [
      sky(pen, w, h, night ? '#2c3566' : '#fbe3c4'),
      night
        ? stars(pen, w, h * 0.5, chance, 18) + pen.shape(oval(w * 0.76, h * 0.18, 30), '#f7e7b0')
        : pen.shape(oval(w * 0.72, h * 0.28, 46), '#f9a366') + puffs(pen, w, h, chance, '#fff6ea'),
      row(0.42, 0.1, night ? ['#45508a', '#4d5a99'] : ['#d9b8ae', '#c7b3c4', '#b9bfd3'], night ? '#7e8bc7' : '#eedbd0'),
      row(
        0.6,
        0.09,
        night ? ['#353e70', '#5b4f86', '#2f5a7a'] : ['#5b7fa6', '#d9785a', '#4f9a94', '#6b6a9c'],
        '#fbe08a',
      ),
      pen.shape(
        box(-20, h - 34, w + 40, 60),
        night ? '#272c4d' : '#6d7284',
        Array.from({ length: Math.ceil(w / 60) + 1 }, (_, i) => pen.patch(box(i * 60, h - 18, 30, 5), '#f6e4b0')).join(
          '',
        ),
      ),
    ].join('')
  },
}

const ocean: Scene = {
  name: 'ocean',
  words: ['ocean', 'sea', 'beach', 'seaside', 'coast', 'island', 'waves', 'shore', 'harbour', 'harbor'],
  draw: (pen, w, h, chance) => {
    const wave = (y: number, colour: string): string => {
      let d = `M-20 ${h + 20} L-20 ${y}`
      for (let x = -20; x < w + 20; x += 56) d += ` C${x + 18} ${y - 15} ${x + 34} ${y - 15} ${x + 56} ${y}`
      return pen.shape(`${d} L${w + 60} ${h + 20} Z`, colour)
    }
    return [
      sky(pen, w, h, '#d4edf6'),
      pen.shape(oval(w * 0.26, h * 0.24, 42), '#fbce5e'),
      puffs(pen, w, h, chance),
      wave(h * 0.52, '#6dbad6'),
      pen.shape(`M${w * 0.62} ${h * 0.5} L${w * 0.62} ${h * 0.28} L${w * 0.62 + 62} ${h * 0.5} Z`, '#fff7ea') +
        pen.shape(`M${w * 0.6} ${h * 0.5} L${w * 0.6} ${h * 0.33} L${w * 0.6 - 40} ${h * 0.5} Z`, pen.colours.second) +
        pen.shape(
          `M${w * 0.6 - 52} ${h * 0.52} L${w * 0.62 + 70} ${h * 0.52} C${w * 0.62 + 52} ${h * 0.52 + 34} ${w * 0.6 - 30} ${h * 0.52 + 34} ${w * 0.6 - 52} ${h * 0.52} Z`,
          '#a9633c',
        ),
      wave(h * 0.62, '#4aa3c9'),
      wave(h * 0.73, '#338ab8'),
      pen.shape(ridge(w, h, h * 0.88, h * 0.05, chance, 2), '#f3dca6'),
      pen.shape(star(w * 0.2, h * 0.93, 5, 17, 8, 3, 14), '#ef7f5a') +
        pen.shape(oval(w * 0.78, h * 0.94, 20, 9), '#fbf1de'),
    ].join('')
  },
}

const desert: Scene = {
  name: 'desert',
  words: ['desert', 'dunes', 'sahara', 'canyon', 'savanna', 'savannah'],
  draw: (pen, w, h, chance) => {
    const cactus = (x: number, y: number, s: number): string =>
      pen.shape(
        placed(
          'M-12 0 L-12 -40 L-34 -40 Q-44 -40 -44 -52 L-44 -72 Q-34 -82 -28 -72 L-28 -56 L-12 -56 L-12 -104 Q0 -120 12 -104 L12 -70 L26 -70 L26 -92 Q34 -102 42 -92 L42 -66 Q42 -54 32 -54 L12 -54 L12 0 Z',
          x,
          y,
          s,
        ),
        '#5a9e6a',
      )
    return [
      sky(pen, w, h, '#fde6c0'),
      pen.shape(oval(w * 0.66, h * 0.3, 50), '#f98f5a'),
      pen.shape(ridge(w, h, h * 0.62, h * 0.14, chance, 3), '#e8a878'),
      pen.shape(ridge(w, h, h * 0.74, h * 0.12, chance, 2), '#efbf86'),
      cactus(w * 0.16, h * 0.84, 1) + cactus(w * 0.87, h * 0.8, 0.7),
      pen.shape(ridge(w, h, h * 0.87, h * 0.08, chance, 3), '#f5d39c'),
    ].join('')
  },
}

const space: Scene = {
  name: 'space',
  words: [
    'space',
    'galaxy',
    'cosmos',
    'universe',
    'planet',
    'planets',
    'night sky',
    'starry',
    'solar system',
    'outer space',
  ],
  draw: (pen, w, h, chance) => {
    const [x, y] = [w * 0.28, h * 0.34]
    return [
      sky(pen, w, h, '#2a2758'),
      pen.style.fill === 'paper'
        ? ''
        : pen.patch(oval(w * 0.7, h * 0.7, w * 0.36, h * 0.2, -24), '#3a3478') +
          pen.patch(oval(w * 0.72, h * 0.7, w * 0.22, h * 0.1, -24), '#4d4296'),
      stars(pen, w, h, chance, 46),
      pen.shape(
        oval(x, y, 74),
        '#f0945e',
        pen.patch(
          `M${x - 90} ${y - 26} Q${x} ${y - 8} ${x + 90} ${y - 30} L${x + 90} ${y - 8} Q${x} ${y + 16} ${x - 90} ${y - 4} Z`,
          '#f8bd84',
        ) +
          pen.patch(
            `M${x - 90} ${y + 24} Q${x} ${y + 46} ${x + 90} ${y + 22} L${x + 90} ${y + 36} Q${x} ${y + 60} ${x - 90} ${y + 38} Z`,
            '#d9714a',
          ),
      ),
      pen.line(
        `M${x - 66} ${y + 32} C${x - 140} ${y + 62} ${x - 100} ${y + 66} ${x} ${y + 34} C${x + 100} ${y} ${x + 150} ${y - 50} ${x + 68} ${y - 30}`,
        1.6,
        '#f7dfae',
      ),
      pen.shape(
        oval(w * 0.8, h * 0.22, 30),
        '#8fd0d8',
        pen.patch(oval(w * 0.8 - 9, h * 0.22 - 5, 8), '#6ab4c2') +
          pen.patch(oval(w * 0.8 + 11, h * 0.22 + 10, 6), '#6ab4c2'),
      ),
      pen.shape(
        ridge(w, h, h * 0.9, h * 0.08, chance, 2),
        '#8a86b8',
        [0.15, 0.4, 0.7, 0.9].map((s) => pen.patch(oval(w * s, h * 0.95, 18, 7), '#726ea3')).join(''),
      ),
    ].join('')
  },
}

const meadow: Scene = {
  name: 'meadow',
  words: ['meadow', 'garden', 'field', 'park', 'farm', 'spring', 'grass', 'backyard', 'orchard'],
  draw: (pen, w, h, chance) => {
    const blossoms = Array.from({ length: Math.round(w / 34) }, () => {
      const [x, y, s] = [chance.between(0, w), h * chance.between(0.8, 0.97), chance.between(8, 14)]
      return (
        pen.line(`M${x} ${y} L${x} ${y + s * 1.8}`, 0.5, '#3f8a4e') +
        pen.shape(star(x, y, 6, s, s * 0.66, s * 0.3), chance.pick(['#f08bae', '#fbf3e4', '#f6c944', '#c59af0'])) +
        pen.spot(oval(x, y, s * 0.3), '#f2a33a')
      )
    }).join('')
    return [
      sky(pen, w, h, '#d6eefa'),
      pen.shape(oval(w * 0.8, h * 0.2, 38), '#fbd15e'),
      puffs(pen, w, h, chance),
      pen.shape(ridge(w, h, h * 0.62, h * 0.12, chance, 3), '#a9d48c'),
      [0.12, 0.88].map((s) => roundTree(pen, w * s, h * 0.74, 150, '#5ba65a')).join(''),
      pen.shape(ridge(w, h, h * 0.74, h * 0.08, chance, 2), '#86c26f'),
      blossoms,
    ].join('')
  },
}

const snow: Scene = {
  name: 'snow',
  words: ['snow', 'snowy', 'winter', 'arctic', 'antarctica', 'christmas', 'ice'],
  draw: (pen, w, h, chance) =>
    [
      sky(pen, w, h, '#cfe2f2'),
      pen.shape(ridge(w, h, h * 0.58, h * 0.2, chance, 3), '#b4cee6'),
      [0.1, 0.24, 0.78, 0.92].map((s) => pineAt(pen, w * s, h * 0.78, chance.between(100, 150), '#4b8a86')).join(''),
      pen.shape(ridge(w, h, h * 0.76, h * 0.07, chance, 2), '#f4f8fc'),
      Array.from({ length: 36 }, () =>
        pen.patch(oval(chance.between(0, w), chance.between(0, h * 0.9), chance.between(2, 5)), '#ffffff'),
      ).join(''),
    ].join(''),
}

const underwater: Scene = {
  name: 'underwater',
  words: ['underwater', 'coral', 'reef', 'aquarium', 'seabed', 'coral reef'],
  draw: (pen, w, h, chance) => {
    const weed = (x: number, height: number, colour: string): string =>
      pen.line(`M${x} ${h} C${x - 26} ${h - height * 0.3} ${x + 26} ${h - height * 0.6} ${x} ${h - height}`, 2, colour)
    return [
      sky(pen, w, h, '#8fd0e4'),
      [0.2, 0.5, 0.75]
        .map((s) => pen.patch(`M${w * s} -20 L${w * s + 46} -20 L${w * s - 30} ${h} L${w * s - 130} ${h} Z`, '#a3dbea'))
        .join(''),
      Array.from({ length: 14 }, () =>
        pen.line(oval(chance.between(0, w), chance.between(0, h * 0.8), chance.between(4, 12)), 0.5, '#e8f8fb'),
      ).join(''),
      [0.06, 0.11, 0.17, 0.84, 0.9, 0.96]
        .map((s, i) => weed(w * s, chance.between(90, 190), i % 2 === 0 ? '#3f9f78' : '#5bb98a'))
        .join(''),
      pen.shape(star(w * 0.28, h * 0.9, 7, 46, 24, 12), '#f08b7a') +
        pen.shape(star(w * 0.74, h * 0.92, 6, 40, 20, 10), '#e06f9e'),
      pen.shape(ridge(w, h, h * 0.92, h * 0.05, chance, 3), '#f1dca8'),
    ].join('')
  },
}

const room: Scene = {
  name: 'room',
  words: [
    'office',
    'room',
    'studio',
    'kitchen',
    'classroom',
    'bedroom',
    'living room',
    'interior',
    'cafe',
    'newsroom',
    'desk',
  ],
  draw: (pen, w, h, chance) => {
    const wall = chance.pick(['#f3e3cf', '#dce9ea', '#ebe1f0', '#e6ecd8'])
    const spines = ['#d9785a', '#5b7fa6', '#4f9a94', '#f0b84e', '#8a6bc9']
    const shelf = (x: number, y: number): string =>
      [0, 1, 2, 3, 4]
        .map((i) =>
          pen.shape(
            box(x + 8 + i * 17, y - 36 - (i % 3) * 7, 14, 36 + (i % 3) * 7, 2),
            spines[(i + Math.round(y)) % 5] ?? '#5b7fa6',
          ),
        )
        .join('') + pen.shape(box(x, y, 104, 9, 3), '#a8774c')
    return [
      sky(pen, w, h, wall),
      pen.shape(
        box(w * 0.06, h * 0.12, 118, 140, 8),
        '#cfeaf5',
        pen.patch(oval(w * 0.06 + 84, h * 0.12 + 38, 18), '#fbd15e') +
          pen.patch(oval(w * 0.06 + 30, h * 0.12 + 146, 70, 44), '#8cc480'),
      ) +
        pen.line(
          `M${w * 0.06 + 59} ${h * 0.12} L${w * 0.06 + 59} ${h * 0.12 + 140} M${w * 0.06} ${h * 0.12 + 70} L${w * 0.06 + 118} ${h * 0.12 + 70}`,
          0.7,
        ),
      shelf(w * 0.94 - 104, h * 0.26) + shelf(w * 0.94 - 104, h * 0.44),
      pen.patch(box(-20, h * 0.84, w + 40, h * 0.2), shaded(wall, 0.16)),
      pen.shape(placed('M-22 0 L22 0 L15 -40 L-15 -40 Z', w * 0.92, h * 0.88, 1.2), '#d9785a') +
        pen.shape(
          placed(
            'M0 -40 C-50 -60 -44 -110 -30 -120 C-20 -96 -6 -80 0 -60 C4 -90 20 -116 36 -124 C46 -90 30 -56 0 -40 Z',
            w * 0.92,
            h * 0.88,
            1.2,
          ),
          '#5aa565',
        ),
    ].join('')
  },
}

export const scenes: readonly Scene[] = [landscape, forest, city, ocean, desert, space, meadow, snow, underwater, room]
