// Entity tags: telling a client that what it has is still what there is.
import type { Context } from 'hono'

/** Whether the request's If-None-Match names this tag. */
export function isKnown(c: Context, etag: string): boolean {
  return (
    c.req
      .header('if-none-match')
      ?.split(/\s*,\s*/)
      .includes(etag) === true
  )
}
