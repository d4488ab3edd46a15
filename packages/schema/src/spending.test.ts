import { describe, expect, it } from 'vitest'
import { runCost, spendingOf, sumOfSpending } from './spending.ts'

const call = (outcome: 'pending' | 'succeeded' | 'unknown', simulated: boolean, actualUsd: number | null) => ({
  outcome,
  simulated,
  actualUsd,
  estimatedUsd: 1,
})

describe('what calls cost', () => {
  it('keeps what is charged, what is simulated and what nobody knows apart, and their sum is the amount', () => {
    const spending = spendingOf([
      call('succeeded', false, 0.1),
      call('succeeded', false, 0.2),
      call('succeeded', true, 5),
      call('unknown', false, 0.7),
      call('pending', false, null),
    ])
    expect(runCost(spending, { estimated: 2, pricing_version: '1' })).toEqual({
      currency: 'USD',
      estimated: 2,
      pricing_version: '1',
      billed: 1.3,
      simulated: 5,
      unknown: 0.7,
      actual: 7,
    })
  })

  it('never counts a simulated call of unknown outcome as money', () => {
    expect(spendingOf([call('unknown', true, 3)])).toEqual({ billed: 0, simulated: 3, unknown: 0 })
  })

  it('adds up part by part', () => {
    const one = { billed: 0.1, simulated: 0.2, unknown: 0 }
    expect(sumOfSpending([one, one, { billed: 0.1, simulated: 0, unknown: 1 }])).toEqual({
      billed: 0.3,
      simulated: 0.4,
      unknown: 1,
    })
  })
})
