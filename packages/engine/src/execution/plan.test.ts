import { describe, expect, it } from 'vitest'
import { dependenciesOf, findCycle } from '../template/data-flow.ts'
import { createGraph, next } from './plan.ts'
import type { Checkpoint } from '../ports.ts'
import { aCheckpoint, aDefinition } from '../testing/factories.ts'
import { createTestCatalog } from '../testing/test-engine.ts'

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
  ])('with %s starts what has all that it needs, and gives up what never will', (_, done, ready, unreachable) => {
    const graph = createGraph(aDefinition({ stepInstructions: STEPS }), createTestCatalog())
    const checkpoints = new Map(Object.entries(done).map(([id, status]) => [id, aCheckpoint(id, { status })]))
    const plan = next(graph, { checkpoints, gates: new Map(), busy: new Set() })
    expect(plan.ready.map(({ id }) => id)).toEqual(ready)
    expect(plan.unreachable.map(({ id }) => id)).toEqual(unreachable)
  })

  it('starts what reads a reviewed step once the review is approved', () => {
    const graph = createGraph(aDefinition({ stepInstructions: STEPS, gates: GATES }), createTestCatalog())
    const checkpoints = new Map([['a', aCheckpoint('a')]])
    const held = next(graph, { checkpoints, gates: new Map(), busy: new Set() })
    expect([held.ready, held.reviews]).toEqual([[], ['look']])
    const approved = new Map([
      ['look', { ...GATES[0], id: 'look', name: 'look', type: 'review', status: 'approved' as const, detail: null }],
    ])
    expect(next(graph, { checkpoints, gates: approved, busy: new Set() }).ready).toHaveLength(2)
  })

  it.each<[string, Record<string, Checkpoint['status']>, string[], string[]]>([
    ['is not settled', {}, [], []],
    ['was skipped', { a: 'skipped' }, ['soft', 'asked'], ['hard', 'needed']],
    ['has failed', { a: 'failed' }, [], ['soft', 'asked', 'hard', 'needed']],
    ['is done', { a: 'completed' }, ['soft', 'asked', 'hard', 'needed'], []],
  ])('with a step that %s starts those that ask for it softly before the others', (_, done, ready, unreachable) => {
    const stepInstructions = [
      { id: 'a', kind: 'note', text: 'x' },
      { id: 'soft', kind: 'note', text: '{steps.a.output.text?}' },
      { id: 'asked', kind: 'note', when: 'has(steps.a.output.text) && steps.a.output.text == "x"' },
      { id: 'hard', kind: 'note', when: 'steps.a.output.text == "x"', text: '{steps.a.output.text?}' },
      { id: 'needed', kind: 'note', needs: ['a'], text: '{steps.a.output.text?}' },
    ]
    const graph = createGraph(aDefinition({ stepInstructions }), createTestCatalog())
    const checkpoints = new Map(Object.entries(done).map(([id, status]) => [id, aCheckpoint(id, { status })]))
    const plan = next(graph, { checkpoints, gates: new Map(), busy: new Set(['a']) })
    expect(plan.ready.map(({ id }) => id)).toEqual(ready)
    expect(plan.unreachable.map(({ id }) => id)).toEqual(unreachable)
  })

  it('takes a failure along through what was skipped because of it, and no other skip', () => {
    const stepInstructions = [
      { id: 'a', kind: 'note' },
      { id: 'b', kind: 'note', needs: ['a'] },
      { id: 'c', kind: 'note', text: '{steps.b.output.text?}' },
    ]
    const graph = createGraph(aDefinition({ stepInstructions }), createTestCatalog())
    for (const [status, unreachable] of [
      ['failed', ['c']],
      ['skipped', []],
    ] as const) {
      const checkpoints = new Map([
        ['a', aCheckpoint('a', { status })],
        ['b', aCheckpoint('b', { status: 'skipped' })],
      ])
      const plan = next(graph, { checkpoints, gates: new Map(), busy: new Set() })
      expect(plan.unreachable.map(({ id }) => id)).toEqual(unreachable)
    }
  })

  it.each(['unknown-outcome:a', 'unknown-outcome:a[3]'])('holds a step back while its gate %s stands open', (id) => {
    const stepInstructions = [
      { id: 'a', kind: 'note' },
      { id: 'ab', kind: 'note' },
    ]
    const graph = createGraph(aDefinition({ stepInstructions }), createTestCatalog())
    const plan = (status: 'open' | 'approved' | 'rejected') =>
      next(graph, {
        checkpoints: new Map(),
        gates: new Map([[id, { id, name: id, type: 'review', status, detail: null }]]),
        busy: new Set(),
      })
    expect([plan('open').ready.map((step) => step.id), plan('open').reviews]).toEqual([['ab'], [id]])
    for (const status of ['approved', 'rejected'] as const) expect(plan(status).ready).toHaveLength(2)
  })

  it('reads dependencies from references and needs, and names the steps of a cycle', () => {
    expect(dependenciesOf({ id: 'x', kind: 'note', text: '{steps.a.output.b} {intake.c}', needs: ['z'] })).toEqual([
      { id: 'a', optional: false },
      { id: 'z', optional: false },
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

describe('a graph', () => {
  it('is not made for a gate that this worker does not have', () => {
    const gates = [{ id: 'g', name: 'g', type: 'from-the-future' }]
    expect(() => createGraph(aDefinition({ gates }), createTestCatalog())).toThrow('"from-the-future"')
  })
})

describe('a skipped step', () => {
  it('has no review: who asks for it softly runs at once', () => {
    const stepInstructions = [
      { id: 'a', kind: 'note' },
      { id: 'soft', kind: 'note', text: '{steps.a.output.text?}' },
    ]
    const graph = createGraph(aDefinition({ stepInstructions, gates: GATES }), createTestCatalog())
    const checkpoints = new Map([['a', aCheckpoint('a', { status: 'skipped' })]])
    const { ready, reviews } = next(graph, { checkpoints, gates: new Map(), busy: new Set() })
    expect([ready.map(({ id }) => id), reviews]).toEqual([['soft'], []])
  })

  it('is looked at once, however many ways lead to it', () => {
    // Each layer reads both steps of the one before: 2^40 ways lead down to the first.
    const layers = Array.from({ length: 40 }, (_, n) => [n, n + 0.5].map((id) => `s${id}`))
    const stepInstructions = layers.flatMap((layer, n) =>
      layer.map((id) => ({ id, kind: 'note', needs: layers[n - 1] ?? [] })),
    )
    const last = { id: 'last', kind: 'note', text: '{steps.s39.output.text?}' }
    const graph = createGraph(aDefinition({ stepInstructions: [...stepInstructions, last] }), createTestCatalog())
    const checkpoints = new Map(stepInstructions.map(({ id }) => [id, aCheckpoint(id, { status: 'skipped' })]))
    expect(next(graph, { checkpoints, gates: new Map(), busy: new Set() }).ready).toMatchObject([{ id: 'last' }])
  })
})
