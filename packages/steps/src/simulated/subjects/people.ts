/**
 * People: a friendly bust, its skin, hair and clothes varied by words and by chance, so that two prompts give two people.
 */
import { colourWords, lit, mix, shaded } from '../colours.ts'
import { both, oval } from '../path.ts'
import { eyes, mouth } from '../pen.ts'
import { worn } from '../wear.ts'
import type { Subject } from './subject.ts'

type Hair = readonly [behind: string, front: string]

const wavy: Hair = [
  'M200 46 C288 44 314 108 310 172 C306 220 326 250 312 286 C290 312 256 300 244 280 L156 280 C144 300 110 312 88 286 C74 250 94 220 90 172 C86 108 112 44 200 46 Z',
  'M198 52 C262 46 300 92 292 166 C280 150 268 128 258 112 C230 124 176 128 140 112 C128 130 118 148 110 168 C98 96 136 54 198 52 Z',
]
const short: Hair = [
  'M200 44 C270 44 300 92 292 152 L108 152 C100 92 130 44 200 44 Z',
  'M112 150 C102 90 132 44 196 44 C230 34 262 48 268 66 C294 82 298 118 288 150 C284 130 276 116 264 106 C232 112 190 106 166 90 C150 108 126 118 112 150 Z',
]
const bob: Hair = [
  'M200 42 C276 40 314 92 312 160 C312 200 308 226 296 242 C280 248 268 244 262 230 L138 230 C132 244 120 248 104 242 C92 226 88 200 88 160 C86 92 124 40 200 42 Z',
  'M200 50 C260 48 298 92 292 172 C276 138 256 118 234 100 C206 126 158 140 112 140 C116 84 150 50 200 50 Z',
]
const curly: Hair = [
  'M200 26 C224 14 252 24 262 44 C290 46 308 68 304 94 C326 110 328 142 312 160 C318 186 302 206 280 206 L120 206 C98 206 82 186 88 160 C72 142 74 110 96 94 C92 68 110 46 138 44 C148 24 176 14 200 26 Z',
  'M112 146 C100 126 108 104 126 100 C126 80 148 68 166 78 C178 60 204 58 216 74 C236 64 258 74 260 94 C282 98 296 122 288 148 C278 128 264 118 248 120 C232 108 214 112 204 120 C188 108 166 110 156 122 C136 118 120 128 112 146 Z',
]
const bun: Hair = [
  oval(200, 40, 44, 38),
  'M108 160 C98 84 142 50 200 50 C258 50 302 84 292 160 C284 126 262 100 200 98 C138 100 116 126 108 160 Z',
]

/** Cuts that fit what the prompt says about the person; any of them when it says nothing. */
function hairFor(text: string): readonly Hair[] {
  if (/\b(woman|girl|lady|she|her|female|queen|princess|grandmother|mother)\b/.test(text))
    return [wavy, bob, bun, curly]
  if (/\b(man|boy|guy|he|his|male|king|prince|grandfather|father|gentleman)\b/.test(text)) return [short, curly]
  return [wavy, short, bob, curly, bun]
}

const person: Subject = {
  name: 'person',
  words: [
    'person',
    'portrait',
    'headshot',
    'presenter',
    'woman',
    'man',
    'girl',
    'boy',
    'child',
    'kid',
    'people',
    'host',
    'speaker',
    'teacher',
    'doctor',
    'character',
    'avatar',
    'talking head',
    'face',
    'student',
    'farmer',
    'chef',
    'astronaut',
    'scientist',
    'artist',
    'founder',
    'creator',
    'narrator',
    'anchor',
    'lady',
    'guy',
    'human',
    'someone',
    'nurse',
    'engineer',
    'developer',
    'spokesperson',
    'influencer',
    'expert',
    'actor',
    'king',
    'queen',
    'wizard',
    'witch',
    'princess',
    'prince',
    'grandmother',
    'grandfather',
    'baby',
  ],
  natural: ['#f4cba8', '#e3a97c', '#c98a5e', '#9a633f', '#7a4a30', '#f7d9c0'],
  floats: true,
  bust: true,
  draw: (pen, chance) => {
    const { accent, second } = pen.colours
    const skin = pen.look.tint === undefined ? pen.colours.main : chance.pick(['#f4cba8', '#c98a5e', '#9a633f'])
    const styleOfHair = chance.pick(hairFor(pen.look.text))
    const hairColour = /\b(blonde?|fair) /.test(pen.look.text)
      ? '#e3b968'
      : /\b(old|elderly|grand\w+|gr[ae]y hair)\b/.test(pen.look.text)
        ? '#c9ccd4'
        : chance.pick(['#4a3028', '#2e2530', '#8a4f2c', '#d9a85a', '#b5563a'])
    const beard = /\bbeard(ed)?\b/.test(pen.look.text)
    const top = pen.look.tint ?? chance.pick([accent, second])
    const collar = chance.pick(['round', 'jacket', 'polo'] as const)
    const clothes =
      collar === 'jacket'
        ? pen.patch('M150 270 L200 372 L250 270 Z', colourWords['cream'] ?? '#f4e6c8') +
          both((d) => pen.shape(d, shaded(top, 0.22)), 'M152 268 L124 300 L150 320 L140 336 L196 390 L200 372 Z')
        : collar === 'polo'
          ? both((d) => pen.shape(d, lit(top, 0.35)), 'M158 272 L140 306 L176 322 L200 300 Z')
          : pen.line('M150 282 Q200 336 250 282', 1, shaded(top, 0.35))
    return [
      pen.shape(styleOfHair[0], hairColour),
      pen.shape('M32 392 C36 318 92 284 160 272 L240 272 C308 284 364 318 368 392 Z', top, clothes),
      pen.shape('M166 220 L166 272 C170 300 230 300 234 272 L234 220 Z', shaded(skin, 0.1)),
      worn(pen, 'neck', { x: 200, y: 276, half: 76 }),
      both((d) => pen.shape(d, skin), oval(108, 164, 17, 23)),
      pen.shape(
        'M200 66 C262 66 292 106 290 160 C288 222 246 256 200 256 C154 256 112 222 110 160 C108 106 138 66 200 66 Z',
        skin,
        pen.style.fill === 'paper' ? '' : both((d) => pen.patch(d, mix(skin, '#f27a72', 0.28)), oval(142, 196, 21, 14)),
      ),
      beard
        ? pen.shape(
            'M110 176 C124 196 150 206 200 204 C250 206 276 196 290 176 C292 236 250 272 200 272 C150 272 108 236 110 176 Z',
            hairColour,
          )
        : '',
      pen.shape(styleOfHair[1], hairColour),
      both((d) => pen.line(d, 0.7, mix(hairColour, pen.colours.ink, 0.4)), 'M144 138 Q158 128 174 135'),
      eyes(pen, { x: 200, y: 164, apart: 40, size: 9.5, on: skin, iris: '#5a4030' }),
      pen.line('M200 176 Q210 192 196 196', 0.6, shaded(skin, 0.35)),
      pen.look.mood === 'content'
        ? pen.shape('M172 212 Q200 222 228 212 C224 240 176 240 172 212 Z', '#ffffff')
        : mouth(pen, 200, 214, 50, skin),
      worn(pen, 'head', { x: 200, y: 88, half: 98 }),
    ].join('')
  },
}

export const people: readonly Subject[] = [person]
