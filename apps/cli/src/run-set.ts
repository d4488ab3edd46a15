// `--run-set FILE`: several runs, where outputs of some become inputs of others.
// Hides when a stage may start: its sources are complete, nothing before it has stopped the set, and there is room.
import {
  type JsonValue,
  readInputSource,
  readSetOutput,
  type RunEvent,
  type RunResource,
  roundUsd,
  RunId,
  setRunDependencies,
} from '@fabrique/schema'
import type { Backend } from './backend.ts'
import type { Context } from './context.ts'
import { openDisplay } from './display.ts'
import { EXIT } from './exit.ts'
import { InvalidRequest } from './failure.ts'
import { type ArtifactReader, type FileAccess, inlineSpecFiles } from './file-fields.ts'
import { columns, sayItIsSimulated } from './report.ts'
import { claimFolders, keepResult, keptResult, resultOf, resultPath, type StageResult } from './set-outputs.ts'
import { type Manifest, planStages, readManifest, selectRuns, type Stage } from './set-plan.ts'
import { mergeLayers, placed } from './spec.ts'

const PARALLEL_STAGES = 8

export interface RunSetOptions {
  file: string
  stages: readonly string[]
  output?: string
  list?: boolean
  dryRun?: boolean
  parallel?: boolean
  usePriorOutputs: readonly string[]
  allowFilesOutside?: boolean
}

/** Lists, tries out or runs the stages of a set; answers the exit code. Nothing starts while anything is wrong with it. */
export async function runSet(context: Context, options: RunSetOptions): Promise<number | void> {
  const manifest = await readManifest(options.file)
  if (options.list === true) return await listStages(context, manifest)

  const backend = await context.backend()
  const results = await priorResults(backend, manifest, options)
  const names = selectRuns(manifest, options.stages, new Set(results.keys()))
  const stages = await planStages(backend, manifest, names)
  for (const { run, plan } of stages) {
    for (const warning of plan.warnings) context.say(`Warning: ${run.name}: ${warning}`)
  }
  if (options.dryRun === true) return await showPlan(context, manifest, stages, results)

  if (options.output !== undefined) await claimFolders(options.output, names)
  const started = await execute(context, manifest, stages, results, options)
  return await report(context, manifest, stages, results, started, options.output)
}

async function listStages(context: Context, { set }: Manifest): Promise<void> {
  await context.show(set, () =>
    columns(
      set.runs.map((run) => {
        const needs = setRunDependencies(run)
        return [run.name, run.workflow, needs.length === 0 ? '' : `needs ${needs.join(', ')}`]
      }),
    ),
  )
}

/** The stages that need not run, by what `--use-prior-outputs` names: a kept stage, a run, or `stage=run`. */
async function priorResults(
  backend: Backend,
  { path, set }: Manifest,
  { usePriorOutputs, output }: RunSetOptions,
): Promise<Map<string, StageResult>> {
  const results = new Map<string, StageResult>()
  const names = set.runs.map(({ name }) => name)
  for (const given of usePriorOutputs) {
    const option = `--use-prior-outputs ${given}`
    const [, assigned, runId = given] = /^([^=]+)=(.+)$/.exec(given) ?? []
    const kept = output === undefined ? [] : await Promise.all(names.map((name) => keptResult(output, name)))
    let stage = assigned ?? names.find((name) => name === given)
    let result = kept.find((one) => (stage === undefined ? one?.run_id === runId : one?.stage === stage))
    stage ??= result?.stage
    if (RunId.safeParse(runId).success && result?.run_id !== runId) {
      const run = await backend.get(runId)
      const fitting = set.runs.filter(({ workflow }) => workflow === run.workflow).map(({ name }) => name)
      stage ??= fitting.length === 1 ? fitting[0] : undefined
      if (stage === undefined) {
        const which = fitting.length === 0 ? 'no stage' : `the stages ${fitting.join(', ')}`
        throw new InvalidRequest(`${option}: ${which} of ${path} run ${run.workflow}; write STAGE=${runId}`)
      }
      result = resultOf(stage, run, [])
    }
    if (stage === undefined || !names.includes(stage)) {
      throw new InvalidRequest(`${option}: this is neither a stage of ${path} nor the id of a run`)
    }
    if (result === undefined || result === null) {
      const where = output === undefined ? 'name its folder with -o' : `nothing of it was kept in ${output}`
      throw new InvalidRequest(`${option}: there are no outputs of "${stage}"; ${where}`)
    }
    if (result.status !== 'completed') {
      // It may have been reviewed since it was kept.
      const run = await backend.get(result.run_id)
      result = await keepResult(backend, output, stage, run)
    }
    if (result.status !== 'completed') {
      throw new InvalidRequest(
        `${option}: the run ${result.run_id} is ${result.status}; only completed ones have outputs`,
      )
    }
    results.set(stage, result)
  }
  return results
}

async function showPlan(
  context: Context,
  { set }: Manifest,
  stages: readonly Stage[],
  prior: ReadonlyMap<string, StageResult>,
): Promise<void> {
  const expected = roundUsd(stages.reduce((sum, { plan }) => sum + plan.estimate.expected, 0))
  const runs = stages.map(({ run, needs, layersWith, plan: { workflow, workflow_version, estimate } }) => {
    const { name, inputs_from = {} } = run
    const known = Object.entries(mergeLayers(layersWith({})).input ?? {})
    const input = Object.fromEntries(known.filter(([key]) => !(key in inputs_from)))
    return { name, workflow, workflow_version, needs, input, inputs_from, estimate }
  })
  const kept = [...prior.values()].map(({ stage, run_id }) => ({ name: stage, run_id }))
  await context.show({ set: set.set, prior: kept, runs, estimate: { currency: 'USD', expected } }, () => [
    ...kept.map(({ name, run_id }) => `${name}: outputs of run ${run_id}`),
    ...runs.flatMap((run) => [
      `${run.name}: ${run.workflow} ${run.workflow_version}, estimate $${run.estimate.expected}`,
      ...Object.entries(run.input).map(([key, value]) => `  ${key} = ${JSON.stringify(value)}`),
      ...Object.entries(run.inputs_from).map(([key, source]) => `  ${key} <- ${source}`),
    ]),
    `estimate: $${expected}`,
  ])
}

/** Runs what may run until nothing is left that may; answers what came of each stage that was started. */
async function execute(
  context: Context,
  { set }: Manifest,
  stages: readonly Stage[],
  prior: ReadonlyMap<string, StageResult>,
  options: RunSetOptions,
): Promise<Map<string, StageResult>> {
  const backend = await context.backend()
  const mostAtOnce = options.parallel === true || set.mode === 'parallel' ? PARALLEL_STAGES : 1
  const results = new Map<string, StageResult>()
  const waiting = new Set(stages)
  const active = new Set<Promise<void>>()
  const resultFor = (name: string) => results.get(name) ?? prior.get(name)
  const isStopped = () =>
    context.signal.aborted || (set.on_error === 'stop' && [...results.values()].some(({ status }) => isBad(status)))
  const access = { allowFilesOutside: options.allowFilesOutside === true, say: context.say }
  const display = openDisplay({
    say: context.say,
    steps: async () => stages.map(({ run }) => ({ id: run.name, name: run.workflow })),
    cost: async () => `$${totalOf([...results.values()])}`,
  })

  async function start(stage: Stage): Promise<void> {
    const { name } = stage.run
    const hear = (event: RunEvent) =>
      display.hear({ ...event, node_key: event.node_key === undefined ? name : `${name}/${event.node_key}` })
    const run = await runStage(backend, stage, access, resultFor, hear)
    results.set(name, await keepResult(backend, options.output, name, run))
  }

  try {
    for (;;) {
      for (const stage of isStopped() ? [] : waiting) {
        if (active.size >= mostAtOnce || stage.needs.some((name) => resultFor(name)?.status !== 'completed')) continue
        waiting.delete(stage)
        const execution: Promise<void> = start(stage).finally(() => active.delete(execution))
        active.add(execution)
      }
      if (active.size === 0) return results
      await Promise.race(active)
    }
  } finally {
    // After a fault of ours the others still come to their end, so that none is left half followed.
    await Promise.allSettled(active)
    await display.close()
  }
}

async function runStage(
  backend: Backend,
  { run, layersWith, intakeSchema }: Stage,
  access: FileAccess,
  resultFor: (name: string) => StageResult | undefined,
  hear: (event: RunEvent) => void,
): Promise<RunResource> {
  const upstream = Object.entries(run.inputs_from ?? {}).map(([field, text]): [string, JsonValue] => {
    const source = readInputSource(text)
    const result = source === undefined ? undefined : resultFor(source.run)
    const slot = result?.outputs.find(({ variant_index }) => variant_index === source?.variant)
    const value = slot?.output && source !== undefined ? readSetOutput(slot.output, source.alias) : undefined
    if (value === undefined) {
      throw new InvalidRequest(
        `${run.name}: "${text}" is not in the output of run ${result?.run_id ?? source?.run ?? ''}`,
      )
    }
    return [field, value]
  })
  const layers = layersWith(Object.fromEntries(upstream))
  const spec = await inlineSpecFiles(
    backend,
    mergeLayers(layers),
    intakeSchema,
    layers,
    access,
    artifactReader(backend),
  )
  const runId = await backend.submit(spec).catch((error: unknown) => {
    throw placed(error, layers)
  })
  return await backend.follow(runId, 0, hear)
}

/** Reads an artifact as outputs refer to it; any other object is none. */
function artifactReader(backend: Backend): ArtifactReader {
  return ({ id, mime_type: mimeType, sha256 }) => {
    if (typeof id !== 'string' || typeof mimeType !== 'string' || typeof sha256 !== 'string') return undefined
    return backend.read(id).then((bytes) => ({ bytes, mimeType }))
  }
}

async function report(
  context: Context,
  { set, path }: Manifest,
  stages: readonly Stage[],
  prior: ReadonlyMap<string, StageResult>,
  results: ReadonlyMap<string, StageResult>,
  folder: string | undefined,
): Promise<number> {
  const { say } = context
  for (const { run } of stages) {
    const result = results.get(run.name)
    if (result === undefined) say(`${run.name}: not started`)
    else if (result.error !== null) say(`${run.name}: failed: ${result.error.message}`)
    else if (result.status === 'cancelled') say(`${run.name}: cancelled`)
    else if (result.status === 'waiting') say(`${run.name}: run ${result.run_id} waits for your review.`)
  }
  const all = [...results.values()]
  const held = all.filter(({ status }) => status === 'waiting')
  if (held.length > 0) {
    const done = [...prior.values(), ...all].filter(({ status }) => !isBad(status))
    const names = done.map(({ stage, run_id }) => (folder === undefined ? `${stage}=${run_id}` : stage))
    const reuse = names.map((name) => ` --use-prior-outputs ${name}`).join('')
    say('Go on with:')
    for (const { run_id } of held) say(`  ${context.hint(`approve ${run_id}`)}`)
    say(`  ${context.hint(`--run-set ${path}${folder === undefined ? '' : ` -o ${folder}`}${reuse}`)}`)
  }
  if (all.some(({ simulated }) => simulated)) sayItIsSimulated(say)
  say(`Cost: $${totalOf(all)}`)
  await context.show({ set: set.set, runs: all }, () =>
    all.flatMap(({ stage, files }) => (folder === undefined ? files : [resultPath(folder, stage), ...files])),
  )
  return exitCodeOf(set.on_error, stages, all)
}

/** Failure before cancellation before review; a set that goes on after failures is partly done by what was completed. */
function exitCodeOf(onError: string, stages: readonly Stage[], results: readonly StageResult[]): number {
  const isAny = (status: string) => results.some((result) => result.status === status)
  if (isAny('failed')) return onError === 'continue' && isAny('completed') ? EXIT.partial : EXIT.runFailed
  if (isAny('cancelled')) return EXIT.cancelled
  if (isAny('waiting')) return EXIT.review
  return results.length < stages.length || results.some(({ partial }) => partial) ? EXIT.partial : EXIT.done
}

function isBad(status: string): boolean {
  return status === 'failed' || status === 'cancelled'
}

function totalOf(results: readonly StageResult[]): number {
  return roundUsd(results.reduce((sum, { cost_usd }) => sum + cost_usd, 0))
}
