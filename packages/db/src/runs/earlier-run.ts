// What a new run may take over from an earlier one of its organization.
import type { EarlierRun } from '@fabrique/engine'
import type { Db } from '../client.ts'
import { artifactRecord, checkpointRecord } from './rows.ts'

/**
 * Reads a run's finished steps and files; with `variantIndex`, those of its slot of that index where it has slots.
 * Null where the organization has no such run.
 */
export const earlierRuns = (db: Db) => (organizationId: string, runId: string, variantIndex: number | null) =>
  readEarlierRun(db, organizationId, runId, variantIndex)

async function readEarlierRun(
  db: Db,
  organizationId: string,
  runId: string,
  variantIndex: number | null,
): Promise<EarlierRun | null> {
  const runs = await db.kysely
    .selectFrom('runs')
    .select(['id', 'workflow', 'slot_index'])
    .where('organization_id', '=', organizationId)
    .where((either) => either.or([either('id', '=', runId), either('awaited_by', '=', runId)]))
    .execute()
  const run = runs.find(({ id }) => id === runId)
  if (run === undefined) return null
  const source = runs.find(({ slot_index }) => slot_index !== null && slot_index === (variantIndex ?? 0)) ?? run
  const [checkpoints, artifacts] = await Promise.all([
    db.kysely.selectFrom('checkpoints').selectAll().where('run_id', '=', source.id).execute(),
    db.kysely.selectFrom('artifacts').selectAll().where('run_id', '=', source.id).execute(),
  ])
  return {
    workflow: source.workflow,
    checkpoints: checkpoints.map(checkpointRecord),
    artifacts: artifacts.map(artifactRecord),
  }
}
