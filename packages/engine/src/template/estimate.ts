// What a run should cost: at least, likely, and at most, step by step, by what was forecast for it.
// Hides how lists and conditions stretch an estimate.
import { roundUsd, type StepEstimate } from '@fabrique/schema'
import { renderValue, type Scope } from './placeholders.ts'
import type { Estimate, PricedStep } from '../specification.ts'

const exactly = (amount: number): Estimate => ({ low: amount, expected: amount, high: amount })
/** Of what costs nothing. */
export const FREE: Estimate = exactly(0)

/** Each step's estimate; those in `reused` cost nothing. `scope` tells how long the lists are that are known by now. */
export function estimateSteps(
  priced: readonly PricedStep[],
  reused: ReadonlySet<string>,
  scope?: Scope,
): StepEstimate[] {
  return priced.map(({ stepId: step, kind, once, items, conditional }) => {
    if (reused.has(step)) return { step, kind, plan: 'reused', ...FREE }
    if (once === null) return { step, kind, plan: 'free', ...FREE }
    const times = items === null ? exactly(1) : lengthFor(items, scope)
    return {
      step,
      kind,
      plan: 'paid',
      low: conditional ? 0 : roundUsd(once.low * times.low),
      expected: roundUsd(once.expected * times.expected),
      high: roundUsd(once.high * times.high),
    }
  })
}

function lengthFor({ list, likely }: NonNullable<PricedStep['items']>, scope: Scope | undefined): Estimate {
  const value = scope && renderValue(list, scope).value
  return Array.isArray(value) ? exactly(value.length) : likely
}

/** The sum of estimates. */
export function sumOf(estimates: readonly Estimate[]): Estimate {
  const total = (of: (one: Estimate) => number) => roundUsd(estimates.reduce((sum, one) => sum + of(one), 0))
  return { low: total(({ low }) => low), expected: total(({ expected }) => expected), high: total(({ high }) => high) }
}
