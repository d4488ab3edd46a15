/**
 * The fox, drawn by itself because it is the project's face: sitting, its tail curled up beside it.
 */
import { lit, mix, shaded } from '../colours.ts'
import { mirrored, oval } from '../path.ts'
import { eyes, snoutMouth } from '../pen.ts'
import { worn } from '../wear.ts'
import type { Subject } from './subject.ts'

const tail =
  'M214 356 C286 380 362 362 374 292 C384 232 352 196 346 148 C320 166 300 194 300 226 C300 262 276 282 240 292 C222 306 212 330 214 356 Z'
const tailTip =
  'M286 236 C300 222 306 240 318 228 C330 216 334 238 346 228 C358 220 364 236 384 226 L390 120 L280 120 Z'
const body =
  'M192 204 C150 210 126 262 118 318 C114 350 128 368 160 371 L224 371 C256 368 270 350 266 318 C258 262 234 210 192 204 Z'
const chest =
  'M192 214 C158 224 148 262 160 280 C166 292 172 284 178 294 C184 306 188 298 192 310 C196 298 200 306 206 294 C212 284 218 292 224 280 C236 262 226 224 192 214 Z'
const head =
  'M192 74 C222 74 252 86 270 110 C282 126 288 142 300 154 C308 162 310 168 300 176 C280 192 240 226 192 228 ' +
  'C144 226 104 192 84 176 C74 168 76 162 84 154 C96 142 102 126 114 110 C132 86 162 74 192 74 Z'
const cheeks =
  'M66 158 C96 152 128 150 150 166 C170 180 178 188 192 188 C206 188 214 180 234 166 C256 150 288 152 318 158 C298 206 254 236 192 240 C130 236 86 206 66 158 Z'
const ear = 'M112 116 C100 88 96 50 106 30 C110 22 118 22 125 28 C146 44 164 64 174 84 Z'
const innerEar = 'M119 100 C112 82 110 62 115 50 C129 60 142 72 150 86 Z'
const paw = 'M145 338 C136 352 136 373 163 373 C184 373 191 372 191 352 L191 338 Q168 328 145 338 Z'
const axis = 192

export const fox: Subject = {
  name: 'fox',
  words: ['fox', 'foxes', 'vixen', 'fennec'],
  natural: ['#f0812f', '#ee7a2c', '#f28a35'],
  centre: 216,
  footing: 126,
  draw: (pen) => {
    const { main } = pen.colours
    const white = mix('#fff8ee', main, 0.03)
    const sock = mix(shaded(main, 0.62), '#3a2430', 0.5)
    const both = (draw: (d: string) => string, d: string): string => draw(d) + draw(mirrored(d, axis))
    return [
      pen.shape(tail, main, pen.patch(tailTip, white)),
      pen.shape(body, main, pen.patch(chest, white)),
      both((d) => pen.line(d, 0.6), 'M154 292 C148 310 147 328 145 342'),
      pen.line('M192 314 L192 352', 0.6),
      both((d) => pen.shape(d, sock), paw),
      both((d) => pen.line(d, 0.6), 'M136 298 C126 314 125 334 131 348'),
      worn(pen, 'neck', { x: axis, y: 224, half: 74 }),
      both((d) => pen.shape(d, main), ear),
      both((d) => pen.patch(d, sock), innerEar),
      pen.shape(
        head,
        main,
        pen.patch(cheeks, white) +
          pen.patch(
            'M192 66 C184 66 178 76 182 96 C184 106 190 114 192 122 C194 114 200 106 202 96 C206 76 200 66 192 66 Z',
            lit(main, 0.35),
          ),
      ),
      eyes(pen, { x: axis, y: 146, apart: 44, size: 11.5, on: main, iris: '#8a4b1c' }),
      snoutMouth(pen, axis, 202, 38, white),
      pen.spot(oval(axis, 189, 15, 11)),
      pen.shine(oval(axis - 4, 185.5, 4.5, 2.6)),
      worn(pen, 'head', { x: axis, y: 88, half: 74 }),
    ].join('')
  },
}
