import { describe, expect, it } from 'vitest'
import { createGraph, dependenciesOf, findCycle, next } from './plan.ts'
import type { Checkpoint } from './ports.ts'
import { aCheckpoint, aDefinition } from './testing/factories.ts'
import { createTestCatalog } from './testing/test-engine.ts'

const STEPS = [
  { id: 'a', kind: 'note', text: 'x' },
  { id: 'b', kind: 'note', text: '{steps.a.output.text}' },
  { id: 'c', kind: 'note', needs: ['a'] },
  { id: 'd', kind: 'note', needs: ['b', 'c'] },
]
const GATES = [{ id: 'look', name: 'look', type: 'review', after: 'a' }]

describe('the plan', () => {
  it.each<[string, Record<string, Checkpoint['status']>, string[], string[]]>([
    ['nothing done', {}, ['a'], []],
    ['a done', { a: 'completed' }, ['b', 'c'], []],
    ['a and b done', { a: 'completed', b: 'completed' }, ['c'], []],
    ['all but d done', { a: 'completed', b: 'completed', c: 'completed' }, ['d'], []],
    ['a failed', { a: 'failed' }, [], ['b', 'c']],
    ['b skipped', { a: 'completed', b: 'skipped' }, ['c'], ['d']],
  ])('with %s', (_, done, ready, unreachable) => {
    const graph = createGraph(aDefinition({ stepInstructions: STEPS }), createTestCatalog())
    const checkpoints = new Map(Object.entries(done).map(([id, status]) => [id, aCheckpoint(id, { status })]))
    const plan = next(graph, { checkpoints, gates: new Map(), running: new Set() })
    expect(plan.ready.map(({ id }) => id)).toEqual(ready)
    expect(plan.unreachable.map(({ id }) => id)).toEqual(unreachable)
  })

  it('holds back what stands behind a review until it is approved', () => {
    const graph = createGraph(aDefinition({ stepInstructions: STEPS, gates: GATES }), createTestCatalog())
    const checkpoints = new Map([['a', aCheckpoint('a')]])
    const held = next(graph, { checkpoints, gates: new Map(), running: new Set() })
    expect([held.ready, held.reviews.map(({ gate }) => gate.id)]).toEqual([[], ['look']])
    const approved = new Map([
      ['look', { ...GATES[0], id: 'look', name: 'look', type: 'review', status: 'approved' as const, detail: null }],
    ])
    expect(next(graph, { checkpoints, gates: approved, running: new Set() }).ready).toHaveLength(2)
  })

  it('finds what a step depends on, and cycles', () => {
    expect(dependenciesOf({ id: 'x', kind: 'note', text: '{steps.a.output.b} {intake.c}', needs: ['z'] })).toEqual([
      'a',
      'z',
    ])
    expect(
      findCycle(
        new Map([
          ['a', ['b']],
          ['b', ['c']],
          ['c', ['b']],
        ]),
      ),
    ).toEqual(['b', 'c', 'b'])
    expect(
      findCycle(
        new Map([
          ['a', ['b']],
          ['b', []],
        ]),
      ),
    ).toBeUndefined()
  })
})
