// Events: of a run, as a JSON list or as a stream that replays its log and goes on live, and of all the organization's runs.
// Hides the id to resume after, and when there is nothing to stream.
import { Event, FabriqueError, list, type RunEvent } from '@fabrique/schema'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import type { EventStream } from '../event-streams.ts'
import { orNotFound } from '../found.ts'
import { type Call, operator, type Route, URL_CREDENTIAL } from '../route.ts'

const PAGE = 500
/** The header of a client that reconnects wins: its URL still has the `after` that it began with. */
const RESUME = z.strictObject({
  after: z
    .string()
    .max(64)
    .optional()
    .describe('Only events behind the one with this `id:`, unless Last-Event-ID is sent.'),
  lastEventId: z.string().max(64).optional().describe('Last-Event-ID, of clients that cannot send the header.'),
  ...URL_CREDENTIAL,
})

type EventDeps = Pick<AppDeps, 'organizationFeeds' | 'reader' | 'runFeeds' | 'streams'>

export function eventRoutes(deps: EventDeps): Route[] {
  return [
    operator.get('listRunEvents', '/v1/workflows/runs/:id/events', {
      query: RESUME,
      summary: "A run's events: a stream, or a list with Accept: application/json",
      answers: { 200: { 'text/event-stream': Event, 'application/json': list(Event) }, 204: null },
      problems: ['quota-exceeded'],
      headers: ['Last-Event-ID', 'Cache-Control'],
      async handle({ c, principal, query, param }) {
        const runId = param('id')
        const after = Number(resumeId({ c, query }, /^\d{1,9}$/, 'is a whole number') ?? 0)
        if (wantsJson(c.req.header('accept')))
          return c.json({ data: await wholeLog(principal.organizationId, runId, after) })
        const opened = await deps.runFeeds.follow(principal.organizationId, runId, after, () => open({ c, principal }))
        return orNotFound(opened, 'run') === 'over' ? c.body(null, 204) : RESPONSE_ALREADY_SENT
      },
    }),
    operator.get('streamEvents', '/v1/events/stream', {
      query: RESUME,
      summary: "The organization's events as a stream, from now on or behind an event of the last hour",
      answers: { 200: { 'text/event-stream': Event } },
      problems: ['quota-exceeded'],
      headers: ['Last-Event-ID', 'Cache-Control'],
      handle({ c, principal, query }) {
        const after = resumeId({ c, query }, /^[0-9A-HJKMNP-TV-Z]{26}$/, 'has 26 letters and digits')
        void deps.organizationFeeds.follow(principal.organizationId, after, open({ c, principal }))
        return RESPONSE_ALREADY_SENT
      },
    }),
  ]

  function open({ c, principal }: Pick<Call<never>, 'c' | 'principal'>): EventStream {
    return deps.streams.open({ keyId: principal.keyId, requestId: c.get('requestId'), response: c.env.outgoing })
  }

  async function wholeLog(organizationId: string, runId: string, after: number): Promise<RunEvent[]> {
    const data: RunEvent[] = []
    for (;;) {
      const page = orNotFound(await deps.reader.events(organizationId, runId, data.at(-1)?.seq ?? after, PAGE), 'run')
      data.push(...page.events)
      if (page.events.length < PAGE) return data
    }
  }
}

/** The id to resume after, null for none. */
function resumeId(
  { c, query }: Pick<Call<z.infer<typeof RESUME>>, 'c' | 'query'>,
  form: RegExp,
  isSuch: string,
): string | null {
  const given = c.req.header('last-event-id') || query.lastEventId || query.after || ''
  if (given === '') return null
  if (form.test(given)) return given
  throw new FabriqueError('bad-header', `The id to resume after ${isSuch}: the "id:" of the last event that you saw.`)
}

function wantsJson(accept: string | undefined): boolean {
  return accept?.includes('application/json') === true && !accept.includes('text/event-stream')
}
