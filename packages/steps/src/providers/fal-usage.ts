// What a request to fal uses: the unit that its model is priced in, how much is expected, and what was made of it.
// Hides how endpoints name sizes, numbers and lengths.
import type { MadeFile, Model } from '@fabrique/engine'
import {
  type Facts,
  isJsonObject,
  objectOf,
  isQuantity,
  type JsonObject,
  type JsonValue,
  textOf,
  type Unit,
  type Usage,
} from '@fabrique/schema'
import { expectedSpeech } from './adapter.ts'

/** fal rounds each picture up to whole ones of 1024 × 1024. */
const MEGAPIXEL = 1_048_576
/** The bounds of fal's own `ImageSize`; no endpoint takes more of the others. */
const SIDE_MAX = 14_142
const IMAGES_MAX = 100
const SECONDS_MAX = 3_600
const FRAMES_MAX = 100_000
/** Expected where neither the request nor the model says more. */
const SIZE = { width: 1024, height: 768 }
const SECONDS = 5

const PRESETS: Record<string, [width: number, height: number]> = {
  square_hd: [1024, 1024],
  square: [512, 512],
  portrait_4_3: [768, 1024],
  portrait_16_9: [576, 1024],
  landscape_4_3: [1024, 768],
  landscape_16_9: [1024, 576],
  '1K': [1024, 1024],
  '2K': [2048, 2048],
  '4K': [4096, 4096],
}

/** What a named model takes where the request says nothing; any other endpoint is priced by the request. */
export interface Expects {
  unit: Unit
  /** The unit of fal's own count, where the price list has another. */
  billedIn?: Unit
  seconds?: number
  resolution?: string
}

/** The unit that a request of the model is priced in: its own, or whatever the price list has for it. */
function unitOf({ pricedIn }: Model, { unit }: Expects): Unit {
  return pricedIn === undefined || pricedIn.includes(unit) ? unit : (pricedIn[0] ?? unit)
}

/** All that the request says, over what the model's name implies. */
function saidBy(model: Model, { params, args }: JsonObject): JsonObject {
  const { usual, defaults } = model
  return { ...usual, ...defaults, ...objectOf(params), ...objectOf(args) }
}

/** What a request is expected to use. A size, number or length that no request can have makes the quantity NaN. */
export function expectedUsage(
  model: Model,
  request: JsonObject,
  expects: Expects,
  given: readonly MadeFile[] = [],
): Usage[] {
  const said = saidBy(model, request)
  const unit = unitOf(model, expects)
  return [usageOf(unit, EXPECTED[unit]?.(said, request, expects, given) ?? 1, said, expects)]
}

const EXPECTED: Partial<
  Record<Unit, (said: JsonObject, request: JsonObject, expects: Expects, given: readonly MadeFile[]) => number>
> = {
  megapixel: (said) => images(said) * megapixels(...sizeOf(said)),
  image: images,
  second: (said, _, { seconds = SECONDS }, given) =>
    secondsOf(said) ?? longestOf(given) ?? amount(said.seconds, seconds, SECONDS_MAX),
  compute_second: () => SECONDS,
  character: charactersOf,
}

function usageOf(unit: Unit, quantity: number, said: JsonObject, { resolution }: Expects): Usage {
  const { quality, duration, generate_audio: audio } = said
  const facts: Facts = {}
  for (const [fact, value] of Object.entries({ quality, duration, audio, resolution: said.resolution ?? resolution }))
    if (value !== undefined && value !== null && !isJsonObject(value)) facts[fact as keyof Facts] = textOf(value)
  return Object.keys(facts).length === 0 ? { unit, quantity } : { unit, quantity, facts }
}

function charactersOf(said: JsonObject, { prompt = '' }: JsonObject): number {
  return expectedSpeech({ args: { text: said.text ?? said.prompt ?? prompt } }, said)[0]?.quantity ?? 0
}

function images(said: JsonObject): number {
  return amount(said.num_images, 1, IMAGES_MAX)
}

function megapixels(width: number, height: number): number {
  return Math.ceil((width * height) / MEGAPIXEL)
}

function sizeOf(said: JsonObject): [width: number, height: number] {
  const size = said.image_size ?? said.size
  const sides = isJsonObject(size) ? size : said
  if (isJsonObject(size) || sides.width !== undefined || sides.height !== undefined)
    return [amount(sides.width, SIZE.width, SIDE_MAX), amount(sides.height, SIZE.height, SIDE_MAX)]
  const [, width, height] = /^(\d{2,5})[x*](\d{2,5})$/.exec(textOf(size)) ?? []
  if (width !== undefined) return [amount(width, 0, SIDE_MAX), amount(height, 0, SIDE_MAX)]
  const name = [size, said.resolution].map((one) => textOf(one).replace(/^auto_/, ''))
  return PRESETS[name.find((one) => Object.hasOwn(PRESETS, one)) ?? ''] ?? [SIZE.width, SIZE.height]
}

/** A film is as long as the sound, or the film, that it is made from. */
function longestOf(given: readonly MadeFile[]): number | undefined {
  const longest = Math.max(0, ...given.map(({ durationMs }) => durationMs ?? 0))
  return longest === 0 ? undefined : longest / 1_000
}

/** The length that a request names, in seconds or frames; undefined where it leaves that open. */
function secondsOf({
  duration,
  num_frames: frames,
  frames_per_second: perSecond,
  fps,
}: JsonObject): number | undefined {
  if (frames !== undefined && duration === undefined)
    return amount(frames, 81, FRAMES_MAX) / amount(perSecond ?? fps, 16, 1_000)
  const [, digits] = /^(\d{1,6}(?:\.\d{1,6})?) ?s(?:ec|econds?)?$/.exec(textOf(duration)) ?? []
  const seconds = amount(digits ?? duration, 0, SECONDS_MAX)
  return seconds === 0 ? undefined : seconds
}

/** A number of a request; what is expected where it is left open; NaN where no request can have it. */
function amount(value: JsonValue | undefined, expected: number, most: number): number {
  if (value === undefined || value === null || value === 'auto' || isOpen(value)) return expected
  const number = typeof value === 'number' || (typeof value === 'string' && value !== '') ? Number(value) : Number.NaN
  return number > 0 && number <= most ? number : Number.NaN
}

/** Whether a placeholder still stands for a value. */
function isOpen(value: JsonValue): boolean {
  return typeof value === 'string' && value.startsWith('{') && value.endsWith('}')
}

/** What fal counted for a request, by its header; null where there is no count that can be one, or no price for it. */
export function billedUsage(model: Model, request: JsonObject, expects: Expects, header: unknown): Usage[] | null {
  const units =
    typeof header === 'string' && /^\d{1,12}(?:\.\d{1,15})?$/.test(header.trim()) ? Number(header) : Number.NaN
  if (!isQuantity(units)) return null
  const unit = expects.billedIn ?? unitOf(model, expects)
  if (model.pricedIn?.includes(unit) === false) return null
  const said = saidBy(model, request)
  // Some endpoints count characters by the thousand.
  const isThousands = unit === 'character' && units * 100 < charactersOf(said, request)
  return [usageOf(unit, isThousands ? units * 1_000 : units, said, expects)]
}

/** What was used by what was made: pixels, pictures, seconds, characters. Null where that does not tell. */
export function measuredUsage(
  model: Model,
  request: JsonObject,
  expects: Expects,
  made: readonly MadeFile[],
): Usage[] | null {
  const said = saidBy(model, request)
  const unit = unitOf(model, expects)
  const quantity = unit === 'character' ? charactersOf(said, request) : (MEASURED[unit]?.(made, said) ?? 0)
  return isQuantity(quantity) && quantity > 0 ? [usageOf(unit, quantity, said, expects)] : null
}

const MEASURED: Partial<Record<Unit, (made: readonly MadeFile[], said: JsonObject) => number>> = {
  megapixel: (made) => sum(made, ({ width, height }) => megapixels(width ?? Number.NaN, height ?? Number.NaN)),
  image: (made) => sum(made, ({ mimeType }) => (mimeType.startsWith('image/') ? 1 : 0)),
  second(made, said) {
    const films = made.filter(({ mimeType }) => mimeType.startsWith('video/'))
    const seconds = sum(films.length > 0 ? films : made, ({ durationMs }) => (durationMs ?? Number.NaN) / 1000)
    // A film is a frame longer or shorter than what was ordered and is charged for.
    const ordered = secondsOf(said)
    return ordered !== undefined && Math.abs(seconds - ordered) < 1 ? ordered : seconds
  },
}

function sum(made: readonly MadeFile[], of: (file: MadeFile) => number): number {
  return made.reduce((total, file) => total + of(file), 0)
}
