// The moves of a run (`phase.ts` of the engine) as SQL: the only place that says which run an `update runs` may touch.
// Hides how a move's conditions and changes are spelled; the phase itself is a generated column.
import {
  type Changes,
  type Condition,
  LOST_LEASES_MAX,
  type Move,
  MOVES,
  type MoveName,
  SUSPECT_APART_MS,
} from '@fabrique/engine'

/** SQL for what the mover gives: the fence that it names, and each change that the table leaves to it. */
interface Given {
  fence?: string
  status?: string
  worker?: string
  dueInMs?: string
  dueLaterMs?: string
}

const CONDITIONS: Record<Condition, (row: string, given: Given) => string> = {
  fenced: (row, { fence }) => `${row}.fence = ${sure(fence)}`,
  'not cancelled': (row) => `${row}.cancel_requested_at is null`,
  alone: (row) => `(${row}.lost_leases = 0 or not exists (select from runs other
    where other.phase = 'executing' and other.lost_leases > 0 and other.id <> ${row}.id
      and (other.lost_leases > 1 or ${row}.lost_leases > 1 or other.claimed_at > ${dueAt(-SUSPECT_APART_MS)})))`,
  overdue: (row) => `${row}.due_at < now()`,
  'leases left': (row) => `${row}.lost_leases < ${LOST_LEASES_MAX - 1}`,
  'no leases left or cancelled': (row) =>
    `(${row}.cancel_requested_at is not null or ${row}.lost_leases >= ${LOST_LEASES_MAX - 1})`,
}

/** A `where` that holds for the runs which may make this move; `row` is the name of `runs` in the statement. */
export function mayMove(name: MoveName, given: Given = {}, row = 'runs'): string {
  const { from, only }: Move = MOVES[name]
  const phases = from.map((phase) => `'${phase}'`).join(', ')
  return [`${row}.phase in (${phases})`, ...only.map((one) => CONDITIONS[one](row, given))].join(' and ')
}

/** The assignments of this move, for `update runs … set`. */
export function changesOf(name: MoveName, given: Given = {}, row = 'runs'): string {
  const { status, worker, fence, epoch, lostLeases, dueInMs, dueWithinMs, dueLaterMs }: Changes = MOVES[name].sets
  const next = (column: string) => `${column} = ${row}.${column} + 1`
  return [
    ...(status === undefined ? [] : [`status = ${status === 'given' ? sure(given.status) : `'${status}'`}`]),
    ...(worker === undefined ? [] : [`worker = ${worker === null ? 'null' : sure(given.worker)}`]),
    ...(fence === undefined ? [] : [next('fence')]),
    ...(epoch === undefined ? [] : [next('epoch')]),
    ...(lostLeases === undefined ? [] : [lostLeases === 0 ? 'lost_leases = 0' : next('lost_leases')]),
    ...(dueInMs === undefined ? [] : [`due_at = ${dueAt(dueInMs === 'given' ? sure(given.dueInMs) : dueInMs)}`]),
    ...(dueWithinMs === undefined ? [] : [`due_at = least(${row}.due_at, ${dueAt(dueWithinMs)})`]),
    ...(dueLaterMs === undefined ? [] : [`due_at = ${row}.due_at + ${sure(given.dueLaterMs)} * interval '1 ms'`]),
  ].join(', ')
}

/** A run's delivery as a `returning` clause. */
export const DELIVERY = `id as "runId", organization_id as "organizationId", epoch, workflow, priority, lane`

/** What a move changes where each row of a statement brings its own; null for a row that stays in its phase. */
export interface RowChanges {
  status: string | null
  /** No worker holds the run afterwards. */
  unheld: boolean
  progressed: boolean
  dueInMs: number | null
}

/** The changes of this move as `CHANGES_BY_ROW` reads them. */
export function rowChanges(name: MoveName, given: { status: string; dueInMs?: number | null }): RowChanges {
  const { status, worker, lostLeases, dueInMs = null }: Changes = MOVES[name].sets
  return {
    status: status === 'given' ? given.status : (status ?? null),
    unheld: worker === null,
    progressed: lostLeases === 0,
    dueInMs: dueInMs === 'given' ? (given.dueInMs ?? null) : dueInMs,
  }
}

/** The assignments of a statement whose rows `t` (status, unheld, progressed, due_in_ms) are `RowChanges`; `r` is `runs`. */
export const CHANGES_BY_ROW = `
    status = coalesce(t.status, r.status),
    worker = case when t.unheld then null else r.worker end,
    lost_leases = case when t.progressed then 0 else r.lost_leases end,
    due_at = case when t.status is null then r.due_at else now() + t.due_in_ms * interval '1 ms' end`

/** So many milliseconds from now, by the record's clock; null for never. */
export function dueAt(ms: number | string | null): string {
  return ms === null ? 'null' : `now() + ${ms} * interval '1 ms'`
}

function sure(given: string | undefined): string {
  if (given === undefined) throw new Error('the move leaves this to its mover, who does not give it')
  return given
}
