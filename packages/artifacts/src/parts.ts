// Artifacts read in parts, each after one look at the whole: what has not the hash that it was stored under is never begun.
// Hides that the look is made by parts too, and is not repeated for a file that has not changed since.
import { createHash } from 'node:crypto'
import type { ArtifactStore } from '@fabrique/engine'
import { LRUCache } from 'lru-cache'
import { checkedKey, damaged, gone } from './layout.ts'

/** What a store knows of a file without reading it: how long it is, and a text that changes whenever the file does. */
export interface Sight {
  size: number
  version: string
}

export interface PartsSource {
  /** Null where there is no such file. */
  look(storageKey: string): Promise<Sight | null>
  /** The bytes from the first to the last of these, both included; rejects or ends early where they cannot be had. */
  bytes(storageKey: string, first: number, last: number): AsyncIterable<Uint8Array>
}

const KNOWN_MAX = 10_000

export function createOpen({ look, bytes }: PartsSource): ArtifactStore['open'] {
  /** Files that were found to be what was stored, by key, with their version. */
  const intact = new LRUCache<string, string>({ max: KNOWN_MAX })

  async function* read(storageKey: string, first: number, last: number): AsyncGenerator<Uint8Array> {
    if (first <= last) yield* bytes(storageKey, first, last)
  }

  return async function open(storageKey) {
    const { sha256 } = checkedKey(storageKey)
    const sight = await look(storageKey)
    if (sight === null) throw gone()
    const { size, version } = sight
    if (intact.get(storageKey) !== version) {
      const hash = createHash('sha256')
      for await (const part of read(storageKey, 0, size - 1)) hash.update(part)
      if (hash.digest('hex') !== sha256) throw damaged()
      intact.set(storageKey, version)
    }
    return { size, read: (first, last) => read(storageKey, first, last) }
  }
}
