// A run as it was accepted, for one that is accepted in its place.
import type { EndedRun, EndedSlot } from '@fabrique/engine'
import type { Selectable } from 'kysely'
import type { Db } from '../client.ts'
import type { Tables } from '../tables.ts'
import { definitionsOf } from './definitions.ts'

type RunRow = Selectable<Tables['runs']>

/** A run with its slots by index; null where the organization has no such run. */
export async function readEndedRun(db: Db, organizationId: string, runId: string): Promise<EndedRun | null> {
  const rows = await db.kysely
    .selectFrom('runs')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .where((either) =>
      either.or([
        either('id', '=', runId),
        either.and([either('awaited_by', '=', runId), either('slot_index', 'is not', null)]),
      ]),
    )
    .orderBy('slot_index')
    .execute()
  const run = rows.find(({ id }) => id === runId)
  if (run === undefined) return null
  const definitionOf = await definitionsOf(db, rows)

  function ended(row: RunRow): EndedSlot {
    return {
      id: row.id,
      status: row.status,
      workflow: row.workflow,
      workflowVersion: row.workflow_version,
      definitionHash: row.definition_hash,
      definition: definitionOf(row),
      instance: row.instance,
      input: row.input,
      simulated: row.simulated,
      warnings: row.warnings,
    }
  }

  return {
    ...ended(run),
    organizationId,
    metadata: run.metadata,
    state: run.state,
    priority: run.priority,
    lane: run.lane,
    failFast: run.fail_fast,
    parentRunId: run.parent_run_id,
    parentVariantIndex: run.parent_variant_index,
    retryOf: run.retry_of,
    within: run.awaited_by === null ? null : { runId: run.awaited_by, slotIndex: run.slot_index },
    slots: rows.filter((row) => row !== run).map(ended),
  }
}
