// The workflow set: a manifest of several runs, where outputs of some become inputs of others.
// Hides the rules between its runs: names, sources and the order that follows from them; starting them is the CLI's.
import { z } from 'zod'
import { nearestKey } from './document.ts'
import { isJsonObject, type JsonObject, type JsonValue } from './json.ts'
import { createPlaceholders } from './json-schema/placeholder.ts'
import { BUNDLE_WORKFLOW, RunSpec, WorkflowId } from './run-spec.ts'

const RUN_NAME = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$/
const SOURCE = /^([A-Za-z0-9_][A-Za-z0-9_-]{0,63})(?:\.([0-9]))?\.([A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*)$/

const RunName = z.string().regex(RUN_NAME, 'must be a name of up to 64 letters, digits, - and _')
const Input = RunSpec.shape.input.unwrap()

/** Where an input comes from: an alias of an upstream run's output, or a path into its output where it has no aliases. */
export interface InputSource {
  run: string
  /** From 0, as `variant_index`; 0 where the text names none. */
  variant: number
  alias: string
}

/** Reads `"<run>.<variant>.<alias>"` or `"<run>.<alias>"`; undefined if it is neither. */
export function readInputSource(text: string): InputSource | undefined {
  const [, run, variant, alias] = (text.length <= 256 && SOURCE.exec(text)) || []
  if (run === undefined || alias === undefined) return undefined
  return { run, variant: Number(variant ?? 0), alias }
}

const SetRun = z.strictObject({
  name: RunName.describe('Names the run within the set; unique.'),
  workflow: WorkflowId.refine(
    (id) => id !== BUNDLE_WORKFLOW,
    'a set has no bundles; write each entry as a run',
  ).describe('The workflow to run.'),
  input: Input.optional().describe("The workflow's inputs; over `shared_input`, below `inputs_from`."),
  inputs_from: z
    .record(
      z.string().min(1).max(200),
      z
        .string()
        .max(256)
        .regex(SOURCE, 'must look like "<run>.<variant>.<alias>" or "<run>.<alias>", with a variant from 0 to 9'),
    )
    .optional()
    .describe(
      'Inputs that are outputs of other runs of the set: `{field: "<run>.<variant>.<alias>"}`; variant 0 if left out.',
    ),
  priority: z.int().min(0).max(100).optional().describe('As in a run-spec.'),
  fail_fast: z.boolean().optional().describe('As in a run-spec.'),
  metadata: RunSpec.shape.metadata,
})

export const WorkflowSet = z
  .strictObject({
    $schema: z.unknown().optional().describe('For editors; ignored.'),
    set: RunName.describe('The name of the set.'),
    description: z.string().max(32_768).optional(),
    shared_input: Input.optional().describe("Merged into every run's input; the run's own values win."),
    mode: z
      .enum(['sequential', 'parallel'])
      .default('sequential')
      .describe(
        'Whether runs that do not wait for each other run at the same time. The name and default are Fabrique’s own.',
      ),
    on_error: z
      .enum(['stop', 'continue'])
      .default('stop')
      .describe(
        'After a failed run: start no further run, or go on with those that do not need it. The name and default are Fabrique’s own.',
      ),
    runs: z.array(SetRun).min(1).max(100),
  })
  .superRefine((set, context) => {
    const problem = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message })
    const names = set.runs.map(({ name }) => name)
    set.runs.forEach((run, index) => {
      const first = names.indexOf(run.name)
      if (first < index) {
        problem(['runs', index, 'name'], `"${run.name}" names the run at /runs/${first} already; choose another name`)
      }
      for (const [field, text] of Object.entries(run.inputs_from ?? {})) {
        const source = readInputSource(text)
        if (source !== undefined && !names.includes(source.run)) {
          const near = nearestKey(source.run, names)
          const remedy = near === undefined ? '' : `; did you mean "${near}"?`
          problem(['runs', index, 'inputs_from', field], `there is no run "${source.run}" in this set${remedy}`)
        }
      }
    })
    const ordered = new Set(orderSetRuns(set.runs))
    set.runs.forEach((run, index) => {
      if (ordered.has(run.name)) return
      problem(['runs', index, 'inputs_from'], `"${run.name}" waits, directly or not, for a run that waits for itself`)
    })
  })
export type WorkflowSet = z.infer<typeof WorkflowSet>
export type WorkflowSetRun = WorkflowSet['runs'][number]

/** The names of the runs that a run takes inputs from, each once, in the order of the fields. */
export function setRunDependencies(run: Pick<WorkflowSetRun, 'inputs_from'>): string[] {
  const sources = Object.values(run.inputs_from ?? {}).map((text) => readInputSource(text)?.run)
  return [...new Set(sources.filter((name) => name !== undefined))]
}

/**
 * The names so that each stands behind those it depends on, otherwise in the manifest's order.
 * With `stage` only that run and what it needs, directly or not. Runs in or behind a cycle are left out; a source that
 * is no run of the set is taken as there.
 */
export function orderSetRuns(runs: readonly Pick<WorkflowSetRun, 'name' | 'inputs_from'>[], stage?: string): string[] {
  const dependencies = new Map(runs.map((run) => [run.name, setRunDependencies(run)]))
  const wanted = new Set(stage === undefined ? dependencies.keys() : [stage])
  for (const name of wanted) for (const needed of dependencies.get(name) ?? []) wanted.add(needed)

  const ordered = new Set<string>()
  const isReady = (name: string) =>
    !ordered.has(name) &&
    (dependencies.get(name) ?? []).every((needed) => ordered.has(needed) || !dependencies.has(needed))
  const waiting = [...dependencies.keys()].filter((name) => wanted.has(name))
  for (let next = waiting.find(isReady); next !== undefined; next = waiting.find(isReady)) ordered.add(next)
  return [...ordered]
}

/**
 * What an alias stands for in the output of a run: a member of that name, else a path of members and indexes.
 * Undefined where the output has no such thing.
 */
export function readSetOutput(output: JsonObject, alias: string): JsonValue | undefined {
  if (Object.hasOwn(output, alias)) return output[alias]
  let value: JsonValue | undefined = output
  for (const part of alias.split('.')) {
    if (Array.isArray(value)) value = /^\d+$/.test(part) ? value[Number(part)] : undefined
    else value = isJsonObject(value) && Object.hasOwn(value, part) ? value[part] : undefined
  }
  return value
}

/**
 * The names that an alias may begin with in a workflow's output: the declared aliases, else the steps, whose outputs
 * stand by their ids.
 */
export function setOutputNames(template: JsonObject): string[] {
  const aliases = isJsonObject(template.outputAliases) ? Object.keys(template.outputAliases) : []
  if (aliases.length > 0) return aliases
  const steps = Array.isArray(template.runtimeSteps) ? template.runtimeSteps : []
  return steps.flatMap((step) => (isJsonObject(step) && typeof step.id === 'string' ? [step.id] : []))
}

/** Values that the intake schema accepts for these inputs, to check a run whose real ones are not made yet. */
export function sampleSetInputs(intakeSchema: JsonObject, names: readonly string[]): JsonObject {
  const placeholders = createPlaceholders(intakeSchema)
  const fields = new Map(placeholders.fields(intakeSchema).map(({ name, schema }) => [name, schema]))
  return Object.fromEntries(names.map((name) => [name, placeholders.sample(fields.get(name) ?? true, name)]))
}
