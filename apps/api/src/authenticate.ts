// Says who sends a request, by its API key or access token, and whether they may.
// Hides the cache of keys, because of which a revoked key works for up to two seconds more.
import type { AccountStore, Principal } from '@fabrique/db'
import { FabriqueError } from '@fabrique/schema'
import { LRUCache } from 'lru-cache'
import { unauthenticated } from './errors.ts'
import type { Access } from './route.ts'

const REMEMBERED_MS = 2_000
const REMEMBERED_MAX = 10_000

/**
 * Answers the principal of an `Authorization` header. Throws `unauthenticated`, whatever the reason, and `forbidden`
 * where only admins have access.
 */
export type Authorize = (header: string | undefined, access: Exclude<Access, 'public'>) => Promise<Principal>

/** Authorizes by the keys of these accounts. */
export function createAuthorizer(accounts: AccountStore): Authorize {
  const remembered = new LRUCache<string, Promise<Principal | null>>({ max: REMEMBERED_MAX, ttl: REMEMBERED_MS })
  function principalOf(secret: string): Promise<Principal | null> {
    const known = remembered.get(secret)
    if (known !== undefined) return known
    const principal = accounts.authenticate(secret)
    remembered.set(secret, principal)
    principal.then(
      // Unknown keys are not cached: a key must work as soon as it is made. Nor are tokens, which live for seconds.
      (found) => found?.token !== null && remembered.delete(secret),
      () => remembered.delete(secret),
    )
    return principal
  }

  return async function authorize(header, access) {
    const secret = secretOf(header)
    const principal = secret === null ? null : await principalOf(secret)
    if (principal === null) throw unauthenticated()
    return permitted(principal, access)
  }
}

/** The principal, who has this access; throws `forbidden` where not. */
export function permitted(principal: Principal, access: Exclude<Access, 'public'>): Principal {
  if (access === 'admin' && principal.role !== 'admin')
    throw new FabriqueError('forbidden', 'This needs the key of an admin.')
  return principal
}

/** The key or token in `Bearer fab_…`, or in HTTP Basic as the password, for browsers. */
function secretOf(header: string | undefined): string | null {
  const [, scheme = '', value = ''] = /^(Bearer|Basic) +([^\s]{1,1024})$/i.exec(header ?? '') ?? []
  const secret =
    scheme.toLowerCase() === 'basic' ? Buffer.from(value, 'base64').toString().split(':').slice(1).join(':') : value
  return /^fabt?_/.test(secret) && secret.length <= 256 ? secret : null
}
