// What calls cost, told apart: money that is real and money that is not are never added without saying so.
import type { LedgerEntry } from './ledger.ts'
import { roundUsd } from './pricing.ts'
import type { RunCost } from './run.ts'

/** Amounts in USD: charged by providers, stood in for by simulators, and of calls that may have been charged. */
export interface Spending {
  billed: number
  simulated: number
  unknown: number
}

export const NOTHING_SPENT: Spending = { billed: 0, simulated: 0, unknown: 0 }

/** What these calls come to; one whose outcome is not known yet counts at its estimate. */
export function spendingOf(
  calls: readonly {
    outcome: LedgerEntry['outcome']
    simulated: boolean
    actualUsd: number | null
    estimatedUsd: number
  }[],
): Spending {
  const spending = { ...NOTHING_SPENT }
  for (const { outcome, simulated, actualUsd, estimatedUsd } of calls)
    spending[simulated ? 'simulated' : outcome === 'unknown' ? 'unknown' : 'billed'] += actualUsd ?? estimatedUsd
  return sumOfSpending([spending])
}

export function sumOfSpending(all: readonly Spending[]): Spending {
  const sum = (of: keyof Spending) => roundUsd(all.reduce((total, one) => total + one[of], 0))
  return { billed: sum('billed'), simulated: sum('simulated'), unknown: sum('unknown') }
}

export function totalSpent({ billed, simulated, unknown }: Spending): number {
  return roundUsd(billed + simulated + unknown)
}

/** The cost of a run as everybody sees it. */
export function runCost(spending: Spending, expected: Pick<RunCost, 'estimated' | 'pricing_version'>): RunCost {
  return { currency: 'USD', ...expected, actual: totalSpent(spending), ...sumOfSpending([spending]) }
}
