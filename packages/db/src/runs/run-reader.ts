// Runs as the outside sees them, always within one organization: resource, list, steps, ledger, events, specification.
// Hides rows, joins and the keyset behind a cursor.
import type { NewRun } from '@fabrique/engine'
import { isItem, slotKey, stepIdOf } from '@fabrique/engine/unit-key'
import {
  LedgerEntry,
  ListedRun,
  NOTHING_SPENT,
  type RunOutput,
  RunResource,
  type RunStatus,
  type RunStep,
  roundUsd,
  runCost,
  runUrls,
} from '@fabrique/schema'
import { type Selectable, sql } from 'kysely'
import { readBacktestRuns } from '../backtest-reader.ts'
import type { Db } from '../client.ts'
import { resourceOf, snakeCased, withTimesAsText } from '../row-shape.ts'
import type { Tables } from '../tables.ts'
import { definitionsOf, pricingVersionsOf } from './definitions.ts'
import { readEndedRun } from './ended-run.ts'
import { type RunFilter, runsMatching } from './filter.ts'
import { outputOf, outputsOf } from './outputs.ts'
import { readRecordedRun } from './receipt-reader.ts'
import { callRecord, runEvent } from './rows.ts'
import { costsOf, slotsOf, treeOf, treesOf } from './tree.ts'

type RunRow = Selectable<Tables['runs']>
/** What a run comes to, beside its row and its outputs. */
interface Findings {
  gates: RunResource['gates']
  cost: RunResource['cost']
}
/** What of a row a list is made from: nothing that a caller or a model may have made large. */
const LISTED = [
  'id',
  'workflow',
  'workflow_version',
  'definition_hash',
  'status',
  'partial',
  'priority',
  'fail_fast',
  'metadata',
  'parent_run_id',
  'parent_variant_index',
  'root_run_id',
  'caller_run_id',
  'caller_step_id',
  'retry_of',
  'simulated',
  'slots',
  'error',
  'estimated_usd',
  'created_at',
  'started_at',
  'finished_at',
] as const
type ListedRow = Pick<RunRow, (typeof LISTED)[number]>

const NEAREST_RUNS = 5_000

export type RunReader = ReturnType<typeof createRunReader>

/** A reader of runs. What the organization does not have is null. */
export function createRunReader(db: Db) {
  const { kysely } = db
  const owned = (organizationId: string) => kysely.selectFrom('runs').where('organization_id', '=', organizationId)

  async function find(organizationId: string, runId: string): Promise<RunRow | undefined> {
    return await owned(organizationId).selectAll().where('id', '=', runId).executeTakeFirst()
  }

  /** The id of the last of the root runs behind `before` that are gone through one by one. */
  function nearestRuns(organizationId: string, before: string | null) {
    const behind = before === null ? sql`` : sql`and id < ${before}`
    return sql<string>`coalesce((select id from runs where organization_id = ${organizationId} and slot_index is null
      and caller_run_id is null ${behind} order by id desc offset ${NEAREST_RUNS} limit 1), '')`
  }

  /** Looks up what these runs come to, with a few queries for all of them together. */
  async function findingsOf(rows: readonly ListedRow[]): Promise<(row: ListedRow) => Findings> {
    const ids = rows.map(({ id }) => id)
    const [costOf, gates, pricingVersionOf] = await Promise.all([
      costsOf(kysely, ids),
      // Its own, and those that stand open below it: they are decided by its id too.
      sql<{ top: string; run_id: string } & RunResource['gates'][number]>`${treesOf(ids)}
        select top, g.run_id, g.id, g.name, g.type, g.status, g.detail from gates g join tree on tree.id = g.run_id
        where g.run_id = top or g.status = 'open' order by g.changed_at`.execute(kysely),
      pricingVersionsOf(kysely, rows),
    ])
    const gatesOf = Map.groupBy(gates.rows, ({ top }) => top)
    return (row) => ({
      gates: (gatesOf.get(row.id) ?? []).map(({ top, run_id, ...gate }) => ({
        ...gate,
        ...(run_id === top ? {} : { run_id }),
      })),
      cost: runCost(costOf(row.id).actual, {
        estimated: Number(row.estimated_usd),
        pricing_version: pricingVersionOf(row),
      }),
    })
  }

  async function listed(rows: readonly ListedRow[]): Promise<ListedRun[]> {
    if (rows.length === 0) return []
    const bundles = rows.flatMap(({ id, slots }) => (slots === null ? [] : [id]))
    const [findings, slots] = await Promise.all([
      findingsOf(rows),
      kysely
        .selectFrom('runs')
        .select(['awaited_by', 'status'])
        .where('awaited_by', '=', sql<string>`any(${bundles}::text[])`)
        .where('slot_index', 'is not', null)
        .execute(),
    ])
    const slotsOfRun = Map.groupBy(slots, (slot) => slot.awaited_by)
    return rows.map((row) => {
      const parts = row.slots === null ? [row] : (slotsOfRun.get(row.id) ?? [])
      return resourceOf(ListedRun, shownRow(row), { ...findings(row), ...derived(row.id, parts) })
    })
  }

  return {
    async get(organizationId: string, runId: string): Promise<RunResource | null> {
      const row = await find(organizationId, runId)
      if (row === undefined) return null
      const [findings, outputs] = await Promise.all([findingsOf([row]), outputsOf(kysely, [row])])
      return runResource(shownRow(row), outputs(row), findings(row))
    },
    async exists(organizationId: string, runId: string): Promise<boolean> {
      return (await owned(organizationId).select('id').where('id', '=', runId).executeTakeFirst()) !== undefined
    },
    /** Newest first, older than `before`; root runs only unless a root is asked for. Without what may be large. */
    async list(organizationId: string, filter: RunFilter, limit: number, before: string | null): Promise<ListedRun[]> {
      let page = runsMatching(db, organizationId, filter).select(LISTED).limit(limit)
      if (before !== null) page = page.where('id', '<', before)
      if (filter.metadata === undefined || filter.root_run_id !== undefined) {
        return await listed(await page.orderBy('id', 'desc').execute())
      }
      // PostgreSQL takes matches to be spread evenly, which those of a backfill are not: in search of old ones it would
      // pass every newer run. So only the nearest are gone through; behind them the index finds all matches first.
      const near = page.where('id', '>=', nearestRuns(organizationId, before)).orderBy('id', 'desc')
      const found = await near.execute()
      if (found.length === limit) return await listed(found)
      return await listed(await page.orderBy(sql`id || ''`, 'desc').execute())
    },
    async steps(organizationId: string, runId: string): Promise<RunStep[] | null> {
      const run = await find(organizationId, runId)
      if (run === undefined) return null
      if (run.slots !== null) return (await slotsOf(kysely, [runId])).map(slotNode)
      const [rows, calls, called, spent, definitionOf] = await Promise.all([
        kysely.selectFrom('checkpoints').selectAll().where('run_id', '=', runId).execute(),
        kysely.selectFrom('provider_calls').selectAll().where('run_id', '=', runId).orderBy('id').execute(),
        kysely
          .selectFrom('runs')
          .select(['id', 'status', 'caller_step_id'])
          .where('caller_run_id', '=', runId)
          .orderBy('id')
          .execute(),
        sql<{ key: string; usd: string }>`${treeOf(runId)}
          select child.caller_step_id as key, sum(c.actual_usd) as usd from runs child
          join runs below on below.id = child.id or below.awaited_by = child.id
          join tree on tree.id = below.id join provider_calls c on c.run_id = below.id
          where child.caller_run_id = ${runId} group by 1`.execute(kysely),
        definitionsOf(kysely, [run]),
      ])
      return definitionOf(run).stepInstructions.map((step): RunStep => {
        const row = rows.find(({ key }) => key === step.id)
        const own = calls.filter(({ step_id }) => step_id === step.id)
        const isOfStep = (key: string | null) => key !== null && stepIdOf(key) === step.id
        const items = rows.filter(({ key }) => isOfStep(key) && isItem(key))
        const told = row?.status === 'failed' ? own.at(-1)?.bill?.error : undefined
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
          ...(told === undefined ? {} : { provider_error: told }),
          started_at: row?.started_at.toISOString() ?? null,
          finished_at: row?.finished_at.toISOString() ?? null,
          items: items.map(({ key, status, attempt }) => ({ key, status, attempt })),
          runs: runs.map(({ id, status, caller_step_id: key }) => ({ run_id: id, status, key })),
        }
      })
    },
    async ledger(organizationId: string, runId: string): Promise<LedgerEntry[] | null> {
      if ((await find(organizationId, runId)) === undefined) return null
      const rows = await kysely
        .selectFrom('provider_calls')
        .selectAll()
        .where(sql<boolean>`run_id in (${treeOf(runId)} select id from tree)`)
        .orderBy('created_at')
        .orderBy('id')
        .execute()
      return rows.map((row) => {
        const call = callRecord(row)
        return resourceOf(LedgerEntry, call, {
          runId: row.run_id,
          providerOperation: call.operation,
          estimatedCostUsd: call.estimatedUsd,
          actualCostUsd: call.actualUsd,
          lines: call.bill?.lines ?? [],
          servedModel: call.bill?.servedModel ?? null,
          tier: call.bill?.tier ?? null,
          usage: call.bill?.usage ?? null,
          error: call.bill?.error ?? null,
          createdAt: row.created_at.toISOString(),
        })
      })
    },
    /** What a run executes, with the outputs of the steps that are completed. */
    async specification(organizationId: string, runId: string) {
      const row = await owned(organizationId)
        .innerJoin('specifications', 'specifications.hash', 'runs.definition_hash')
        .select(['runs.id', 'workflow', 'runs.created_at', 'instance', 'estimated_usd', 'definition'])
        .where('runs.id', '=', runId)
        .executeTakeFirst()
      if (row === undefined) return null
      const done = await kysely
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
    /** Events after `seq`, at most `limit`, in order. */
    async events(organizationId: string, runId: string, afterSeq: number, limit: number) {
      const run = await owned(organizationId)
        .select(['status', 'root_run_id'])
        .where('id', '=', runId)
        .executeTakeFirst()
      if (run === undefined) return null
      const rows = await kysely
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
    /** A run with its slots as it was accepted, for a retry. */
    ended: (organizationId: string, runId: string) => readEndedRun(db, organizationId, runId),
    /** A run with everything below it, for its receipt. */
    recorded: (organizationId: string, runId: string) => readRecordedRun(db, organizationId, runId),
    /** The last `limit` runs of a workflow, newest first, with what their prompts were made from. */
    backtestRuns: (organizationId: string, workflow: string, limit: number) =>
      readBacktestRuns(db, organizationId, workflow, limit),
  }
}

/** The resource of a run that was accepted this moment, without reading it back. It has no slots. */
export function acceptedResource(run: NewRun, createdAt: string, pricingVersion: string): RunResource {
  const begun = { status: 'pending' as const, partial: false, error: null, output: null }
  const nowhere = { root_run_id: run.id, caller_run_id: null, caller_step_id: null, slot_index: null }
  const times = { created_at: createdAt, started_at: null, finished_at: null }
  const row = { ...snakeCased(run), ...begun, ...nowhere, ...times }
  return runResource(row, [outputOf(row, [])], {
    gates: [],
    cost: runCost(NOTHING_SPENT, { estimated: run.estimatedUsd, pricing_version: pricingVersion }),
  })
}

function runResource(
  row: Omit<RunResource, keyof Findings | 'outputs' | 'summary' | 'urls'>,
  outputs: RunOutput[],
  findings: Findings,
): RunResource {
  return resourceOf(RunResource, row, { outputs, ...findings, ...derived(row.id, outputs) })
}

/** The times as text, and the calling step without the item of it. */
function shownRow<Row extends ListedRow>(row: Row) {
  return withTimesAsText({ ...row, caller_step_id: row.caller_step_id === null ? null : stepIdOf(row.caller_step_id) })
}

/** What follows from the id of a run, and from the statuses of its slots or its own. */
function derived(id: string, parts: readonly { status: RunStatus }[]): Pick<RunResource, 'summary' | 'urls'> {
  const count = (status: RunStatus) => parts.filter((part) => part.status === status).length
  return {
    summary: {
      total: parts.length,
      completed: count('completed'),
      failed: count('failed'),
      cancelled: count('cancelled'),
    },
    urls: runUrls(id),
  }
}

/** A slot of a run as one of its nodes. */
function slotNode(slot: RunRow): RunStep {
  const key = slotKey(slot.slot_index ?? 0)
  return {
    id: key,
    kind: 'slot',
    name: slot.workflow,
    status: slot.status,
    simulated: slot.simulated,
    error: slot.error,
    started_at: slot.started_at?.toISOString() ?? null,
    finished_at: slot.finished_at?.toISOString() ?? null,
    runs: [{ run_id: slot.id, status: slot.status, key }],
  }
}
