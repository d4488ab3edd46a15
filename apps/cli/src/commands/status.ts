// `fab-workflow status ID`: how a run stands. Exits 0 whatever that is: the question was answered.
import { openReviewsOf } from '../backend.ts'
import type { Command } from '../command.ts'

export const status: Command = (program, act) => {
  program
    .command('status <run-id>')
    .description('how a run stands, and its files')
    .action(
      act(async (context, _options, runId = '') => {
        const backend = await context.backend()
        const run = await backend.get(runId)
        await context.show(run, async () => {
          const { columns, costOf } = await import('../report.ts')
          return columns([
            ['run', run.id],
            ['workflow', `${run.workflow} ${run.workflow_version}`],
            ['status', `${run.status}${run.simulated ? ' (simulated)' : ''}`],
            ...(run.error === null ? [] : [['error', run.error.message]]),
            ...openReviewsOf(run).map(({ id, price }) => ['open', price === undefined ? id : `${id}: ${price}`]),
            ['cost', costOf(run)],
            ['created', run.created_at],
            ['finished', run.finished_at ?? 'not yet'],
            ...(await backend.artifacts(run)).map(({ role, place }) => [role, place]),
          ])
        })
      }),
    )
}
