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
    'second seconds minute minutes visual curious readers reader viewers audience punchy busy modern simple subject scene scenes hooks point points number aspect ratio summary caption headline body section sections'
  ).split(' '),
)

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
  return tellingWords(named).length > 0 ? named : topicWords(prompt).slice(0, 2).join(' ')
}

export const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

const titlePatterns: readonly ((topic: string, word: string) => string)[] = [
  (topic) => `The quiet power of ${topic}`,
  (topic) => `${capitalised(topic)}, explained`,
  (topic) => `What ${topic} can teach us`,
  (topic, word) => `${capitalised(topic)}: a closer look at ${word}`,
  (topic) => `Inside the world of ${topic}`,
  (topic) => `Why ${topic} matters now`,
]

const hookPatterns: readonly ((topic: string, word: string) => string)[] = [
  (topic) => `Nobody told you this about ${topic}.`,
  (topic) => `Three seconds is all it takes to see ${topic} differently.`,
  (topic, word) => `What if ${word} was the part everyone got wrong about ${topic}?`,
  (topic) => `Stop scrolling: ${topic} is more surprising than it looks.`,
  (topic) => `Here is the simplest way to think about ${topic}.`,
]

const sentencePatterns: readonly ((topic: string, word: string) => string)[] = [
  (topic) => `Every story about ${topic} begins with a small, concrete moment.`,
  (topic, word) => `Look closely and ${word} turns out to be the thread that holds ${topic} together.`,
  (topic) => `People who work with ${topic} every day describe it in surprisingly plain words.`,
  (_, word) => `The details matter: ${word} changes shape with time, place and the person who looks.`,
  (topic) => `A good first step is to put ${topic} next to something familiar and compare.`,
  (_, word) => `Once ${word} is clear, the rest follows almost by itself.`,
  (topic) => `There is no single right way to see ${topic}, and that is part of its charm.`,
  (topic, word) => `Ask a simple question about ${topic}, and ${word} is usually in the answer.`,
  (_, word) => `Some of what we believe about ${word} is habit rather than fact.`,
  (topic) => `In the end, ${topic} is less a puzzle than an invitation.`,
]

/** Writes about one prompt; each call moves on, so that sentences do not repeat before the stock is used up. */
export interface Writer {
  title(): string
  hook(): string
  sentence(): string
  paragraph(sentences: number): string
  /** A few words, no full stop. */
  phrase(): string
}

/** Starts a writer on the subject of a prompt. */
export function createWriter(prompt: string, chance: Chance): Writer {
  const words = topicWords(prompt)
  const topic = topicOf(prompt)
  let turn = Math.floor(chance.next() * sentencePatterns.length)
  const word = (): string => words[Math.floor(chance.next() * Math.min(words.length, 6))] ?? topic
  const sentence = (): string => (sentencePatterns[turn++ % sentencePatterns.length] ?? ((t) => t))(topic, word())
  return {
    title: () => chance.pick(titlePatterns)(topic, word()),
    hook: () => chance.pick(hookPatterns)(topic, word()),
    sentence,
    paragraph: (sentences) => Array.from({ length: sentences }, sentence).join(' '),
    phrase: () => `${word()} ${chance.pick(['in detail', 'at a glance', 'up close', 'over time', 'in practice'])}`,
  }
}
