import { limitsContract } from '@fabrique/engine/testing'
import { StepFailure } from '@fabrique/engine'
import { expect, it } from 'vitest'
import { createLimits } from './limits.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const rules = [
  { scope: 'acme', atOnce: 3 },
  { scope: 'acme/small', atOnce: 1 },
]

limitsContract('the limits of one process', async () => {
  const limits = createLimits({ rules, log })
  return { limits, dispose: () => limits.close() }
})

it('says which models are out: those that keep failing', async () => {
  const limits = createLimits({ rules: [], log })
  const [one, two] = [
    { provider: 'acme', name: 'acme/one' },
    { provider: 'acme', name: 'acme/two' },
  ] as const
  for (let failures = 1; failures <= 5; failures += 1) {
    expect(limits.isOut?.(one)).toBe(false)
    const leave = await limits.enter(one, new AbortController().signal)
    leave(new StepFailure('server', 'no answer'))
  }
  expect([limits.isOut?.(one), limits.isOut?.(two)]).toEqual([true, false])
  await limits.close()
})
