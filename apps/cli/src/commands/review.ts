// `fab-workflow approve ID` and `reject ID`: decides the open reviews, then sees the run through.
import type { Command } from '../command.ts'

export const approve = decision('approve', 'approve a run that stopped at its review: its files become approved')
export const reject = decision(
  'reject',
  'reject a run that stopped at its review: it fails, its files are kept as rejected',
)

function decision(name: 'approve' | 'reject', description: string): Command {
  return (program, act) => {
    program
      .command(`${name} <run-id>`)
      .description(description)
      .option('--gate <id>', 'only the review of this id or name; all that are open if left out')
      .option('--comment <text>', 'why, for the record')
      .action(
        act(async (context, { gate, comment }: { gate?: string; comment?: string }, runId = '') => {
          const { decideReviews } = await import('../decide-reviews.ts')
          const wanted = { decision: name, gate, comment }
          const before = await decideReviews(await context.backend(), runId, wanted, context.say)
          return await (await import('../report.ts')).followAndReport(context, runId, before)
        }),
      )
  }
}
