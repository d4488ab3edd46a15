// A run that consists of slots: its status as it follows from theirs, and the events that its own log has of them.
// Pure; the stores apply it in a transaction under the run's lock.
import { isTerminal, type RunError, type RunStatus } from '@fabrique/schema'
import type { NewEvent } from './ports.ts'
import { slotKey } from './unit-key.ts'

export interface SlotState {
  index: number
  runId: string
  workflow: string
  status: RunStatus
  started: boolean
  error: RunError | null
  finishedAt: string | null
}

export interface JoinedSlots {
  /** What the run's log does not say yet, in order; its own end is not among it. */
  events: NewEvent[]
  status: RunStatus
  partial: boolean
  error: RunError | null
  /** A failure ends the run: cancel the slots that have not ended, and join again. */
  stop: boolean
}

/** `logged` holds `<kind> <node key>` of every node event that the run's log has. */
export function joinSlots(
  run: { status: RunStatus; failFast: boolean; cancelRequested: boolean },
  slots: readonly SlotState[],
  logged: ReadonlySet<string>,
): JoinedSlots {
  const events: NewEvent[] = []
  for (const slot of slots) {
    const { index, runId, workflow, status, error } = slot
    const nodeKey = slotKey(index)
    const facts = { slot: index, run_id: runId, workflow }
    const note = (kind: NewEvent['kind'], payload: NewEvent['payload']) => {
      if (!logged.has(`${kind} ${nodeKey}`)) events.push({ kind, nodeKey, payload: { ...facts, ...payload } })
    }
    if (slot.started) note('workflow.node.started', {})
    if (status === 'completed') note('workflow.node.completed', { status })
    if (status === 'failed') note('workflow.node.failed', { status, error: error === null ? null : { ...error } })
    if (status === 'cancelled') note('workflow.node.skipped', { status })
  }
  const failures = slots
    .filter(({ status }) => status === 'failed')
    .toSorted((a, b) => String(a.finishedAt).localeCompare(String(b.finishedAt)) || a.index - b.index)
  const [first] = failures
  const error: RunError | null =
    first === undefined ? null : { ...(first.error ?? FAILED), node_key: slotKey(first.index) }
  const live = slots.filter(({ status }) => !isTerminal(status))
  if (live.length > 0) {
    const status = liveStatus(run, slots, live)
    return { events, status, partial: false, error: null, stop: run.failFast && first !== undefined }
  }
  const completed = slots.filter(({ status }) => status === 'completed').length
  const failed = error !== null && (run.failFast || completed === 0)
  // A cancel that arrived after every slot had ended changes nothing.
  const stopped = slots.some(({ status }) => status === 'cancelled')
  if (run.cancelRequested && stopped && !(failed && run.failFast)) {
    return { events, status: 'cancelled', partial: false, error: null, stop: false }
  }
  if (failed) return { events, status: 'failed', partial: false, error, stop: false }
  const status = completed > 0 ? 'completed' : 'cancelled'
  return { events, status, partial: status === 'completed' && completed < slots.length, error: null, stop: false }
}

/** What joining changes of the bundle itself: it begins with the first of its slots, and may wait from now on. */
export function bundleTurns(
  run: { status: RunStatus; started: boolean },
  { events, status }: JoinedSlots,
): { begins: boolean; waits: boolean } {
  return {
    begins: !run.started && events.some(({ kind }) => kind === 'workflow.node.started'),
    waits: status === 'waiting' && run.status !== 'waiting',
  }
}

const FAILED: RunError = { code: 'slot-failed', message: 'A slot of the run failed.' }

/** Waiting while nothing but decisions keeps it from ending. */
function liveStatus(
  { status }: { status: RunStatus },
  slots: readonly SlotState[],
  live: readonly SlotState[],
): RunStatus {
  if (live.every((slot) => slot.status === 'waiting')) return 'waiting'
  return slots.some(({ started }) => started) ? 'running' : status
}
