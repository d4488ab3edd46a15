// `fab-workflow workflows`: what can be run.
import type { Command } from '../command.ts'

export const workflows: Command = (program, act) => {
  program
    .command('workflows')
    .description('the workflows that can be run')
    .action(
      act(async (context) => {
        const found = await (await context.backend()).workflows()
        await context.show(found, async () => {
          const { textOf } = await import('@fabrique/schema')
          const [{ columns }, { clip }] = await Promise.all([import('../report.ts'), import('../display.ts')])
          const rows = found.map(({ id, version, description, name }) => [
            textOf(id),
            textOf(version),
            textOf(description) || textOf(name),
          ])
          // A description is a courtesy: on a terminal it ends where the line does.
          const most = process.stdout.isTTY === true ? process.stdout.columns || 80 : Infinity
          return columns(rows).map((line) => clip(line, most))
        })
      }),
    )
}
