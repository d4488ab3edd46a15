/**
 * The offline twin of a language model: writes plausible text about a prompt, or a JSON value that satisfies a schema.
 * It hides what a field's name says about the text that belongs in it; how a schema is satisfied is the schema package's.
 */
import { createSampler, type JsonObject, type JsonValue, type Taste } from '@fabrique/schema'
import { type Chance, createChance } from './chance.ts'
import { capitalised, createWriter, topicOf, topicWords, type Writer } from './prose.ts'

export interface TextRequest {
  readonly prompt: string
  readonly system?: string
  readonly outputSchema?: JsonObject
  /** Another seed gives another text. Default 0. */
  readonly seed?: number
}

/** The text; with an output schema, `json` is the value and `text` the same value as JSON. */
export interface WrittenText {
  readonly text: string
  readonly json?: JsonValue
}

/** Optional members are written and lists filled down to here; below only what is required. */
const FULL_DEPTH = 6

/** Writes a text. Same request, same text. With `outputSchema` a value that it accepts, as far as `createSampler` finds one. */
export function writeText({ prompt, system = '', outputSchema, seed = 0 }: TextRequest): WrittenText {
  const chance = createChance(`${system}\n${prompt}\n${seed}`)
  const writer = createWriter(prompt, chance)
  if (outputSchema !== undefined) {
    const json = createSampler(outputSchema, proseTaste(prompt, writer, chance)).sample(outputSchema, '')
    return { text: JSON.stringify(json), json }
  }
  const asked = prompt.match(/\b(\d{1,2}|one|two|three|four|five|six)[ -](?:short )?paragraphs?\b/i)?.[1]?.toLowerCase()
  const spelled = ['zero', 'one', 'two', 'three', 'four', 'five', 'six'].indexOf(asked ?? '')
  const paragraphs = Math.min(20, Math.max(1, spelled > 0 ? spelled : Number(asked ?? 3) || 3))
  const body = Array.from({ length: paragraphs }, () => writer.paragraph(3 + Math.floor(chance.next() * 2)))
  return { text: [writer.title(), ...body].join('\n\n') }
}

/** Whether a text says of itself, by `[unsafe]`, that it is to be found unsafe: refusals can be tried offline. */
export const isMarkedUnsafe = (text: string): boolean => text.toLowerCase().includes('[unsafe]')

/** Everything is written, at some length, as its name and the prompt suggest. */
function proseTaste(prompt: string, writer: Writer, chance: Chance): Taste {
  return {
    takesHints: false,
    pick: (count) => Math.floor(chance.next() * count),
    includes: (_, depth) => depth < FULL_DEPTH,
    count: (name, depth) => (depth < FULL_DEPTH ? (askedCount(prompt, name) ?? 3) : 0),
    number(name, low, high, step) {
      const [usualLow, usualHigh] = usualRange(name)
      const from = Number.isFinite(low) ? low : Math.min(usualLow, high - step * 10)
      const to = Number.isFinite(high) ? high : Math.max(usualHigh, from + step * 10)
      return chance.between(from, to)
    },
    truth: (name) => (/^(is_?)?safe$/i.test(name) ? !isMarkedUnsafe(prompt) : chance.next() < 0.7),
    text(name) {
      const write = fieldTexts.find(([field]) => field.test(name))?.[1]
      return write === undefined ? capitalised(writer.phrase()) : write(writer, prompt, chance)
    },
    more: () => writer.sentence(),
    format(format) {
      const host = `${slugOf(prompt).slice(0, 40).replace(/-$/, '')}.example.com`
      if (format === 'date') return dateOf(chance)
      if (/^(uri|url|iri)/.test(format)) return `https://example.com/${slugOf(prompt)}`
      return { email: `hello@${host}`, hostname: host }[format]
    },
  }
}

/** How many of a thing the prompt asks for: "5 hooks" for a field `hooks`. */
function askedCount(prompt: string, name: string): number | undefined {
  const noun = name
    .replace(/ies$/, 'y')
    .replace(/([^s])s$/, '$1')
    .replace(/[^a-z]/gi, '')
  if (noun.length < 3) return undefined
  const count = prompt.match(new RegExp(`\\b(\\d{1,2})\\s+(?:[\\w-]+\\s+){0,2}${noun}s?\\b`, 'i'))?.[1]
  return count === undefined ? undefined : Math.max(1, Number(count))
}

const usualRange = (name: string): readonly [number, number] =>
  /score|rating|confidence|share|ratio|probability/i.test(name)
    ? [0, 1]
    : /year/i.test(name)
      ? [1950, 2025]
      : /second|duration/i.test(name)
        ? [3, 12]
        : [1, 20]

/** What a field's name says about its text, the first match counts. */
const fieldTexts: readonly (readonly [RegExp, (writer: Writer, prompt: string, chance: Chance) => string])[] = [
  [
    /(^|_)(id|slug|key|handle)$|Id$/,
    (_, prompt, chance) => `${slugOf(prompt)}-${chance.pick(['one', 'two', 'three', 'four', 'five', 'six'])}`,
  ],
  [/url|link|href|uri/i, (_, prompt) => `https://example.com/${slugOf(prompt)}`],
  [/email/i, (_, prompt) => `hello@${slugOf(prompt).slice(0, 40)}.example.com`],
  [/date|_at$/i, (_, __, chance) => dateOf(chance)],
  [/hook|opener|opening|teaser/i, (writer) => writer.hook()],
  [/(image|visual|picture|illustration|scene|art).*(prompt|description)|prompt/i, (writer) => writer.scene()],
  [/^alt|subtitle|description|dek$|blurb/i, (writer) => writer.sentence()],
  [/title|headline|heading|name$|label|subject/i, (writer) => writer.title()],
  [/caption|tagline/i, (writer) => writer.caption()],
  [/hashtag|tag|keyword|topic|category|^words?$/i, (_, prompt, chance) => chance.pick(topicWords(prompt).slice(0, 8))],
  [
    /script|narration|voice|dialogue|monologue|speech|transcript/i,
    (writer) => `${writer.hook()} ${writer.paragraph(3)}`,
  ],
  [
    /body|content|article|essay|paragraph|section|text|story|markdown/i,
    (writer) => `${writer.paragraph(4)}\n\n${writer.paragraph(3)}`,
  ],
  [/summary|abstract|overview|intro|conclusion|outro|explanation/i, (writer) => writer.paragraph(2)],
  [/cta|call_?to_?action/i, (_, prompt) => `Follow along for more on ${topicOf(prompt)}.`],
  [/question/i, (_, prompt) => `What do you notice first about ${topicOf(prompt)}?`],
  [
    /answer|fact|point|bullet|item|step|line|sentence|tip|rationale|reason|why|note|activity|task/i,
    (writer) => writer.sentence(),
  ],
  [/colou?r/i, (_, __, chance) => chance.pick(['#e76f51', '#21867a', '#5b7fa6', '#f0ae2e', '#6757d8'])],
  [/lang|locale/i, () => 'en'],
]

const slugOf = (prompt: string): string =>
  topicOf(prompt)
    .normalize('NFD')
    .replace(/[^a-zA-Z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .toLowerCase() || 'idea'

const dateOf = (chance: Chance): string => {
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${2020 + Math.floor(chance.next() * 6)}-${two(1 + Math.floor(chance.next() * 12))}-${two(1 + Math.floor(chance.next() * 28))}`
}
