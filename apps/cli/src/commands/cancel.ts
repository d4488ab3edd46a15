// `fab-workflow cancel ID`: stops a run, wherever it is executed.
import type { Command } from '../command.ts'

export const cancel: Command = (program, act) => {
  program
    .command('cancel <run-id>')
    .description('cancel a run that has not finished')
    .action(
      act(async (context, _options, runId = '') => {
        const run = await (await context.backend()).cancel(runId)
        await context.show(run, () => [run.status])
      }),
    )
}
