/**
 * Sentences about a subject, made from a prompt's own words: the raw material of simulated text.
 * It hides which words of a prompt matter and the stock of sentence patterns.
 */
import type { Chance } from './chance.ts'

const stopWords = new Set(
  (
    'a about above across after again all also although always an and another any are around as ask at available be because become been ' +
    'before being below between both but by can clear compose could create deliver describe design did do does down draft draw each either ' +
    'engaging every example exactly few field fields follow following for from generate get give given good has have here hook how i if in ' +
    'include including into is it its itself json just keep language least less length let like list long made make many may might more most ' +
    'much must need never new no not of off on once one only or other our out output over paragraph per please produce prompt provide question rather ' +
    'return same schema sentence sentences several shall short should show so some something style such suitable tell text than that the their ' +
    'them then there these they thing this those three through title to tone topic two under until up us use used user using very want was we ' +
    'were what when where which while who why will with without word words would write written you your audience essay script video image ' +
    'second seconds minute minutes visual curious readers reader viewers audience punchy busy modern simple subject scene scenes hooks point points number aspect ratio summary caption headline body section sections beat beats line lines voice label plan page pages colour color' +
    ' make makes made jump jumps run runs ran sit sits sat sleep sleeps stand stands read reads drink drinks eat eats ate play plays fly ' +
    'flies swim swims hold holds held dance dances walk walks ride rides rode look looks build builds live lives grow grows go goes ' +
    'went come comes came work works see sees say says become becomes turn turns move moves carry carries help helps learn learns wear ' +
    'wears hang hangs lie lies float floats shine shines fall falls rest rests wait waits watch watches climb climbs keep keeps love ' +
    'loves drawn shown seen seems slice piece pieces bunch group pair set row kind sort landscape lot few next beside behind near inside outside ' +
    'onto along toward towards among amid alongside atop front'
  ).split(' '),
)

/** Whether a word carries no subject: function words, and those that speak of the text or picture itself. */
export const isFiller = (word: string): boolean => stopWords.has(word)

/** The phrase a prompt names as its subject ("about …", "topic: …"), or an empty text. */
function namedTopic(prompt: string): string {
  const named =
    prompt.slice(0, 20_000).match(/\b(?:about|topic|subject|on|of|for)\b:?\s+["“']?([^"”\n.;:,?!]{3,80})/i)?.[1] ?? ''
  const phrase = named.split(/\s(?:for|with|that|which|who|using|as|to|in|by|from|at|and then)\s/i)[0] ?? ''
  return phrase.trim().split(/\s+/).slice(0, 6).join(' ')
}

const tellingWords = (text: string): string[] =>
  (text.toLowerCase().match(/\p{L}[\p{L}\p{N}'’-]{2,}/gu) ?? []).filter((word) => !stopWords.has(word))

/** The words a text is about, the most telling first; at least one. */
export function topicWords(prompt: string): string[] {
  const unique = [...new Set([...tellingWords(namedTopic(prompt)), ...tellingWords(prompt.slice(0, 20_000))])]
  return unique.length > 0 ? unique.slice(0, 12) : ['the idea']
}

/** The subject in a few words, as it stands in the prompt. */
export function topicOf(prompt: string): string {
  const named = namedTopic(prompt)
  // "how bees make honey" is a question: its subject is what sentences can be about.
  if (/^(?:how|why|what|when|where|that|whether)\s/i.test(named)) return topicWords(named)[0] ?? named
  return tellingWords(named).length > 0 ? named : topicWords(prompt).slice(0, 2).join(' ')
}

export const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

type Pattern = (topic: string, word: string) => string

/** What nearly everything has to do with: the words of a prompt's instructions would be none of its subject. */
const COMPANY: readonly string[] =
  'patience chance habit light weather distance memory craft time silence work luck'.split(' ')

const TITLES: readonly Pattern[] = [
  (topic, word) => `${capitalised(topic)} and ${word}`,
  (topic, word) => `What ${word} has to do with ${topic}`,
  (topic, word) => `${capitalised(word)} in the company of ${topic}`,
  (topic, word) => `Between ${topic} and ${word}`,
  (topic, word) => `A field guide to ${topic} and ${word}`,
  (topic, word) => `${capitalised(topic)}: a lesson in ${word}`,
  (topic, word) => `Learning ${word} from ${topic}`,
  (topic, word) => `Ten minutes of ${word} with ${topic}`,
]

const HOOKS: readonly Pattern[] = [
  (topic) => `Nobody told you this about ${topic}.`,
  (topic) => `Three seconds is all it takes to see ${topic} differently.`,
  (topic, word) => `What if ${word} was the part everyone got wrong about ${topic}?`,
  (topic) => `Stop scrolling: there is more to ${topic} than meets the eye.`,
  (topic) => `Here is the simplest way to think about ${topic}.`,
  (topic, word) => `Look at ${word} for a moment, then at ${topic} again.`,
  (topic) => `Most people pass ${topic} by. Do not.`,
  (topic, word) => `One question about ${word} opens up all of ${topic}.`,
]

/** A sentence is an opening and an ending: few patterns, many sentences, each with the subject in it. */
const OPENINGS: readonly Pattern[] = [
  (topic, word) => `A story about ${topic} and ${word} begins`,
  (topic, word) => `Look closely at ${topic}, and you find ${word}`,
  (topic, word) => `What we know of ${topic} and ${word} started`,
  (topic, word) => `The best way from ${topic} to ${word} starts`,
  (topic, word) => `Talk about ${topic}, and you come to ${word}`,
  (topic, word) => `You meet the charm of ${topic} and ${word}`,
  (topic, word) => `The link between ${topic} and ${word} was found`,
  (topic, word) => `Those who return to ${topic} for ${word} do so`,
  (topic, word) => `Of all there is to ${topic}, ${word} shows best`,
  (topic, word) => `The place of ${word} among ${topic} is clearest`,
]

const ENDINGS: readonly string[] = [
  'with one small moment.',
  'in the hour after the rain.',
  'with a plain question.',
  'on an ordinary day.',
  'in the details.',
  'close to home.',
  'in simple words.',
  'with a happy mistake.',
  'where nobody expects it.',
  'with a good pencil.',
  'where two habits meet.',
  'before anyone looks.',
]

/** Where a described picture plays: each names something that can be drawn as well. */
const SETTINGS: readonly string[] = [
  'in the rain',
  'under a crescent moon',
  'in the morning sun',
  'beside an old tree',
  'on a mountain',
  'under a cloud',
  'among flowers',
  'under a rainbow',
]

const PHRASES: readonly string[] = ['in detail', 'at a glance', 'up close', 'over time', 'in practice', 'from afar']

/** Writes about one prompt; each call moves on, and nothing is said twice before all has been said. */
export interface Writer {
  title(): string
  hook(): string
  sentence(): string
  paragraph(sentences: number): string
  /** A few words, no full stop. */
  phrase(): string
  /** The subject and what goes with it, as one short line. */
  caption(): string
  /** A picture of the subject, somewhere. */
  scene(): string
}

/** Starts a writer on the subject of a prompt. */
export function createWriter(prompt: string, chance: Chance): Writer {
  const topic = topicOf(prompt)

  /** Goes through all pairs of two stocks, so that neighbours differ in both; begins anew after the last. */
  function pairs<A, B>(one: readonly A[], other: readonly B[]): () => readonly [A, B] {
    const all = one.length * other.length
    const start = Math.floor(chance.next() * all)
    let turn = 0
    return () => {
      const round = Math.floor(turn / one.length) % other.length
      const [a, b] = [(start + turn) % one.length, (start + turn + round) % other.length]
      turn = (turn + 1) % all
      return [one[a] as A, other[b] as B]
    }
  }
  const [titles, hooks, phrases] = [pairs(TITLES, COMPANY), pairs(HOOKS, COMPANY), pairs(PHRASES, COMPANY)]
  const [openings, captions] = [pairs(OPENINGS, ENDINGS), pairs(PHRASES, COMPANY)]
  let said = Math.floor(chance.next() * COMPANY.length)
  let place = Math.floor(chance.next() * SETTINGS.length)
  const sentence = (): string => {
    const [opening, ending] = openings()
    return `${opening(topic, COMPANY[said++ % COMPANY.length] ?? topic)} ${ending}`
  }
  const written = ([pattern, word]: readonly [Pattern, string]): string => pattern(topic, word)
  return {
    title: () => written(titles()),
    hook: () => written(hooks()),
    sentence,
    paragraph: (sentences) => Array.from({ length: sentences }, sentence).join(' '),
    caption() {
      const [where, word] = captions()
      return `${capitalised(topic)} and ${word}, ${where}.`
    },
    scene: () => `A picture of ${topic} ${SETTINGS[place++ % SETTINGS.length]}.`,
    phrase() {
      const [where, word] = phrases()
      return `${word} ${where}`
    },
  }
}
