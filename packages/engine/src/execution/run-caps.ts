// What a run may spend: the caps of its template, its caller, its gates and the day.
import { type Gate, isTerminal, totalSpent } from '@fabrique/schema'
import type { Graph } from './plan.ts'
import type { ChildRecord, ClaimedRun } from '../ports.ts'
import type { DayCap, Definition } from '../specification.ts'

/** A cap on what the run spends, and the gate that sets it; null for the template's and the caller's. */
export interface Cap {
  maxUsd: number
  gate: Pick<Gate, 'id' | 'name' | 'type'> | null
}

/** The caps of one run: no call may bring it over any of them. */
export function capsOf({ instance }: ClaimedRun, { budgetPolicy }: Definition, { gates }: Graph): Cap[] {
  const given = [budgetPolicy.maxPerRunUsd, instance.capUsd].filter((maxUsd) => maxUsd !== undefined)
  return [
    ...given.map((maxUsd) => ({ maxUsd, gate: null })),
    ...gates.flatMap(({ gate, kind }) =>
      kind.stands === 'spending' && gate.after === undefined ? [{ maxUsd: kind.limitUsd(gate), gate }] : [],
    ),
  ]
}

/** The caps of the day that a run's calls count against: its own workflow's, and its callers'. */
export function dayCapsOf(
  { workflow, instance }: Pick<ClaimedRun, 'workflow' | 'instance'>,
  { budgetPolicy }: Definition,
): DayCap[] {
  const maxUsd = budgetPolicy.maxPerDayUsd
  return [...(maxUsd === undefined ? [] : [{ workflow, maxUsd }]), ...(instance.dayCaps ?? [])]
}

/** While a called run goes on, all that it may spend is reserved for it. */
export function reservedFor({ status, spent, capUsd }: ChildRecord): number {
  return isTerminal(status) ? totalSpent(spent) : Math.max(totalSpent(spent), capUsd)
}
