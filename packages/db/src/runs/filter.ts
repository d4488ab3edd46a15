// Which runs of an organization a filter means: one meaning for lists and for what is done to all that a list shows.
// Hides how each condition is put so that an index serves it, at a million runs too.
import { type RunStatus, RUN_STATUSES } from '@fabrique/schema'
import { type SelectQueryBuilder, sql } from 'kysely'
import type { Db } from '../client.ts'
import type { Tables } from '../tables.ts'

export interface RunFilter {
  status?: RunStatus
  workflow?: string
  parentRunId?: string
  rootRunId?: string
  metadata?: Record<string, string>
  createdAfter?: Date
  createdBefore?: Date
}

/** By how much the clocks of accepting processes may differ from the record's: ids carry theirs. */
const CLOCKS_APART_MS = 2 * 3_600_000
const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const TIME_DIGITS = 10
const RANDOM_DIGITS = 16
const NUMBER = /^-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?$/

/** The organization's runs that fit; root runs only unless a root is asked for. */
export function runsMatching(
  db: Db,
  organizationId: string,
  filter: RunFilter,
): SelectQueryBuilder<Tables, 'runs', Record<never, never>> {
  let query = db.kysely.selectFrom('runs').where('organization_id', '=', organizationId)
  if (filter.rootRunId === undefined) query = query.where('slot_index', 'is', null).where('caller_run_id', 'is', null)
  // A run without a root of its own is its own root; the index of trees does not hold it.
  else query = query.where((either) => either.or([treeOf(filter.rootRunId), either('id', '=', filter.rootRunId ?? '')]))
  if (filter.status !== undefined) query = query.where('status', '=', filter.status)
  if (filter.workflow !== undefined) query = query.where('workflow', '=', filter.workflow)
  if (filter.parentRunId !== undefined) query = query.where('parent_run_id', '=', filter.parentRunId)
  // The exact bound is the record's time; that of the id lets the list begin and end near it.
  const { createdAfter: after, createdBefore: before } = filter
  if (after !== undefined) {
    query = query.where('created_at', '>', after).where('id', '>=', idAt(after.getTime() - CLOCKS_APART_MS, '0'))
  }
  if (before !== undefined) {
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

const UNFINISHED = RUN_STATUSES.filter((status) => !['completed', 'failed', 'cancelled'].includes(status))

/** Of these, the ones that can still be cancelled. */
export function unfinished<Selected>(
  query: SelectQueryBuilder<Tables, 'runs', Selected>,
): SelectQueryBuilder<Tables, 'runs', Selected> {
  return query.where('status', 'in', UNFINISHED)
}

function treeOf(rootRunId: string | undefined) {
  return sql<boolean>`(root_run_id = ${rootRunId} and (slot_index is not null or caller_run_id is not null))`
}

/** The values that a query parameter may stand for: text, and the number or boolean of that spelling. */
function spellings(value: string): (string | number | boolean)[] {
  if (value === 'true' || value === 'false') return [value, value === 'true']
  return NUMBER.test(value) ? [value, Number(value)] : [value]
}

/** The first or last id of a moment. */
function idAt(ms: number, rest: '0' | 'Z'): string {
  let left = Math.min(Math.max(ms, 0), 2 ** 48 - 1)
  let time = ''
  for (let digit = 0; digit < TIME_DIGITS; digit += 1) {
    time = `${DIGITS[left % 32] ?? ''}${time}`
    left = Math.floor(left / 32)
  }
  return time + rest.repeat(RANDOM_DIGITS)
}
