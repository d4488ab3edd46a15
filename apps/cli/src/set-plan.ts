// A workflow set before anything of it runs: which stages, in which order, with which inputs, and every fault in it.
// Hides how a fault of one stage's spec is told at its place in the manifest.
import {
  isJsonObject,
  type DryRun,
  type JsonObject,
  nearestKey,
  orderSetRuns,
  pointerTo,
  problemsOf,
  readInputSource,
  sampleSetInputs,
  setOutputNames,
  setRunDependencies,
  textOf,
  WorkflowSet,
  type WorkflowSetRun,
} from '@fabrique/schema'
import type { Backend } from './backend.ts'
import { InvalidRequest } from './failure.ts'
import { remedyFor } from './find-workflow.ts'
import { type Layer, mergeLayers, placed, readSourceFile, withName } from './spec.ts'

export interface Manifest extends Omit<Layer, 'value'> {
  path: string
  set: WorkflowSet
}

export interface Stage {
  run: WorkflowSetRun
  needs: string[]
  /** The run-spec with these outputs of other stages, as layers that know their places. */
  layersWith(upstream: JsonObject): Layer[]
  intakeSchema: JsonObject | null
  plan: DryRun
}

/** The manifest of a file. Throws `InvalidRequest` with every problem of it, each at its place. */
export async function readManifest(path: string): Promise<Manifest> {
  const { value, placeOf, folder } = await readSourceFile(path)
  const parsed = WorkflowSet.safeParse(value)
  if (parsed.success) return { path, folder, set: parsed.data, placeOf }
  const problems = problemsOf(parsed.error, WorkflowSet, 'a key of a workflow set')
  const lines = problems.map(({ pointer, detail }) => `${placeOf(pointer)}: ${withName(pointer, detail)}`)
  throw new InvalidRequest(lines.join('\n'))
}

/** The names of the runs to start, in order: the wanted stages, or all, with what they need that is not there yet. */
export function selectRuns({ path, set }: Manifest, wanted: readonly string[], present: ReadonlySet<string>): string[] {
  const names = set.runs.map(({ name }) => name)
  for (const name of wanted) {
    if (names.includes(name)) continue
    const near = nearestKey(name, names)
    const remedy = near === undefined ? `its stages are ${names.join(', ')}` : `did you mean "${near}"?`
    throw new InvalidRequest(`${path}: there is no stage "${name}" in the set ${set.set}; ${remedy}`)
  }
  const open = set.runs.filter(({ name }) => !present.has(name))
  const needed = new Set(
    wanted.length === 0 ? open.map(({ name }) => name) : wanted.flatMap((name) => orderSetRuns(open, name)),
  )
  return orderSetRuns(open).filter((name) => needed.has(name))
}

/**
 * The stages of these names, each tried out with sample values for what other stages will give. Throws
 * `InvalidRequest` with every fault of all of them.
 */
export async function planStages(backend: Backend, manifest: Manifest, names: readonly string[]): Promise<Stage[]> {
  const { set } = manifest
  const documents = new Map<string, JsonObject | null>()
  for (const { workflow } of set.runs) {
    if (!documents.has(workflow)) documents.set(workflow, await backend.workflow(workflow))
  }
  const faults: string[] = []
  const stages: Stage[] = []
  for (const name of names) {
    const index = set.runs.findIndex((run) => run.name === name)
    const run = set.runs[index]
    if (run === undefined) continue
    const document = documents.get(run.workflow) ?? null
    const intakeSchema = isJsonObject(document?.intakeSchema) ? document.intakeSchema : null
    const layersWith = (upstream: JsonObject) => layersOf(manifest, run, index, upstream)
    faults.push(...sourceFaults(manifest, index, documents))
    const layers = layersWith(sampleSetInputs(intakeSchema ?? {}, Object.keys(run.inputs_from ?? {})))
    try {
      const plan = await backend.dryRun(mergeLayers(layers))
      stages.push({ run, needs: setRunDependencies(run), layersWith, intakeSchema, plan })
    } catch (error) {
      const remedies = document === null ? [['/workflow', await remedyFor(backend, run.workflow)] as const] : []
      faults.push(placed(error, layers, new Map(remedies)).message)
    }
  }
  if (faults.length > 0) throw new InvalidRequest([...new Set(faults.flatMap((fault) => fault.split('\n')))].join('\n'))
  return stages
}

/** Low to high: the run's own keys, the shared input, the run's input, what other runs give. */
function layersOf(
  { set, folder, placeOf }: Manifest,
  run: WorkflowSetRun,
  index: number,
  upstream: JsonObject,
): Layer[] {
  const at = `/runs/${index}`
  const { name, workflow, input, inputs_from: _, metadata, ...rest } = run
  const tags = { workflow_set: set.set, workflow_set_stage: name }
  const own = { workflow, ...rest, metadata: { ...tags, ...metadata }, input: {} }
  const layer = (value: JsonObject, place: (pointer: string) => string, from: string | null = folder): Layer => ({
    value,
    folder: from,
    placeOf: (pointer) => placeOf(place(pointer)),
  })
  return [
    layer(own as JsonObject, (pointer) => at + pointer),
    layer({ input: (set.shared_input ?? {}) as JsonObject }, (pointer) => pointer.replace(/^\/input/, '/shared_input')),
    layer({ input: (input ?? {}) as JsonObject }, (pointer) => at + pointer),
    layer({ input: upstream }, (pointer) => at + pointer.replace(/^\/input/, '/inputs_from'), null),
  ]
}

/** Sources that name what the other run's workflow does not give, or a variant that it does not make. */
function sourceFaults(manifest: Manifest, index: number, documents: ReadonlyMap<string, JsonObject | null>): string[] {
  const { set, placeOf } = manifest
  return Object.entries(set.runs[index]?.inputs_from ?? {}).flatMap(([field, text]) => {
    const source = readInputSource(text)
    const from = set.runs.find(({ name }) => name === source?.run)
    if (source === undefined || from === undefined) return []
    const place = placeOf(pointerTo('runs', index, 'inputs_from', field))
    const variants = { ...set.shared_input, ...from.input }.variants ?? 1
    if (source.variant >= variants) {
      return [
        `${place}: "${text}": the run "${from.name}" makes ${variants} variant${variants === 1 ? '' : 's'}, counted from 0`,
      ]
    }
    const document = documents.get(from.workflow)
    if (document === null || document === undefined) return []
    const given = setOutputNames(document)
    const [first = ''] = source.alias.split('.')
    if (given.length === 0 || given.includes(first) || given.includes(source.alias)) return []
    const near = nearestKey(first, given)
    const remedy = near === undefined ? `it gives ${given.join(', ')}` : `did you mean "${near}"?`
    return [`${place}: "${text}": the output of ${textOf(document.id)} has no "${first}"; ${remedy}`]
  })
}
