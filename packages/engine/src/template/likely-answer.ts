// What a text model is likely to answer before it is asked: a text, or a value of its schema, of a likely length.
// Hides how a prompt says how much it wants, and how much of the room that a schema leaves is used.
import { createRules, isJsonObject, objectOf, type JsonObject, type JsonValue, textOf, typesOf } from '@fabrique/schema'

/** If all goes well, what is likely, and at most. */
export type Bound = 'low' | 'expected' | 'high'

/** How far lists and texts of the highest answer go from what is likely (0) to what is allowed (1). */
export interface Room {
  lists: number
  texts: number
}

export interface LikelyAnswer {
  text: string
  /** Where a schema is asked for. */
  json?: JsonValue
}

/** A speaker says 150 words a minute. */
const WORDS_PER_SECOND = 2.5
const PACE: Record<Bound, number> = { low: 0.8, expected: 1, high: 1.2 }
/** Words of the length that spoken English has. */
const WORDS = 'some words that will stand here later '
const CHARACTERS_PER_WORD = WORDS.length / (WORDS.split(' ').length - 1)
/** What writers use of the length that a schema allows a text. */
const USED = 0.37
/** A text, and an answer without a schema, that nothing bounds. */
const TEXT_CHARACTERS = 120
const ANSWER_CHARACTERS = 1_600
const ANSWER_TOKENS_MAX = 4_000
const CHARACTERS_PER_TOKEN = 4
/** How long a list is that no schema bounds. */
export const LIST_UNBOUNDED: Record<Bound, number> = { low: 1, expected: 5, high: 20 }
const LIST_MAX = 200
/** Of one answer, however its lists multiply. */
const CHARACTERS_MAX = 100_000
const DEPTH_MAX = 12
const PROMPT_READ = 32_768
const NUMBERS_MAX = 200
/** How many characters before and behind a number are about it. */
const NEAR = 60
/** Where a prompt asks for so many words, or seconds, these of an answer's texts are meant, else its longest. */
const PROSE = /script|narrat|spoken|speech|voice|line|body|story|prose|essay|article|text|content/i
const WORDS_IN: [unit: RegExp, words: number][] = [
  [/^words?$/, 1],
  [/^(?:s|secs?|seconds?)$/, WORDS_PER_SECOND],
  [/^(?:min|minutes?)$/, WORDS_PER_SECOND * 60],
]

/** Milliseconds that it takes to say a text; voices are a fifth faster or slower. */
export function speakingMs(text: string, at: Bound = 'expected'): number {
  // Scripts without spaces between words have about as many characters to a second as this.
  const words = Math.max(text.split(/\s+/).filter((word) => word !== '').length, text.length / 14)
  return Math.round((words / WORDS_PER_SECOND) * 1000 * PACE[at])
}

/** The likely answer to a request of `prompt`, `params` and `outputSchema`; `room` is for the highest only. */
export function likelyAnswer(request: JsonObject, at: Bound, room: Room = { lists: 1, texts: 1 }): LikelyAnswer {
  const asked = askedIn(textOf(request.prompt))
  const { outputSchema: schema } = request
  if (isJsonObject(schema)) {
    const json = writeBy(schema, asked, at, room)
    return { text: JSON.stringify(json), json }
  }
  const limit = isJsonObject(request.params) ? Number(request.params.max_output_tokens ?? ANSWER_TOKENS_MAX) : NaN
  const most = (limit > 0 ? Math.min(limit, CHARACTERS_MAX) : ANSWER_TOKENS_MAX) * CHARACTERS_PER_TOKEN
  const likely = asked.words === undefined ? ANSWER_CHARACTERS : asked.words * CHARACTERS_PER_WORD
  return { text: textOfLength(lengthAt(at, { least: 0, likely: Math.min(likely, most * 0.8), most }, room.texts)) }
}

interface Span {
  least: number
  likely: number
  most: number
}

function lengthAt(at: Bound, { least, likely, most }: Span, room: number): number {
  const within = Math.min(Math.max(likely, least), most)
  if (at === 'expected') return Math.round(within)
  return Math.round(at === 'low' ? Math.min(Math.max(least, within / 2), most) : within + (most - within) * room)
}

function textOfLength(characters: number): string {
  const length = Math.min(characters, CHARACTERS_MAX)
  return WORDS.repeat(Math.ceil(length / WORDS.length)).slice(0, length)
}

function wordsIn(unit = ''): number | undefined {
  return WORDS_IN.find(([pattern]) => pattern.test(unit))?.[1]
}

interface Asked {
  /** How many words the prompt asks for, or seconds of speech as words. */
  words: number | undefined
  /** How many of these things; "exactly" so many of whatever, where they are the answer's `own` list. */
  count(name: string, isOwn: boolean): number | undefined
}

/** The amounts in a prompt: "140 to 220 words", "30 seconds", "exactly 5 hooks". Its first mention counts. */
function askedIn(prompt: string): Asked {
  const read = prompt.slice(0, PROMPT_READ)
  const numbers = [...read.matchAll(/\d[\d,]*(?:\.\d+)?/g)].slice(0, NUMBERS_MAX).map(({ 0: digits, index }) => {
    const before = read.slice(Math.max(0, index - NEAR), index).toLowerCase()
    const end = index + digits.length
    const [after = ''] = read
      .slice(end, end + NEAR)
      .toLowerCase()
      .split(/\d/, 1)
    return { value: numberIn(digits), before, after: after.match(/\p{L}+/gu) ?? [] }
  })
  const amounts = numbers.flatMap(({ value, before, after: [unit, by, speed] }) => {
    const worth = wordsIn(unit)
    // A speed, as in "150 words a minute".
    const isSpeed = (by === 'a' || by === 'per') && wordsIn(speed) !== undefined
    if (worth === undefined || isSpeed) return []
    const from = /(\d[\d,]{0,20}) ?(?:to|-|–) ?$/.exec(before)?.[1]
    return [((from === undefined ? value : numberIn(from)) + value) * (worth / 2)]
  })
  return {
    words: amounts.find((words) => words > 0),
    count(name, isOwn) {
      const thing = (
        name
          .toLowerCase()
          .match(/\p{L}+/gu)
          ?.at(-1) ?? ''
      ).replace(/s$/, '')
      const isIt = (word: string) => word === thing || word === `${thing}s`
      const named = numbers.find(({ after }) => thing !== '' && after.slice(0, 3).some(isIt))
      return (named ?? numbers.find(({ before }) => isOwn && before.endsWith('exactly ')))?.value
    },
  }
}

function numberIn(digits: string): number {
  return Number(digits.replaceAll(',', ''))
}

type Read = (part: JsonValue | undefined) => JsonObject

const readers = new WeakMap<JsonObject, Read>()

/** Reads the parts of a schema, each once however often it is answered. */
function readerOf(schema: JsonObject): Read {
  const known = readers.get(schema)
  if (known !== undefined) return known
  const { read } = createRules(schema)
  const parts = new Map<JsonValue | undefined, JsonObject>()
  const reader: Read = (part) => {
    const rules = parts.get(part) ?? read(part)
    parts.set(part, rules)
    return rules
  }
  readers.set(schema, reader)
  return reader
}

/** A value of the schema, whose texts say nothing. */
function writeBy(schema: JsonObject, asked: Asked, at: Bound, room: Room): JsonValue {
  const read = readerOf(schema)
  const prose = asked.words === undefined ? undefined : proseOf(schema)
  let left = CHARACTERS_MAX

  function write(part: JsonValue | undefined, name: string, depth: number): JsonValue {
    left -= CHARACTERS_PER_TOKEN
    if (left <= 0 || depth > DEPTH_MAX) return null
    const rules = read(part)
    const { minItems, maxItems, minLength, maxLength } = rules
    const [choice] = rules.const === undefined ? (Array.isArray(rules.enum) ? rules.enum : []) : [rules.const]
    if (choice !== undefined) return choice
    switch (typesOf(rules)[0]) {
      case 'object': {
        const members = Object.entries(objectOf(rules.properties))
        return Object.fromEntries(members.map(([one, member]) => [one, write(member, one, depth + 1)]))
      }
      case 'array': {
        const length = Math.min(lengthOfList(minItems, maxItems, asked.count(name, depth <= 1)), LIST_MAX)
        if (length <= 0) return []
        const item = write(rules.items, name, depth + 1)
        const size = JSON.stringify(item).length + 1
        const count = Math.min(length, 1 + Math.max(0, Math.floor(left / size)))
        left -= (count - 1) * size
        return Array<JsonValue>(count).fill(item)
      }
      case 'number':
      case 'integer':
        return typeof rules.minimum === 'number' ? rules.minimum : 1
      case 'boolean':
        return true
      case 'null':
        return null
      default: {
        const least = numberOr(minLength, 0)
        const wanted = name === prose && asked.words !== undefined ? asked.words * CHARACTERS_PER_WORD : undefined
        const most = numberOr(maxLength, Math.max(2 * (wanted ?? TEXT_CHARACTERS), least))
        const likely = wanted ?? (maxLength === undefined ? TEXT_CHARACTERS : most * USED)
        const text = textOfLength(Math.min(lengthAt(at, { least, likely, most }, room.texts), left))
        left -= text.length
        return text
      }
    }
  }

  function lengthOfList(minItems: JsonValue | undefined, maxItems: JsonValue | undefined, count?: number): number {
    const isOpen = minItems === undefined && maxItems === undefined
    const least = numberOr(minItems, LIST_UNBOUNDED.low)
    const most = numberOr(maxItems, Math.max(least, LIST_UNBOUNDED.high))
    const middle = isOpen ? LIST_UNBOUNDED.expected : (Math.min(least, most) + most) / 2
    const likely = Math.min(Math.max(count ?? middle, Math.min(least, most)), most)
    if (at === 'low' && count === undefined) return Math.min(least, most)
    return lengthAt(at === 'high' ? 'high' : 'expected', { least: 0, likely, most: Math.max(most, likely) }, room.lists)
  }

  return write(schema, '', 0)
}

/** The text that an amount of words is about: the longest of those that are named like prose, else of all. */
function proseOf(schema: JsonObject): string | undefined {
  const read = readerOf(schema)
  const texts: { name: string; most: number }[] = []
  const visit = (part: JsonValue | undefined, name: string, depth: number) => {
    const rules = read(part)
    const [type] = typesOf(rules)
    if (depth > DEPTH_MAX || rules.enum !== undefined) return
    if (type === 'array') visit(rules.items, name, depth + 1)
    else if (type === 'string') texts.push({ name, most: numberOr(rules.maxLength, Number.POSITIVE_INFINITY) })
    else if (isJsonObject(rules.properties))
      for (const [one, member] of Object.entries(rules.properties)) visit(member, one, depth + 1)
  }
  visit(schema, '', 0)
  const named = texts.filter(({ name }) => PROSE.test(name))
  const [longest] = (named.length > 0 ? named : texts).toSorted((a, b) =>
    a.most < b.most ? 1 : a.most > b.most ? -1 : 0,
  )
  return longest?.name
}

function numberOr(value: JsonValue | undefined, otherwise: number): number {
  return typeof value === 'number' ? value : otherwise
}
