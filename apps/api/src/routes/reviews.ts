// The review inbox: every gate of the organization that waits for a person, with what it is about.
import { page, Review, RunId, WorkflowId } from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { pageOf, paging } from '../paging.ts'
import { operator, type Route } from '../route.ts'

const REVIEW_ID = z.string().regex(/^[0-9A-HJKMNP-TV-Z]{26}\.[\w:#[\]/-]{1,200}$/, 'must be the id of a review')

export function reviewRoutes({ reviews }: Pick<AppDeps, 'reviews'>): Route[] {
  return [
    operator.get('listReviews', '/v1/reviews', {
      query: z.strictObject({
        status: z.enum(['open', 'approved', 'rejected', 'any']).default('open'),
        run_id: RunId.optional(),
        workflow: WorkflowId.optional(),
        ...paging(REVIEW_ID),
      }),
      summary: 'Decisions that people have to make, or have made, those of the oldest runs first',
      answers: { 200: page(Review) },
      async handle({ c, principal, query: { status, limit, cursor = null, ...filter } }) {
        const wanted = { ...filter, status: status === 'any' ? undefined : status }
        return c.json(pageOf(await reviews.list(principal.organizationId, wanted, limit + 1, cursor), limit))
      },
    }),
  ]
}
