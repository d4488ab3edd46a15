/**
 * Vehicles on wheels, on water and in the air, each a drawing of its own.
 */
import { lit, shaded } from '../colours.ts'
import { both, box, oval } from '../path.ts'
import { thingFace } from './nature.ts'
import type { Subject } from './subject.ts'

const rocket: Subject = {
  name: 'rocket',
  words: ['rocket', 'spaceship', 'spacecraft', 'launch', 'startup', 'shuttle'],
  natural: ['#f3f4f2', '#e8eef2'],
  floats: true,
  draw: (pen) => {
    const { main, accent, second } = pen.colours
    return [
      pen.shape(
        'M164 296 C150 330 168 352 176 372 C184 358 190 360 200 394 C210 360 216 358 224 372 C232 352 250 330 236 296 Z',
        '#f39a3d',
        pen.patch('M180 290 C172 320 188 334 200 362 C212 334 228 320 220 290 Z', '#fbdc6a'),
      ),
      both((d) => pen.shape(d, second), 'M138 210 C100 236 84 276 86 326 C106 304 128 296 152 294 Z'),
      pen.shape(
        'M200 10 C256 56 280 120 276 190 C274 236 262 272 246 302 L154 302 C138 272 126 236 124 190 C120 120 144 56 200 10 Z',
        main,
        pen.patch('M120 100 C150 84 250 84 280 100 L280 0 L120 0 Z', second) +
          pen.patch('M110 262 L290 262 L290 282 L110 282 Z', accent),
      ),
      pen.shape(oval(200, 168, 44), accent) +
        pen.shape(oval(200, 168, 29), '#bfe5f2', pen.patch('M176 176 L206 138 L222 144 L180 194 Z', '#e8f7fb')),
      thingFace(pen, 200, 234, 22, 7.5, main),
      pen.shape('M188 240 L212 240 L208 330 L200 344 L192 330 Z', second),
    ].join('')
  },
}

const car: Subject = {
  name: 'car',
  words: ['car', 'automobile', 'taxi', 'truck', 'van', 'bus', 'vehicle', 'beetle car', 'jeep'],
  footing: 180,
  draw: (pen) => {
    const { main } = pen.colours
    const wheel = (x: number): string =>
      pen.shape(oval(x, 320, 51), '#40424f') +
      pen.shape(oval(x, 320, 25), '#dfe3e8') +
      pen.spot(oval(x, 320, 7), '#8e96a3')
    return [
      pen.shape('M104 206 C120 138 140 112 184 110 L246 110 C284 112 302 140 318 206 Z', lit(main, 0.12)),
      pen.shape(
        'M126 202 C136 154 148 134 178 132 L202 132 L202 202 Z',
        '#c3e6f2',
        pen.patch('M130 200 L176 130 L196 130 L152 210 Z', '#e9f7fb'),
      ),
      pen.shape(
        'M218 132 L244 132 C272 134 284 156 296 202 L218 202 Z',
        '#c3e6f2',
        pen.patch('M226 206 L270 130 L284 140 L246 210 Z', '#e9f7fb'),
      ),
      pen.shape(
        'M22 258 C22 220 48 204 88 202 L330 202 C364 206 384 228 384 264 L384 296 Q384 318 362 318 L44 318 Q22 318 22 296 Z',
        main,
        pen.patch(box(0, 278, 400, 14), lit(main, 0.55)),
      ),
      pen.line('M210 206 L210 270', 0.6) + pen.line('M232 232 L256 232', 0.9),
      pen.shape(oval(366, 246, 15, 18), '#fbe38a') + pen.shape(box(18, 236, 20, 28, 8), '#e4574b'),
      wheel(112) + wheel(298),
      thingFace(pen, 330, 238, 20, 7, main),
    ].join('')
  },
}

const boat: Subject = {
  name: 'boat',
  words: ['boat', 'ship', 'sailboat', 'yacht', 'sail', 'vessel', 'pirate ship'],
  natural: ['#c95f43', '#3f7fb5', '#b5763f'],
  floats: true,
  draw: (pen) => {
    const { main, second } = pen.colours
    return [
      pen.line('M196 40 L196 270', 1.5, '#7a5236'),
      pen.shape(
        'M210 52 C270 96 318 166 330 248 L210 248 Z',
        '#fbf6ea',
        pen.patch('M200 150 L330 150 L340 186 L200 186 Z', second),
      ),
      pen.shape('M184 82 C140 120 96 184 84 248 L184 248 Z', '#fbf6ea'),
      pen.shape('M196 30 L244 44 L196 60 Z', second),
      pen.shape(
        'M44 268 L356 268 C350 320 324 346 290 350 L110 350 C74 346 50 320 44 268 Z',
        main,
        pen.patch(box(0, 268, 400, 20), lit(main, 0.6)),
      ),
      thingFace(pen, 200, 304, 30, 8, main),
      pen.shape(
        'M12 340 C44 320 60 346 92 340 C124 320 140 346 172 340 C204 320 220 346 252 340 C284 320 300 346 332 340 C356 326 372 334 390 340 L380 372 C300 388 100 388 22 372 Z',
        '#4fa3cf',
      ),
    ].join('')
  },
}

const plane: Subject = {
  name: 'plane',
  words: ['plane', 'airplane', 'aeroplane', 'aircraft', 'jet', 'helicopter'],
  floats: true,
  draw: (pen) => {
    const { main, second } = pen.colours
    return [
      pen.shape('M46 196 C30 150 24 120 34 96 L80 96 C96 130 116 160 138 184 Z', second),
      pen.shape('M216 170 C196 120 182 92 166 70 L212 64 C244 92 270 130 290 172 Z', shaded(main, 0.15)),
      pen.shape(
        'M34 196 C60 166 120 160 220 162 C320 166 376 194 382 226 C380 256 320 276 230 272 C130 266 60 244 34 196 Z',
        '#f5f4ee',
        pen.patch('M20 226 C120 240 300 244 400 226 L400 300 L0 300 Z', main),
      ),
      pen.shape('M318 178 C346 188 362 200 370 212 L322 212 Q308 196 318 178 Z', '#bfe3f0'),
      [150, 190, 230, 270].map((x) => pen.shape(oval(x, 202, 12), '#bfe3f0')).join(''),
      pen.shape('M250 236 C220 290 184 330 146 356 L196 354 C250 326 296 286 322 240 Z', second),
    ].join('')
  },
}

const bicycle: Subject = {
  name: 'bicycle',
  words: ['bicycle', 'bike', 'cycling', 'scooter', 'motorcycle'],
  footing: 170,
  draw: (pen) => {
    const { main } = pen.colours
    const wheel = (x: number): string =>
      pen.line(oval(x, 290, 78), 1.5) +
      pen.line(
        `M${x - 70} 290 L${x + 70} 290 M${x} 220 L${x} 360 M${x - 50} 240 L${x + 50} 340 M${x - 50} 340 L${x + 50} 240`,
        0.3,
      ) +
      pen.spot(oval(x, 290, 10))
    return [
      wheel(100) + wheel(300),
      pen.line('M100 290 L156 180 L262 180 L300 290 M156 180 L196 290 L262 180 M100 290 L196 290', 1.9, main),
      pen.line('M156 180 L146 150 M262 180 L252 130 L286 122 Q304 122 300 140', 1.4),
      pen.shape('M116 140 Q148 128 182 144 Q168 160 146 158 Q124 156 116 140 Z', '#7a4c30'),
      pen.shape(oval(196, 290, 18), '#e8e2d4') + pen.line('M196 290 L214 322 M204 324 L226 320', 0.9),
    ].join('')
  },
}

export const vehicles: readonly Subject[] = [rocket, car, boat, plane, bicycle]
