// A run's events: the log as a JSON list, or as a stream that replays it and then goes on live.
// Hides how the two join without gap or duplicate: the record is read up to where the news continues.
import type { ServerResponse } from 'node:http'
import { isTerminal, isTerminalKind, type RunEvent } from '@fabrique/schema'
import { FabriqueError } from '@fabrique/schema'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { notFound } from '../errors.ts'
import { defineRoute, type Route } from '../route.ts'
import { LOOK_EVERY_MS } from '../wait-for-end.ts'

const PAGE = 500
const HEARTBEAT_MS = 15_000
/** A reader that lets this much pile up is cut off; it can come back with Last-Event-ID. */
const UNREAD_BYTES_MAX = 1_048_576

type EventDeps = Pick<AppDeps, 'reader' | 'news' | 'stopping'>

export function runEventRoutes(deps: EventDeps): Route[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/workflows/runs/:id/events',
      access: 'operator',
      query: z.strictObject({ after: z.string().max(12).optional() }),
      docs: {
        summary: "A run's events: a stream, or a list with Accept: application/json",
        tag: 'runs',
        answers: {
          200: 'Server-sent events, or the list.',
          204: 'The run has ended and nothing comes after the given id.',
        },
      },
      async handle({ c, principal, query, param }) {
        const runId = param('id')
        const after = sequence(query.after ?? c.req.header('last-event-id'))
        const first = await deps.reader.events(principal.organizationId, runId, after, PAGE)
        if (first === null) throw notFound('run')
        if (wantsJson(c.req.header('accept'))) {
          const data = [...first.events]
          for (let page = first.events; page.length === PAGE; data.push(...page)) {
            page =
              (await deps.reader.events(principal.organizationId, runId, data.at(-1)?.seq ?? after, PAGE))?.events ?? []
          }
          return c.json({ data })
        }
        if (first.events.length === 0 && isTerminal(first.status)) return c.body(null, 204)
        void stream(deps, c.env.outgoing, principal.organizationId, runId, after, c.get('requestId'))
        return RESPONSE_ALREADY_SENT
      },
    }),
  ]
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

/** One event as a frame; the JSON has no raw line breaks, so one `data:` line holds it. */
function frameOf(event: RunEvent): string {
  return `id: ${event.seq}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`
}

async function stream(
  { reader, news, stopping }: EventDeps,
  response: ServerResponse,
  organizationId: string,
  runId: string,
  after: number,
  requestId: string,
): Promise<void> {
  let cursor = after
  let done = false
  let pending: RunEvent[] = []
  let wake = () => {}
  const finish = () => {
    done = true
    wake()
  }
  const unsubscribe = news.subscribe(runId, (events) => {
    pending.push(...events)
    wake()
  })
  const heartbeat = setInterval(() => response.write(': still here\n\n'), HEARTBEAT_MS)
  response.on('close', finish)
  stopping.addEventListener('abort', finish, { once: true })

  function send(events: RunEvent[]): void {
    const fresh = events.filter(({ seq }) => seq > cursor)
    if (fresh.length === 0) return
    cursor = fresh.at(-1)?.seq ?? cursor
    response.write(fresh.map(frameOf).join(''))
    if (fresh.some(({ kind }) => isTerminalKind(kind))) done = true
    if (response.writableLength > UNREAD_BYTES_MAX) response.destroy()
  }

  try {
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      'x-request-id': requestId,
    })
    response.flushHeaders()
    while (!done) {
      const page = await reader.events(organizationId, runId, cursor, PAGE)
      send(page?.events ?? [])
      if (page === null) break
      if (done || page.events.length === PAGE) continue
      // News that continues where we are need no look at the record; anything else does.
      while (!done && (await nextNews())) {
        const news = pending
        pending = []
        const fresh = news.filter(({ seq }) => seq > cursor).sort((a, b) => a.seq - b.seq)
        if (fresh.some(({ seq }, index) => seq !== cursor + 1 + index)) break
        send(fresh)
      }
    }
  } catch {
    // The record is away: the reader comes back with its last id and misses nothing.
  } finally {
    clearInterval(heartbeat)
    unsubscribe()
    stopping.removeEventListener('abort', finish)
    response.end()
  }

  /** True when news came; false when it is time to look at the record. */
  function nextNews(): Promise<boolean> {
    if (pending.length > 0) return Promise.resolve(true)
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), LOOK_EVERY_MS)
      wake = () => {
        clearTimeout(timer)
        resolve(pending.length > 0)
      }
    })
  }
}
