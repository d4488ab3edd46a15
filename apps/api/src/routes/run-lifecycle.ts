// What can still be done to runs that were accepted: cancelling many at once, and another priority before they begin.
import { cancelRun } from '@fabrique/engine'
import { BulkCancellation, FabriqueError, isTerminal, RunResource } from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { parseBody, readDocument } from '../body.ts'
import { notFound, orNotFound } from '../found.ts'
import { operator, type Route } from '../route.ts'
import { RUN_FILTER } from './runs.ts'

const PAGE = 200
/** Each cancel is a transaction of its own; more at once would only wait for connections. */
const CANCELS_AT_ONCE = 4

const BulkCancel = z
  .strictObject({
    filter: z
      .strictObject(RUN_FILTER)
      .default({})
      .describe('As of the list; it names something, or else `all` is true.'),
    all: z.boolean().default(false).describe('Every run of the organization is meant; only with an empty filter.'),
    dry_run: z.boolean().default(false),
  })
  .refine(({ filter, all }) => all === (Object.keys(filter).length === 0), {
    path: ['all'],
    message: 'is true where the filter is empty, and only there: that cancels every run of the organization',
  })
const Change = z.strictObject({ priority: z.int().min(0).max(100) })

export function runLifecycleRoutes({
  queue,
  reader,
  runs,
  steering,
}: Pick<AppDeps, 'queue' | 'reader' | 'runs' | 'steering'>): Route[] {
  /** Cancels these, and answers the ones that had not finished. */
  async function cancelAll<Run extends { runId: string }>(page: Run[]): Promise<Run[]> {
    const cancelled: Run[] = []
    for (let at = 0; at < page.length; at += CANCELS_AT_ONCE) {
      const some = page.slice(at, at + CANCELS_AT_ONCE)
      const outcomes = await Promise.all(some.map(({ runId }) => cancelRun({ runs, queue }, runId)))
      cancelled.push(...some.filter((_, index) => outcomes[index]))
    }
    return cancelled
  }

  return [
    operator.post('cancelRuns', '/v1/workflows/runs/cancel', {
      summary: 'Cancel every run that fits a filter',
      body: BulkCancel,
      answers: { 200: BulkCancellation },
      async handle({ c, principal }) {
        const { filter, dry_run: dryRun } = parseBody(BulkCancel, await readDocument(c))
        const { matched, finished, newest } = await steering.count(principal.organizationId, filter)
        const answer = (counts: BulkCancellation) => c.json(counts)
        if (dryRun) return answer({ matched, cancelled: 0, already_finished: finished, dry_run: true })
        let cancelled = 0
        let before: string | null = null
        // Runs that are accepted from now on are not meant. A caller who has gone away has not asked for the rest.
        while (newest !== null && !c.req.raw.signal.aborted) {
          const page = await steering.unfinishedRuns(principal.organizationId, filter, { newest, before, limit: PAGE })
          const stopped = await cancelAll(page)
          cancelled += stopped.length
          await queue.discard(stopped.filter(({ status }) => status === 'pending'))
          before = page.at(-1)?.runId ?? null
          if (page.length < PAGE) break
        }
        return answer({ matched, cancelled, already_finished: Math.max(0, matched - cancelled), dry_run: false })
      },
    }),
    operator.patch('changeRun', '/v1/workflows/runs/:id', {
      summary: 'Give a queued run another priority; its queued slots follow',
      body: Change,
      answers: { 200: RunResource },
      problems: ['already-started', 'already-finished'],
      async handle({ c, principal, param }) {
        const runId = param('id')
        if (!(await reader.exists(principal.organizationId, runId))) throw notFound('run')
        const { priority } = parseBody(Change, await readDocument(c))
        const outcome = orNotFound(await steering.reprioritise(principal.organizationId, runId, priority), 'run')
        const { status, changed } = outcome
        if (isTerminal(status)) throw new FabriqueError('already-finished', `The run is ${status}.`)
        if (status !== 'pending')
          throw new FabriqueError('already-started', `The run is ${status}; only a queued one can change its priority.`)
        await queue.reprioritise(changed)
        return c.json(await reader.get(principal.organizationId, runId))
      },
    }),
  ]
}
