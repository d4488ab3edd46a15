/**
 * Reads a prompt the way an image model's user means it: what to draw, in which style and colours, where, and on what.
 * Plain word rules in the order of the text; no model, no state.
 */
import { colourWords } from './colours.ts'
import type { Look } from './pen.ts'
import { type Scene, scenes } from './scenes.ts'
import { flatStyle, type Style, styles } from './styles.ts'
import { subjects } from './subjects/index.ts'
import type { Subject } from './subjects/subject.ts'
import { creature, emblem } from './subjects/unknown.ts'
import { wardrobe } from './wear.ts'

/** What a prompt asks for. */
export interface Wish {
  /** One to three, the most important first; none for a scene alone. */
  readonly subjects: readonly Subject[]
  readonly style: Style
  readonly scene?: Scene
  readonly look: Look
  /** The colour asked for behind the subject. */
  readonly backdrop?: string
  /** A plain backdrop is asked for, ready to be cut out: no scenery, no shadow on the ground. */
  readonly isolated: boolean
}

interface Found<T> {
  readonly what: T
  readonly start: number
  readonly end: number
}

const escaped = (words: string): string => words.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/ /g, '[ -]+')

/** All places where a phrase of one of the entries stands, longest phrase first at the same place, without overlaps. */
function findAll<T>(text: string, entries: readonly (readonly [words: string, what: T])[]): Found<T>[] {
  const found: Found<T>[] = []
  for (const [words, what] of [...entries].sort((a, b) => b[0].length - a[0].length)) {
    for (const match of text.matchAll(new RegExp(`(?<![\\w-])${escaped(words)}(?:s|es)?(?![\\w-])`, 'g'))) {
      const [start, end] = [match.index, match.index + match[0].length]
      if (found.every((other) => end <= other.start || start >= other.end)) found.push({ what, start, end })
    }
  }
  return found.sort((a, b) => a.start - b.start)
}

const entriesOf = <T extends { readonly words: readonly string[] }>(items: readonly T[]): (readonly [string, T])[] =>
  items.flatMap((item) => item.words.map((words) => [words, item] as const))

const moods: readonly (readonly [RegExp, Look['mood']])[] = [
  [/\b(sleep(ing|y)?|asleep|napping|dozing|dreaming|tired|curled up)\b/, 'asleep'],
  [/\b(sad|crying|lonely|unhappy|tearful|melancholic?)\b/, 'sad'],
  [/\b(angry|cross|grumpy|mad|furious|fierce|scary)\b/, 'cross'],
  [/\b(happy|smiling|joyful|cheerful|laughing|excited|friendly|delighted|celebrating)\b/, 'happy'],
]

/** Phrases that contain a subject's word without meaning it. */
const notSubjects =
  /\b(?:children'?s|kids'?|picture|story|colou?ring|sketch|comic|activity)[ -]?books?\b|\b(?:white|negative|empty|copy|blank)[ -]space\b|\bclip[ -]?art\b|\bstar[ -]rating\b|\bcharacter (?:design|sheet)\b|\bhouse style\b|\b(?:cartoon|main|single|cute|friendly) character\b|\bfish[ -]?eye\b|\bbird'?s[ -]eye\b|\bclose[ -]?up\b|\bbox shadow\b|\bgolden hour\b|\bflat colou?rs?\b|\bcolou?r palette\b|\bwater[ -]?colou?r\b|\bstory ?board\b|\bcamera angle\b|\bnature of\b/g

/** Reads a prompt. Total: every text gives a wish; `pick` chooses what an unknown subject becomes. */
export function readPrompt(prompt: string, pick: () => number): Wish {
  const all = prompt.toLowerCase().replace(/\s+/g, ' ').slice(0, 20_000)
  const styled = all.replace(/\b(?:bold|thick|thin|clean|black|dark|white|no) outlines?\b/g, ' ')
  const style =
    styles.find(
      (one) =>
        findAll(
          styled,
          one.words.map((words) => [words, one] as const),
        ).length > 0,
    ) ?? flatStyle
  const isolated = /transparent|isolated|cut[ -]?out|clip[ -]?art|plain (?:white )?background|white background/.test(
    all,
  )

  const wanted = all
    .replace(/\b(?:no|without|avoid(?:ing)?|never|not)\b[^.,;:]*/g, ' ')
    .replace(notSubjects, (match) => '_'.repeat(match.length))
  const head = wanted.split(/[.;!?](?:\s|$)|\bstyle ?:/).find((part) => findAll(part, entriesOf(subjects)).length > 0)
  const sentence = head ?? wanted
  const garments = Object.entries(wardrobe).flatMap(([name, garment]) =>
    garment.words.map((words) => [words, name] as const),
  )
  const clothes = findAll(sentence, garments)
  const named = nouns(sentence, findAll(sentence, entriesOf(subjects)), findAll(sentence, entriesOf(scenes)))
  const scene = findAll(wanted, entriesOf(scenes))[0]?.what

  const chosen: Subject[] = []
  for (const { what } of named) if (!chosen.includes(what) && chosen.length < 3) chosen.push(what)
  if (chosen.length > 1 && chosen[0]?.name !== 'person') {
    const person = chosen.findIndex((subject) => subject.name === 'person')
    if (person > 0) chosen.splice(person, 1)
  }
  if (chosen.length === 0 && scene === undefined) chosen.push(pick() < 0.45 ? creature : emblem)

  const colours = findAll(wanted, Object.entries(colourWords))
  const wears = new Map<string, string>()
  let tint: string | undefined
  let backdrop: string | undefined
  const taken = new Set<number>()
  for (const colour of colours) {
    const after = wanted.slice(colour.end, colour.end + 40)
    if (/^[\s\w-]{0,16}?\b(?:background|backdrop)\b/.test(after)) {
      backdrop = colour.what
      taken.add(colour.start)
    } else if (
      /^(?: and white| & white)?[\s\w-]{0,12}?\b(?:outlines?|lines?|borders?|ink|strokes?|paper)\b/.test(after) ||
      /^ (?:and|&) white\b/.test(after)
    ) {
      taken.add(colour.start)
    } else if (/(?:and|&) $/.test(wanted.slice(0, colour.start)) && colour.what === colourWords['white']) {
      taken.add(colour.start)
    }
  }
  const offset = wanted.indexOf(sentence)
  for (const worn of clothes) {
    if (worn.what === 'tie' && /\bbow[ -]$/.test(sentence.slice(0, worn.start))) continue
    const near = colours.find(
      (colour) =>
        !taken.has(colour.start) &&
        colour.end <= offset + worn.start &&
        /^[\s\w-]{0,18}$/.test(wanted.slice(colour.end, offset + worn.start)) &&
        !named.some((one) => offset + one.start >= colour.end && offset + one.end <= offset + worn.start),
    )
    if (near !== undefined) taken.add(near.start)
    wears.set(worn.what, near?.what ?? '')
  }
  const first = colours.find(
    (colour) => !taken.has(colour.start) && colour.start >= offset && colour.end <= offset + sentence.length,
  )
  if (first !== undefined && head !== undefined) tint = first.what

  const mood = moods.find(([words]) => words.test(wanted))?.[1] ?? 'content'
  return {
    subjects: chosen,
    style,
    isolated,
    look: { text: all, wears, mood, ...(tint === undefined ? {} : { tint }) },
    ...(scene === undefined ? {} : { scene }),
    ...(backdrop === undefined ? {} : { backdrop }),
  }
}

/**
 * Of neighbouring words only the last is the noun: a "cat house" is a house, a "robot dog" a dog, a "mountain landscape"
 * a place.
 */
function nouns(text: string, found: readonly Found<Subject>[], places: readonly Found<Scene>[]): Found<Subject>[] {
  const touches = (one: Found<Subject>, other: Found<unknown> | undefined): boolean =>
    other !== undefined && other.start >= one.start && /^[ -]*$/.test(text.slice(one.end, other.start))
  return found.filter((one, i) => !touches(one, found[i + 1]) && !places.some((place) => touches(one, place)))
}
