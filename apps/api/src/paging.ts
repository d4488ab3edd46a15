// Lists that are handed out in pages, each with the cursor of the next: the id of its last item.
import { z } from 'zod'

/** The query of a paged list; `Cursor` is what its ids look like. */
export function paging<Cursor extends z.ZodType>(cursor: Cursor) {
  return {
    limit: z.coerce.number().int().min(1).max(100).default(20).describe('The most items in an answer.'),
    cursor: cursor.optional().describe('The `next_cursor` of the page before.'),
  }
}

/** The page of what was found by asking for one more than its limit. */
export function pageOf<Item extends { id: string }>(found: readonly Item[], limit: number) {
  const data = found.slice(0, limit)
  return { data, next_cursor: found.length > limit ? (data.at(-1)?.id ?? null) : null }
}
