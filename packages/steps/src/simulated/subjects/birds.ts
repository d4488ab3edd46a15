/**
 * Birds. Their wings and beaks share nothing with the sitting animals, so each is a drawing of its own.
 */
import { lit, shaded } from '../colours.ts'
import { both, oval } from '../path.ts'
import { eyes } from '../pen.ts'
import { worn } from '../wear.ts'
import type { Subject } from './subject.ts'

const owl: Subject = {
  name: 'owl',
  words: ['owl', 'owlet'],
  natural: ['#9a6b4a', '#7b6aa8', '#c08a54'],
  footing: 84,
  draw: (pen) => {
    const { main } = pen.colours
    const pale = lit(main, 0.6)
    const feather = (x: number, y: number): string =>
      pen.line(`M${x - 6} ${y} Q${x + 2} ${y + 12} ${x + 10} ${y}`, 0.5, shaded(main, 0.15))
    const feathers = [0, 1, 2].flatMap((row) =>
      Array.from({ length: 4 - (row % 2) }, (_, i) => feather(148 + (row % 2) * 17 + i * 34, 264 + row * 30)),
    )
    return [
      both((d) => pen.shape(d, '#f2a93b'), oval(168, 366, 20, 12)),
      pen.shape(
        'M200 66 C228 66 252 58 282 40 C288 76 294 104 298 140 C312 250 290 366 200 366 C110 366 88 250 102 140 C106 104 112 76 118 40 C148 58 172 66 200 66 Z',
        main,
        pen.patch(
          'M200 208 C250 208 270 260 262 310 C252 360 226 374 200 374 C174 374 148 360 138 310 C130 260 150 208 200 208 Z',
          pale,
        ),
      ),
      ...feathers,
      both((d) => pen.shape(d, shaded(main, 0.18)), 'M104 190 C84 220 78 286 112 338 C134 318 140 250 128 200 Z'),
      worn(pen, 'neck', { x: 200, y: 214, half: 84 }),
      both((d) => pen.shape(d, pale), oval(158, 138, 48, 48)),
      pen.shape('M186 156 Q200 146 214 156 Q210 184 200 190 Q190 184 186 156 Z', '#f2a93b'),
      eyes(pen, { x: 200, y: 138, apart: 42, size: 19, on: pale, iris: '#d98a1e' }),
      worn(pen, 'head', { x: 200, y: 76, half: 84 }),
    ].join('')
  },
}

const bird: Subject = {
  name: 'bird',
  words: [
    'bird',
    'robin',
    'sparrow',
    'parrot',
    'bluebird',
    'songbird',
    'finch',
    'chick',
    'duck',
    'duckling',
    'chicken',
    'hen',
    'dove',
    'pigeon',
    'swan',
    'goose',
  ],
  natural: ['#4d97d1', '#e9b93a', '#e26a4b', '#4cae8c'],
  footing: 70,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      pen.line('M186 322 L180 366 M166 370 L196 370', 0.8, '#d98a2b'),
      pen.line('M224 322 L224 366 M210 370 L242 370', 0.8, '#d98a2b'),
      pen.shape(
        'M286 246 C330 226 362 224 386 206 C392 232 378 262 352 276 C328 288 300 288 276 280 Z',
        shaded(main, 0.2),
      ),
      pen.shape(
        'M160 68 C226 62 262 118 278 172 C296 232 296 326 200 332 C112 332 84 262 86 196 C86 134 106 74 160 68 Z',
        main,
        pen.patch('M84 196 C120 186 176 214 182 268 C184 310 170 340 150 340 C90 330 70 250 84 196 Z', lit(main, 0.68)),
      ),
      pen.shape(
        'M206 188 C250 176 300 198 326 250 C300 288 242 296 212 262 C194 240 192 210 206 188 Z',
        shaded(main, 0.16),
        pen.patch('M240 250 C270 262 300 256 330 240 L330 300 L230 300 Z', shaded(main, 0.3)),
      ),
      worn(pen, 'neck', { x: 152, y: 192, half: 66 }),
      pen.shape(
        'M96 128 C74 126 54 136 38 150 C58 162 80 166 98 160 Z',
        '#f2a93b',
        pen.patch('M30 150 L110 146 L110 170 L30 170 Z', '#dd8d25'),
      ),
      eyes(pen, { x: 148, y: 128, apart: 27, size: 10.5, on: main, iris: '#5a3a1c' }),
      pen.style.cute ? '' : pen.line('M158 68 C156 52 164 42 176 36 M170 68 C174 56 184 52 194 52', 0.7),
      worn(pen, 'head', { x: 162, y: 82, half: 60 }),
    ].join('')
  },
}

const penguin: Subject = {
  name: 'penguin',
  words: ['penguin', 'puffin'],
  natural: ['#3c4a66', '#46505f'],
  footing: 84,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      both((d) => pen.shape(d, '#f2a03b'), oval(164, 362, 32, 14, -8)),
      both((d) => pen.shape(d, shaded(main, 0.1)), 'M112 190 C84 220 66 262 62 296 C82 302 104 288 122 262 Z'),
      pen.shape(
        'M200 44 C262 44 290 104 294 180 C304 280 276 360 200 360 C124 360 96 280 106 180 C110 104 138 44 200 44 Z',
        main,
        pen.patch(
          'M200 112 C214 88 262 92 266 136 C270 166 260 176 266 210 C280 290 252 366 200 366 C148 366 120 290 134 210 C140 176 130 166 134 136 C138 92 186 88 200 112 Z',
          '#fbf8f1',
        ),
      ),
      worn(pen, 'neck', { x: 200, y: 208, half: 88 }),
      eyes(pen, { x: 200, y: 136, apart: 34, size: 11, on: '#fbf8f1' }),
      pen.shape('M176 158 Q200 144 224 158 Q212 180 200 182 Q188 180 176 158 Z', '#f2a03b'),
      worn(pen, 'head', { x: 200, y: 64, half: 78 }),
    ].join('')
  },
}

export const birds: readonly Subject[] = [owl, bird, penguin]
