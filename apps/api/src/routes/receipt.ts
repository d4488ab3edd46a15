// The receipt of a run: what a cancel or a failure stopped, saved and could not stop.
import { receiptOf } from '@fabrique/engine'
import { Receipt } from '@fabrique/schema'
import type { AppDeps } from '../deps.ts'
import { orNotFound } from '../errors.ts'
import { operator, type Route } from '../route.ts'

export function receiptRoutes({ recordedRun }: Pick<AppDeps, 'recordedRun'>): Route[] {
  return [
    operator.get('getReceipt', '/v1/workflows/runs/:id/receipt', {
      summary: 'What became of each step, what it cost, and what stopping the run has saved',
      answers: { 200: Receipt },
      async handle({ c, principal, param }) {
        const run = orNotFound(await recordedRun(principal.organizationId, param('id')), 'run')
        return c.json(receiptOf(run))
      },
    }),
  ]
}
