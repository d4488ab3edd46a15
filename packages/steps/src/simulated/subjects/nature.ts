/**
 * Plants, weather and sky.
 */
import { lit, mix, shaded } from '../colours.ts'
import { both, box, oval, placed, polygon, star } from '../path.ts'
import { eyes, mouth, type Pen } from '../pen.ts'
import { worn } from '../wear.ts'
import type { Subject } from './subject.ts'

/** A face for things, which only styles that give everything a face ask for. */
export function thingFace(pen: Pen, x: number, y: number, apart: number, size: number, on: string): string {
  const wearsGlasses = pen.look.wears.has('glasses') || pen.look.wears.has('sunglasses')
  if (!pen.style.cute && pen.style.eyes !== 'round' && pen.look.mood === 'content' && !wearsGlasses) return ''
  return eyes(pen, { x, y, apart, size, on }) + mouth(pen, x, y + size * 1.6, size * 2.2, on)
}

const tree: Subject = {
  name: 'tree',
  words: ['tree', 'oak', 'maple', 'willow'],
  natural: ['#5aa457', '#7ab04a', '#e08e3e', '#3f9279'],
  footing: 96,
  draw: (pen) => {
    const { main } = pen.colours
    const leaf = (x: number, y: number): string =>
      pen.line(`M${x} ${y} Q${x + 10} ${y + 14} ${x + 22} ${y + 6}`, 0.55, shaded(main, 0.3))
    return [
      pen.shape(
        'M176 240 C178 300 172 340 144 371 L256 371 C228 340 222 300 224 240 Z',
        '#8a5a3c',
        pen.line('M196 300 L194 340 M210 316 L212 352', 0.5, '#6d4430'),
      ),
      pen.shape(
        'M200 30 C236 22 268 42 276 72 C316 72 344 106 332 144 C360 172 352 220 314 232 C300 264 258 272 232 254 C212 270 188 270 168 254 C142 272 100 264 86 232 C48 220 40 172 68 144 C56 106 84 72 124 72 C132 42 164 22 200 30 Z',
        main,
        pen.patch(oval(150, 100, 44, 30, -24), lit(main, 0.3)) +
          pen.patch(oval(250, 150, 26, 18, -20), lit(main, 0.22)),
      ),
      leaf(190, 130) + leaf(110, 176) + leaf(270, 200) + leaf(176, 214) + leaf(250, 96),
      thingFace(pen, 200, 160, 36, 11, main),
    ].join('')
  },
}

const pine: Subject = {
  name: 'pine',
  words: ['pine', 'fir', 'spruce', 'christmas tree', 'conifer'],
  natural: ['#3f8a63', '#4a9a7a'],
  footing: 90,
  draw: (pen) => {
    const { main, second } = pen.colours
    return [
      pen.shape(box(178, 310, 44, 61, 6), '#8a5a3c'),
      pen.shape(
        polygon(
          [
            [200, 170],
            [318, 330],
            [200, 342],
            [82, 330],
          ],
          18,
        ),
        shaded(main, 0.06),
      ),
      pen.shape(
        polygon(
          [
            [200, 100],
            [296, 246],
            [200, 258],
            [104, 246],
          ],
          18,
        ),
        main,
      ),
      pen.shape(
        polygon(
          [
            [200, 36],
            [270, 160],
            [200, 170],
            [130, 160],
          ],
          18,
        ),
        lit(main, 0.12),
      ),
      [
        [160, 224],
        [232, 210],
        [206, 142],
        [150, 306],
        [246, 300],
      ]
        .map(([x = 0, y = 0], i) => pen.shape(oval(x, y, 10), i % 2 === 0 ? second : '#f6c944'))
        .join(''),
      pen.shape(star(200, 42, 5, 30, 13, 3), '#f6c944'),
    ].join('')
  },
}

const flower: Subject = {
  name: 'flower',
  words: ['flower', 'daisy', 'daisies', 'sunflower', 'rose', 'tulip', 'blossom', 'bouquet', 'lotus', 'poppy', 'plant'],
  natural: ['#f08bae', '#f47c66', '#f7f1e6', '#a98be0', '#f5b945', '#6f9fe0'],
  draw: (pen, chance) => {
    const { main } = pen.colours
    const petals = chance.pick([8, 9, 11])
    const heart = pen.look.tint === undefined ? '#f6bd3b' : mix('#f6bd3b', '#8a4a2c', 0.3)
    const petal = (i: number): string => {
      const angle = (i / petals) * 360
      const turn = (angle * Math.PI) / 180
      return pen.shape(oval(200 + Math.cos(turn) * 84, 140 + Math.sin(turn) * 84, 52, 260 / petals, angle), main)
    }
    return [
      pen.line('M200 180 C196 250 204 310 200 368', 1.6, '#4d9350'),
      pen.shape(
        'M200 320 C160 250 110 246 78 258 C92 306 144 336 200 330 Z',
        '#5cab5e',
        pen.line('M110 274 Q160 290 196 324', 0.5, '#3c7d45'),
      ),
      pen.shape(
        'M202 352 C230 288 278 276 314 282 C304 330 258 362 204 362 Z',
        '#5cab5e',
        pen.line('M284 298 Q236 320 206 354', 0.5, '#3c7d45'),
      ),
      Array.from({ length: petals }, (_, i) => petal(i)).join(''),
      pen.shape(
        oval(200, 140, 48),
        heart,
        [
          [186, 128],
          [206, 124],
          [220, 140],
          [196, 148],
          [178, 146],
          [210, 158],
        ]
          .map(([x = 0, y = 0]) => pen.patch(oval(x, y, 4), shaded(heart, 0.3)))
          .join(''),
      ),
      thingFace(pen, 200, 136, 17, 6.5, heart),
    ].join('')
  },
}

const mushroom: Subject = {
  name: 'mushroom',
  words: ['mushroom', 'toadstool', 'fungus', 'fungi'],
  natural: ['#d8453c', '#c9624a', '#b6517f'],
  footing: 100,
  draw: (pen) => {
    const { main } = pen.colours
    const stem = '#f7ecd8'
    return [
      pen.shape(
        'M148 220 C156 270 142 310 132 340 C126 364 150 371 200 371 C250 371 274 364 268 340 C258 310 244 270 252 220 Z',
        stem,
      ),
      pen.shape('M140 216 Q200 262 260 216 L252 240 Q200 276 148 240 Z', '#ead6b8'),
      pen.shape(
        'M200 48 C300 48 360 130 362 200 C362 226 330 236 280 238 Q200 246 120 238 C70 236 38 226 38 200 C40 130 100 48 200 48 Z',
        main,
        [
          [130, 120, 28, 24],
          [214, 84, 22, 16],
          [290, 138, 28, 26],
          [204, 170, 34, 26],
          [76, 196, 20, 20],
          [330, 206, 18, 16],
          [262, 214, 14, 10],
        ]
          .map(([x = 0, y = 0, rx = 0, ry = 0]) => pen.patch(oval(x, y, rx, ry), '#fff7ea'))
          .join(''),
      ),
      eyes(pen, { x: 200, y: 296, apart: 27, size: 9, on: stem }),
      mouth(pen, 200, 314, 20, stem),
      pen.line('M104 371 L96 344 M112 371 L116 350 M288 371 L298 346 M296 371 L310 356', 0.7, '#5b9a55'),
    ].join('')
  },
}

const cactus: Subject = {
  name: 'cactus',
  words: ['cactus', 'cacti', 'succulent', 'houseplant', 'pot plant'],
  natural: ['#57a86b', '#4a9c84'],
  footing: 84,
  draw: (pen) => {
    const { main, second } = pen.colours
    const ribs = pen.line('M180 100 L178 280 M220 100 L222 280', 0.5, shaded(main, 0.28))
    return [
      pen.shape(
        'M152 190 L112 190 Q92 190 92 168 L92 140 Q92 120 74 120 Q56 120 56 140 L56 178 Q56 228 106 228 L152 228 Z',
        main,
      ),
      pen.shape(
        'M248 230 L288 230 Q308 230 308 206 L308 176 Q308 156 326 156 Q344 156 344 176 L344 214 Q344 266 292 266 L248 266 Z',
        main,
      ),
      pen.shape('M146 300 L146 106 Q146 44 200 44 Q254 44 254 106 L254 300 Z', main, ribs),
      thingFace(pen, 200, 150, 28, 9, main),
      pen.shape(star(228, 50, 6, 34, 21, 9), '#f08bae') + pen.spot(oval(228, 50, 8), '#f6c944'),
      pen.shape(
        'M118 296 L282 296 L264 358 Q262 371 248 371 L152 371 Q138 371 136 358 Z',
        second,
        pen.patch('M100 330 L300 330 L300 344 L100 344 Z', lit(second, 0.4)),
      ),
      pen.shape(box(106, 274, 188, 36, 12), second),
    ].join('')
  },
}

const leaf: Subject = {
  name: 'leaf',
  words: ['leaf', 'leaves', 'fern', 'herb', 'seedling', 'sprout'],
  natural: ['#58a85c', '#e08e3e', '#7cb342'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    return (
      pen.line('M72 356 C100 330 120 300 140 270', 1.5, shaded(main, 0.35)) +
      pen.shape(
        'M110 300 C50 190 130 60 350 44 C366 240 250 360 110 300 Z',
        main,
        pen.line(
          'M110 300 C180 220 250 150 320 80 M176 230 L170 150 M176 230 L262 240 M228 176 L226 108 M228 176 L304 178',
          0.6,
          shaded(main, 0.32),
        ),
      )
    )
  },
}

const mountain: Subject = {
  name: 'mountain',
  words: ['mountain', 'peak', 'volcano', 'summit', 'hill'],
  natural: ['#6d86a8', '#7a76a6', '#5f8f8b'],
  footing: 190,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      pen.shape(oval(310, 92, 36), '#f8c84e'),
      pen.shape(
        polygon(
          [
            [20, 366],
            [118, 176],
            [220, 366],
          ],
          12,
        ),
        shaded(main, 0.16),
        pen.patch('M60 260 L96 232 L112 250 L132 228 L180 262 L118 150 Z', '#fbfaf5'),
      ),
      pen.shape(
        polygon(
          [
            [110, 366],
            [246, 96],
            [386, 366],
          ],
          14,
        ),
        main,
        pen.patch('M170 246 L212 198 L232 228 L254 194 L278 232 L300 208 L330 240 L246 70 Z', '#fbfaf5'),
      ),
      pen.shape('M14 371 C60 330 120 338 160 352 C210 330 300 326 388 371 Z', '#6aa866'),
    ].join('')
  },
}

const sun: Subject = {
  name: 'sun',
  words: ['sun', 'sunshine', 'sunny'],
  natural: ['#f8c040', '#f7b23c'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      pen.shape(star(200, 200, 12, 176, 122, 14), mix(main, '#f2783c', 0.45)),
      pen.shape(oval(200, 200, 108), main, pen.patch(oval(158, 152, 30, 16, -36), lit(main, 0.5))),
      eyes(pen, { x: 200, y: 188, apart: 40, size: 12, on: main }),
      mouth(pen, 200, 222, 52, main),
      worn(pen, 'head', { x: 200, y: 106, half: 74 }),
    ].join('')
  },
}

const moon: Subject = {
  name: 'moon',
  words: ['moon', 'crescent', 'moonlight'],
  natural: ['#f6d98a', '#d9dcf0'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      pen.shape(
        'M232 42 C120 34 40 108 42 206 C44 304 124 366 212 360 C262 356 300 334 326 300 C250 314 180 272 174 196 C168 130 192 76 232 42 Z',
        main,
        pen.patch(oval(90, 230, 18, 16), shaded(main, 0.14)) +
          pen.patch(oval(150, 318, 22, 14), shaded(main, 0.14)) +
          pen.patch(oval(128, 110, 12), shaded(main, 0.14)),
      ),
      pen.look.mood === 'content'
        ? pen.line('M104 196 Q116 208 130 196', 0.7) + pen.line('M110 236 Q130 252 148 234', 0.65)
        : eyes(pen, { x: 122, y: 198, apart: 22, size: 9, on: main }) + mouth(pen, 128, 232, 28, main),
      pen.shape(star(290, 120, 5, 40, 17, 4, 10), '#f8c84e') +
        pen.shape(star(344, 210, 5, 24, 10, 3, -8), '#f8c84e') +
        pen.shape(star(268, 218, 5, 18, 8, 2), '#f8c84e'),
    ].join('')
  },
}

const cloud: Subject = {
  name: 'cloud',
  words: ['cloud', 'rain', 'storm', 'weather'],
  natural: ['#dfeaf4', '#c9d9ee'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    const drop = 'M0 -26 C16 -4 20 12 0 20 C-20 12 -16 -4 0 -26 Z'
    return [
      [110, 178, 246, 304].map((x, i) => pen.shape(placed(drop, x, 318 + (i % 2) * 26), '#5aa7dd')).join(''),
      pen.shape(
        'M110 268 C58 268 32 234 38 196 C44 160 76 144 104 148 C112 96 158 66 210 78 C246 86 268 108 276 138 C326 128 366 160 364 206 C362 246 330 268 292 268 Z',
        main,
      ),
      eyes(pen, { x: 200, y: 188, apart: 38, size: 11, on: main }),
      mouth(pen, 200, 212, 32, main),
    ].join('')
  },
}

const starSubject: Subject = {
  name: 'star',
  words: ['star'],
  natural: ['#f8c63f'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      pen.shape(star(200, 212, 5, 184, 92, 30), main, pen.patch(oval(168, 130, 12, 34, 20), lit(main, 0.55))),
      thingFace(pen, 200, 206, 36, 12, main),
    ].join('')
  },
}

const rainbow: Subject = {
  name: 'rainbow',
  words: ['rainbow'],
  floats: true,
  draw: (pen) => {
    const arc = (r: number, colour: string): string =>
      pen.shape(
        `M${200 - r} 290 C${200 - r} ${290 - r * 1.33} ${200 + r} ${290 - r * 1.33} ${200 + r} 290 L${200 + r - 26} 290 C${200 + r - 26} ${290 - (r - 26) * 1.33} ${200 - r + 26} ${290 - (r - 26) * 1.33} ${200 - r + 26} 290 Z`,
        colour,
      )
    const puff =
      'M70 330 C30 330 16 296 38 276 C44 250 80 244 96 264 C122 252 148 272 140 298 C146 320 126 332 108 330 Z'
    return (
      ['#e4574b', '#f39a3d', '#f6cf4a', '#62b36a', '#4a8fd0', '#8a63cf'].map((c, i) => arc(172 - i * 21, c)).join('') +
      both((d) => pen.shape(d, '#f4f7fa'), puff)
    )
  },
}

const apple: Subject = {
  name: 'apple',
  words: ['apple', 'fruit', 'cherry', 'pear', 'peach', 'tomato', 'orange fruit', 'pumpkin'],
  natural: ['#dd4b42', '#7fb648'],
  footing: 92,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      pen.shape(
        'M200 118 C240 84 322 92 336 178 C346 262 286 366 236 366 C220 366 212 358 200 358 C188 358 180 366 164 366 C114 366 54 262 64 178 C78 92 160 84 200 118 Z',
        main,
      ),
      pen.shine('M104 166 C110 142 126 130 146 130 C126 150 118 176 116 206 C104 200 102 184 104 166 Z'),
      pen.line('M200 124 C198 94 204 70 220 50', 1.3, '#7a4c30'),
      pen.shape(
        'M214 96 C228 56 272 42 312 56 C300 98 258 114 214 96 Z',
        '#6ab04c',
        pen.line('M230 90 Q262 84 290 66', 0.5, '#43803a'),
      ),
      thingFace(pen, 200, 224, 44, 13, main),
    ].join('')
  },
}

export const nature: readonly Subject[] = [
  tree,
  pine,
  flower,
  mushroom,
  cactus,
  leaf,
  mountain,
  sun,
  moon,
  cloud,
  starSubject,
  rainbow,
  apple,
]
