// The organization's events: one stream of all its runs, slots included, in one order for all who listen.
// Hides nothing but the id to resume after: the order is the log's, the limits are the streams'.
import { Event, FabriqueError } from '@fabrique/schema'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { operator, type Route } from '../route.ts'

export function eventsStreamRoutes(deps: Pick<AppDeps, 'organizationFeeds' | 'streams'>): Route[] {
  return [
    operator.get('streamEvents', '/v1/events/stream', {
      query: z.strictObject({
        after: z
          .string()
          .max(64)
          .optional()
          .describe('Only events behind the one of this id; wins over Last-Event-ID.'),
      }),
      summary: "The organization's events as a stream, from now on or behind an event of the last hour",
      answers: { 200: { 'text/event-stream': Event } },
      problems: ['quota-exceeded'],
      headers: ['Last-Event-ID', 'Cache-Control'],
      handle({ c, principal, query }) {
        const after = eventId(query.after ?? c.req.header('last-event-id'))
        const response = c.env.outgoing
        const stream = deps.streams.open({ keyId: principal.keyId, requestId: c.get('requestId'), response })
        void deps.organizationFeeds.follow(principal.organizationId, after, stream)
        return RESPONSE_ALREADY_SENT
      },
    }),
  ]
}

function eventId(text: string | undefined): string | null {
  if (text === undefined || text === '') return null
  if (/^[0-9A-HJKMNP-TV-Z]{26}$/.test(text)) return text
  throw new FabriqueError(
    'bad-header',
    'The id to resume after has 26 letters and digits: the "id:" of the last event that you saw.',
  )
}
