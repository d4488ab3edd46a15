// `fab-workflow list`: the newest runs.
import type { Command } from '../command.ts'
import { wholeNumber } from '../option-values.ts'

export const list: Command = (program, act) => {
  program
    .command('list')
    .description('the newest runs')
    .option('--limit <n>', 'how many, 1 to 100', wholeNumber(1, 100), 20)
    .action(
      act(async (context, { limit }: { limit: number }) => {
        const runs = await (await context.backend()).list(limit)
        await context.show(runs, async () => {
          const { columns } = await import('../report.ts')
          return columns(runs.map((run) => [run.id, run.status, run.created_at.slice(0, 16), run.workflow]))
        })
      }),
    )
}
