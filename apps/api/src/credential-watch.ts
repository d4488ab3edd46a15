// Ends what a key, token or session holds open once it is no longer valid: event streams, waits, uploads and downloads.
import type { Principal } from '@fabrique/db'

/** With the two seconds for which a key is remembered, what it holds open ends within 5 s of its own end. */
const LOOK_EVERY_MS = 2_000

type Holder = Pick<Principal, 'keyId' | 'session'> & { token: { id: string } | null }

export interface CredentialWatch {
  /** Calls `end` when the token or session, or else the key, is revoked or has expired. Answers how to stop watching. */
  watch(holder: Holder, end: () => void): () => void
}

/** Watches by looking which of these are valid; while nobody can say, none ends. */
export function createCredentialWatch(valid: (credentialIds: string[]) => Promise<Set<string>>): CredentialWatch {
  const watched = new Map<string, Set<() => void>>()

  async function look(): Promise<void> {
    const asked = [...watched.keys()]
    if (asked.length === 0) return
    const found = await valid(asked)
    for (const id of asked.filter((one) => !found.has(one))) {
      const ends = watched.get(id) ?? []
      watched.delete(id)
      for (const end of ends) end()
    }
  }
  setInterval(() => void look().catch(() => {}), LOOK_EVERY_MS).unref()

  return {
    watch({ keyId, token, session }, end) {
      const id = token?.id ?? session?.id ?? keyId
      const own = watched.get(id) ?? new Set()
      watched.set(id, own.add(end))
      return () => {
        if (own.delete(end) && own.size === 0 && watched.get(id) === own) watched.delete(id)
      }
    },
  }
}
