// `fab-workflow retry ID`: a new run that goes on where a failed or cancelled one stopped; what it finished is not paid again.
import type { Command } from '../command.ts'

export const retry: Command = (program, act) => {
  program
    .command('retry <run-id>')
    .description('go on where a failed or cancelled run stopped, as a new run')
    .option('--watch', 'with --api-url: follow the new run to its end')
    .action(
      act(async (context, options: { watch?: boolean }, runId = '') => {
        const newId = await (await context.backend()).retry(runId)
        return await (await import('../report.ts')).handOver(context, newId, options.watch === true)
      }),
    )
}
