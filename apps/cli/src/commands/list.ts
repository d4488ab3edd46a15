// `fab-workflow list`: the newest runs.
import type { Command } from '../command.ts'
import { EXIT } from '../exit.ts'

export const list: Command = (program, act) => {
  program
    .command('list')
    .description('the newest runs')
    .option('--limit <n>', 'how many, 1 to 100', '20')
    .action(
      act(async (context, options: { limit: string }) => {
        const limit = Number(options.limit)
        if (!Number.isInteger(limit) || limit < 1 || limit > 100) {
          const { InvalidRequest } = await import('../failure.ts')
          throw new InvalidRequest(`--limit ${options.limit}: give a whole number from 1 to 100`)
        }
        const runs = await (await context.backend()).list(limit)
        if (context.json) {
          context.print(JSON.stringify(runs, null, 2))
          return EXIT.done
        }
        const { columns } = await import('../report.ts')
        for (const line of columns(
          runs.map((run) => [run.id, run.status, run.created_at.slice(0, 16), run.workflow]),
        )) {
          context.print(line)
        }
        return EXIT.done
      }),
    )
}
