// `fab-workflow status ID`: how a run stands. Exits 0 whatever that is: the question was answered.
import type { Command } from '../command.ts'
import { EXIT } from '../exit.ts'

export const status: Command = (program, act) => {
  program
    .command('status')
    .description('how a run stands, and its files')
    .argument('<run-id>')
    .action(
      act(async (context, _options, runId = '') => {
        const backend = await context.backend()
        const run = await backend.get(runId)
        if (context.json) {
          context.print(JSON.stringify(run, null, 2))
          return EXIT.done
        }
        const { columns, costOf } = await import('../report.ts')
        const error = run.error === null ? [] : [['error', run.error.message]]
        const rows = [
          ['run', run.id],
          ['workflow', `${run.workflow} ${run.workflow_version}`],
          ['status', `${run.status}${run.simulated ? ' (simulated)' : ''}`],
          ...error,
          ['cost', costOf(run)],
          ['created', run.created_at],
          ['finished', run.finished_at ?? 'not yet'],
          ...(await backend.artifacts(run)).map(({ role, place }) => [role, place]),
        ]
        for (const line of columns(rows)) context.print(line)
        return EXIT.done
      }),
    )
}
