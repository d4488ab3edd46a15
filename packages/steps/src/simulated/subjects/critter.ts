/**
 * A sitting animal seen from the front, built from parts: which ears, muzzle, tail, markings and colours make a cat,
 * a bear or a rabbit. An animal is one entry of data.
 */
import { lit, mix, shaded } from '../colours.ts'
import { both, oval, star } from '../path.ts'
import { eyes, type Pen, snoutMouth } from '../pen.ts'
import { worn } from '../wear.ts'
import type { Subject } from './subject.ts'

export interface Critter {
  readonly name: string
  readonly words: readonly string[]
  readonly natural: readonly string[]
  readonly ears: 'pointed' | 'round' | 'long' | 'floppy' | 'wide' | 'side'
  readonly tail: 'long' | 'short' | 'bushy' | 'thin' | 'none'
  readonly muzzle: 'small' | 'broad' | 'snout' | 'long'
  readonly marks?: readonly (
    | 'stripes'
    | 'mask'
    | 'eye-patches'
    | 'mane'
    | 'spots'
    | 'whiskers'
    | 'horns'
    | 'teeth'
    | 'trunk'
    | 'dark-limbs'
  )[]
  /** Belly and muzzle; a light tint of the main colour by default. */
  readonly pale?: string
  readonly nose?: string
}

const ears: Record<Critter['ears'], readonly [outer: string, inner: string]> = {
  pointed: [
    'M116 128 C104 96 104 62 114 44 C118 36 126 38 132 43 C150 56 166 70 178 86 Z',
    'M125 108 C119 90 119 74 124 64 C137 72 148 82 156 92 Z',
  ],
  round: [oval(122, 84, 35, 35), oval(124, 86, 19, 19)],
  long: [
    'M146 104 C112 76 104 10 126 -12 C150 -28 178 40 182 92 Z',
    'M148 86 C128 62 122 20 132 6 C146 0 160 44 166 82 Z',
  ],
  floppy: ['M136 84 C108 78 82 104 74 146 C70 178 80 200 98 202 C122 202 128 160 146 118 Z', 'M0 0 Z'],
  wide: [
    'M122 112 C92 66 38 68 22 118 C12 168 44 214 88 206 C112 202 120 168 124 140 Z',
    'M110 122 C90 90 54 88 44 122 C38 156 56 184 84 182 C102 176 106 150 110 122 Z',
  ],
  side: [
    'M112 132 C90 108 58 108 42 124 C56 152 88 162 114 152 Z',
    'M100 134 C88 122 70 120 58 126 C70 142 88 146 104 144 Z',
  ],
}

const tails: Record<Critter['tail'], string> = {
  long: 'M250 362 C300 376 352 352 352 300 C352 268 338 252 336 228 C336 208 360 202 366 220 C372 240 386 262 384 304 C378 372 308 398 246 374 Z',
  short: oval(278, 334, 24, 22),
  bushy:
    'M230 362 C330 384 382 330 376 240 C374 196 350 170 318 176 C292 184 292 212 304 236 C314 270 290 300 244 316 Z',
  thin: 'M250 360 C320 376 366 340 372 268 C372 258 384 258 384 268 C380 356 326 392 248 374 Z',
  none: '',
}

const body =
  'M200 206 C156 212 132 262 126 316 C122 350 136 370 168 371 L232 371 C264 370 278 350 274 316 C268 262 244 212 200 206 Z'
const head =
  'M200 78 C246 78 280 102 288 142 C296 186 258 224 200 224 C142 224 104 186 112 142 C120 102 154 78 200 78 Z'
const leg =
  'M158 290 C152 314 152 340 148 354 C146 368 154 373 170 373 C190 373 196 368 195 354 C194 334 195 314 196 298 C184 306 168 302 158 290 Z'

function drawCritter(pen: Pen, spec: Critter): string {
  const { main } = pen.colours
  const marks = new Set(spec.marks)
  const pale = spec.pale ?? lit(main, 0.62)
  const dark = mix(shaded(main, 0.5), '#2c2230', 0.35)
  const limb = marks.has('dark-limbs') ? dark : main
  const earColour = marks.has('dark-limbs') ? dark : main
  const inner = marks.has('dark-limbs') ? shaded(dark, 0.2) : mix(lit(main, 0.3), '#f59aa5', 0.55)
  const [outerEar, innerEar] = ears[spec.ears]
  const stripes = ['M200 70 L190 70 L197 112 L203 112 L210 70 Z', 'M164 70 L154 78 L176 106 L182 103 Z']
  const sideStripes = ['M96 156 L134 162 L134 168 L98 170 Z', 'M100 182 L138 180 L138 186 L108 198 Z']
  const muzzles: Record<Critter['muzzle'], string> = {
    small: pen.patch(oval(186, 186, 22, 18), pale) + pen.patch(oval(214, 186, 22, 18), pale),
    broad: pen.patch(oval(200, 184, 44, 34), pale),
    snout: '',
    long: pen.patch(
      'M200 96 C184 118 176 142 164 160 C146 186 168 226 200 226 C232 226 254 186 236 160 C224 142 216 118 200 96 Z',
      pale,
    ),
  }
  const noseColour = spec.nose ?? pen.colours.ink
  const nose =
    spec.muzzle === 'snout'
      ? pen.shape(oval(200, 182, 32, 24), mix(main, '#ff8fa3', 0.4)) +
        pen.spot(oval(189, 182, 5, 8)) +
        pen.spot(oval(211, 182, 5, 8))
      : pen.spot(
          spec.muzzle === 'broad' || spec.muzzle === 'long'
            ? oval(200, 171, 15, 11)
            : 'M188 168 Q200 162 212 168 Q208 182 200 182 Q192 182 188 168 Z',
          noseColour,
        ) + pen.shine(oval(196, 167.5, 4.5, 2.4))
  const whiskers = marks.has('whiskers')
    ? both((d) => pen.line(d, 0.34), 'M166 182 L112 172') + both((d) => pen.line(d, 0.34), 'M166 191 L112 196')
    : ''
  const trunk = 'M178 164 C176 210 172 250 150 268 C138 276 142 292 158 290 C196 282 220 230 222 164 Z'
  return [
    tails[spec.tail] === ''
      ? ''
      : pen.shape(
          tails[spec.tail],
          main,
          marks.has('stripes')
            ? pen.patch('M340 300 L400 290 L400 312 L344 318 Z', dark) +
                pen.patch('M330 250 L400 246 L400 264 L334 268 Z', dark)
            : '',
        ),
    pen.shape(
      body,
      main,
      pen.patch(oval(200, 310, 46, 66), pale) +
        (marks.has('spots') ? pen.patch(oval(146, 300, 22, 26), dark) + pen.patch(oval(262, 270, 18, 22), dark) : '') +
        (marks.has('stripes') ? both((d) => pen.patch(d, dark), 'M118 280 L152 284 L152 292 L116 296 Z') : ''),
    ),
    both((d) => pen.shape(d, limb), leg),
    both((d) => pen.line(d, 0.6), 'M142 300 C130 318 128 338 136 352'),
    worn(pen, 'neck', { x: 200, y: 222, half: 72 }),
    marks.has('mane') ? pen.shape(star(200, 150, 13, 138, 116, 26), mix(shaded(main, 0.3), '#a4501c', 0.5)) : '',
    marks.has('horns')
      ? both((d) => pen.shape(d, '#f1e3c6'), 'M150 92 C130 84 118 62 124 44 C138 54 160 66 172 82 Z')
      : '',
    spec.ears === 'floppy'
      ? ''
      : both((d) => pen.shape(d, earColour), outerEar) + both((d) => pen.patch(d, inner), innerEar),
    pen.shape(
      head,
      main,
      (marks.has('mask')
        ? both((d) => pen.patch(d, dark), 'M104 150 C130 132 170 130 188 150 C180 176 140 190 108 178 Z')
        : '') +
        (marks.has('eye-patches') ? both((d) => pen.patch(d, dark), oval(156, 152, 25, 31, 28)) : '') +
        (marks.has('spots') ? pen.patch(oval(248, 122, 42, 44, 20), dark) : '') +
        (marks.has('stripes')
          ? pen.patch(stripes[0] ?? '', dark) +
            both((d) => pen.patch(d, dark), stripes[1] ?? '') +
            sideStripes.map((d) => both((m) => pen.patch(m, dark), d)).join('')
          : '') +
        muzzles[spec.muzzle],
    ),
    spec.ears === 'floppy' ? both((d) => pen.shape(d, shaded(main, 0.22)), outerEar) : '',
    whiskers,
    eyes(pen, {
      x: 200,
      y: 146,
      apart: 42,
      size: 11,
      on: marks.has('eye-patches') || marks.has('mask') ? dark : main,
      ...(marks.has('eye-patches') || marks.has('mask') ? { iris: '#ffffff' } : {}),
    }),
    marks.has('trunk')
      ? pen.shape(trunk, main) +
        both((d) => pen.shape(d, '#fffaf0'), 'M164 208 C154 214 146 226 148 240 C160 238 170 228 174 214 Z')
      : (marks.has('teeth')
          ? pen.patch('M190 188 L210 188 L208 205 L192 205 Z', '#ffffff') +
            pen.line('M190 188 L192 205 L208 205 L210 188 M200 188 L200 204', 0.3)
          : '') +
        (spec.muzzle === 'snout'
          ? snoutMouth(pen, 200, 208, 24, main)
          : snoutMouth(pen, 200, 182 + (spec.muzzle === 'small' ? 1 : 3), 34, pale)) +
        nose,
    worn(pen, 'head', { x: 200, y: 92, half: 72 }),
  ].join('')
}

/** Makes the subject of one critter. */
export const critterSubject = (spec: Critter): Subject => ({
  name: spec.name,
  words: spec.words,
  natural: spec.natural,
  footing: 112,
  ...(spec.tail === 'none' || spec.tail === 'short' ? {} : { centre: 214 }),
  draw: (pen) => drawCritter(pen, spec),
})
