// What a new run may take over from an earlier one of its organization.
import type { EarlierRun, Inheritance } from '@fabrique/engine'
import type { Kysely } from 'kysely'
import type { Db } from '../client.ts'
import type { Tables } from '../tables.ts'
import { artifactRecord, checkpointRecord } from './rows.ts'

/**
 * Reads a run's finished steps and files; with `variantIndex`, those of its slot of that index where it has slots.
 * Null where the organization has no such run.
 */
export const earlierRuns =
  ({ kysely }: Db) =>
  async (organizationId: string, runId: string, variantIndex: number | null): Promise<EarlierRun | null> => {
    const runs = await kysely
      .selectFrom('runs')
      .select(['id', 'workflow', 'slot_index'])
      .where('organization_id', '=', organizationId)
      .where((either) => either.or({ id: runId, awaited_by: runId }))
      .execute()
    const run = runs.find(({ id }) => id === runId)
    if (run === undefined) return null
    const source = runs.find(({ slot_index }) => slot_index !== null && slot_index === (variantIndex ?? 0)) ?? run
    return { workflow: source.workflow, ...(await finishedPartsOf(kysely, source.id)) }
  }

/** The finished steps of a run, and the files that they made. */
export async function finishedPartsOf(kysely: Kysely<Tables>, runId: string): Promise<Inheritance> {
  const [checkpoints, artifacts] = await Promise.all([
    kysely.selectFrom('checkpoints').selectAll().where('run_id', '=', runId).execute(),
    kysely.selectFrom('artifacts').selectAll().where('run_id', '=', runId).execute(),
  ])
  return { checkpoints: checkpoints.map(checkpointRecord), artifacts: artifacts.map(artifactRecord) }
}
