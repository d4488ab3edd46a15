// The Idempotency-Key header, for every route that takes one.
import { FabriqueError } from '@fabrique/schema'
import type { Context } from 'hono'
import type { ApiContext } from './route.ts'

/** The key, undefined where none was sent; throws `bad-header` for one that could not be told apart from others. */
export function idempotencyKeyOf(c: Context<ApiContext>): string | undefined {
  const key = c.req.header('idempotency-key')
  if (key === undefined || /^[\x21-\x7e]{1,255}$/.test(key)) return key
  throw new FabriqueError('bad-header', 'An Idempotency-Key is 1 to 255 printable characters without spaces.')
}
