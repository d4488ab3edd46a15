// Runs as the outside sees them, always within one organization: resource, list, steps, ledger, events, specification.
// Hides rows, joins and the keyset behind a cursor.
import type { Definition, Instance } from '@fabrique/engine'
import { isItem, slotKey, stepIdOf } from '@fabrique/engine/unit-key'
import {
  type JsonValue,
  type LedgerEntry,
  type RunEvent,
  type RunOutput,
  type RunResource,
  type RunStatus,
  type RunStep,
  roundUsd,
  runUrls,
} from '@fabrique/schema'
import { type Selectable, sql } from 'kysely'
import { outputsOf } from './outputs.ts'
import type { Db } from '../client.ts'
import { type RunFilter, runsMatching } from './filter.ts'
import { runEvent } from './rows.ts'
import { treeOf, treesOf } from './tree.ts'
import type { Tables } from '../tables.ts'

type RunRow = Selectable<Tables['runs']>

const NEAREST_RUNS = 5_000

export interface RunReader {
  get(organizationId: string, runId: string): Promise<RunResource | null>
  exists(organizationId: string, runId: string): Promise<boolean>
  /** Newest first, older than `before`; root runs only unless a root is asked for. */
  list(organizationId: string, filter: RunFilter, limit: number, before: string | null): Promise<RunResource[]>
  steps(organizationId: string, runId: string): Promise<RunStep[] | null>
  ledger(organizationId: string, runId: string): Promise<LedgerEntry[] | null>
  specification(
    organizationId: string,
    runId: string,
  ): Promise<{
    id: string
    workflow: string
    organizationId: string
    createdAt: string
    instance: Instance
    estimatedUsd: number
    definition: Definition
    /** Of the steps that are completed. */
    outputs: Record<string, { output: JsonValue }>
  } | null>
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

  /** The id of the last of the root runs behind `before` that are gone through one by one. */
  function nearestRuns(organizationId: string, before: string | null) {
    const behind = before === null ? sql`` : sql`and id < ${before}`
    return sql<string>`coalesce((select id from runs where organization_id = ${organizationId} and slot_index is null
      and caller_run_id is null ${behind} order by id desc offset ${NEAREST_RUNS} limit 1), '')`
  }

  /** The slots of a run as its nodes. */
  async function slotNodes(runId: string): Promise<RunStep[]> {
    const slots = await db.kysely
      .selectFrom('runs')
      .selectAll()
      .where('awaited_by', '=', runId)
      .orderBy('slot_index')
      .execute()
    return slots.map((slot) => ({
      id: slotKey(slot.slot_index ?? 0),
      kind: 'slot',
      name: slot.workflow,
      status: slot.status,
      simulated: slot.simulated,
      error: slot.error,
      started_at: slot.started_at?.toISOString() ?? null,
      finished_at: slot.finished_at?.toISOString() ?? null,
      runs: [{ run_id: slot.id, status: slot.status, key: slotKey(slot.slot_index ?? 0) }],
    }))
  }

  /** The outputs of each run: one for each of its slots, or its own. */
  async function outputsByRun(rows: RunRow[]): Promise<Map<string, RunOutput[]>> {
    const roots = rows.filter(({ slots }) => slots !== null).map(({ id }) => id)
    const slots =
      roots.length === 0
        ? []
        : await db.kysely
            .selectFrom('runs')
            .selectAll()
            .where('awaited_by', 'in', roots)
            .where('slot_index', 'is not', null)
            .orderBy('slot_index')
            .execute()
    const entries = [...rows.filter((row) => row.slots === null), ...slots]
    const outputs = await outputsOf(db.kysely, entries)
    const holders = entries.map(({ id, awaited_by }) => (roots.includes(awaited_by ?? '') ? (awaited_by ?? id) : id))
    const byRun = new Map<string, RunOutput[]>()
    outputs.forEach((output, index) => {
      const holder = holders[index] as string
      byRun.set(holder, [...(byRun.get(holder) ?? []), output])
    })
    return byRun
  }

  /** Turns rows into resources with three look-ups for all of them together. */
  async function resources(rows: RunRow[]): Promise<RunResource[]> {
    if (rows.length === 0) return []
    const ids = rows.map(({ id }) => id)
    const [costs, outputs, gates, pricing] = await Promise.all([
      sql<{ top: string; actual: string }>`${treesOf(ids)}
        select top, sum(actual_usd) as actual from provider_calls c join tree on tree.id = c.run_id
        group by top`.execute(db.kysely),
      outputsByRun(rows),
      // Its own, and those that stand open below it: they are decided by its id too.
      sql<{ top: string; run_id: string } & RunResource['gates'][number]>`${treesOf(ids)}
        select top, g.run_id, g.id, g.name, g.type, g.status, g.detail from gates g join tree on tree.id = g.run_id
        where g.run_id = top or g.status = 'open' order by g.changed_at`.execute(db.kysely),
      db.kysely
        .selectFrom('specifications')
        .select(['hash', sql<string>`definition ->> 'pricingVersion'`.as('version')])
        .where('hash', 'in', [...new Set(rows.map((row) => row.definition_hash))])
        .execute(),
    ])
    const spent = new Map(costs.rows.map(({ top, actual }) => [top, Number(actual)]))
    const versions = new Map(pricing.map(({ hash, version }) => [hash, version]))
    return rows.map((row) => {
      const own = outputs.get(row.id) ?? []
      const count = (status: RunStatus) => own.filter((output) => output.status === status).length
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
        caller_step_id: row.caller_step_id === null ? null : stepIdOf(row.caller_step_id),
        retry_of: row.retry_of,
        simulated: row.simulated,
        outputs: own,
        gates: gates.rows
          .filter(({ top }) => top === row.id)
          .map(({ id, name, type, status, detail, run_id }) => ({
            id,
            name,
            type,
            status,
            detail,
            ...(run_id === row.id ? {} : { run_id }),
          })),
        summary: {
          total: own.length,
          completed: count('completed'),
          failed: count('failed'),
          cancelled: count('cancelled'),
        },
        cost: {
          currency: 'USD',
          estimated: Number(row.estimated_usd),
          actual: roundUsd(spent.get(row.id) ?? 0),
          pricing_version: versions.get(row.definition_hash) ?? '',
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
      let page = runsMatching(db, organizationId, filter).selectAll().limit(limit)
      if (before !== null) page = page.where('id', '<', before)
      if (filter.metadata === undefined || filter.root_run_id !== undefined) {
        return await resources(await page.orderBy('id', 'desc').execute())
      }
      // PostgreSQL takes matches to be spread evenly, which those of a backfill are not: in search of old ones it would
      // pass every newer run. So only the nearest are gone through; behind them the index finds all matches first.
      const near = page.where('id', '>=', nearestRuns(organizationId, before)).orderBy('id', 'desc')
      const found = await near.execute()
      if (found.length === limit) return await resources(found)
      return await resources(await page.orderBy(sql`id || ''`, 'desc').execute())
    },
    async steps(organizationId, runId) {
      const run = await find(organizationId, runId)
      if (run === undefined) return null
      const [rows, calls, called, spent, spec] = await Promise.all([
        db.kysely.selectFrom('checkpoints').selectAll().where('run_id', '=', runId).execute(),
        db.kysely.selectFrom('provider_calls').selectAll().where('run_id', '=', runId).orderBy('id').execute(),
        db.kysely
          .selectFrom('runs')
          .select(['id', 'status', 'caller_step_id'])
          .where('caller_run_id', '=', runId)
          .orderBy('id')
          .execute(),
        sql<{ key: string; usd: string }>`${treeOf(runId)}
          select child.caller_step_id as key, sum(c.actual_usd) as usd from runs child
          join runs below on below.id = child.id or below.awaited_by = child.id
          join tree on tree.id = below.id join provider_calls c on c.run_id = below.id
          where child.caller_run_id = ${runId} group by 1`.execute(db.kysely),
        db.kysely
          .selectFrom('specifications')
          .select('definition')
          .where('hash', '=', run.definition_hash)
          .executeTakeFirstOrThrow(),
      ])
      if (run.slots !== null) return await slotNodes(runId)
      return spec.definition.stepInstructions.map((step): RunStep => {
        const row = rows.find(({ key }) => key === step.id)
        const own = calls.filter(({ step_id }) => step_id === step.id)
        const isOfStep = (key: string | null) => key !== null && stepIdOf(key) === step.id
        const items = rows.filter(({ key }) => isOfStep(key) && isItem(key))
        const runs = called.filter(({ caller_step_id }) => isOfStep(caller_step_id))
        const isBegun = items.length + runs.length > 0 || own.some(({ outcome }) => outcome === 'pending')
        return {
          id: step.id,
          kind: step.kind,
          name: step.name ?? null,
          status: row?.status ?? (isBegun && run.status === 'running' ? 'running' : 'pending'),
          reused: row?.status === 'completed' && row.attempt === 0,
          attempt: row?.attempt ?? 0,
          simulated: row?.simulated ?? own.some(({ simulated }) => simulated),
          model: own.at(-1)?.model ?? null,
          cost_usd: roundUsd(
            own.reduce((sum, { actual_usd }) => sum + Number(actual_usd ?? 0), 0) +
              spent.rows.filter(({ key }) => isOfStep(key)).reduce((sum, { usd }) => sum + Number(usd ?? 0), 0),
          ),
          error: row?.error ?? null,
          started_at: row?.started_at.toISOString() ?? null,
          finished_at: row?.finished_at.toISOString() ?? null,
          items: items.map(({ key, status, attempt }) => ({ key, status, attempt })),
          runs: runs.map(({ id, status, caller_step_id: key }) => ({ run_id: id, status, key })),
        }
      })
    },
    async ledger(organizationId, runId) {
      if ((await find(organizationId, runId)) === undefined) return null
      const rows = await db.kysely
        .selectFrom('provider_calls')
        .selectAll()
        .where(sql<boolean>`run_id in (${treeOf(runId)} select id from tree)`)
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
        .select(['runs.id', 'workflow', 'runs.created_at', 'instance', 'estimated_usd', 'definition'])
        .where('runs.id', '=', runId)
        .executeTakeFirst()
      if (row === undefined) return null
      const done = await db.kysely
        .selectFrom('checkpoints')
        .select(['step_id', 'output'])
        .where('run_id', '=', runId)
        .where('status', '=', 'completed')
        .where((where) => where('key', '=', where.ref('step_id')))
        .execute()
      return {
        id: row.id,
        workflow: row.workflow,
        organizationId,
        outputs: Object.fromEntries(done.map(({ step_id, output }) => [step_id, { output }])),
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
      const events = rows.map((row) => runEvent(row, run.root_run_id))
      return { status: run.status, events }
    },
  }
}
