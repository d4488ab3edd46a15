// Retrying a failed or cancelled run: a new run of the same specification that inherits what is finished.
// Hides what that is: steps, items, parts, decisions, and what the called runs have finished.
import { FabriqueError, isTerminal, type RunStatus } from '@fabrique/schema'
import { contentHash } from '../template/compile.ts'
import { estimateSteps, FREE, sumOf } from '../template/estimate.ts'
import { callsOf, continuation } from '../inheritance.ts'
import type { Ids, NewRun, NewSlot, RunQueue, RunStore } from '../ports.ts'
import { type Budgeted, checkDay, checkRun, type PrepareDeps, unknownWorkflow } from './prepare.ts'
import { slotKey } from '../unit-key.ts'
import { acceptRun, replayOf } from './submit.ts'

/** A run and its slots as they were accepted, with their statuses. */
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
  /** As for a submit: null where this key cannot run the workflow any longer. */
  findRunnable: PrepareDeps['findRunnable']
}

export type RetryOutcome = { outcome: 'accepted' | 'replayed'; runId: string } | { outcome: 'unknown' }

/**
 * Accepts a retry of a run that failed or was cancelled, which itself does not change. Throws
 * `not-retryable`, `budget-exceeded` for what is left to do, `idempotency-mismatch`, and what a submit throws for a
 * workflow that was withdrawn.
 */
export async function retryRun(
  deps: RetryDeps,
  {
    organizationId,
    admin,
    runId,
    idempotencyKey,
  }: { organizationId: string; admin: boolean; runId: string; idempotencyKey?: string },
): Promise<RetryOutcome> {
  const { store, ids } = deps
  const earlier = await deps.endedRun(organizationId, runId)
  if (earlier === null) return { outcome: 'unknown' }
  const digest = contentHash(['retry', runId])
  const known = await replayOf(store, organizationId, idempotencyKey, digest)
  if (known !== null) return known
  checkRetryable(earlier)

  const { status: _, within: __, slots: earlierSlots, ...same } = earlier
  const isPlain = earlierSlots.length === 0
  const unfinished = (isPlain ? [earlier] : earlierSlots).filter((one) => one.status !== 'completed')
  for (const workflow of new Set(unfinished.map((one) => one.workflow))) {
    if ((await deps.findRunnable(workflow, null, admin)) === null) throw unknownWorkflow(workflow, null)
  }
  const retries = await Promise.all((isPlain ? [earlier] : earlierSlots).map((one) => retrySlot(deps, one)))
  const slots = retries.map(({ slot }) => slot)
  const budgeted = retries.map((one) => one.budgeted)
  for (const {
    slot,
    budgeted: { estimate },
  } of retries)
    checkRun(slot.definition, estimate)
  await checkDay(store, organizationId, budgeted)
  const run: NewRun = {
    ...same,
    ...(isPlain ? slots[0] : { id: ids.next(), inherited: null }),
    inherited: (isPlain ? slots[0]?.inherited : null) ?? null,
    slots: isPlain ? [] : slots,
    retryOf: runId,
    estimatedUsd: sumOf(budgeted.map(({ estimate }) => estimate)).expected,
    idempotency: idempotencyKey === undefined ? null : { key: idempotencyKey, digest },
  }
  const { outcome, runId: accepted } = await acceptRun(deps, run)
  return { outcome, runId: accepted }
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

/** The retry of a run, under a new id, with what it inherits and the estimate of the rest. */
async function retrySlot(
  { store, ids }: Pick<RetryDeps, 'store' | 'ids'>,
  earlier: EndedSlot,
): Promise<{ slot: NewSlot; budgeted: Budgeted }> {
  const { status, ...same } = earlier
  const { workflow, instance, definition } = same
  const history = await store.history(earlier.id)
  const inherited = continuation(earlier, history, ids)
  const finished = new Set(inherited.checkpoints.filter(({ key, stepId }) => key === stepId).map(({ key }) => key))
  const estimate = status === 'completed' ? FREE : sumOf(estimateSteps(instance.priced ?? [], finished))
  // A unit that the earlier run did not call again may have been called by the run that it retried.
  const earlierCalls = { ...instance.earlierCalls, ...callsOf(history) }
  const slot: NewSlot = {
    ...same,
    id: ids.next(),
    instance: { ...instance, inherited: true, ...(Object.keys(earlierCalls).length === 0 ? {} : { earlierCalls }) },
    estimatedUsd: estimate.expected,
    inherited,
  }
  return { slot, budgeted: { workflow, estimate, maxPerDayUsd: definition.budgetPolicy.maxPerDayUsd } }
}
