/**
 * Repeatable chance: every choice a simulator makes comes from a text, never from the clock or Math.random.
 * The same text gives the same sequence on every machine.
 */

/** A repeatable sequence of choices. */
export interface Chance {
  /** The next number in [0, 1). */
  next(): number
  /** The next number in [low, high). */
  between(low: number, high: number): number
  /** One of the items, which must not be empty. */
  pick<T>(items: readonly T[]): T
}

/** A 32-bit hash of a text (FNV-1a with a final mix), stable for ever. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** Starts the sequence that belongs to a text (mulberry32). */
export function createChance(text: string): Chance {
  let state = hashText(text)
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
  return {
    next,
    between: (low, high) => low + next() * (high - low),
    pick: (items) => {
      const item = items[Math.floor(next() * items.length)]
      if (item === undefined) throw new RangeError('cannot pick from nothing')
      return item
    },
  }
}
