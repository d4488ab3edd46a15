// A run as it was accepted, for one that is accepted in its place.
import type { EndedRun, EndedSlot } from '@fabrique/engine'
import type { Selectable } from 'kysely'
import type { Db } from '../client.ts'
import type { Tables } from '../tables.ts'
import { definitionsOf } from './definitions.ts'
import { slotsOf } from './tree.ts'

/** Reads a run with its slots by index; null where the organization has no such run. */
export async function readEndedRun({ kysely }: Db, organizationId: string, runId: string): Promise<EndedRun | null> {
  const run = await kysely
    .selectFrom('runs')
    .selectAll()
    .where((eb) => eb.and({ organization_id: organizationId, id: runId }))
    .executeTakeFirst()
  if (run === undefined) return null
  const slots = await slotsOf(kysely, [runId])
  const definitionOf = await definitionsOf(kysely, [run, ...slots])

  function ended(row: Selectable<Tables['runs']>): EndedSlot {
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
    slots: slots.map(ended),
  }
}
