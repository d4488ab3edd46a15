// The real intakes that a prompt back-test replays, always within one organization.
import type { BacktestRun } from '@fabrique/engine'
import { sql } from 'kysely'
import type { Db } from './client.ts'

/** The last `limit` runs of a workflow, newest first, with what their prompts were made from. */
export async function readBacktestRuns(
  { kysely }: Db,
  organizationId: string,
  workflow: string,
  limit: number,
): Promise<BacktestRun[]> {
  const rows = await kysely
    .selectFrom('runs')
    .innerJoin('specifications', 'specifications.hash', 'runs.definition_hash')
    .select(['runs.id', 'runs.workflow', 'runs.instance', 'specifications.definition'])
    .where('runs.organization_id', '=', organizationId)
    .where('runs.workflow', '=', workflow)
    .orderBy('runs.id', 'desc')
    .limit(limit)
    .execute()
  const ids = rows.map(({ id }) => id)
  const outputs = await kysely
    .selectFrom('checkpoints')
    .select(['run_id', 'step_id', 'output'])
    .where('run_id', '=', sql<string>`any(${ids}::text[])`)
    .where('status', '=', 'completed')
    .execute()
  const byRun = Map.groupBy(outputs, ({ run_id }) => run_id)
  return rows.map((row) => ({
    id: row.id,
    workflow: row.workflow,
    organizationId,
    instance: row.instance,
    definition: row.definition,
    outputs: Object.fromEntries((byRun.get(row.id) ?? []).map(({ step_id, output }) => [step_id, { output }])),
  }))
}
