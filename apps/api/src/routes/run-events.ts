// A run's events: the log as a JSON list, or as a stream that replays it and then goes on live.
// Hides the id to resume after, and when there is nothing to stream.
import { Event, FabriqueError, list, type RunEvent } from '@fabrique/schema'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { orNotFound } from '../errors.ts'
import { operator, type Route } from '../route.ts'

const PAGE = 500

type EventDeps = Pick<AppDeps, 'reader' | 'runFeeds' | 'streams'>

export function runEventRoutes(deps: EventDeps): Route[] {
  return [
    operator.get('listRunEvents', '/v1/workflows/runs/:id/events', {
      query: z.strictObject({
        after: z.string().max(12).optional().describe('Only events behind this `seq`; wins over Last-Event-ID.'),
      }),
      summary: "A run's events: a stream, or a list with Accept: application/json",
      answers: { 200: { 'text/event-stream': Event, 'application/json': list(Event) }, 204: null },
      problems: ['quota-exceeded'],
      headers: ['Last-Event-ID', 'Cache-Control'],
      async handle({ c, principal, query, param }) {
        const runId = param('id')
        const after = sequence(query.after ?? c.req.header('last-event-id'))
        if (wantsJson(c.req.header('accept')))
          return c.json({ data: await wholeLog(principal.organizationId, runId, after) })
        const follower = orNotFound(await deps.runFeeds.join(principal.organizationId, runId, after), 'run')
        if (follower.isOver) {
          follower.leave()
          return c.body(null, 204)
        }
        try {
          const response = c.env.outgoing
          const stream = deps.streams.open({ keyId: principal.keyId, requestId: c.get('requestId'), response })
          void follower.follow(stream)
        } catch (error) {
          follower.leave()
          throw error
        }
        return RESPONSE_ALREADY_SENT
      },
    }),
  ]

  async function wholeLog(organizationId: string, runId: string, after: number): Promise<RunEvent[]> {
    const data: RunEvent[] = []
    for (;;) {
      const page = orNotFound(await deps.reader.events(organizationId, runId, data.at(-1)?.seq ?? after, PAGE), 'run')
      data.push(...page.events)
      if (page.events.length < PAGE) return data
    }
  }
}

function sequence(text: string | undefined): number {
  if (text === undefined || text === '') return 0
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new FabriqueError(
    'bad-header',
    'The id to resume after is a whole number: the "id:" of the last event that you saw.',
  )
}

function wantsJson(accept: string | undefined): boolean {
  return accept?.includes('application/json') === true && !accept.includes('text/event-stream')
}
