// Retrying a run that failed or was cancelled.
import { retryRun } from '@fabrique/engine'
import { RunResource, runUrls } from '@fabrique/schema'
import type { AppDeps } from '../deps.ts'
import { notFound } from '../errors.ts'
import { idempotencyKeyOf } from '../idempotency-key.ts'
import { operator, type Route } from '../route.ts'

export function retryRoutes({
  endedRun,
  ids,
  queue,
  reader,
  runs,
}: Pick<AppDeps, 'endedRun' | 'ids' | 'queue' | 'reader' | 'runs'>): Route[] {
  return [
    operator.post('retryRun', '/v1/workflows/runs/:id/retry', {
      summary: 'Go on where a failed or cancelled run stopped, as a new run; nothing finished is paid again',
      answers: { 202: RunResource },
      problems: ['not-retryable', 'not-runnable', 'idempotency-mismatch'],
      headers: ['Idempotency-Key', 'Location', 'Idempotent-Replayed'],
      async handle({ c, principal: { organizationId }, param }) {
        const idempotencyKey = idempotencyKeyOf(c)
        const outcome = await retryRun(
          { store: runs, queue, endedRun, ids },
          { organizationId, runId: param('id'), ...(idempotencyKey === undefined ? {} : { idempotencyKey }) },
        )
        if (outcome.outcome === 'unknown') throw notFound('run')
        return c.json(await reader.get(organizationId, outcome.runId), 202, {
          location: runUrls(outcome.runId).self,
          ...(outcome.outcome === 'replayed' ? { 'idempotent-replayed': 'true' } : {}),
        })
      },
    }),
  ]
}
