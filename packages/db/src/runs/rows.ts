// The rows that a run consists of: what each table takes, its one insert, and the engine's records of them.
// Hides parameter lists. Rows travel as one array per column, which PostgreSQL reads ten times faster than JSON records.
import {
  type ArtifactRecord,
  type CallRecord,
  type Checkpoint,
  type GateRecord,
  MOVES,
  type NewEvent,
  type NewRun,
} from '@fabrique/engine'
import { type EventKind, FIRST_KINDS, type RunEvent } from '@fabrique/schema'
import type { Selectable } from 'kysely'
import { LRUCache } from 'lru-cache'
import type { Tables } from '../tables.ts'
import { dueAt } from './phase.ts'
import { type Camel, fieldOf } from '../row-shape.ts'

interface TableShape {
  /** Columns whose value is given by a record's field of that name in camelCase, by the SQL type in which it travels. */
  given: Record<string, string>
  /** Columns that an expression makes, of the given row `x` and its run `u`. */
  computed?: Record<string, string>
  /** Absent: a row that exists already is a fault. */
  onConflict?: string
  /** What the statement can go on with. */
  returning?: string
}

const TABLES = {
  runs: {
    given: {
      id: 'text',
      organization_id: 'text',
      root_run_id: 'text',
      slot_index: 'int',
      slots: 'int2',
      workflow: 'text',
      workflow_version: 'text',
      definition_hash: 'text',
      instance: 'json',
      input: 'json',
      metadata: 'jsonb',
      state: 'json',
      priority: 'int2',
      lane: 'text',
      fail_fast: 'bool',
      parent_run_id: 'text',
      parent_variant_index: 'int2',
      caller_run_id: 'text',
      caller_step_id: 'text',
      awaited_by: 'text',
      retry_of: 'text',
      simulated: 'bool',
      estimated_usd: 'numeric',
      warnings: 'json',
    },
    computed: { last_seq: String(FIRST_KINDS.length), due_at: dueAt(MOVES.accept.sets.dueInMs) },
  },
  events: {
    given: { run_id: 'text', seq: 'int', id: 'text', kind: 'text', node_key: 'text', payload: 'json' },
    computed: { seq: 'u.base + x.seq', timestamp: 'now()' },
  },
  checkpoints: {
    given: {
      run_id: 'text',
      key: 'text',
      step_id: 'text',
      status: 'text',
      attempt: 'int',
      output: 'json',
      error: 'json',
      simulated: 'bool',
      started_at: 'timestamptz',
      finished_at: 'timestamptz',
    },
    computed: { output: `coalesce(x.output, 'null')` },
    onConflict: '(run_id, key) do nothing',
  },
  provider_calls: {
    given: {
      id: 'text',
      run_id: 'text',
      step_key: 'text',
      step_id: 'text',
      attempt: 'int',
      provider: 'text',
      operation: 'text',
      model: 'text',
      outcome: 'text',
      status: 'text',
      request_id: 'text',
      quantity: 'numeric',
      unit: 'text',
      unit_price_usd: 'numeric',
      estimated_usd: 'numeric',
      actual_usd: 'numeric',
      simulated: 'bool',
      pricing_version: 'text',
      bill: 'json',
    },
    onConflict: `(id) do update set outcome = excluded.outcome, status = excluded.status, request_id = excluded.request_id,
      quantity = excluded.quantity, unit = excluded.unit, unit_price_usd = excluded.unit_price_usd,
      actual_usd = excluded.actual_usd, bill = excluded.bill`,
    returning: 'id, actual_usd, estimated_usd',
  },
  artifacts: {
    given: {
      id: 'text',
      run_id: 'text',
      step_key: 'text',
      role: 'text',
      status: 'text',
      mime_type: 'text',
      bytes: 'int8',
      sha256: 'text',
      width: 'int',
      height: 'int',
      duration_ms: 'int',
      storage_key: 'text',
      simulated: 'bool',
    },
    computed: { organization_id: 'u.organization_id' },
    onConflict: '(id) do update set role = excluded.role, status = excluded.status',
  },
  gates: {
    given: {
      run_id: 'text',
      id: 'text',
      name: 'text',
      type: 'text',
      status: 'text',
      detail: 'text',
      expires_at: 'interval',
      on_expiry: 'text',
    },
    computed: { expires_at: 'now() + x.expires_at' },
    onConflict: '(run_id, id) do update set status = excluded.status, detail = excluded.detail, changed_at = now()',
  },
} as const satisfies Record<string, TableShape>

type Table = keyof typeof TABLES
/** What a row is made from: a field for each given column. */
export type Fields<Name extends Table> = Record<Camel<keyof (typeof TABLES)[Name]['given']> & string, unknown>

/** A statement under construction; its name stands for its text, which depends on the tables that it writes. */
export interface Statement {
  name: string
  text: string
  values: unknown[]
}

const COLUMNS = new Map(
  Object.entries<TableShape>(TABLES).map(([table, { given }]) => [
    table,
    Object.entries(given).map(([column, type]) => ({
      column,
      type,
      isJson: type.startsWith('json'),
      field: fieldOf(column),
    })),
  ]),
)

/** Adds rows to the statement's parameters; the answer is a `from` item that reads them back as `x`. */
export function unnest<Name extends Table>(statement: Statement, table: Name, rows: Fields<Name>[]): string {
  const columns = COLUMNS.get(table) ?? []
  const first = statement.values.length + 1
  for (const { isJson, field } of columns) {
    const valueOf = (row: object) => (row as Record<string, unknown>)[field] ?? null
    const textOf = (row: object) => {
      const value = valueOf(row)
      return value === null ? null : JSON.stringify(value)
    }
    statement.values.push(rows.map(isJson ? textOf : valueOf))
  }
  return once(`${table} ${first}`, () => {
    const types = columns.map(({ type }, index) => `$${first + index}::${type}[]`)
    return `unnest(${types.join(', ')}) as x(${columns.map(({ column }) => column).join(', ')})`
  })
}

/** Statements are put together for every batch, and there are few that differ: their parts are made once. */
const parts = new LRUCache<string, string>({ max: 1_000 })

function once(key: string, make: () => string): string {
  const known = parts.get(key)
  if (known !== undefined) return known
  const made = make()
  parts.set(key, made)
  return made
}

/** The insert of a table's rows from `source`, whose row is `x`; `computed` says what some columns are instead. */
export function insertInto(table: Table, source: string, computed: Record<string, string> = {}): string {
  const { given, onConflict, returning, ...shape }: TableShape = TABLES[table]
  const values = { ...shape.computed, ...computed }
  const columns = [...new Set([...Object.keys(given), ...Object.keys(values)])]
  return `insert into ${table} (${columns.join(', ')})
  select ${columns.map((column) => values[column] ?? `x.${column}`).join(', ')} from ${source}${
    onConflict === undefined ? '' : ` on conflict ${onConflict}`
  }${returning === undefined ? '' : ` returning ${returning}`}`
}

/** The insert of what these runs execute. In one order, so that two statements with the same ones cannot deadlock. */
export function insertDefinitions(
  statement: Statement,
  runs: readonly Pick<NewRun, 'definitionHash' | 'definition'>[],
): string {
  const byHash = new Map(runs.map(({ definitionHash, definition }) => [definitionHash, definition]))
  const rows = [...byHash].toSorted(([a], [b]) => (a < b ? -1 : 1))
  const last = statement.values.push(
    rows.map(([hash]) => hash),
    rows.map(([, definition]) => JSON.stringify(definition)),
  )
  return `insert into specifications (hash, definition)
  select * from unnest($${last - 1}::text[], $${last}::json[]) on conflict do nothing`
}

/**
 * Has a statement, which ends in a common table expression, also insert these rows: those whose run is in its expression
 * `runs` (id, organization_id, base), where `base` is the last number of the run's log before.
 */
export function withRows(
  statement: Statement,
  rows: { [Name in Exclude<Table, 'runs'>]?: Fields<Name>[] },
  runs = 'u',
): void {
  for (const [table, given] of Object.entries(rows) as [Table, Fields<Table>[]][]) {
    if (given.length === 0) continue
    const rowsOfTable = unnest(statement, table, given)
    statement.text += once(
      `${runs} ${table} ${rowsOfTable}`,
      () => `, ${runs}_${table} as (${insertInto(table, `${rowsOfTable} join ${runs} u on u.id = x.run_id`)})`,
    )
    statement.name += `.${runs}_${table}`
  }
}

/** Where a run belongs that is a slot, or that a step of another run calls. */
interface Place {
  rootRunId: string
  awaitedBy: string
  slotIndex?: number
  callerRunId?: string
  callerStepId?: string
}

/** A new run as a row of `runs`. */
export function runFields(
  run: Omit<NewRun, 'definition' | 'inherited' | 'idempotency'>,
  place?: Place,
): Fields<'runs'> {
  const nowhere = { rootRunId: run.id, awaitedBy: null, slotIndex: null, callerRunId: null, callerStepId: null }
  return { ...run, ...nowhere, ...place, slots: run.slots.length === 0 ? null : run.slots.length }
}

/** Rows of events that follow each other in a run's log, under these ids. */
export function eventFields(runId: string, events: readonly NewEvent[], ids: readonly string[]): Fields<'events'>[] {
  return events.map((event, index) => ({ nodeKey: null, ...event, runId, seq: index + 1, id: ids[index] }))
}

/** The same events as everybody sees them; `base` is the last number of the run's log before them. */
export function eventsOf(
  run: { id: string; rootRunId: string },
  events: readonly NewEvent[],
  { ids, base, at }: { ids: readonly string[]; base: number; at: Date },
): RunEvent[] {
  const timestamp = at.toISOString()
  return events.map(({ kind, nodeKey = null, payload }, index) => {
    const place = { id: ids[index] as string, seq: base + index + 1, run_id: run.id, node_key: nodeKey, timestamp }
    return runEvent({ ...place, kind, payload }, run.rootRunId)
  })
}

/** An event's row as everybody sees it. */
export function runEvent(
  row: Omit<Selectable<Tables['events']>, 'xact' | 'timestamp'> & { timestamp: Date | string },
  rootRunId: string,
): RunEvent {
  return {
    id: row.id,
    seq: row.seq,
    kind: row.kind as EventKind,
    run_id: row.run_id,
    root_run_id: rootRunId,
    ...(row.node_key === null ? {} : { node_key: row.node_key }),
    timestamp: typeof row.timestamp === 'string' ? row.timestamp : row.timestamp.toISOString(),
    payload: row.payload,
  }
}

/** A gate as a row; when it decides itself counts from the statement on. */
export function gateFields(runId: string, { expiry, ...gate }: GateRecord): Fields<'gates'> {
  const onExpiry = expiry === undefined ? null : expiry.approve ? 'approve' : 'reject'
  return { ...gate, runId, expiresAt: expiry === undefined ? null : `${expiry.inMs} milliseconds`, onExpiry }
}

export const checkpointRecord = (row: Selectable<Tables['checkpoints']>) => record('checkpoints', row) as Checkpoint
export const callRecord = (row: Selectable<Tables['provider_calls']>) => record('provider_calls', row) as CallRecord
export const artifactRecord = (row: Selectable<Tables['artifacts']>) => record('artifacts', row) as ArtifactRecord

/** A row by the names of its record's fields, without its run's id: times as text, numbers as numbers. */
function record(table: Table, row: object): object {
  const values = (COLUMNS.get(table) ?? []).map(({ column, type, field }) => {
    const value = (row as Record<string, unknown>)[column]
    if (value instanceof Date) return [field, value.toISOString()]
    return [field, value !== null && (type === 'numeric' || type === 'int8') ? Number(value) : value]
  })
  return Object.fromEntries(values.filter(([field]) => field !== 'runId'))
}
