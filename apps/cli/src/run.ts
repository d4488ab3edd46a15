// One run-spec from its files and arguments, tried out or run.
// Hides the order of things: layers, files, lock, and only then a backend that may start something.
import { fileFields, isJsonObject, type JsonObject, textOf } from '@fabrique/schema'
import type { Backend, DryRun } from './backend.ts'
import type { Context } from './context.ts'
import { EXIT } from './exit.ts'
import { inlineFiles } from './file-fields.ts'
import { remediesFor } from './find-workflow.ts'
import { type Layer, mergeLayers, placed, placeIn, readArgument, readInputFile, readSpecFile } from './spec.ts'

export interface RunOptions {
  fromFile: string
  inputFile?: string
  input: readonly string[]
  dryRun?: boolean
  watch?: boolean
  lock?: boolean
  frozen?: boolean
}

/** Reads, merges and runs a run-spec as the options say; answers the exit code. */
export async function runSpec(context: Context, options: RunOptions): Promise<number> {
  const layers = [await readSpecFile(options.fromFile)]
  if (options.inputFile !== undefined) layers.push(await readInputFile(options.inputFile))
  const backend = await context.backend()
  const workflow = textOf(mergeLayers(layers).workflow)
  const document = workflow === '' ? null : await backend.workflow(workflow)
  const intakeSchema = isJsonObject(document?.intakeSchema) ? document.intakeSchema : null
  layers.push(...options.input.map((argument) => readArgument(argument, intakeSchema)))

  const spec = await withFiles(mergeLayers(layers), intakeSchema, layers, backend)
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
    await showPlan(context, plan)
    return EXIT.done
  }
  const runId = await backend.submit(spec, version).catch(refuse)
  return await (await import('./report.ts')).handOver(context, runId, options.watch === true)
}

/** The spec with the files that its input names, or the inputs of its bundle. */
async function withFiles(
  spec: JsonObject,
  intakeSchema: JsonObject | null,
  layers: readonly Layer[],
  backend: Backend,
): Promise<JsonObject> {
  const inlined = (input: JsonObject, schema: JsonObject, at: string) =>
    inlineFiles(input, {
      fields: fileFields(schema),
      limitBytes: backend.inlineLimitBytes,
      origin(pointer) {
        const [layer, place] = placeIn(layers, at + pointer)
        return { folder: layer?.folder ?? '.', place }
      },
    })
  if (Array.isArray(spec.bundle)) {
    const entries = spec.bundle.map(async (entry, index) => {
      if (!isJsonObject(entry) || !isJsonObject(entry.input) || typeof entry.workflow !== 'string') return entry
      const schema = (await backend.workflow(entry.workflow))?.intakeSchema
      if (!isJsonObject(schema)) return entry
      return { ...entry, input: await inlined(entry.input, schema, `/bundle/${index}/input`) }
    })
    return { ...spec, bundle: await Promise.all(entries) }
  }
  if (!isJsonObject(spec.input) || intakeSchema === null) return spec
  return { ...spec, input: await inlined(spec.input, intakeSchema, '/input') }
}

async function showPlan(context: Context, plan: DryRun): Promise<void> {
  if (context.json) {
    context.print(JSON.stringify(plan, null, 2))
    return
  }
  const { estimateLines } = await import('./report.ts')
  context.print(`${plan.workflow} ${plan.workflow_version}`)
  context.print(`input: ${JSON.stringify(plan.input, null, 2)}`)
  for (const line of estimateLines(plan.estimate)) context.print(line)
  for (const warning of plan.warnings) context.say(`Warning: ${warning}`)
}
