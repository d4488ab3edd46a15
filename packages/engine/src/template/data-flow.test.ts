import type { Step } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { dependenciesOf, findCycle, forEachOf } from './data-flow.ts'

const aStep = (over: Partial<Step>): Step => ({ id: 'x', kind: 'note', ...over })
const needs = (over: Partial<Step>) => dependenciesOf(aStep(over)).map(({ id, optional }) => (optional ? `${id}?` : id))

describe('the steps that a step waits for', () => {
  it.each<[string, Partial<Step>, string[]]>([
    ['that its fields reference, however deep', { text: { a: ['{steps.a.output.x} {steps.b.output?}'] } }, ['a', 'b?']],
    ['that it needs', { needs: ['a', 'b'] }, ['a', 'b']],
    ['that its condition reads', { when: 'steps.a.output.x == 1' }, ['a']],
    [
      'that its condition asks for first, wherever it reads them',
      { when: 'has(steps.a.output.x) && steps.a.output.x' },
      ['a?'],
    ],
    ['softly only where every mention is soft', { text: '{steps.a.output?} {steps.a.output}' }, ['a']],
    ['softly only where every mention is soft, in any order', { text: '{steps.a.output} {steps.a.output?}' }, ['a']],
    ['hard where it also needs them', { text: '{steps.a.output?}', needs: ['a'] }, ['a']],
    ['hard where its condition does not ask', { text: '{steps.a.output?}', when: 'steps.a.output.x == 1' }, ['a']],
    ['that its list is made of', { forEach: '{steps.a.output.list}' }, ['a']],
    [
      'and nothing of the intake, of lookups or of its schema',
      {
        text: '{intake.a} {run.id} {lookup.l}',
        when: 'intake.on',
        lookups: { l: { from: 'intake.a', map: { a: '{steps.no.output}' }, default: '' } },
        outputSchema: { description: '{steps.no.output}' },
      },
      [],
    ],
    ['and none of a condition that cannot be parsed', { when: 'steps.a.output ==' }, []],
  ])('are those %s', (_, step, expected) => {
    expect(needs(step)).toEqual(expected)
  })
})

describe('the list of a step', () => {
  it.each<[string, unknown, ReturnType<typeof forEachOf>]>([
    ['none', undefined, null],
    ['a reference, four items at once', '{intake.list}', { items: '{intake.list}', concurrency: 4 }],
    ['an object without a number', { items: [1] }, { items: [1], concurrency: 4 }],
    ['an object with a number', { items: [1], concurrency: 2 }, { items: [1], concurrency: 2 }],
    ['an object without items', { concurrency: 2 }, { items: null, concurrency: 2 }],
    ['an object whose number is none', { items: [1], concurrency: 'many' }, { items: [1], concurrency: 4 }],
  ])('is %s', (_, forEach, expected) => {
    expect(forEachOf(aStep(forEach === undefined ? {} : { forEach: forEach as NonNullable<Step['forEach']> }))).toEqual(
      expected,
    )
  })
})

describe('a cycle', () => {
  const edges = (graph: Record<string, string[]>) => new Map(Object.entries(graph))

  it.each<[string, Record<string, string[]>, string[] | undefined]>([
    ['of one', { a: ['a'] }, ['a', 'a']],
    ['behind a way in', { a: ['b'], b: ['c'], c: ['b'] }, ['b', 'c', 'b']],
    ['that is not reached from the first', { a: [], b: ['c'], c: ['b'] }, ['b', 'c', 'b']],
    ['that there is none of, although two ways meet', { a: ['b', 'c'], b: ['d'], c: ['d'], d: [] }, undefined],
    ['that there is none of, although something unknown is named', { a: ['nobody'] }, undefined],
  ])('%s is found as it is walked', (_, graph, expected) => {
    expect(findCycle(edges(graph))).toEqual(expected)
  })

  it('is looked for in one visit of each node', () => {
    const layers = Array.from({ length: 40 }, (_, n): [string, string[]][] => [
      [`a${n}`, [`a${n + 1}`, `b${n + 1}`]],
      [`b${n}`, [`a${n + 1}`, `b${n + 1}`]],
    ])
    expect(findCycle(new Map(layers.flat()))).toBeUndefined()
  })
})
