// The artifact store's in-memory twin: bytes by content and staged answers, copied in and out.
// Hides nothing; two stores share nothing.
import { createHash } from 'node:crypto'
import { FabriqueError } from '@fabrique/schema'
import type { ArtifactStore, StagedAnswer } from '../ports.ts'

export interface MemoryArtifactStore extends ArtifactStore {
  /** Call ids whose answers are still staged. */
  stagedCalls(): string[]
}

/** An empty store. */
export function createMemoryArtifactStore(): MemoryArtifactStore {
  const blobs = new Map<string, Uint8Array>()
  const staging = new Map<string, StagedAnswer>()
  function stored(storageKey: string): Uint8Array {
    const bytes = blobs.get(storageKey)
    if (bytes === undefined) throw new FabriqueError('artifact-gone', 'there are no bytes under this storage key')
    return Uint8Array.from(bytes)
  }
  return {
    async put(organizationId, bytes, mimeType) {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const storageKey = `${organizationId}/${sha256.slice(0, 2)}/${sha256}.${mimeType.split('/')[1] ?? 'bin'}`
      blobs.set(storageKey, Uint8Array.from(bytes))
      return { storageKey, sha256 }
    },
    get: async (storageKey) => stored(storageKey),
    async open(storageKey) {
      const bytes = stored(storageKey)
      return {
        size: bytes.byteLength,
        async *read(first, last) {
          yield bytes.subarray(first, last + 1)
        },
      }
    },
    async stage(callId, answer) {
      staging.set(callId, structuredClone(answer))
    },
    async staged(callId) {
      return structuredClone(staging.get(callId) ?? null)
    },
    async unstage(callId) {
      staging.delete(callId)
    },
    async ready() {},
    async sweep() {
      staging.clear()
    },
    stagedCalls: () => [...staging.keys()],
  }
}
