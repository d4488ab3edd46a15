// What a regeneration or a retry inherits from an earlier run: finished steps, never run or paid again.
// Hides which further steps are inherited because only inherited steps read them.
import type { JsonValue } from '@fabrique/schema'
import { parsePath } from './template/placeholders.ts'
import { dependenciesOf } from './template/data-flow.ts'
import type { ArtifactRecord, Checkpoint, Ids, Inheritance, RunHistory, RunStatus, RunStore } from './ports.ts'
import type { Definition } from './specification.ts'
import { isWithin } from './unit-key.ts'

/** What can be inherited from an earlier run. */
export interface EarlierRun {
  workflow: string
  checkpoints: Checkpoint[]
  artifacts: ArtifactRecord[]
}

/**
 * The steps of `keep` that the earlier run has finished, and the steps before them that only they read.
 * `warnings` says which could not be kept and why.
 */
export function stepsToReuse(
  definition: Definition,
  keep: readonly string[],
  earlier: EarlierRun | null,
): { reused: Set<string>; warnings: string[] } {
  const warnings: string[] = []
  const reused = new Set<string>()
  if (keep.length === 0) return { reused, warnings }
  if (earlier === null) return { reused, warnings: ['regenerate.keep has no effect without a parent run.'] }
  if (earlier.workflow !== definition.templateId) {
    const warning = `regenerate.keep has no effect: the parent run is one of "${earlier.workflow}", whose steps are not this workflow's.`
    return { reused, warnings: [warning] }
  }
  const settled = new Map(earlier.checkpoints.map((checkpoint) => [checkpoint.key, checkpoint]))
  const steps = new Set(definition.stepInstructions.map(({ id }) => id))
  for (const id of keep) {
    if (!steps.has(id)) warnings.push(`regenerate.keep names "${id}", and the workflow has no such step.`)
    else if (settled.get(id)?.status !== 'completed')
      warnings.push(`regenerate.keep names "${id}", which the parent run has not finished; it is run again.`)
    else reused.add(id)
  }
  const readers = readersOf(definition)
  // A step that only reused steps read is reused too, and so are the steps that only it reads.
  for (let before = -1; before !== reused.size; ) {
    before = reused.size
    for (const { id } of definition.stepInstructions) {
      const by = readers.get(id) ?? []
      const isSettled = settled.has(id) && settled.get(id)?.status !== 'failed'
      if (isSettled && by.length > 0 && by.every((reader) => reused.has(reader))) reused.add(id)
    }
  }
  return { reused, warnings }
}

/** The steps that read each step; an empty id stands for the run's output and files. */
function readersOf({ stepInstructions, outputAliases, artifactSchema }: Definition): Map<string, string[]> {
  const readers = new Map<string, string[]>()
  const note = (id: unknown, reader: string) => {
    if (typeof id === 'string') readers.set(id, [...(readers.get(id) ?? []), reader])
  }
  for (const step of stepInstructions) for (const { id } of dependenciesOf(step)) note(id, step.id)
  const files = artifactSchema.files.map(({ role, from }) => from ?? `steps.${role}.output`)
  for (const path of [...Object.values(outputAliases), ...files]) note(parsePath(path)?.path[0], '')
  return readers
}

/** The checkpoints of these steps, parts and items included, with copies of the files that they refer to. */
export function inherit(earlier: EarlierRun, isKept: (checkpoint: Checkpoint) => boolean, ids: Ids): Inheritance {
  const kept = earlier.checkpoints.filter((checkpoint) => checkpoint.status !== 'failed' && isKept(checkpoint))
  const copies = adoptFiles(
    kept.map(({ output }) => output),
    earlier.artifacts,
    ids,
  )
  const checkpoints = kept.map((one, index) => ({ ...one, attempt: 0, output: copies.value[index] ?? null }))
  return { checkpoints, artifacts: copies.artifacts }
}

/** Failures by what was made: a retry with the same items and parts would fail again. */
const REFUSALS = ['gate-failed', 'bad-output']

/**
 * What a retry inherits: the earlier run's completed steps, items and parts, and the decisions on them. Conditions are
 * evaluated again; a review of the whole run is inherited only where that run completed.
 */
export function continuation(
  { definition, status }: { definition: Definition; status: RunStatus },
  history: Pick<RunHistory, 'checkpoints' | 'artifacts' | 'gates'>,
  ids: Ids,
): Inheritance {
  const refused = history.checkpoints.filter(
    ({ key, error }) => error !== null && error.node_key === key && REFUSALS.includes(error.code),
  )
  const isRefused = (key: string) => refused.some((unit) => isWithin(key, unit.key))
  const isKept = ({ key, status: outcome }: Checkpoint) => outcome === 'completed' && !isRefused(key)
  const earlier = { workflow: definition.templateId, checkpoints: history.checkpoints, artifacts: history.artifacts }
  const kept = inherit(earlier, isKept, ids)
  const finished = new Set(kept.checkpoints.map(({ key }) => key))
  const gates = history.gates.filter(({ id, status: decision }) => {
    const gate = definition.gates.find((one) => one.id === id)
    if (gate === undefined || (decision !== 'passed' && decision !== 'approved')) return false
    return gate.after === undefined ? status === 'completed' : finished.has(gate.after)
  })
  return {
    ...kept,
    gates: gates.map(({ id, name, type, status: decision, detail }) => ({ id, name, type, status: decision, detail })),
  }
}

/** The runs that a run has called, by the unit that called them, for `Instance.earlierCalls`. */
export function callsOf({ children }: Pick<RunHistory, 'children'>): Record<string, string> {
  return Object.fromEntries(children.map(({ callerKey, id }) => [callerKey, id]))
}

/**
 * What a retry of this run can inherit: its own history, or, where it never began, that of the run which it retried;
 * and the newest run called by each unit of any of them.
 */
export async function retriedHistory(
  store: Pick<RunStore, 'history' | 'find'>,
  runId: string,
): Promise<{ earlier: RunHistory; status: RunStatus; earlierCalls: Record<string, string> }> {
  const [earlier, found] = await Promise.all([store.history(runId), store.find(runId)])
  const { continues } = found?.instance ?? {}
  const before = continues === undefined ? null : await retriedHistory(store, continues)
  const earlierCalls = { ...before?.earlierCalls, ...callsOf(earlier) }
  if (before !== null && earlier.checkpoints.length === 0) return { ...before, earlierCalls }
  return { earlier, status: found?.status ?? 'cancelled', earlierCalls }
}

/** A copy of an output in which every file of another run has an id of this run's own; `artifacts` are those copies. */
export function adoptFiles<Value extends JsonValue>(
  value: Value,
  known: readonly ArtifactRecord[],
  ids: Ids,
  stepKey?: string,
): { value: Value; artifacts: ArtifactRecord[] } {
  const byId = new Map(known.map((record) => [record.id, record]))
  const copies = new Map<string, ArtifactRecord>()
  const rename = (_: string, member: unknown) => {
    const record = typeof member === 'string' ? byId.get(member) : undefined
    if (record === undefined) return member
    const copy = copies.get(record.id) ?? {
      ...record,
      id: ids.next(),
      status: 'draft',
      stepKey: stepKey ?? record.stepKey,
    }
    copies.set(record.id, copy)
    return copy.id
  }
  return { value: JSON.parse(JSON.stringify(value, rename)) as Value, artifacts: [...copies.values()] }
}
