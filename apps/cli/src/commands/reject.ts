// `fab-workflow reject ID`: decides the open review, then sees the run through.
import type { Command } from '../command.ts'

export const reject: Command = (program, act) => {
  program
    .command('reject')
    .description('reject a run that stopped at its review: the run fails and its files are kept as rejected')
    .argument('<run-id>')
    .option('--comment <text>', 'why, for the record')
    .action(
      act(async (context, options: { comment?: string }, runId = '') => {
        const before = await (await context.backend()).decide(runId, 'reject', options.comment)
        return await (await import('../report.ts')).followAndReport(context, runId, before)
      }),
    )
}
