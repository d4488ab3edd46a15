// Lists in answers: whole ones, and pages with the cursor of the next.
import { z } from 'zod'

/** All there is. */
export function list<Item extends z.ZodType>(item: Item) {
  return z.object({ data: z.array(item) })
}

/** Some of what there is. */
export function page<Item extends z.ZodType>(item: Item) {
  return list(item).extend({ next_cursor: z.string().nullable().describe('For the next page; null on the last.') })
}
