// `fab-workflow approve ID` and `reject ID`: decides the open review, then sees the run through.
import type { Command } from '../command.ts'

export const approve = decision('approve', 'approve a run that stopped at its review: its files become approved')
export const reject = decision(
  'reject',
  'reject a run that stopped at its review: it fails, its files are kept as rejected',
)

function decision(name: 'approve' | 'reject', description: string): Command {
  return (program, act) => {
    program
      .command(name)
      .description(description)
      .argument('<run-id>')
      .option('--comment <text>', 'why, for the record')
      .action(
        act(async (context, options: { comment?: string }, runId = '') => {
          const before = await (await context.backend()).decide(runId, name, options.comment)
          return await (await import('../report.ts')).followAndReport(context, runId, before)
        }),
      )
  }
}
