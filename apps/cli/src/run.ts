// One run-spec from its files and arguments, tried out or run.
// Hides the order of things: layers, files, lock, and only then a backend that may start something.
import { type DryRun, isJsonObject, jsonOnTerminal, textOf } from '@fabrique/schema'
import type { Context } from './context.ts'
import { inlineSpecFiles } from './file-fields.ts'
import { remediesFor } from './find-workflow.ts'
import { mergeLayers, placed, readArgument, readInputFile, readSourceFile } from './spec.ts'

export interface RunOptions {
  fromFile: string
  inputFile?: string
  input: readonly string[]
  dryRun?: boolean
  watch?: boolean
  lock?: boolean
  frozen?: boolean
  allowFilesOutside?: boolean
}

/** Reads, merges and runs a run-spec as the options say; answers the exit code. */
export async function runSpec(context: Context, options: RunOptions): Promise<number | void> {
  const layers = [await readSourceFile(options.fromFile)]
  if (options.inputFile !== undefined) layers.push(await readInputFile(options.inputFile))
  const backend = await context.backend()
  const workflow = textOf(mergeLayers(layers).workflow)
  const document = workflow === '' ? null : await backend.workflow(workflow)
  const intakeSchema = isJsonObject(document?.intakeSchema) ? document.intakeSchema : null
  layers.push(...options.input.map((argument) => readArgument(argument, intakeSchema)))

  const access = { allowFilesOutside: options.allowFilesOutside === true, say: context.say }
  const spec = await inlineSpecFiles(backend, mergeLayers(layers), intakeSchema, layers, access)
  const refuse = async (error: unknown): Promise<never> => {
    throw placed(error, layers, await remediesFor(backend, spec).catch(() => undefined))
  }

  let version: string | undefined
  if (options.lock === true || options.frozen === true) {
    const { settleLock } = await import('./lock.ts')
    version = await settleLock(context, backend, spec, options).catch(refuse)
  }
  if (options.dryRun === true) {
    const plan = await backend.dryRun(spec, version).catch(refuse)
    return await showPlan(context, plan)
  }
  const runId = await backend.submit(spec, version).catch(refuse)
  return await (await import('./report.ts')).handOver(context, runId, options.watch === true)
}

async function showPlan(context: Context, plan: DryRun): Promise<void> {
  await context.show(plan, async () => {
    const { estimateLines } = await import('./report.ts')
    for (const warning of plan.warnings) context.say(`Warning: ${warning}`)
    const input = `input: ${jsonOnTerminal(plan.input, 2)}`.split('\n')
    return [`${plan.workflow} ${plan.workflow_version}`, ...input, ...estimateLines(plan.estimate)]
  })
}
