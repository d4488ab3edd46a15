// Going on where a failed or cancelled run stopped, as a new run of the same specification.
// Hides what of it is finished: steps, items, parts, decisions, and what the runs that it called have finished.
import { FabriqueError, isTerminal, type RunStatus } from '@fabrique/schema'
import { contentHash } from '../template/compile.ts'
import { estimateSteps, sumOf } from '../template/estimate.ts'
import { callsOf, continuation } from '../inheritance.ts'
import type { Ids, NewRun, NewSlot, RunQueue, RunStore } from '../ports.ts'
import { type Budgeted, checkDay, checkRun, scopeFor } from './prepare.ts'
import { slotKey } from '../unit-key.ts'
import { keyMismatch } from './submit.ts'

/** A run with its slots as it was accepted, and what has become of each. */
export interface EndedRun extends Omit<NewRun, 'inherited' | 'slots' | 'idempotency' | 'estimatedUsd'> {
  status: RunStatus
  /** Of a run below another: that one, and the slot's index; a called run has none. */
  within: { runId: string; slotIndex: number | null } | null
  slots: EndedSlot[]
}

export type EndedSlot = Omit<NewSlot, 'inherited' | 'estimatedUsd'> & { status: RunStatus }

export interface RetryDeps {
  store: Pick<RunStore, 'accept' | 'acceptedUnder' | 'spentToday' | 'history'>
  queue: Pick<RunQueue, 'enqueue' | 'publish'>
  /** Null where the organization has no such run. */
  endedRun(organizationId: string, runId: string): Promise<EndedRun | null>
  ids: Ids
}

export type RetryOutcome = { outcome: 'accepted' | 'replayed'; runId: string } | { outcome: 'unknown' }

/**
 * Accepts a new run in the place of one that failed or was cancelled; that one is left as it is. Throws
 * `not-retryable`, `budget-exceeded` for what is left to do, and `idempotency-mismatch`.
 */
export async function retryRun(
  deps: RetryDeps,
  { organizationId, runId, idempotencyKey }: { organizationId: string; runId: string; idempotencyKey?: string },
): Promise<RetryOutcome> {
  const { store, queue, ids } = deps
  const earlier = await deps.endedRun(organizationId, runId)
  if (earlier === null) return { outcome: 'unknown' }
  const digest = contentHash(['retry', runId])
  const known = idempotencyKey === undefined ? null : await store.acceptedUnder(organizationId, idempotencyKey)
  if (known !== null) {
    if (known.digest !== digest) throw keyMismatch()
    return { outcome: 'replayed', runId: known.runId }
  }
  checkRetryable(earlier)

  const { status: _, within: __, slots: earlierSlots, ...same } = earlier
  const isPlain = earlierSlots.length === 0
  const begun = await Promise.all((isPlain ? [earlier] : earlierSlots).map((one) => goOn(deps, one)))
  for (const { slot, budgeted } of begun) checkRun(slot.definition, budgeted.estimate)
  await checkDay(
    store,
    organizationId,
    begun.map(({ budgeted }) => budgeted),
  )
  const slots = begun.map(({ slot }) => slot)
  const run: NewRun = {
    ...same,
    ...(isPlain ? slots[0] : { id: ids.next(), inherited: null }),
    inherited: (isPlain ? slots[0]?.inherited : null) ?? null,
    slots: isPlain ? [] : slots,
    retryOf: runId,
    estimatedUsd: sumOf(begun.map(({ budgeted }) => budgeted.estimate)).expected,
    idempotency: idempotencyKey === undefined ? null : { key: idempotencyKey, digest },
  }
  const accepted = await store.accept(run)
  if (accepted.outcome === 'mismatch') throw keyMismatch()
  if (accepted.outcome === 'replayed') return accepted
  queue.publish(accepted.events)
  await queue.enqueue(
    (isPlain ? [run] : slots).map(({ id, workflow }) => ({
      runId: id,
      organizationId,
      epoch: 0,
      workflow,
      priority: run.priority,
      lane: run.lane,
    })),
  )
  return { outcome: 'accepted', runId: run.id }
}

function checkRetryable({ id, status, within }: EndedRun): void {
  if (within !== null) {
    const what = within.slotIndex === null ? 'was called by a step' : `is "${slotKey(within.slotIndex)}"`
    throw new FabriqueError('not-retryable', `The run ${id} ${what} of the run ${within.runId}; retry that one.`)
  }
  if (status === 'failed' || status === 'cancelled') return
  const why = isTerminal(status) ? 'there is nothing left to do' : 'it has not ended; cancel it first'
  throw new FabriqueError('not-retryable', `The run is ${status}: ${why}.`)
}

/** A run in the place of this one, under a new id, with all that this one has finished and what the rest should cost. */
async function goOn(
  { store, ids }: Pick<RetryDeps, 'store' | 'ids'>,
  earlier: EndedSlot,
): Promise<{ slot: NewSlot; budgeted: Budgeted }> {
  const { status, instance, definition, ...same } = earlier
  const history = await store.history(earlier.id)
  const inherited = continuation(earlier, history, ids)
  const finished = new Set(inherited.checkpoints.filter(({ key, stepId }) => key === stepId).map(({ key }) => key))
  const estimate =
    status === 'completed'
      ? { low: 0, expected: 0, high: 0 }
      : sumOf(estimateSteps(definition.priced, scopeFor(earlier.workflow, instance.intake), finished))
  // What the earlier run did not come to call again, the one before it may have called.
  const earlierCalls = { ...instance.earlierCalls, ...callsOf(history) }
  const slot: NewSlot = {
    ...same,
    definition,
    id: ids.next(),
    instance: {
      ...instance,
      inherited: true,
      ...(Object.keys(earlierCalls).length === 0 ? {} : { earlierCalls }),
    },
    simulated: earlier.simulated,
    estimatedUsd: estimate.expected,
    inherited,
  }
  return {
    slot,
    budgeted: { workflow: earlier.workflow, estimate, maxPerDayUsd: definition.budgetPolicy.maxPerDayUsd },
  }
}
