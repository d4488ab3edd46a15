// `fab-workflow workflows`: what can be run.
import type { Command } from '../command.ts'
import { EXIT } from '../exit.ts'

export const workflows: Command = (program, act) => {
  program
    .command('workflows')
    .description('the workflows that can be run')
    .action(
      act(async (context) => {
        const found = await (await context.backend()).workflows()
        if (context.json) {
          context.print(JSON.stringify(found, null, 2))
          return EXIT.done
        }
        const { textOf } = await import('@fabrique/schema')
        const [{ columns }, { clip }] = await Promise.all([import('../report.ts'), import('../display.ts')])
        const rows = found.map(({ id, version, description, name }) => [
          textOf(id),
          textOf(version),
          textOf(description) || textOf(name),
        ])
        // A description is a courtesy: on a terminal it ends where the line does.
        const most = process.stdout.isTTY === true ? process.stdout.columns || 80 : Infinity
        for (const line of columns(rows)) context.print(clip(line, most))
        return EXIT.done
      }),
    )
}
