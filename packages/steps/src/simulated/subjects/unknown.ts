/**
 * What is drawn when no subject is recognised: a friendly creature for anything alive, an emblem for the rest.
 * Both are put together by chance from the prompt, so that every prompt has a picture of its own.
 */
import { lit, mix, shaded } from '../colours.ts'
import { both, oval, star } from '../path.ts'
import { eyes, mouth } from '../pen.ts'
import { worn } from '../wear.ts'
import type { Subject } from './subject.ts'

export const creature: Subject = {
  name: 'creature',
  words: [
    'creature',
    'monster',
    'animal',
    'mascot',
    'alien',
    'pet',
    'beast',
    'unicorn',
    'horse',
    'pony',
    'hedgehog',
    'otter',
    'giraffe',
    'zebra',
    'hippo',
    'rhino',
    'kangaroo',
    'crab',
    'lobster',
    'hamster',
    'donkey',
    'llama',
    'alpaca',
    'camel',
    'seal',
    'walrus',
    'bat',
    'ghost',
    'goblin',
    'yeti',
    'spider',
    'worm',
    'caterpillar',
    'ant',
  ],
  natural: ['#f58a5b', '#6fb7d9', '#8fc26b', '#b08be0', '#f08bae', '#f3bd4e', '#4fb3a5'],
  footing: 110,
  draw: (pen, chance) => {
    const { main, second } = pen.colours
    const pale = lit(main, 0.58)
    const body = chance.pick([
      'M200 70 C290 70 326 150 322 232 C318 320 290 364 200 364 C110 364 82 320 78 232 C74 150 110 70 200 70 Z',
      'M200 60 C262 60 282 120 290 180 C300 230 330 260 318 310 C306 356 260 364 200 364 C140 364 94 356 82 310 C70 260 100 230 110 180 C118 120 138 60 200 60 Z',
      'M200 84 C300 78 352 160 346 236 C340 322 280 364 200 364 C120 364 60 322 54 236 C48 160 100 78 200 84 Z',
    ])
    const top = chance.pick([
      both((d) => pen.shape(d, '#f3e2b8'), 'M150 98 C122 86 106 54 116 28 C136 42 166 64 180 88 Z'),
      both((d) => pen.shape(d, main, pen.patch(oval(126, 66, 14, 20, -20), second)), oval(124, 74, 32, 42, -20)),
      both((d) => pen.line(d, 1), 'M170 90 C164 60 150 46 134 36') +
        both((d) => pen.shape(d, second), oval(130, 32, 17)),
      pen.shape(
        'M160 92 C150 60 170 40 176 26 C186 44 192 34 202 14 C210 36 218 40 230 28 C234 46 250 62 240 92 Z',
        second,
      ),
    ])
    const belly = chance.pick([
      pen.patch(oval(200, 310, 78, 76), pale),
      pen.patch(oval(200, 310, 78, 76), pale) +
        [280, 304, 328].map((y) => pen.line(`M156 ${y} Q200 ${y + 14} 244 ${y}`, 0.4, shaded(pale, 0.2))).join(''),
      [
        [120, 250, 16],
        [284, 270, 20],
        [250, 330, 14],
        [146, 320, 12],
        [300, 210, 10],
      ]
        .map(([x = 0, y = 0, r = 0]) => pen.patch(oval(x, y, r), mix(main, second, 0.55)))
        .join(''),
    ])
    return [
      both((d) => pen.shape(d, main), 'M96 220 C60 226 40 256 44 290 C50 304 70 300 76 286 C80 270 92 262 106 262 Z'),
      top,
      both((d) => pen.shape(d, shaded(main, 0.14)), oval(150, 358, 36, 16)),
      pen.shape(body, main, belly),
      worn(pen, 'neck', { x: 200, y: 236, half: 96 }),
      eyes(pen, { x: 200, y: 164, apart: 44, size: 15, on: main, iris: '#ffffff' }),
      mouth(pen, 200, 202, 50, main),
      worn(pen, 'head', { x: 200, y: 84, half: 74 }),
    ].join('')
  },
}

export const emblem: Subject = {
  name: 'emblem',
  words: ['logo', 'emblem', 'badge', 'mandala', 'pattern', 'abstract', 'ornament', 'crest', 'symbol'],
  floats: true,
  draw: (pen, chance) => {
    const { main, accent, second } = pen.colours
    const rays = chance.pick([6, 8])
    const ring = (radius: number, rx: number, ry: number, colour: string, turn: number): string =>
      Array.from({ length: rays }, (_, i) => {
        const angle = (i / rays) * 360 + turn
        const t = (angle * Math.PI) / 180
        return pen.shape(oval(200 + Math.cos(t) * radius, 200 + Math.sin(t) * radius, rx, ry, angle), colour)
      }).join('')
    const width = 230 / rays
    return [
      chance.next() < 0.5
        ? pen.shape(star(200, 200, rays * 2, 186, 162, 22), lit(main, 0.55))
        : pen.shape(oval(200, 200, 178), lit(main, 0.55), pen.line(oval(200, 200, 164), 0.4, lit(main, 0.2))),
      chance.next() < 0.6 ? ring(112, 44, width, accent, 0) : pen.shape(star(200, 200, rays, 158, 96, 20), accent),
      ring(132, 7, 7, second, 180 / rays),
      pen.shape(oval(200, 200, 58), main),
      chance.pick([
        pen.shape(star(200, 200, 5, 40, 18, 4), '#fff6d8'),
        pen.shape(
          'M200 232 C156 204 160 172 180 168 C192 166 199 176 200 182 C201 176 208 166 220 168 C240 172 244 204 200 232 Z',
          '#fff6ea',
        ),
        pen.shape('M172 222 C160 180 190 164 232 164 C236 206 214 236 172 222 Z', '#fff6ea'),
        pen.shape(oval(200, 200, 28), '#fff6ea') + pen.spot(oval(200, 200, 10)),
      ]),
    ].join('')
  },
}
