// `fab-workflow events ID`: a run's log, a line per event, or a JSON document per line.
import type { RunEvent } from '@fabrique/schema'
import type { Command } from '../command.ts'
import { EXIT } from '../exit.ts'

export const events: Command = (program, act) => {
  program
    .command('events')
    .description("a run's events; with -f also those that come, until it has ended")
    .argument('<run-id>')
    .option('-f, --follow', 'go on with what comes, until the run has ended')
    .option('--after <seq>', 'only events behind this number', '0')
    .action(
      act(async (context, options: { follow?: boolean; after: string }, runId = '') => {
        if (!/^\d{1,9}$/.test(options.after)) {
          const { InvalidRequest } = await import('../failure.ts')
          throw new InvalidRequest(`--after ${options.after}: give the number of an event, such as 12`)
        }
        const { eventLine } = await import('../report.ts')
        const show = (event: RunEvent) =>
          context.print(context.json ? JSON.stringify(event) : `${event.timestamp}  ${eventLine(event)}`)
        const backend = await context.backend()
        if (options.follow === true) await backend.watch(runId, Number(options.after), show)
        else for (const event of await backend.events(runId, Number(options.after))) show(event)
        return EXIT.done
      }),
    )
}
