// `fab-workflow approve ID`: decides the open review, then sees the run through.
import type { Command } from '../command.ts'

export const approve: Command = (program, act) => {
  program
    .command('approve')
    .description('approve a run that stopped at its review: the files become approved')
    .argument('<run-id>')
    .option('--comment <text>', 'why, for the record')
    .action(
      act(async (context, options: { comment?: string }, runId = '') => {
        const before = await (await context.backend()).decide(runId, 'approve', options.comment)
        return await (await import('../report.ts')).followAndReport(context, runId, before)
      }),
    )
}
