/**
 * Things people make: houses, machines, everyday objects and signs.
 */
import { lit, mix, shaded } from '../colours.ts'
import { both, box, oval, placed, polygon, star } from '../path.ts'
import { eyes, mouth } from '../pen.ts'
import { worn } from '../wear.ts'
import { thingFace } from './nature.ts'
import type { Subject } from './subject.ts'

const house: Subject = {
  name: 'house',
  words: ['house', 'home', 'cottage', 'cabin', 'barn', 'school', 'shop', 'store', 'building', 'castle'],
  natural: ['#f3dcb4', '#e9c9b8', '#cfe0e4'],
  footing: 150,
  draw: (pen) => {
    const { main, accent, second } = pen.colours
    const pane = (x: number, y: number): string =>
      pen.shape(
        box(x, y, 62, 62, 8),
        '#bfe3f0',
        pen.patch(`M${x} ${y + 40} L${x + 40} ${y} L${x + 56} ${y} L${x} ${y + 56} Z`, '#e6f5fa'),
      ) + pen.line(`M${x + 31} ${y + 3} L${x + 31} ${y + 59} M${x + 3} ${y + 31} L${x + 59} ${y + 31}`, 0.7)
    return [
      pen.shape(box(270, 60, 42, 92, 4), shaded(second, 0.1)) + pen.shape(box(262, 54, 58, 22, 6), second),
      pen.shape(box(76, 176, 248, 195, 6), main),
      pen.shape(
        polygon(
          [
            [200, 42],
            [368, 196],
            [32, 196],
          ],
          20,
        ),
        second,
        pen.line(
          'M120 160 L148 160 M168 160 L196 160 M216 160 L244 160 M264 160 L288 160 M150 128 L178 128 M200 128 L228 128 M178 96 L206 96',
          0.5,
          shaded(second, 0.3),
        ),
      ),
      pane(100, 226) + pane(238, 226),
      pen.shape('M174 371 L174 268 Q174 240 200 240 Q226 240 226 268 L226 371 Z', accent) +
        pen.spot(oval(216, 310, 4.5), '#f6d06a'),
      both(
        (d) => pen.shape(d, '#69ad60'),
        'M52 371 C44 344 62 330 80 334 C90 318 122 322 126 342 C142 346 146 362 140 371 Z',
      ),
    ].join('')
  },
}

const robot: Subject = {
  name: 'robot',
  words: ['robot', 'android', 'bot', 'automaton', 'machine'],
  natural: ['#9fb4c7', '#7fb7b5', '#c9b8e0'],
  footing: 96,
  draw: (pen) => {
    const { main, accent, second } = pen.colours
    const screen = '#27324a'
    return [
      pen.line('M200 62 L200 34', 1) + pen.shape(oval(200, 28, 15), second),
      both((d) => pen.shape(d, shaded(main, 0.1)), box(140, 330, 44, 41, 10)),
      both(
        (d) => pen.shape(d, shaded(main, 0.1)),
        'M126 236 C90 240 68 270 72 306 C74 322 98 324 100 306 C102 288 110 276 130 272 Z',
      ),
      pen.shape(box(118, 216, 164, 130, 32), main, pen.patch(oval(200, 350, 90, 30), shaded(main, 0.2))),
      pen.shape(box(158, 250, 84, 52, 12), lit(main, 0.6)) +
        pen.shape(
          'M200 290 C178 276 178 260 190 258 C196 257 199 261 200 264 C201 261 204 257 210 258 C222 260 222 276 200 290 Z',
          second,
        ),
      worn(pen, 'neck', { x: 200, y: 214, half: 66 }),
      both((d) => pen.shape(d, accent), box(66, 112, 34, 58, 12)),
      pen.shape(box(88, 58, 224, 152, 46), main),
      pen.shape(
        box(112, 86, 176, 96, 32),
        pen.style.fill === 'paper' ? '#ffffff' : screen,
        pen.patch('M120 180 L190 80 L220 80 L150 190 Z', lit(screen, 0.12)),
      ),
      pen.style.fill === 'paper' || pen.style.fill === 'hatch'
        ? eyes(pen, { x: 200, y: 126, apart: 38, size: 13, on: '#ffffff' })
        : robotEyes(),
      worn(pen, 'head', { x: 200, y: 66, half: 84 }),
    ].join('')
    function robotEyes(): string {
      const glow = '#8ff0e0'
      const lid = (x: number): string => pen.line(`M${x - 16} 128 Q${x} 108 ${x + 16} 128`, 1, glow)
      const eye = (x: number): string =>
        pen.look.mood === 'asleep'
          ? pen.line(`M${x - 14} 126 L${x + 14} 126`, 1, glow)
          : pen.look.mood === 'happy'
            ? lid(x)
            : pen.spot(oval(x, 122, 13, 17), glow)
      return (
        eye(162) +
        eye(238) +
        pen.line(pen.look.mood === 'sad' ? 'M182 162 Q200 148 218 162' : 'M180 150 Q200 168 220 150', 0.9, glow)
      )
    }
  },
}

const cup: Subject = {
  name: 'cup',
  words: ['cup', 'mug', 'coffee', 'tea', 'teacup', 'teapot', 'latte', 'espresso'],
  footing: 120,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      pen.line(
        'M150 120 C134 98 166 84 150 58 M200 116 C184 92 216 76 200 46 M250 120 C234 98 266 84 250 58',
        0.8,
        mix(pen.colours.ink, '#ffffff', 0.55),
      ),
      pen.shape(
        'M290 186 C350 174 372 214 352 256 C338 286 306 296 276 292 L282 262 C302 266 322 256 328 238 C334 216 318 208 288 214 Z',
        main,
      ),
      pen.shape(
        'M82 152 L306 152 C308 240 296 310 268 346 Q258 362 236 362 L152 362 Q130 362 120 346 C92 310 80 240 82 152 Z',
        main,
        pen.patch('M60 216 L330 216 L326 246 L60 246 Z', lit(main, 0.5)),
      ),
      pen.shape(oval(194, 154, 112, 26), lit(main, 0.45)) + pen.shape(oval(194, 158, 92, 17), '#7b4a2e'),
      pen.look.mood === 'content' && !pen.style.cute && pen.style.eyes !== 'round'
        ? pen.shape(
            'M194 330 C158 306 158 278 178 274 C188 272 193 280 194 286 C195 280 200 272 210 274 C230 278 230 306 194 330 Z',
            pen.colours.second,
          )
        : thingFace(pen, 194, 282, 38, 11, main),
    ].join('')
  },
}

const book: Subject = {
  name: 'book',
  words: ['book', 'novel', 'notebook', 'textbook', 'library', 'reading', 'story'],
  footing: 170,
  draw: (pen) => {
    const { main, second } = pen.colours
    const lines = [0, 1, 2, 3, 4]
      .map(
        (i) =>
          pen.line(`M66 ${148 + i * 34} Q120 ${134 + i * 34} 172 ${154 + i * 34}`, 0.4, '#b9ab95') +
          (i < 2 ? '' : pen.line(`M228 ${154 + i * 34} Q280 ${134 + i * 34} 334 ${148 + i * 34}`, 0.4, '#b9ab95')),
      )
      .join('')
    return [
      pen.shape('M14 116 L200 146 L386 116 L386 340 L200 372 L14 340 Z', main),
      both((d) => pen.shape(d, '#fdf7e8'), 'M200 130 C160 92 90 84 34 98 L34 322 C90 310 160 318 200 352 Z'),
      lines,
      pen.shape(star(282, 160, 5, 34, 15, 3), '#f6c944'),
      pen.line('M200 132 L200 350', 0.8),
      pen.shape('M226 108 L256 98 L256 184 L241 170 L226 188 Z', second),
    ].join('')
  },
}

const heart: Subject = {
  name: 'heart',
  words: ['heart', 'love', 'valentine'],
  natural: ['#e4506a', '#e2574c', '#d9528f'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      pen.shape(
        'M200 360 C60 270 24 200 38 136 C52 72 142 44 200 122 C258 44 348 72 362 136 C376 200 340 270 200 360 Z',
        main,
      ),
      pen.shine('M76 160 C74 124 98 100 128 98 C112 116 100 140 100 172 C90 184 78 178 76 160 Z'),
      thingFace(pen, 200, 190, 44, 13, main),
    ].join('')
  },
}

const balloon: Subject = {
  name: 'balloon',
  words: ['balloon', 'hot air balloon'],
  floats: true,
  draw: (pen) => {
    const { main, second } = pen.colours
    return [
      pen.line('M160 268 L174 326 M240 268 L226 326', 0.5),
      pen.shape(
        'M200 20 C290 20 334 86 330 146 C326 206 280 246 248 280 L152 280 C120 246 74 206 70 146 C66 86 110 20 200 20 Z',
        main,
        pen.patch('M200 10 C130 40 116 180 158 290 L122 290 C40 200 60 40 200 10 Z', second) +
          pen.patch('M200 10 C270 40 284 180 242 290 L278 290 C360 200 340 40 200 10 Z', second),
      ),
      pen.shine('M100 130 C100 92 120 68 144 58 C132 84 124 112 122 150 C112 156 102 148 100 130 Z'),
      thingFace(pen, 200, 150, 30, 10, main),
      pen.shape(box(162, 322, 76, 54, 10), '#b98250', pen.line('M162 340 L240 340 M162 358 L240 358', 0.4, '#8a5a34')),
    ].join('')
  },
}

const gift: Subject = {
  name: 'gift',
  words: ['gift', 'present', 'parcel', 'box', 'package', 'surprise'],
  footing: 140,
  draw: (pen) => {
    const { main, second } = pen.colours
    return [
      pen.shape(box(84, 180, 232, 191, 12), main, pen.patch(box(176, 160, 48, 230), second)),
      pen.shape(box(66, 136, 268, 62, 14), lit(main, 0.15), pen.patch(box(176, 120, 48, 100), second)),
      both(
        (d) => pen.shape(d, second, pen.patch(placed(oval(0, 0, 22, 12, 28), 146, 96), shaded(second, 0.3))),
        'M200 136 C170 60 96 44 88 86 C84 116 140 138 200 136 Z',
      ),
      pen.shape(oval(200, 130, 24, 20), lit(second, 0.12)),
    ].join('')
  },
}

const bulb: Subject = {
  name: 'bulb',
  words: ['bulb', 'lightbulb', 'light bulb', 'idea', 'lamp', 'lantern', 'innovation'],
  natural: ['#fbd75e'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      [-70, -35, 0, 35, 70]
        .map((a) => {
          const t = ((a - 90) * Math.PI) / 180
          return pen.line(
            `M${200 + Math.cos(t) * 150} ${168 + Math.sin(t) * 150} L${200 + Math.cos(t) * 178} ${168 + Math.sin(t) * 178}`,
            1,
            pen.colours.second,
          )
        })
        .join(''),
      pen.shape(
        'M200 52 C268 52 316 102 314 164 C312 216 272 236 258 290 L142 290 C128 236 88 216 86 164 C84 102 132 52 200 52 Z',
        main,
      ),
      pen.line(
        'M172 288 C176 240 150 200 162 180 C172 166 184 190 184 204 C190 176 210 176 216 204 C216 190 228 166 238 180 C250 200 224 240 228 288',
        0.7,
        shaded(main, 0.45),
      ),
      pen.shine('M112 160 C114 118 140 90 172 84 C146 104 132 132 132 170 C124 182 112 178 112 160 Z'),
      thingFace(pen, 200, 140, 36, 11, main),
      pen.shape(box(146, 288, 108, 30, 10), '#aab4c0') +
        pen.shape(box(152, 318, 96, 26, 10), '#bcc5cf') +
        pen.shape('M164 344 L236 344 Q230 372 200 372 Q170 372 164 344 Z', '#8e99a6'),
    ].join('')
  },
}

const camera: Subject = {
  name: 'camera',
  words: ['camera', 'photography', 'lens'],
  natural: ['#4b5870', '#c56a55', '#4f8f8b'],
  footing: 160,
  draw: (pen) => {
    const { main, second } = pen.colours
    return [
      pen.shape('M136 124 L156 82 Q160 74 170 74 L230 74 Q240 74 244 82 L264 124 Z', shaded(main, 0.14)),
      pen.shape(box(70, 96, 50, 30, 8), second),
      pen.shape(box(32, 116, 336, 232, 36), main, pen.patch(box(20, 158, 360, 120), lit(main, 0.5))),
      pen.shape(oval(200, 228, 92), '#e9edf0') +
        pen.shape(oval(200, 228, 72), '#39445a') +
        pen.shape(oval(200, 228, 46), '#5f9fc4', pen.patch(oval(200, 250, 40, 24), '#3f78a0')),
      pen.shine(oval(178, 200, 16, 11, -36)) + pen.shape(oval(326, 152, 13), '#fbe38a'),
    ].join('')
  },
}

const cake: Subject = {
  name: 'cake',
  words: ['cake', 'cupcake', 'dessert', 'muffin', 'pie', 'ice cream', 'pizza', 'burger', 'food'],
  natural: ['#f4a7b9', '#f6d9a8', '#c9a3e0'],
  footing: 130,
  draw: (pen) => {
    const { main, second } = pen.colours
    const sprinkles: readonly (readonly [number, number, number])[] = [
      [150, 176, 0.4],
      [196, 140, -0.5],
      [244, 172, 0.9],
      [176, 214, -0.8],
      [226, 218, 0.3],
      [272, 214, -0.4],
      [126, 218, 0.7],
    ]
    return [
      pen.shape(
        'M88 232 L312 232 L284 356 Q282 371 266 371 L134 371 Q118 371 116 356 Z',
        second,
        [124, 162, 200, 238, 276]
          .map((x) =>
            pen.patch(
              `M${x - 8} 226 L${x + 8} 226 L${200 + (x - 200) * 0.72 + 6} 376 L${200 + (x - 200) * 0.72 - 6} 376 Z`,
              lit(second, 0.35),
            ),
          )
          .join(''),
      ),
      pen.shape(
        'M200 62 C226 62 240 86 234 108 C268 106 290 132 280 160 C312 164 330 196 316 224 C306 250 270 254 244 246 Q200 262 156 246 C130 254 94 250 84 224 C70 196 88 164 120 160 C110 132 132 106 166 108 C160 86 174 62 200 62 Z',
        main,
      ),
      sprinkles
        .map(([x, y, t], i) =>
          pen.line(
            `M${x - Math.cos(t) * 8} ${y - Math.sin(t) * 8} L${x + Math.cos(t) * 8} ${y + Math.sin(t) * 8}`,
            0.8,
            ['#f6c944', '#4fa3cf', '#e4574b', '#62b36a'][i % 4],
          ),
        )
        .join(''),
      pen.shape(oval(200, 56, 27), '#dc3f49') +
        pen.shine(oval(191, 47, 7, 5, -30)) +
        pen.line('M204 32 Q212 14 230 10', 0.8, '#5a8a3c'),
      thingFace(pen, 200, 300, 32, 10, second),
    ].join('')
  },
}

const guitar: Subject = {
  name: 'guitar',
  words: ['guitar', 'ukulele', 'violin', 'music', 'instrument'],
  natural: ['#c9803f', '#b5553c'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    return [
      pen.shape('M192 20 L236 20 L232 72 L196 72 Z', shaded(main, 0.35)),
      [30, 46, 62].map((y) => pen.spot(oval(186, y, 6)) + pen.spot(oval(242, y, 6))).join(''),
      pen.shape(
        box(200, 66, 28, 170, 4),
        '#7a4c30',
        [96, 126, 156, 186].map((y) => pen.line(`M200 ${y} L228 ${y}`, 0.4, '#e9d8b8')).join(''),
      ),
      pen.shape(
        'M214 178 C258 170 288 192 284 224 C282 246 290 254 304 272 C332 312 300 380 214 380 C128 380 96 312 124 272 C138 254 146 246 144 224 C140 192 170 170 214 178 Z',
        main,
        pen.patch(oval(214, 246, 50), lit(main, 0.35)),
      ),
      pen.shape(oval(214, 246, 33), '#54301f') + pen.shape(box(172, 320, 84, 20, 6), '#54301f'),
      pen.line('M206 70 L206 326 M214 70 L214 326 M222 70 L222 326', 0.3, '#f3ead8'),
    ].join('')
  },
}

const trophy: Subject = {
  name: 'trophy',
  words: ['trophy', 'award', 'medal', 'prize', 'winner', 'champion'],
  natural: ['#f2c13c'],
  footing: 90,
  draw: (pen) => {
    const { main, second } = pen.colours
    return [
      both((d) => pen.line(d, 3.4) + pen.line(d, 1.6, shaded(main, 0.15)), 'M112 92 C40 84 50 200 136 200'),
      pen.shape('M176 236 L224 236 L230 318 L170 318 Z', shaded(main, 0.12)),
      pen.shape('M100 52 L300 52 C304 160 280 252 200 252 C120 252 96 160 100 52 Z', main),
      pen.shape(box(88, 38, 224, 34, 14), lit(main, 0.25)),
      pen.shape(star(200, 146, 5, 46, 21, 4), '#fff6d8'),
      pen.shape(box(124, 312, 152, 59, 10), second) + pen.shape(box(160, 330, 80, 24, 6), lit(second, 0.6)),
    ].join('')
  },
}

const snowman: Subject = {
  name: 'snowman',
  words: ['snowman', 'snowmen'],
  natural: ['#f7fafc'],
  footing: 110,
  draw: (pen) => {
    const { main } = pen.colours
    const arms = pen.line(
      'M112 220 C80 204 58 186 40 156 M58 180 L34 182 M288 220 C320 204 342 186 360 156 M342 180 L366 182',
      1,
      '#7a5236',
    )
    return [
      arms,
      pen.shape(oval(200, 292, 108, 80), main),
      pen.shape(oval(200, 206, 82, 66), main) + [204, 236, 286, 318].map((y) => pen.spot(oval(200, y, 7))).join(''),
      worn(pen, 'neck', { x: 200, y: 164, half: 66 }),
      pen.shape(oval(200, 108, 66, 62), main),
      eyes(pen, { x: 200, y: 94, apart: 27, size: 9, on: main }),
      pen.shape('M196 106 L262 122 L198 126 Q188 116 196 106 Z', '#ef8a34'),
      mouth(pen, 196, 138, 36, main),
      worn(pen, 'head', { x: 200, y: 62, half: 58 }),
    ].join('')
  },
}

export const things: readonly Subject[] = [
  house,
  robot,
  cup,
  book,
  heart,
  balloon,
  gift,
  bulb,
  camera,
  cake,
  guitar,
  trophy,
  snowman,
]
