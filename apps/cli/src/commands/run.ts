// `fab-workflow --from-file F`: the program without a command runs one spec.
import type { Command } from '../command.ts'
import type { Context } from '../context.ts'
import { EXIT } from '../exit.ts'

interface Options {
  fromFile?: string
  inputFile?: string
  input: string[]
  dryRun?: boolean
  watch?: boolean
}

export const run: Command = (program, act) => {
  program
    .option('--from-file <file>', 'the run-spec: YAML, TOML or JSON by its ending')
    .option('--input-file <file>', 'values for its input, over those of the file')
    .option('--input <key=value>', 'one value over all files; a.b=c nests, key:=JSON is JSON; repeatable', collect, [])
    .option('--dry-run', 'validate and estimate; stores nothing, spends nothing')
    .option('--watch', 'with --api-url: follow the run to its end (runs here are always followed)')
    .argument('[command...]')
    .action(act(perform))
}

function collect(argument: string, earlier: string[]): string[] {
  return [...earlier, argument]
}

async function perform(context: Context, options: Options, unknown?: readonly string[]): Promise<number> {
  const { InvalidRequest } = await import('../failure.ts')
  if (unknown?.[0] !== undefined) {
    throw new InvalidRequest(`"${unknown[0]}" is not a command; see: fab-workflow --help`)
  }
  if (options.fromFile === undefined)
    throw new InvalidRequest('Name a run-spec with --from-file; see: fab-workflow --help')

  const { mergeLayers, placed, readArgument, readInputFile, readSpecFile } = await import('../spec.ts')
  const layers = [await readSpecFile(options.fromFile)]
  if (options.inputFile !== undefined) layers.push(await readInputFile(options.inputFile))
  const backend = await context.backend()
  if (options.input.length > 0) {
    const { workflow } = mergeLayers(layers)
    const schema = typeof workflow === 'string' ? await backend.intakeSchema(workflow) : null
    layers.push(...options.input.map((argument) => readArgument(argument, schema)))
  }
  const spec = mergeLayers(layers)
  const refuse = (error: unknown): never => {
    throw placed(error, layers)
  }

  if (options.dryRun === true) {
    const plan = await backend.dryRun(spec).catch(refuse)
    if (context.json) context.print(JSON.stringify(plan, null, 2))
    else {
      context.print(`${plan.workflow} ${plan.workflow_version}`)
      context.print(`input: ${JSON.stringify(plan.input, null, 2)}`)
      context.print(`estimate: $${plan.estimate.expected} (prices of ${plan.estimate.pricing_version})`)
      for (const warning of plan.warnings) context.say(`Warning: ${warning}`)
    }
    return EXIT.done
  }

  const runId = await backend.submit(spec).catch(refuse)
  const { followAndReport } = await import('../report.ts')
  if (context.apiUrl === undefined || options.watch === true) {
    context.say(`Run ${runId}`)
    return await followAndReport(context, runId)
  }
  context.print(context.json ? JSON.stringify(await backend.get(runId), null, 2) : runId)
  return EXIT.done
}
