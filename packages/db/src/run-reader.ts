// Runs as the outside sees them, always within one organization: resource, list, steps, ledger, events, specification.
// Hides rows, joins and the keyset behind a cursor.
import type { Definition, Instance } from '@fabrique/engine'
import {
  type EventKind,
  type JsonObject,
  type LedgerEntry,
  type RunEvent,
  type RunOutput,
  type RunResource,
  type RunStatus,
  roundUsd,
  runUrls,
} from '@fabrique/schema'
import { type Selectable, sql } from 'kysely'
import { artifactResource } from './artifact-reader.ts'
import type { Db } from './client.ts'
import type { Tables } from './tables.ts'

type RunRow = Selectable<Tables['runs']>

export interface RunFilter {
  status?: RunStatus
  workflow?: string
  parentRunId?: string
  rootRunId?: string
  metadata?: Record<string, string>
  createdAfter?: Date
  createdBefore?: Date
}

export interface RunReader {
  get(organizationId: string, runId: string): Promise<RunResource | null>
  exists(organizationId: string, runId: string): Promise<boolean>
  /** Newest first, older than `before`; root runs only unless a root is asked for. */
  list(organizationId: string, filter: RunFilter, limit: number, before: string | null): Promise<RunResource[]>
  steps(organizationId: string, runId: string): Promise<JsonObject[] | null>
  ledger(organizationId: string, runId: string): Promise<LedgerEntry[] | null>
  specification(
    organizationId: string,
    runId: string,
  ): Promise<{ id: string; createdAt: string; instance: Instance; estimatedUsd: number; definition: Definition } | null>
  /** Events after `seq`, at most `limit`, in order; null where the organization has no such run. */
  events(
    organizationId: string,
    runId: string,
    afterSeq: number,
    limit: number,
  ): Promise<{ status: RunStatus; events: RunEvent[] } | null>
}

/** A reader of runs. */
export function createRunReader(db: Db): RunReader {
  const owned = (organizationId: string) => db.kysely.selectFrom('runs').where('organization_id', '=', organizationId)

  async function find(organizationId: string, runId: string): Promise<RunRow | undefined> {
    return await owned(organizationId).selectAll().where('id', '=', runId).executeTakeFirst()
  }

  /** Turns rows into resources with three look-ups for all of them together. */
  async function resources(rows: RunRow[]): Promise<RunResource[]> {
    if (rows.length === 0) return []
    const ids = rows.map(({ id }) => id)
    const [costs, artifacts, gates, pricing] = await Promise.all([
      db.kysely
        .selectFrom('provider_calls')
        .select(['run_id', ({ fn }) => fn.sum<string>('actual_usd').as('actual')])
        .where('run_id', 'in', ids)
        .groupBy('run_id')
        .execute(),
      db.kysely
        .selectFrom('artifacts')
        .selectAll()
        .where('run_id', 'in', ids)
        .where('status', '!=', 'draft')
        .orderBy('id')
        .execute(),
      db.kysely.selectFrom('gates').selectAll().where('run_id', 'in', ids).orderBy('changed_at').execute(),
      db.kysely
        .selectFrom('specifications')
        .select([
          'hash',
          sql<string>`definition ->> 'pricingVersion'`.as('version'),
          sql<string>`definition ->> 'artifactClass'`.as('class'),
        ])
        .where('hash', 'in', [...new Set(rows.map((row) => row.definition_hash))])
        .execute(),
    ])
    const spent = new Map(costs.map(({ run_id, actual }) => [run_id, Number(actual)]))
    const definitions = new Map(pricing.map((row) => [row.hash, row]))
    return rows.map((row) => {
      const definition = definitions.get(row.definition_hash)
      const output: RunOutput = {
        index: row.slot_index ?? 0,
        workflow: row.workflow,
        variant_index: row.instance.variantIndex,
        run_id: row.id,
        status: row.status,
        output: row.output,
        artifacts: artifacts
          .filter(({ run_id }) => run_id === row.id)
          .map((artifact) => artifactResource(artifact, { ...row, artifact_class: definition?.class ?? '' })),
        error: row.error,
      }
      return {
        id: row.id,
        workflow: row.workflow,
        workflow_version: row.workflow_version,
        status: row.status,
        partial: row.partial,
        priority: row.priority,
        fail_fast: row.fail_fast,
        input: row.input,
        metadata: row.metadata,
        state: row.state,
        parent_run_id: row.parent_run_id,
        parent_variant_index: row.parent_variant_index,
        root_run_id: row.root_run_id,
        caller_run_id: row.caller_run_id,
        caller_step_id: row.caller_step_id,
        retry_of: row.retry_of,
        simulated: row.simulated,
        outputs: [output],
        gates: gates
          .filter(({ run_id }) => run_id === row.id)
          .map(({ id, name, type, status, detail }) => ({ id, name, type, status, detail })),
        summary: {
          total: 1,
          completed: row.status === 'completed' ? 1 : 0,
          failed: row.status === 'failed' ? 1 : 0,
          cancelled: row.status === 'cancelled' ? 1 : 0,
        },
        cost: {
          currency: 'USD',
          estimated: Number(row.estimated_usd),
          actual: roundUsd(spent.get(row.id) ?? 0),
          pricing_version: definition?.version ?? '',
        },
        error: row.error,
        warnings: row.warnings,
        created_at: row.created_at.toISOString(),
        started_at: row.started_at?.toISOString() ?? null,
        finished_at: row.finished_at?.toISOString() ?? null,
        urls: runUrls(row.id),
      }
    })
  }

  return {
    async get(organizationId, runId) {
      const row = await find(organizationId, runId)
      return row === undefined ? null : ((await resources([row]))[0] ?? null)
    },
    async exists(organizationId, runId) {
      return (await owned(organizationId).select('id').where('id', '=', runId).executeTakeFirst()) !== undefined
    },
    async list(organizationId, filter, limit, before) {
      let query = owned(organizationId).selectAll().orderBy('id', 'desc').limit(limit)
      if (filter.rootRunId === undefined)
        query = query.where('slot_index', 'is', null).where('caller_run_id', 'is', null)
      else query = query.where('root_run_id', '=', filter.rootRunId)
      if (before !== null) query = query.where('id', '<', before)
      if (filter.status !== undefined) query = query.where('status', '=', filter.status)
      if (filter.workflow !== undefined) query = query.where('workflow', '=', filter.workflow)
      if (filter.parentRunId !== undefined) query = query.where('parent_run_id', '=', filter.parentRunId)
      if (filter.createdAfter !== undefined) query = query.where('created_at', '>', filter.createdAfter)
      if (filter.createdBefore !== undefined) query = query.where('created_at', '<', filter.createdBefore)
      for (const [key, value] of Object.entries(filter.metadata ?? {})) {
        query = query.where(sql`metadata ->> ${key}`, '=', value)
      }
      return await resources(await query.execute())
    },
    async steps(organizationId, runId) {
      const run = await find(organizationId, runId)
      if (run === undefined) return null
      const [rows, calls, spec] = await Promise.all([
        db.kysely.selectFrom('checkpoints').selectAll().where('run_id', '=', runId).execute(),
        db.kysely.selectFrom('provider_calls').selectAll().where('run_id', '=', runId).orderBy('id').execute(),
        db.kysely
          .selectFrom('specifications')
          .select('definition')
          .where('hash', '=', run.definition_hash)
          .executeTakeFirstOrThrow(),
      ])
      return spec.definition.stepInstructions.map((step): JsonObject => {
        const row = rows.find(({ key }) => key === step.id)
        const own = calls.filter(({ step_id }) => step_id === step.id)
        return {
          id: step.id,
          kind: step.kind,
          name: step.name ?? null,
          status:
            row?.status ??
            (own.some(({ outcome }) => outcome === 'pending') && run.status === 'running' ? 'running' : 'pending'),
          attempt: row?.attempt ?? 0,
          simulated: row?.simulated ?? own.some(({ simulated }) => simulated),
          model: own.at(-1)?.model ?? null,
          cost_usd: roundUsd(own.reduce((sum, { actual_usd }) => sum + Number(actual_usd ?? 0), 0)),
          error: row?.error === undefined || row.error === null ? null : { ...row.error },
          started_at: row?.started_at.toISOString() ?? null,
          finished_at: row?.finished_at.toISOString() ?? null,
        }
      })
    },
    async ledger(organizationId, runId) {
      if ((await find(organizationId, runId)) === undefined) return null
      const rows = await db.kysely
        .selectFrom('provider_calls')
        .selectAll()
        .where('run_id', '=', runId)
        .orderBy('created_at')
        .orderBy('id')
        .execute()
      return rows.map((row) => ({
        id: row.id,
        runId: row.run_id,
        stepId: row.step_id,
        provider: row.provider,
        providerOperation: row.operation,
        model: row.model,
        quantity: row.quantity === null ? null : Number(row.quantity),
        unit: row.unit,
        unitPriceUsd: row.unit_price_usd === null ? null : Number(row.unit_price_usd),
        estimatedCostUsd: Number(row.estimated_usd),
        actualCostUsd: row.actual_usd === null ? null : Number(row.actual_usd),
        status: row.status,
        outcome: row.outcome,
        simulated: row.simulated,
        pricingVersion: row.pricing_version,
        createdAt: row.created_at.toISOString(),
      }))
    },
    async specification(organizationId, runId) {
      const row = await owned(organizationId)
        .innerJoin('specifications', 'specifications.hash', 'runs.definition_hash')
        .select(['runs.id', 'runs.created_at', 'instance', 'estimated_usd', 'definition'])
        .where('runs.id', '=', runId)
        .executeTakeFirst()
      if (row === undefined) return null
      return {
        id: row.id,
        createdAt: row.created_at.toISOString(),
        instance: row.instance,
        estimatedUsd: Number(row.estimated_usd),
        definition: row.definition,
      }
    },
    async events(organizationId, runId, afterSeq, limit) {
      const run = await owned(organizationId)
        .select(['status', 'root_run_id'])
        .where('id', '=', runId)
        .executeTakeFirst()
      if (run === undefined) return null
      const rows = await db.kysely
        .selectFrom('events')
        .selectAll()
        .where('run_id', '=', runId)
        .where('seq', '>', afterSeq)
        .orderBy('seq')
        .limit(limit)
        .execute()
      const events = rows.map(
        (row): RunEvent => ({
          id: row.id,
          seq: row.seq,
          kind: row.kind as EventKind,
          run_id: row.run_id,
          root_run_id: run.root_run_id,
          ...(row.node_key === null ? {} : { node_key: row.node_key }),
          timestamp: row.timestamp.toISOString(),
          payload: row.payload,
        }),
      )
      return { status: run.status, events }
    },
  }
}
