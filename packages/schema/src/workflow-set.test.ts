import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  orderSetRuns,
  readInputSource,
  readSetOutput,
  sampleSetInputs,
  setOutputNames,
  setRunDependencies,
  WorkflowSet,
} from './workflow-set.ts'

const run = (name: string, inputs_from?: Record<string, string>) => ({
  name,
  workflow: 'hooks/generate',
  ...(inputs_from ? { inputs_from } : {}),
})

/** Every problem as `path: message`. */
function problemsOf(document: unknown): string[] {
  const result = WorkflowSet.safeParse(document)
  return result.success ? [] : result.error.issues.map(({ path, message }) => `/${path.join('/')}: ${message}`)
}

describe('a workflow set', () => {
  test('with runs that feed each other, in any order, is taken, and gets its defaults', () => {
    const set = {
      set: 'daily',
      shared_input: { topic: 'overthinking' },
      runs: [run('clip', { script: 'hooks.0.text', style: 'hooks.style' }), run('hooks')],
    }
    expect(WorkflowSet.parse(set)).toEqual({ ...set, mode: 'sequential', on_error: 'stop' })
  })

  test('names every fault at its place', () => {
    const runs = [run('a'), run('b', { x: 'a.text' }), run('b'), run('c', { x: 'nobody.text', y: 'text' })]
    expect(problemsOf({ set: 'daily', runs })).toEqual([
      '/runs/3/inputs_from/y: must look like "<run>.<variant>.<alias>" or "<run>.<alias>", with a variant from 0 to 9',
      '/runs/2/name: "b" names the run at /runs/1 already; choose another name',
      '/runs/3/inputs_from/x: there is no run "nobody" in this set',
    ])
  })

  test('names the runs that could never start', () => {
    const runs = [run('a', { x: 'b.text' }), run('b', { x: 'a.text' }), run('c', { x: 'b.text' }), run('d')]
    expect(problemsOf({ set: 'daily', runs })).toEqual([
      '/runs/0/inputs_from: "a" waits, directly or not, for a run that waits for itself',
      '/runs/1/inputs_from: "b" waits, directly or not, for a run that waits for itself',
      '/runs/2/inputs_from: "c" waits, directly or not, for a run that waits for itself',
    ])
  })

  test.each<[string, unknown]>([
    ['no name', { runs: [run('a')] }],
    ['no run', { set: 's', runs: [] }],
    ['too many runs', { set: 's', runs: Array.from({ length: 101 }, (_, index) => run(`r${index}`)) }],
    ['an unknown key', { set: 's', runs: [run('a')], stages: [] }],
    ['a run that feeds itself', { set: 's', runs: [run('a', { x: 'a.text' })] }],
    ['a bundle as a run', { set: 's', runs: [{ name: 'a', workflow: 'bundle/ad-hoc' }] }],
    ['a key of the engine', { set: 's', shared_input: { output_dir: '/' }, runs: [run('a')] }],
    ['a name with a dot', { set: 's', runs: [run('a.b')] }],
  ])('with %s is refused', (_, document) => {
    expect(problemsOf(document)).not.toEqual([])
  })
})

describe('an input source', () => {
  test('has variant 0 unless it names one; the rest is the alias', () => {
    expect(readInputSource('hooks.2.text')).toEqual({ run: 'hooks', variant: 2, alias: 'text' })
    expect(readInputSource('hooks.text')).toEqual({ run: 'hooks', variant: 0, alias: 'text' })
    expect(readInputSource('hooks.draft.text')).toEqual({ run: 'hooks', variant: 0, alias: 'draft.text' })
  })

  test('is nothing else', () => {
    for (const text of ['', 'hooks', 'hooks.', 'hooks.0', 'hooks.10.text', '.0.text', 'hooks.0.', 'a b.text', 'a..b']) {
      expect(readInputSource(text), text).toBeUndefined()
    }
  })
})

describe('what a source reads', () => {
  test('is a member of the output by its whole name, else by a path of members and indexes', () => {
    const output = { text: 'a', 'a.b': 1, a: { b: 2, list: [{ x: 3 }] }, none: null }
    expect(readSetOutput(output, 'text')).toBe('a')
    expect(readSetOutput(output, 'a.b')).toBe(1)
    expect(readSetOutput(output, 'a.list.0.x')).toBe(3)
    expect(readSetOutput(output, 'none')).toBeNull()
    for (const alias of ['b', 'a.c', 'a.list.1', 'a.list.x', 'text.length', 'constructor']) {
      expect(readSetOutput(output, alias), alias).toBeUndefined()
    }
  })

  test('is named by the declared aliases, else by the steps', () => {
    const runtimeSteps = [{ id: 'one' }, { id: 'two' }]
    expect(setOutputNames({ runtimeSteps, outputAliases: { text: 'steps.one.output.text' } })).toEqual(['text'])
    expect(setOutputNames({ runtimeSteps, outputAliases: {} })).toEqual(['one', 'two'])
    expect(setOutputNames({})).toEqual([])
  })

  test('is stood for by a value that its field takes, until it is made', () => {
    const schema = { properties: { count: { type: 'integer', minimum: 3 }, list: { type: 'array', minItems: 2 } } }
    const { count, list, extra } = sampleSetInputs(schema, ['count', 'list', 'extra'])
    expect(count).toBeGreaterThanOrEqual(3)
    expect(list).toHaveLength(2)
    expect(extra).toBeDefined()
  })
})

describe('the order', () => {
  test('puts every run behind those it needs and keeps the manifest otherwise', () => {
    const runs = [run('d', { x: 'b.t', y: 'c.t' }), run('a'), run('c', { x: 'a.t' }), run('b', { x: 'a.t' }), run('e')]
    expect(orderSetRuns(runs)).toEqual(['a', 'c', 'b', 'd', 'e'])
    expect(setRunDependencies(runs[0] ?? run('none'))).toEqual(['b', 'c'])
  })

  test('of one stage holds what it needs and nothing more', () => {
    const runs = [run('a'), run('b', { x: 'a.t' }), run('c', { x: 'b.t' }), run('d')]
    expect(orderSetRuns(runs, 'b')).toEqual(['a', 'b'])
  })

  test('holds all runs exactly where the set has no cycle', () => {
    const edges = fc.array(fc.tuple(fc.nat(7), fc.nat(7)), { maxLength: 12 })
    fc.assert(
      fc.property(edges, (pairs) => {
        const runs = Array.from({ length: 8 }, (_, index) =>
          run(
            `r${index}`,
            Object.fromEntries(pairs.filter(([to]) => to === index).map(([, from]) => [`f${from}`, `r${from}.t`])),
          ),
        )
        const order = orderSetRuns(runs)
        for (const [to, from] of pairs) {
          if (order.includes(`r${to}`)) expect(order.indexOf(`r${from}`)).toBeLessThan(order.indexOf(`r${to}`))
        }
        // Only runs that cannot come first among the rest are missing.
        const missing = runs.filter(({ name }) => !order.includes(name))
        for (const left of missing) expect(setRunDependencies(left).some((name) => !order.includes(name))).toBe(true)
        expect(WorkflowSet.safeParse({ set: 's', runs }).success).toBe(missing.length === 0)
      }),
    )
  })
})
