// What a regeneration or a retry takes over from an earlier run: finished steps, never run or paid again.
// Hides which further steps come along because nobody would read what they would make anew.
import { adoptFiles } from './call-workflow.ts'
import { parsePath } from './placeholders.ts'
import { dependenciesOf } from './plan.ts'
import type { ArtifactRecord, Checkpoint, Ids, Inheritance } from './ports.ts'
import type { Definition } from './specification.ts'

/** An earlier run as far as it can be taken over. */
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
  // Steps come along until none is left that only reused steps read.
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

/** Who reads each step; the empty name stands for the outside. */
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
  const artifacts: ArtifactRecord[] = []
  const kept = earlier.checkpoints.filter((checkpoint) => checkpoint.status !== 'failed' && isKept(checkpoint))
  const copies = adoptFiles(
    kept.map(({ output }) => output),
    earlier.artifacts,
    ids,
  )
  artifacts.push(...copies.artifacts)
  const checkpoints = kept.map((checkpoint, index) => ({
    ...checkpoint,
    attempt: 0,
    output: copies.value[index] ?? null,
  }))
  return { checkpoints, artifacts }
}
