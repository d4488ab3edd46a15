// Authenticates requests by their API keys.
// Hides the cache of keys, because of which a revoked key works for up to two seconds more.
import type { AccountStore, Principal } from '@fabrique/db'
import { LRUCache } from 'lru-cache'

const REMEMBERED_MS = 2_000
const REMEMBERED_MAX = 10_000

/** Answers the principal of an `Authorization` header, or null: one answer for every reason. */
export function createAuthenticator(accounts: AccountStore): (header: string | undefined) => Promise<Principal | null> {
  const remembered = new LRUCache<string, Promise<Principal | null>>({ max: REMEMBERED_MAX, ttl: REMEMBERED_MS })
  return async function authenticate(header) {
    const secret = secretOf(header)
    if (secret === null) return null
    const known = remembered.get(secret)
    if (known !== undefined) return await known
    const principal = accounts.authenticate(secret)
    remembered.set(secret, principal)
    principal.then(
      // Unknown keys are not cached: a key must work as soon as it is made.
      (found) => found === null && remembered.delete(secret),
      () => remembered.delete(secret),
    )
    return await principal
  }
}

/** The key in `Bearer fab_…`, or in HTTP Basic as the password, for browsers. */
function secretOf(header: string | undefined): string | null {
  const [, scheme = '', value = ''] = /^(Bearer|Basic) +([^\s]{1,1024})$/i.exec(header ?? '') ?? []
  const secret =
    scheme.toLowerCase() === 'basic' ? Buffer.from(value, 'base64').toString().split(':').slice(1).join(':') : value
  return secret.startsWith('fab_') && secret.length <= 256 ? secret : null
}
