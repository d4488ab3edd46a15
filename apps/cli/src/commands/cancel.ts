// `fab-workflow cancel ID`: stops a run, wherever it is executed.
import type { Command } from '../command.ts'
import { EXIT } from '../exit.ts'

export const cancel: Command = (program, act) => {
  program
    .command('cancel')
    .description('cancel a run that has not finished')
    .argument('<run-id>')
    .action(
      act(async (context, _options, runId = '') => {
        const run = await (await context.backend()).cancel(runId)
        context.print(context.json ? JSON.stringify(run, null, 2) : run.status)
        return EXIT.done
      }),
    )
}
