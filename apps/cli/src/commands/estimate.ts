// `fab-workflow estimate FILE`: what a run-spec would do and cost; the same as `--from-file FILE --dry-run`.
import type { Command } from '../command.ts'
import { collect } from './root.ts'

export const estimate: Command = (program, act) => {
  program
    .command('estimate <file>')
    .description('what a run-spec would do and cost; stores nothing, spends nothing')
    .option('--input-file <file>', 'values for its input, over those of the file')
    .option('--input <key=value>', 'one value over all files; repeatable', collect, [])
    .action(
      act(async (context, options: { inputFile?: string; input: string[] }, file = '') => {
        return await (await import('../run.ts')).runSpec(context, { ...options, fromFile: file, dryRun: true })
      }),
    )
}
