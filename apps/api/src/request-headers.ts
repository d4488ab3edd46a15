// What the headers of a request ask for, for routes that take the same ones.
import { FabriqueError } from '@fabrique/schema'
import type { Context } from 'hono'

/** The Idempotency-Key, undefined where none was sent; throws `bad-header` for one that could not be told from others. */
export function idempotencyKeyOf(c: Context): string | undefined {
  const key = c.req.header('idempotency-key')
  if (key === undefined || /^[\x21-\x7e]{1,255}$/.test(key)) return key
  throw new FabriqueError('bad-header', 'An Idempotency-Key is 1 to 255 printable characters without spaces.')
}

/** Whether If-None-Match names this entity tag: what the client has is still what there is. */
export function isKnown(c: Context, etag: string): boolean {
  const known = c.req.header('if-none-match')?.split(',') ?? []
  return known.some((one) => one.trim() === etag)
}
