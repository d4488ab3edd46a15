// What runs have come to, as `outputs` of a run holds it.
import type { Artifact, RunOutput } from '@fabrique/schema'
import { type Kysely, type Selectable, sql } from 'kysely'
import { artifactResource } from '../artifact-reader.ts'
import type { Tables } from '../tables.ts'
import { artifactClassesOf } from './definitions.ts'
import { slotsOf } from './tree.ts'

type RunRow = Pick<
  Selectable<Tables['runs']>,
  | 'id'
  | 'slot_index'
  | 'slots'
  | 'workflow'
  | 'workflow_version'
  | 'definition_hash'
  | 'instance'
  | 'status'
  | 'output'
  | 'error'
>

/** Looks up the outputs of these runs: one for each slot, else its own. Files that are only drafts are left out. */
export async function outputsOf(
  kysely: Kysely<Tables>,
  rows: readonly RunRow[],
): Promise<(run: RunRow) => RunOutput[]> {
  const bundles = rows.filter(({ slots }) => slots !== null)
  const slots = await slotsOf(
    kysely,
    bundles.map(({ id }) => id),
  )
  const entries = [...rows, ...slots]
  const [artifacts, classOf] = await Promise.all([
    kysely
      .selectFrom('artifacts')
      .selectAll()
      .where('run_id', '=', sql<string>`any(${entries.map(({ id }) => id)}::text[])`)
      .where('status', '!=', 'draft')
      .orderBy('id')
      .execute(),
    artifactClassesOf(kysely, entries),
  ])
  const artifactsOf = Map.groupBy(artifacts, (artifact) => artifact.run_id)
  const slotsByRun = Map.groupBy(slots, (slot) => slot.awaited_by)

  const made = (run: RunRow) =>
    outputOf(
      run,
      (artifactsOf.get(run.id) ?? []).map((row) => artifactResource(row, { ...run, artifact_class: classOf(run) })),
    )
  return (run) => (run.slots === null ? [run] : (slotsByRun.get(run.id) ?? [])).map(made)
}

/** The output of a run that has no slots. */
export function outputOf(
  run: Omit<RunRow, 'slots' | 'workflow_version' | 'definition_hash'>,
  artifacts: Artifact[],
): RunOutput {
  return {
    index: run.slot_index ?? 0,
    workflow: run.workflow,
    variant_index: run.instance.variantIndex,
    run_id: run.id,
    status: run.status,
    output: run.output,
    artifacts,
    error: run.error,
  }
}
