// Lists that are handed out in pages, each with the cursor of the next: the id of its last item.
import { z } from 'zod'

/** The query of a paged list; `Cursor` is what its ids look like. */
export function paging<Cursor extends z.ZodType>(cursor: Cursor) {
  return {
    limit: z.coerce.number().int().min(1).max(100).default(20).describe('The most items in an answer.'),
    cursor: cursor.optional().describe('The `next_cursor` of the page before.'),
  }
}

/** What an answer may hold beyond its first item; the rest is on the next page. */
const PAGE_BYTES_MAX = 4 * 1_048_576

/** The page of what was found by asking for one more than its limit; shorter where the items are large. */
export function pageOf<Item extends { id: string }>(found: readonly Item[], limit: number) {
  const shown = found.slice(0, limit)
  let bytes = 0
  const over = shown.findIndex((item, index) => (bytes += bytesOf(item)) > PAGE_BYTES_MAX && index > 0)
  const data = over < 0 ? shown : shown.slice(0, over)
  return { data, next_cursor: found.length > data.length ? (data.at(-1)?.id ?? null) : null }
}

/** A page with more of each item, read one after the other so that no more than a page of it is ever held. */
export async function filledPage<Item extends { id: string }>(
  { data, next_cursor }: { data: readonly Item[]; next_cursor: string | null },
  fill: (item: Item) => Promise<Item>,
): Promise<{ data: Item[]; next_cursor: string | null }> {
  const filled: Item[] = []
  let bytes = 0
  for (const item of data) {
    const next = await fill(item)
    bytes += bytesOf(next)
    if (bytes > PAGE_BYTES_MAX && filled.length > 0) return { data: filled, next_cursor: filled.at(-1)?.id ?? null }
    filled.push(next)
  }
  return { data: filled, next_cursor }
}

const bytesOf = (item: object) => Buffer.byteLength(JSON.stringify(item))
