// Retrying a run that failed or was cancelled.
import { retryRun } from '@fabrique/engine'
import { runUrls } from '@fabrique/schema'
import type { AppDeps } from '../deps.ts'
import { notFound } from '../errors.ts'
import { idempotencyKeyOf } from '../idempotency-key.ts'
import { defineRoute, type Route } from '../route.ts'

export function retryRoutes({
  endedRun,
  ids,
  queue,
  reader,
  runs,
}: Pick<AppDeps, 'endedRun' | 'ids' | 'queue' | 'reader' | 'runs'>): Route[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/workflows/runs/:id/retry',
      access: 'operator',
      docs: {
        summary: 'Go on where a failed or cancelled run stopped, as a new run',
        tag: 'runs',
        answers: { 202: 'The new run; nothing that was finished is run or paid again.', 409: 'It cannot be retried.' },
      },
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
