// `fab-workflow pull ID`: a run's files, named by what they are, checked against their hashes.
import type { Command } from '../command.ts'

export const pull: Command = (program, act) => {
  program
    .command('pull <run-id>')
    .description("write a run's files into a folder, and check them")
    .option('-d, --directory <folder>', 'where to', '.')
    .option('--force', 'overwrite files that differ')
    .option('--all', 'also files that were made on the way, and rejected ones')
    .action(
      act(async (context, options: { directory: string; force?: boolean; all?: boolean }, runId = '') => {
        const { pullFiles } = await import('../pull-files.ts')
        const backend = await context.backend()
        const run = await backend.get(runId)
        const isWanted = ({ status }: { status: string }) => options.all === true || /^(approved|review)$/.test(status)
        const files = (await backend.artifacts(run)).filter(isWanted)
        if (files.length === 0)
          context.say(`Run ${runId} is ${run.status} and has no such files; --all takes every one.`)
        const force = options.force === true
        const written = await pullFiles(backend, files, { folder: options.directory, force, order: run.outputs })
        await context.show(written, () => written.map(({ path }) => path))
      }),
    )
}
