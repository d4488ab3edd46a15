// Which runs of an organization a filter means: one meaning for lists and for what is done to all that a list shows.
// Hides how each condition is put so that an index serves it, at a million runs too.
import type { RunStatus } from '@fabrique/schema'
import { type SelectQueryBuilder, sql } from 'kysely'
import { encodeTime } from 'ulid'
import type { Db } from '../client.ts'
import type { Tables } from '../tables.ts'

/** A filter as callers write it; every member that is given must fit. Times are RFC 3339. */
export interface RunFilter {
  status?: RunStatus | undefined
  workflow?: string | undefined
  parent_run_id?: string | undefined
  root_run_id?: string | undefined
  metadata?: Record<string, string> | undefined
  created_after?: string | undefined
  created_before?: string | undefined
}

/** By how much the clocks of accepting processes may differ from the record's: ids carry theirs. */
const CLOCKS_APART_MS = 2 * 3_600_000
const TIME_DIGITS = 10
const TIME_MAX = 2 ** 48 - 1
const RANDOM_DIGITS = 16
const NUMBER = /^-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?$/

/** The organization's runs that fit; root runs only unless a root is asked for. */
export function runsMatching(
  db: Db,
  organizationId: string,
  { root_run_id: rootRunId, created_after: createdAfter, created_before: createdBefore, ...filter }: RunFilter,
): SelectQueryBuilder<Tables, 'runs', Record<never, never>> {
  let query = db.kysely.selectFrom('runs').where('organization_id', '=', organizationId)
  if (rootRunId === undefined) query = query.where('slot_index', 'is', null).where('caller_run_id', 'is', null)
  // A run without a root of its own is its own root; the index of trees does not hold it.
  else query = query.where((either) => either.or([treeOf(rootRunId), either('id', '=', rootRunId)]))
  if (filter.status !== undefined) query = query.where('status', '=', filter.status)
  if (filter.workflow !== undefined) query = query.where('workflow', '=', filter.workflow)
  if (filter.parent_run_id !== undefined) query = query.where('parent_run_id', '=', filter.parent_run_id)
  // The exact bound is the record's time; that of the id lets the list begin and end near it.
  if (createdAfter !== undefined) {
    const after = new Date(createdAfter)
    query = query.where('created_at', '>', after).where('id', '>=', idAt(after.getTime() - CLOCKS_APART_MS, '0'))
  }
  if (createdBefore !== undefined) {
    const before = new Date(createdBefore)
    query = query.where('created_at', '<', before).where('id', '<=', idAt(before.getTime() + CLOCKS_APART_MS, 'Z'))
  }
  const wanted = Object.entries(filter.metadata ?? {})
  // Runs without metadata are not in the index, which must be told that none of them can fit.
  if (wanted.length > 0) query = query.where(sql<boolean>`metadata <> '{}'`)
  for (const [key, value] of wanted) {
    query = query.where((either) =>
      either.or(spellings(value).map((one) => sql<boolean>`metadata @> ${JSON.stringify({ [key]: one })}::jsonb`)),
    )
  }
  return query
}

function treeOf(rootRunId: string) {
  return sql<boolean>`(root_run_id = ${rootRunId} and (slot_index is not null or caller_run_id is not null))`
}

/** The values that a query parameter may stand for: text, and the number or boolean of that spelling. */
function spellings(value: string): (string | number | boolean)[] {
  if (value === 'true' || value === 'false') return [value, value === 'true']
  return NUMBER.test(value) ? [value, Number(value)] : [value]
}

/** The first or last id of a moment. */
function idAt(ms: number, rest: '0' | 'Z'): string {
  return encodeTime(Math.min(Math.max(ms, 0), TIME_MAX), TIME_DIGITS) + rest.repeat(RANDOM_DIGITS)
}
