// Answers about one thing of the key's own organization: the thing, or that there is no such thing.
// Hides whether an id is unknown or foreign: both get the same answer.
import type { Principal } from '@fabrique/db'
import { FabriqueError } from '@fabrique/schema'
import type { Route } from './route.ts'

/** One text for unknown and foreign ids alike. */
export const notFound = (what: string): FabriqueError => new FabriqueError('not-found', `There is no such ${what}.`)

/** The value, or for null the answer that there is no such thing. */
export function orNotFound<Value>(value: Value | null, what: string): Value {
  if (value === null) throw notFound(what)
  return value
}

/** A handler that answers what there is under the path's `:id`, as it is or as `shown` to whoever asks. */
export function found<Value extends object>(
  what: string,
  find: (organizationId: string, id: string) => Promise<Value | null>,
  shown: (value: Value, principal: Principal) => object = (value) => value,
): Route['handle'] {
  return async ({ c, principal, param }) =>
    c.json(shown(orNotFound(await find(principal.organizationId, param('id')), what), principal))
}

/** A handler that removes what there is under the path's `:id`; `remove` answers false where there is nothing. */
export function removed(
  what: string,
  remove: (organizationId: string, id: string) => Promise<boolean>,
): Route['handle'] {
  return async ({ c, principal, param }) => {
    if (!(await remove(principal.organizationId, param('id')))) throw notFound(what)
    return c.body(null, 204)
  }
}
