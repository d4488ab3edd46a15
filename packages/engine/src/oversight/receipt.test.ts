import type { EventKind, Step, StepFate } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { forEachOf } from '../template/data-flow.ts'
import { type RecordedRun, receiptOf } from './receipt.ts'
import { aCall, aCheckpoint, aDefinition } from '../testing/factories.ts'
import type { Definition, PricedStep } from '../specification.ts'
import { pinned } from '../testing/test-engine.ts'

const PRICE = 0.25
const at = (second: number) => `2026-01-01T12:00:${String(second).padStart(2, '0')}.000Z`
const CANCELLED_AT = at(10)

/** Steps in a line: each needs the one before. */
function definitionOf(...steps: (Partial<Step> & { id: string })[]) {
  const stepInstructions = steps.map((step, index): Step => {
    const before = steps[index - 1]
    return { kind: 'ask', ...(before === undefined ? {} : { needs: [before.id] }), ...step }
  })
  return aDefinition({ stepInstructions })
}

/** A quarter for one time of each step. */
function pricesOf({ stepInstructions }: Definition): PricedStep[] {
  const once = { low: PRICE, expected: PRICE, high: PRICE }
  return stepInstructions.map((step) => {
    const each = forEachOf(step)
    const items = each === null ? null : { list: each.items, likely: once }
    return { stepId: step.id, kind: step.kind, once, items, conditional: false }
  })
}

function aRun(over: Partial<RecordedRun> = {}, priced?: PricedStep[]): RecordedRun {
  const run = {
    id: 'run',
    workflow: 'test/example',
    organizationId: 'system',
    status: 'cancelled' as const,
    failFast: true,
    slotIndex: null,
    callerKey: null,
    hasSlots: false,
    cancelRequestedAt: CANCELLED_AT,
    estimatedUsd: PRICE,
    definition: definitionOf({ id: 'a' }),
    instance: { intake: {}, regenerate: {}, variantIndex: null, variants: 1 },
    checkpoints: [],
    calls: [],
    nodes: [],
    below: [],
    ...over,
  }
  return { ...run, instance: { ...run.instance, priced: priced ?? pricesOf(run.definition) } }
}

const call = (stepId: string, outcome: 'succeeded' | 'unknown' | 'cancelled' | 'failed', over = {}) => {
  const isFree = outcome === 'cancelled' || outcome === 'failed'
  return aCall(`${stepId}.1`, { stepId, stepKey: stepId, outcome, actualUsd: isFree ? 0 : PRICE, ...over })
}
const node = (key: string, kind: 'started' | 'completed' | 'failed', second: number) => ({
  key,
  kind: `workflow.node.${kind}` as EventKind,
  at: at(second),
})
const done = (id: string) => aCheckpoint(id)
const failed = (id: string) => aCheckpoint(id, { status: 'failed', output: null, error: { code: 'x', message: 'no' } })
const skipped = (id: string) => aCheckpoint(id, { status: 'skipped', output: null })

/** `[state, calls, spent, saved]` of the first step. */
function fateOf(run: RecordedRun): [StepFate, number, number, number] {
  const step = receiptOf(run).slots[0]?.steps[0]
  if (step === undefined) throw new Error('there is no step')
  return [step.state, step.calls, step.spent_usd, step.saved_usd]
}

describe('what became of a step', () => {
  it.each<[string, Partial<RecordedRun>, [StepFate, number, number, number]]>([
    [
      'it had finished before the cancel',
      { checkpoints: [done('a')], calls: [call('a', 'succeeded')], nodes: [node('a', 'completed', 9)] },
      ['finished', 1, PRICE, 0],
    ],
    [
      'its answer came after the cancel and was kept',
      { checkpoints: [done('a')], calls: [call('a', 'succeeded')], nodes: [node('a', 'completed', 11)] },
      ['finished_anyway', 1, PRICE, 0],
    ],
    [
      'its answer came after the cancel and nothing was made of it',
      { calls: [call('a', 'succeeded')], nodes: [node('a', 'started', 9)] },
      ['finished_anyway', 1, PRICE, 0],
    ],
    ['its call was cut off and may be charged', { calls: [call('a', 'unknown')] }, ['aborted_in_flight', 1, PRICE, 0]],
    [
      'its call was called off at the provider and costs nothing',
      { calls: [call('a', 'cancelled')] },
      ['aborted_in_flight', 1, 0, PRICE],
    ],
    [
      'it waited for another try',
      { calls: [call('a', 'failed')], nodes: [node('a', 'started', 9)] },
      ['stopped_before_call', 1, 0, PRICE],
    ],
    ['its call was refused by the cancel', { nodes: [node('a', 'started', 9)] }, ['stopped_before_call', 0, 0, PRICE]],
    ['nobody came to it', {}, ['never_started', 0, 0, PRICE]],
    ['its condition did not hold', { checkpoints: [skipped('a')] }, ['not_needed', 0, 0, 0]],
    ['it failed', { status: 'failed', checkpoints: [failed('a')], calls: [call('a', 'failed')] }, ['failed', 1, 0, 0]],
    [
      'it was taken over from an earlier run',
      { checkpoints: [aCheckpoint('a', { attempt: 0 })] },
      ['finished', 0, 0, 0],
    ],
    [
      'the run goes on',
      { status: 'running', cancelRequestedAt: null, nodes: [node('a', 'started', 9)] },
      ['open', 0, 0, 0],
    ],
  ])('%s', (_, over, fate) => {
    expect(fateOf(aRun(over))).toEqual(fate)
  })

  it('is never started behind a failure, and not needed behind a condition', () => {
    const definition = definitionOf({ id: 'a' }, { id: 'b' }, { id: 'c' })
    const fates = (checkpoints: RecordedRun['checkpoints']) =>
      receiptOf(aRun({ definition, checkpoints, status: 'failed', cancelRequestedAt: null })).slots[0]?.steps.map(
        ({ state }) => state,
      )
    expect(fates([failed('a'), skipped('b'), skipped('c')])).toEqual(['failed', 'never_started', 'never_started'])
    expect(fates([skipped('a'), skipped('b'), skipped('c')])).toEqual(['not_needed', 'not_needed', 'not_needed'])
  })

  it('of parts that are done once: those that are done are spent, and no answer is lost', () => {
    const definition = definitionOf({ id: 'a' })
    const parts = [1, 2].map((n) => aCheckpoint('a', { key: `a#turn-${n}` }))
    const answers = [1, 2].map((n) => call('a', 'succeeded', { id: `a.${n}`, estimatedUsd: 0.05, actualUsd: 0.05 }))
    expect(fateOf(aRun({ definition, checkpoints: parts, calls: answers }))).toEqual([
      'stopped_before_call',
      2,
      0.1,
      0.15,
    ])
    const third = call('a', 'unknown', { id: 'a.3', estimatedUsd: 0.05, actualUsd: 0.05 })
    expect(fateOf(aRun({ definition, checkpoints: parts, calls: [...answers, third] }))).toEqual([
      'aborted_in_flight',
      3,
      0.15,
      0.1,
    ])
  })

  it('of a list: what is saved are the items that nobody came to', () => {
    const definition = definitionOf({ id: 'a', forEach: { items: ['x', 'y', 'z', 'w'] } })
    const items = ['a[0]', 'a[1]'].map((key) => aCheckpoint('a', { key }))
    const calls = ['a[0]', 'a[1]'].map((stepKey) => call('a', 'succeeded', { stepKey, id: stepKey }))
    expect(fateOf(aRun({ definition, checkpoints: items, calls }))).toEqual(['stopped_before_call', 2, 0.5, 0.5])
    const broken = [...items, failed('a')]
    expect(fateOf(aRun({ definition, status: 'failed', checkpoints: broken, calls }))).toEqual(['failed', 2, 0.5, 0.5])
  })

  it('of a gate that asks a model is told like that of a step', () => {
    const gates = [{ id: 'safe', name: 'Safe', type: 'clean', after: 'a', model: 'acme/judge' }]
    const once = { low: PRICE, expected: PRICE, high: PRICE }
    const plain = definitionOf({ id: 'a' })
    const definition = { ...plain, gates }
    const priced = [...pricesOf(plain), { stepId: 'gates.safe', kind: 'gate', once, items: null, conditional: false }]
    const asked = call('a', 'unknown', { id: 'a!safe.1', stepKey: 'a!safe' })
    const { slots } = receiptOf(aRun({ definition, checkpoints: [], calls: [call('a', 'succeeded'), asked] }, priced))
    expect(slots[0]?.steps.map(({ step, state, spent_usd }) => [step, state, spent_usd])).toEqual([
      ['a', 'finished_anyway', PRICE],
      ['gates.safe', 'aborted_in_flight', PRICE],
    ])
  })
})

describe('a called run', () => {
  const called = definitionOf({ id: 'x' }, { id: 'y' })
  const once = { low: 0.5, expected: 0.5, high: 0.5 }
  const definition = {
    ...definitionOf({ id: 'd', kind: 'call' }),
    subWorkflows: { d: pinned(called) },
  }
  const priced = [{ stepId: 'd', kind: 'call', once, items: null, conditional: false }]

  it('stands under its step, which spends and saves what it does', () => {
    const child = aRun({
      id: 'child',
      callerKey: 'd',
      definition: called,
      calls: [call('x', 'succeeded')],
      checkpoints: [done('x')],
    })
    const { slots, totals } = receiptOf(aRun({ definition, below: [child], estimatedUsd: 0.5 }, priced))
    expect(slots[0]?.steps).toMatchObject([
      {
        step: 'd',
        state: 'stopped_before_call',
        calls: 1,
        spent_usd: PRICE,
        saved_usd: PRICE,
        runs: [
          {
            run_id: 'child',
            steps: [
              { step: 'x', state: 'finished' },
              { step: 'y', state: 'never_started' },
            ],
          },
        ],
      },
    ])
    expect(totals).toMatchObject({ spent_usd: PRICE, saved_usd: PRICE, estimated_usd: 0.5, calls: { made: 1 } })
  })

  it('that was never called is saved as a whole', () => {
    expect(fateOf(aRun({ definition }, priced))).toEqual(['never_started', 0, 0, 0.5])
  })
})

describe('the receipt of a run of slots', () => {
  const definition = definitionOf({ id: 'a' }, { id: 'b' })
  const slot = (index: number, over: Partial<RecordedRun>) =>
    aRun({ id: `slot ${index}`, slotIndex: index, definition, estimatedUsd: 2 * PRICE, ...over })

  it('adds up: what was spent and what was saved is what was expected', () => {
    const receipt = receiptOf(
      aRun({
        status: 'cancelled',
        hasSlots: true,
        definition: aDefinition({ stepInstructions: [] }),
        estimatedUsd: 8 * PRICE,
        below: [
          slot(0, {
            status: 'completed',
            checkpoints: [done('a'), done('b')],
            calls: [call('a', 'succeeded'), call('b', 'succeeded')],
          }),
          slot(1, { checkpoints: [done('a')], calls: [call('a', 'succeeded'), call('b', 'unknown')] }),
          slot(2, { calls: [call('a', 'cancelled')] }),
          slot(3, {}),
        ],
      }),
    )
    expect(receipt.slots.map(({ index, run_id }) => [index, run_id])).toEqual([0, 1, 2, 3].map((n) => [n, `slot ${n}`]))
    const { spent_usd, saved_usd, estimated_usd, calls } = receipt.totals
    expect([spent_usd, saved_usd, estimated_usd]).toEqual([4 * PRICE, 4 * PRICE, 8 * PRICE])
    expect(calls).toEqual({ made: 5, succeeded: 3, failed: 0, cancelled: 1, unknown: 1, pending: 0 })
  })

  it('says since when the rest was told to stop, also where a failure did it', () => {
    const rest = { status: 'cancelled', cancelRequestedAt: at(7) } as const
    const below = [
      slot(0, { status: 'failed', cancelRequestedAt: null }),
      slot(1, rest),
      slot(2, { ...rest, cancelRequestedAt: at(8) }),
    ]
    expect(receiptOf(aRun({ status: 'failed', hasSlots: true, cancelRequestedAt: null, below })).cancelled_at).toBe(
      at(7),
    )
  })

  it('of a run that completed has nothing cancelled and nothing saved', () => {
    const checkpoints = [done('a'), done('b')]
    const { cancelled_at, totals } = receiptOf(
      aRun({ status: 'completed', definition, checkpoints, cancelRequestedAt: null }),
    )
    expect([cancelled_at, totals.saved_usd]).toEqual([null, 0])
  })
})
