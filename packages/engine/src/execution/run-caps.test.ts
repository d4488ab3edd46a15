import { describe, expect, it } from 'vitest'
import { aDefinition } from '../testing/factories.ts'
import { createTestCatalog } from '../testing/test-engine.ts'
import type { ClaimedRun } from '../ports.ts'
import type { Instance } from '../specification.ts'
import { createGraph } from './plan.ts'
import { capsOf, dayCapsOf, reservedFor } from './run-caps.ts'

const INSTANCE: Instance = { intake: {}, regenerate: {}, variantIndex: null, variants: 1 }
const running = (instance: Partial<Instance> = {}) =>
  ({ workflow: 'test/example', instance: { ...INSTANCE, ...instance } }) as ClaimedRun

describe('the caps of a run', () => {
  it.each<[string, Parameters<typeof aDefinition>[0], Partial<Instance>, [number, string | null][]]>([
    ['nobody', {}, {}, []],
    ['its template', { budgetPolicy: { maxPerRunUsd: 2 } }, {}, [[2, null]]],
    ['its caller', {}, { capUsd: 0 }, [[0, null]]],
    [
      'all of them',
      { budgetPolicy: { maxPerRunUsd: 2 }, gates: [{ id: 'g', name: 'g', type: 'budget', maxUsd: 3 }] },
      { capUsd: 1 },
      [
        [2, null],
        [1, null],
        [3, 'g'],
      ],
    ],
    ['a gate of one step only', { gates: [{ id: 'g', name: 'g', type: 'budget', maxUsd: 3, after: 'only' }] }, {}, []],
    ['a gate that caps nothing', { gates: [{ id: 'g', name: 'g', type: 'review' }] }, {}, []],
  ])('are set by %s', (_, over, instance, caps) => {
    const definition = aDefinition(over)
    const graph = createGraph(definition, createTestCatalog())
    expect(capsOf(running(instance), definition, graph).map(({ maxUsd, gate }) => [maxUsd, gate?.id ?? null])).toEqual(
      caps,
    )
  })

  it('of the day are its own workflow’s and those of whoever called it', () => {
    const callers = [{ workflow: 'test/caller', maxUsd: 9 }]
    const capped = aDefinition({ budgetPolicy: { maxPerDayUsd: 4 } })
    expect(dayCapsOf(running(), aDefinition())).toEqual([])
    expect(dayCapsOf(running(), capped)).toEqual([{ workflow: 'test/example', maxUsd: 4 }])
    expect(dayCapsOf(running({ dayCaps: callers }), aDefinition())).toEqual(callers)
    expect(dayCapsOf(running({ dayCaps: callers }), capped)).toEqual([
      { workflow: 'test/example', maxUsd: 4 },
      ...callers,
    ])
  })
})

describe('what is reserved for a called run', () => {
  it.each([
    ['running', 0.2, 1, 1],
    ['waiting', 1.5, 1, 1.5],
    ['completed', 0.2, 1, 0.2],
    ['cancelled', 0, 1, 0],
  ] as const)('that is %s and has spent %d of %d is %d', (status, spentUsd, capUsd, reserved) => {
    const child = {
      id: 'c',
      callerKey: 'd',
      workflow: 'test/called',
      status,
      output: null,
      error: null,
      simulated: false,
      artifacts: [],
      openGates: [],
      spent: { billed: spentUsd, simulated: 0, unknown: 0 },
      capUsd,
    }
    expect(reservedFor(child)).toBe(reserved)
  })
})
