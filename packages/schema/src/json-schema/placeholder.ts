// The taste of a fresh run-spec: the author's own values first, no more than is needed, texts named after their fields.
// The same schema gives the same values.
import type { JsonObject } from '../json.ts'
import { createSampler, type Sampler } from './sample.ts'
import type { Taste } from './scalars.ts'

const PLAIN: Taste = {
  takesHints: true,
  pick: () => 0,
  includes: () => false,
  // One item shows what an item looks like.
  count: (_, depth) => (depth < 4 ? 1 : 0),
  truth: (_, nth) => nth % 2 === 1,
  text: (name, nth) => (nth === 0 ? wordsOf(name) : `${wordsOf(name)} ${nth + 1}`),
  more: wordsOf,
}

/** Placeholders for the parts of one schema; `root` is what its local references point into. */
export function createPlaceholders(root: JsonObject): Sampler {
  return createSampler(root, PLAIN)
}

function wordsOf(name: string): string {
  return name.replaceAll(/[^\p{L}\p{N}]+/gu, ' ').trim() || 'text'
}
