/**
 * Animals: those that sit like a cat are data for the critter, the others are drawings of their own.
 */
import { lit, mix, shaded } from '../colours.ts'
import { both, oval, placed, star } from '../path.ts'
import { eyes, mouth } from '../pen.ts'
import { worn } from '../wear.ts'
import { type Critter, critterSubject } from './critter.ts'
import type { Subject } from './subject.ts'

const critters: readonly Critter[] = [
  {
    name: 'cat',
    words: ['cat', 'kitten', 'kitty', 'feline', 'tabby'],
    natural: ['#8d97a6', '#e79a4c', '#4b4a5a', '#f0dcc0'],
    ears: 'pointed',
    tail: 'long',
    muzzle: 'small',
    marks: ['whiskers'],
    nose: '#e8788c',
  },
  {
    name: 'dog',
    words: ['dog', 'puppy', 'pup', 'hound', 'labrador', 'retriever', 'corgi', 'terrier'],
    natural: ['#d9a463', '#b97a45', '#efe0c8'],
    ears: 'floppy',
    tail: 'long',
    muzzle: 'long',
  },
  {
    name: 'wolf',
    words: ['wolf', 'wolves', 'husky', 'coyote', 'jackal'],
    natural: ['#7f8b9c', '#6c7689'],
    ears: 'pointed',
    tail: 'bushy',
    muzzle: 'long',
    pale: '#f3f1ec',
  },
  {
    name: 'bear',
    words: ['bear', 'teddy', 'grizzly', 'teddy bear'],
    natural: ['#9a6640', '#b07a4c'],
    ears: 'round',
    tail: 'none',
    muzzle: 'broad',
  },
  {
    name: 'panda',
    words: ['panda'],
    natural: ['#f6f4ee'],
    ears: 'round',
    tail: 'none',
    muzzle: 'broad',
    marks: ['eye-patches', 'dark-limbs'],
    pale: '#fffdf8',
  },
  {
    name: 'koala',
    words: ['koala'],
    natural: ['#9aa3b1'],
    ears: 'round',
    tail: 'none',
    muzzle: 'small',
    pale: '#eef0f2',
  },
  {
    name: 'rabbit',
    words: ['rabbit', 'bunny', 'bunnies', 'hare'],
    natural: ['#efe3d6', '#c7a98a', '#b9bcc8'],
    ears: 'long',
    tail: 'short',
    muzzle: 'small',
    marks: ['teeth'],
    nose: '#e8788c',
  },
  {
    name: 'mouse',
    words: ['mouse', 'mice', 'rat', 'hamster', 'guinea pig'],
    natural: ['#a9aebb', '#c9a27c'],
    ears: 'round',
    tail: 'thin',
    muzzle: 'small',
    marks: ['whiskers'],
    nose: '#e8788c',
  },
  {
    name: 'tiger',
    words: ['tiger'],
    natural: ['#f29a38'],
    ears: 'round',
    tail: 'long',
    muzzle: 'small',
    marks: ['stripes', 'whiskers'],
    pale: '#fff4e2',
  },
  {
    name: 'lion',
    words: ['lion', 'lioness'],
    natural: ['#eeb455'],
    ears: 'round',
    tail: 'long',
    muzzle: 'small',
    marks: ['mane'],
    pale: '#fff0d2',
  },
  {
    name: 'raccoon',
    words: ['raccoon', 'badger', 'red panda'],
    natural: ['#8b8f9d'],
    ears: 'pointed',
    tail: 'bushy',
    muzzle: 'small',
    marks: ['mask'],
    pale: '#f1efe9',
  },
  {
    name: 'squirrel',
    words: ['squirrel', 'chipmunk', 'beaver'],
    natural: ['#b8693a'],
    ears: 'pointed',
    tail: 'bushy',
    muzzle: 'small',
    marks: ['teeth'],
    pale: '#ffefd9',
  },
  { name: 'pig', words: ['pig', 'piglet', 'boar'], natural: ['#f5adb4'], ears: 'side', tail: 'thin', muzzle: 'snout' },
  {
    name: 'cow',
    words: ['cow', 'calf', 'bull', 'goat', 'sheep', 'lamb', 'deer', 'fawn'],
    natural: ['#f7f1e8'],
    ears: 'side',
    tail: 'thin',
    muzzle: 'broad',
    marks: ['spots', 'horns'],
    pale: '#f6c5c0',
  },
  {
    name: 'monkey',
    words: ['monkey', 'ape', 'gorilla', 'chimp', 'chimpanzee', 'sloth'],
    natural: ['#8e5e3f'],
    ears: 'round',
    tail: 'thin',
    muzzle: 'broad',
    pale: '#f0cfa6',
  },
  {
    name: 'elephant',
    words: ['elephant', 'mammoth'],
    natural: ['#9fb0c3'],
    ears: 'wide',
    tail: 'thin',
    muzzle: 'snout',
    marks: ['trunk'],
  },
]

const fish: Subject = {
  name: 'fish',
  words: ['fish', 'goldfish', 'clownfish', 'salmon', 'tuna', 'koi', 'trout', 'shark'],
  natural: ['#f2873a', '#3f9fc4', '#f0b93b', '#e4607a'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    const fin = mix(main, '#f6c944', 0.45)
    return [
      pen.shape(
        'M288 206 C318 170 352 140 380 136 C374 176 372 190 364 206 C374 224 378 244 384 280 C352 272 318 246 288 206 Z',
        fin,
        pen.line('M310 204 L366 166 M312 208 L366 208 M310 212 L368 254', 0.4, shaded(fin, 0.3)),
      ),
      pen.shape('M150 128 C170 86 232 78 266 100 C258 122 254 140 250 152 Z', fin),
      pen.shape('M164 280 C176 318 218 332 246 320 C238 300 236 284 234 270 Z', fin),
      pen.shape(
        'M24 206 C52 140 124 112 188 118 C246 124 286 164 304 206 C286 250 246 290 188 294 C124 298 52 272 24 206 Z',
        main,
        pen.patch('M122 100 C146 160 146 250 122 310 L152 310 C180 250 180 160 152 100 Z', '#fff6e6') +
          pen.patch('M218 100 C242 160 242 250 218 310 L242 310 C268 250 268 160 242 100 Z', '#fff6e6'),
      ),
      pen.shape('M172 222 C196 206 226 212 236 232 C222 254 190 256 172 240 Z', fin),
      eyes(pen, { x: 84, y: 190, apart: 20, size: 10, on: main, iris: '#3a3a4a' }),
      mouth(pen, 66, 222, 24, main),
      [
        [40, 120, 12],
        [22, 86, 8],
        [56, 62, 15],
      ]
        .map(([x = 0, y = 0, r = 0]) => pen.line(oval(x, y, r), 0.5, pen.colours.accent))
        .join(''),
      worn(pen, 'head', { x: 110, y: 132, half: 44 }),
    ].join('')
  },
}

const whale: Subject = {
  name: 'whale',
  words: ['whale', 'orca', 'dolphin', 'narwhal'],
  natural: ['#4a7fb5', '#5b8fc9', '#51698f'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    const drop = 'M0 0 C14 18 18 30 0 34 C-18 30 -14 18 0 0 Z'
    return [
      pen.shape(
        'M318 214 C322 170 306 144 284 120 C310 112 336 122 348 142 C354 118 374 104 398 106 C394 140 380 166 364 186 C362 216 354 236 344 252 Z',
        main,
      ),
      pen.shape(
        'M22 232 C18 164 84 130 152 134 C224 138 264 178 300 202 C322 214 340 206 350 190 C380 236 352 320 246 338 C130 352 28 316 22 232 Z',
        main,
        pen.patch('M14 256 C80 286 170 294 262 272 C300 262 330 240 352 214 L380 380 L0 380 Z', '#f1f5f6') +
          [0, 1, 2, 3]
            .map((i) =>
              pen.line(
                `M${44 + i * 44} ${290 + i * 5} Q${64 + i * 46} ${312 + i * 4} ${92 + i * 50} ${318 + i * 2}`,
                0.35,
                shaded('#f1f5f6', 0.25),
              ),
            )
            .join(''),
      ),
      pen.shape('M176 284 C190 320 228 344 262 338 C258 312 240 284 218 268 Z', shaded(main, 0.14)),
      eyes(pen, { x: 98, y: 222, apart: 34, size: 9.5, on: main, iris: '#ffffff' }),
      mouth(pen, 96, 244, 34, main),
      pen.line('M120 128 C120 100 118 84 100 70 M124 128 C124 100 128 84 146 70', 0.85, lit(main, 0.25)),
      pen.shape(placed(drop, 82, 60), lit(main, 0.55)) +
        pen.shape(placed(drop, 166, 60), lit(main, 0.55)) +
        pen.shape(placed(drop, 124, 34), lit(main, 0.55)),
      worn(pen, 'head', { x: 118, y: 148, half: 60 }),
    ].join('')
  },
}

const octopus: Subject = {
  name: 'octopus',
  words: ['octopus', 'squid', 'jellyfish', 'kraken'],
  natural: ['#d9658b', '#8a6bc9', '#e8784e'],
  draw: (pen) => {
    const { main } = pen.colours
    const arm = (d: string): string => pen.shape(d, main)
    return [
      both(arm, 'M120 220 C80 250 60 260 40 240 C26 224 8 240 18 258 C44 300 100 290 140 260 Z'),
      both(arm, 'M126 240 C104 290 78 318 48 308 C30 304 24 324 42 332 C96 350 136 316 160 270 Z'),
      both(arm, 'M158 250 C152 310 138 340 112 350 C98 358 104 374 122 372 C168 366 192 320 196 260 Z'),
      pen.shape(
        'M200 36 C278 36 312 100 306 160 C302 204 284 224 278 250 C262 280 138 280 122 250 C116 224 98 204 94 160 C88 100 122 36 200 36 Z',
        main,
        pen.patch(oval(130, 84, 14), lit(main, 0.35)) +
          pen.patch(oval(160, 62, 9), lit(main, 0.35)) +
          pen.patch(oval(264, 92, 11), lit(main, 0.35)),
      ),
      eyes(pen, { x: 200, y: 176, apart: 42, size: 14, on: main, iris: '#ffffff' }),
      mouth(pen, 200, 214, 30, main),
      worn(pen, 'head', { x: 200, y: 60, half: 80 }),
    ].join('')
  },
}

const turtle: Subject = {
  name: 'turtle',
  words: ['turtle', 'tortoise', 'snail', 'frog', 'lizard'],
  natural: ['#6fae5a', '#5aa58a'],
  footing: 140,
  draw: (pen, chance) => {
    const { main } = pen.colours
    const shell = chance.pick(['#b5763f', '#8a9a4a', '#c98b4a'])
    return [
      pen.shape('M330 318 C356 322 376 334 388 346 C366 352 344 350 326 344 Z', main),
      pen.shape('M128 318 C118 340 116 356 120 368 L166 370 C174 352 176 340 174 322 Z', shaded(main, 0.12)),
      pen.shape('M262 318 C258 340 262 356 264 368 L310 370 C318 350 320 336 318 318 Z', shaded(main, 0.12)),
      pen.shape(
        'M128 310 C110 290 112 262 124 236 C136 206 128 166 92 158 C48 154 22 184 24 216 C26 250 52 262 70 272 C84 286 92 310 112 326 Z',
        main,
      ),
      worn(pen, 'neck', { x: 96, y: 268, half: 42 }),
      pen.shape(
        'M104 314 C104 214 160 150 228 150 C296 150 350 214 350 314 C300 336 154 336 104 314 Z',
        shell,
        pen.patch(star(228, 232, 3, 56, 46, 6), lit(shell, 0.28)) +
          pen.patch('M110 286 L152 254 L172 300 L140 320 Z', lit(shell, 0.28)) +
          pen.patch('M346 286 L304 254 L284 300 L316 320 Z', lit(shell, 0.28)) +
          pen.patch('M188 322 L206 290 L250 290 L268 322 Z', lit(shell, 0.28)) +
          pen.patch('M150 222 L178 180 L196 196 L172 244 Z', lit(shell, 0.28)) +
          pen.patch('M306 222 L278 180 L260 196 L284 244 Z', lit(shell, 0.28)),
      ),
      pen.shape('M98 306 Q228 346 356 306 Q366 322 352 330 Q228 362 104 330 Q90 322 98 306 Z', lit(shell, 0.4)),
      eyes(pen, { x: 66, y: 200, apart: 21, size: 9.5, on: main }),
      mouth(pen, 62, 226, 26, main),
      worn(pen, 'head', { x: 78, y: 170, half: 48 }),
    ].join('')
  },
}

const butterfly: Subject = {
  name: 'butterfly',
  words: ['butterfly', 'butterflies', 'moth', 'dragonfly'],
  floats: true,
  draw: (pen) => {
    const { main, second } = pen.colours
    const rim = shaded(main, 0.4)
    return [
      both(
        (d) =>
          pen.shape(
            d,
            second,
            both((m) => pen.patch(m, lit(second, 0.55)), oval(122, 290, 26, 30)),
          ),
        'M190 220 C140 216 76 236 72 290 C70 344 122 366 154 342 C180 320 192 270 194 236 Z',
      ),
      both(
        (d) =>
          pen.shape(
            d,
            main,
            both((m) => pen.patch(m, rim), 'M20 60 C30 160 60 190 90 232 L10 232 Z') +
              both((m) => pen.patch(m, lit(main, 0.6)), oval(112, 132, 34, 42, -30)) +
              both((m) => pen.patch(m, '#fffaf0'), oval(52, 118, 8)) +
              both((m) => pen.patch(m, '#fffaf0'), oval(62, 160, 7)),
          ),
        'M192 210 C176 130 110 52 56 52 C14 54 18 140 50 192 C76 232 140 232 192 220 Z',
      ),
      pen.line('M196 140 C184 100 170 86 152 78', 0.7) + pen.line('M204 140 C216 100 230 86 248 78', 0.7),
      pen.spot(oval(150, 76, 8)) + pen.spot(oval(250, 76, 8)),
      pen.shape(
        'M200 172 C218 172 218 230 212 270 C208 300 204 316 200 318 C196 316 192 300 188 270 C182 230 182 172 200 172 Z',
        '#5a4348',
      ),
      pen.shape(oval(200, 160, 27, 25), '#6b5158'),
      eyes(pen, { x: 200, y: 158, apart: 11, size: 5, on: '#6b5158', iris: '#ffffff' }),
    ].join('')
  },
}

const bee: Subject = {
  name: 'bee',
  words: ['bee', 'bumblebee', 'honeybee', 'wasp', 'ladybug', 'ladybird', 'beetle'],
  natural: ['#f6c13b'],
  floats: true,
  draw: (pen) => {
    const { main } = pen.colours
    const dark = '#43343a'
    return [
      pen.shape('M226 168 C206 96 240 42 282 48 C326 58 316 132 262 176 Z', '#dceff7'),
      pen.shape('M262 172 C282 108 340 82 370 110 C396 146 344 196 280 194 Z', '#e8f5fa'),
      pen.shape('M352 246 L394 258 L354 274 Z', dark),
      pen.shape(
        'M70 250 C70 188 126 156 214 158 C306 160 366 204 366 256 C366 310 304 344 214 344 C126 344 70 312 70 250 Z',
        main,
        pen.patch('M176 140 C196 210 196 290 176 360 L222 360 C244 290 244 210 222 140 Z', dark) +
          pen.patch('M268 140 C290 210 290 290 268 360 L308 360 C328 290 328 210 308 140 Z', dark),
      ),
      pen.line('M96 184 C84 150 68 138 50 138 M130 168 C126 134 114 118 98 112', 0.75),
      pen.spot(oval(48, 138, 9)) + pen.spot(oval(97, 111, 9)),
      eyes(pen, { x: 120, y: 234, apart: 28, size: 11, on: main }),
      mouth(pen, 118, 266, 32, main),
      worn(pen, 'head', { x: 118, y: 186, half: 52 }),
    ].join('')
  },
}

const dinosaur: Subject = {
  name: 'dinosaur',
  words: ['dinosaur', 'dino', 't-rex', 'trex', 'dragon', 'crocodile', 'godzilla'],
  natural: ['#67b26f', '#5aa9a0', '#9a7cc7'],
  footing: 120,
  draw: (pen) => {
    const { main, second } = pen.colours
    const spike = (x: number, y: number, turn: number): string => {
      const [dx, dy] = [Math.cos(turn) * 20, Math.sin(turn) * 20]
      return pen.shape(`M${x - dx} ${y - dy} Q${x + dy * 1.9} ${y - dx * 1.9} ${x + dx} ${y + dy} Z`, second)
    }
    return [
      spike(236, 74, 0.5) +
        spike(262, 118, 1.1) +
        spike(272, 168, 1.3) +
        spike(288, 222, 1.0) +
        spike(322, 268, 0.7) +
        spike(356, 306, 0.7),
      pen.shape(
        'M146 40 C210 30 254 70 258 126 C260 170 270 208 296 240 C322 272 352 300 394 330 C372 362 320 366 280 352 C262 368 230 371 200 371 C130 371 112 330 116 286 C118 252 132 226 142 202 C84 206 40 188 36 140 C34 84 90 46 146 40 Z',
        main,
        pen.patch('M150 200 C180 220 196 262 194 380 L90 380 L100 230 Z', lit(main, 0.6)),
      ),
      pen.shape('M132 236 C112 240 96 252 90 268 C102 276 124 272 142 262 Z', shaded(main, 0.12)),
      pen.shape('M152 330 C130 340 120 354 122 368 L196 371 C200 350 192 330 152 330 Z', main) +
        pen.shape('M230 330 C212 340 206 356 210 370 L280 371 C286 350 270 324 230 330 Z', main),
      worn(pen, 'neck', { x: 198, y: 206, half: 64 }),
      pen.spot(oval(58, 120, 5, 4)) + pen.spot(oval(80, 112, 5, 4)),
      eyes(pen, { x: 138, y: 98, apart: 34, size: 11, on: main }),
      mouth(pen, 98, 152, 70, main),
      worn(pen, 'head', { x: 158, y: 58, half: 68 }),
    ].join('')
  },
}

export const animals: readonly Subject[] = [
  ...critters.map(critterSubject),
  fish,
  whale,
  octopus,
  turtle,
  butterfly,
  bee,
  dinosaur,
]
