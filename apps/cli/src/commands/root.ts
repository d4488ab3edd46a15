// The program without a command: `--from-file` runs a spec, `--scaffold` writes one, `--run-set` runs several.
import { Option } from 'commander'
import type { Command } from '../command.ts'
import type { Context } from '../context.ts'
import type { RunOptions } from '../run.ts'
import type { RunSetOptions } from '../run-set.ts'
import type { ScaffoldOptions } from '../scaffold.ts'

const SCAFFOLD_FORMATS = ['yaml', 'toml', 'json']

export const root: Command = (program, act) => {
  program
    .option('--from-file <file>', 'the run-spec: YAML, TOML or JSON by its ending')
    .option('--input-file <file>', 'values for its input, over those of the file')
    .option('--input <key=value>', 'one value over all files; a.b=c nests, key:=JSON is JSON; repeatable', collect, [])
    .option('--allow-files-outside', 'also read files that are not below the folder of what names them')
    .option('--dry-run', 'validate and estimate; stores nothing, spends nothing')
    .option('--watch', 'with --api-url: follow the run to its end (runs here are always followed)')
    .option('--lock', 'pin what the spec runs in FILE.lock, and run that version from then on')
    .option('--frozen', 'refuse to run if anything has changed since FILE.lock was written')
    .option('--scaffold <workflow>', 'a run-spec to fill in')
    .addOption(
      new Option('--format <format>', 'of the scaffold; by the ending of -o if left out').choices(SCAFFOLD_FORMATS),
    )
    .option('--show-output', 'in the scaffold: also what a run gives, as comments')
    .option('--no-optional', 'in the scaffold: only what is required')
    .option('--run-set <file>', 'a workflow set; arguments name the stages wanted, with what they need')
    .option('-o, --output <path>', 'the file of the scaffold, or the folder of the set')
    .option('--list', 'of the set: its stages and what they need')
    .option('--parallel', 'of the set: run stages that do not wait for each other at the same time')
    .option(
      '--use-prior-outputs <run>',
      'of the set: take a stage from the folder of -o, or STAGE=RUN-ID; repeatable',
      collect,
      [],
    )
    .argument('[stage...]')
    .action(act(dispatch))
}

/** Gathers an option that may be given several times. */
export function collect(argument: string, earlier: string[]): string[] {
  return [...earlier, argument]
}

type Options = Omit<RunOptions, 'fromFile'> &
  Omit<ScaffoldOptions, 'workflow'> &
  Omit<RunSetOptions, 'file' | 'stages'> & { fromFile?: string; scaffold?: string; runSet?: string }

async function dispatch(context: Context, options: Options, args: readonly string[] = []) {
  const { InvalidRequest } = await import('../failure.ts')
  const { fromFile, scaffold, runSet } = options
  if ([fromFile, scaffold, runSet].filter((one) => one !== undefined).length > 1) {
    throw new InvalidRequest('Give one of --from-file, --scaffold and --run-set.')
  }
  if (runSet !== undefined) {
    return await (await import('../run-set.ts')).runSet(context, { ...options, file: runSet, stages: args })
  }
  if (args[0] !== undefined) throw new InvalidRequest(`"${args[0]}" is not a command; see: fab-workflow --help`)
  if (scaffold !== undefined) {
    return await (await import('../scaffold.ts')).writeScaffold(context, { ...options, workflow: scaffold })
  }
  if (fromFile === undefined) throw new InvalidRequest('Name a run-spec with --from-file; see: fab-workflow --help')
  return await (await import('../run.ts')).runSpec(context, { ...options, fromFile })
}
