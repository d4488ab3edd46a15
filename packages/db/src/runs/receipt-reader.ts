// What the receipt of a run is made from: the run and everything below it, as the record has them.
import type { RecordedRun } from '@fabrique/engine'
import type { EventKind } from '@fabrique/schema'
import { type Selectable, sql } from 'kysely'
import type { Db } from '../client.ts'
import { camelCased } from '../row-shape.ts'
import type { Tables } from '../tables.ts'
import { definitionsOf } from './definitions.ts'
import { treeOf } from './tree.ts'

type RunRow = Selectable<Tables['runs']>

const KINDS: EventKind[] = [
  'workflow.node.started',
  'workflow.node.completed',
  'workflow.node.failed',
  'workflow.node.retrying',
]

/** A run with its slots and called runs; null where the organization has no such run. */
export async function readRecordedRun(
  { kysely }: Db,
  organizationId: string,
  runId: string,
): Promise<RecordedRun | null> {
  const inTree = sql<boolean>`id in (${treeOf(runId)} select id from tree)`
  const rows = await kysely
    .selectFrom('runs')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .where(inTree)
    .orderBy('slot_index')
    .orderBy('id')
    .execute()
  const top = rows.find(({ id }) => id === runId)
  if (top === undefined) return null
  const ids = rows.map(({ id }) => id)
  const [definitionOf, checkpoints, calls, events] = await Promise.all([
    definitionsOf(kysely, rows),
    kysely
      .selectFrom('checkpoints')
      .select(['run_id', 'key', 'step_id', 'status', 'attempt', 'output'])
      .where('run_id', 'in', ids)
      .execute(),
    kysely
      .selectFrom('provider_calls')
      .select(['run_id', 'step_key', 'step_id', 'outcome', 'estimated_usd', 'actual_usd'])
      .where('run_id', 'in', ids)
      .orderBy('created_at')
      .orderBy('id')
      .execute(),
    kysely
      .selectFrom('events')
      .select(['run_id', 'node_key', 'kind', 'timestamp'])
      .where('run_id', 'in', ids)
      .where('kind', 'in', KINDS)
      .orderBy('seq')
      .execute(),
  ])
  const checkpointsOf = Map.groupBy(checkpoints, ({ run_id }) => run_id)
  const callsOf = Map.groupBy(calls, ({ run_id }) => run_id)
  const eventsOf = Map.groupBy(events, ({ run_id }) => run_id)
  const below = Map.groupBy(rows, ({ awaited_by }) => awaited_by)

  function recorded(row: RunRow): RecordedRun {
    return {
      ...camelCased(row),
      callerKey: row.caller_step_id,
      hasSlots: row.slots !== null,
      cancelRequestedAt: row.cancel_requested_at?.toISOString() ?? null,
      estimatedUsd: Number(row.estimated_usd),
      definition: definitionOf(row),
      checkpoints: (checkpointsOf.get(row.id) ?? []).map(camelCased),
      calls: (callsOf.get(row.id) ?? []).map((call) => ({
        ...camelCased(call),
        estimatedUsd: Number(call.estimated_usd),
        actualUsd: call.actual_usd === null ? null : Number(call.actual_usd),
      })),
      nodes: (eventsOf.get(row.id) ?? []).map(({ node_key: key, kind, timestamp }) => ({
        key: key ?? '',
        kind: kind as EventKind,
        at: timestamp.toISOString(),
      })),
      below: (below.get(row.id) ?? []).map(recorded),
    }
  }

  return recorded(top)
}
