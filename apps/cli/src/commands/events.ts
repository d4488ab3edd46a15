// `fab-workflow events ID`: a run's log, a line per event, or a JSON document per line.
import type { RunEvent } from '@fabrique/schema'
import type { Command } from '../command.ts'
import { wholeNumber } from '../option-values.ts'

export const events: Command = (program, act) => {
  program
    .command('events <run-id>')
    .description("a run's events; with -f also those that come, until it has ended")
    .option('-f, --follow', 'go on with what comes, until the run has ended')
    .option('--after <seq>', 'only events behind this number', wholeNumber(0, 999_999_999), 0)
    .action(
      act(async (context, { follow, after }: { follow?: boolean; after: number }, runId = '') => {
        const { eventLine } = await import('../display.ts')
        const { jsonOnTerminal, onOneLine } = await import('@fabrique/schema')
        const show = (event: RunEvent) =>
          context.print(context.json ? jsonOnTerminal(event) : onOneLine(`${event.timestamp}  ${eventLine(event)}`))
        const backend = await context.backend()
        if (follow === true) await backend.watch(runId, after, show)
        else for (const event of await backend.events(runId, after)) show(event)
      }),
    )
}
