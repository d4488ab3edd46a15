import { describe, expect, it } from 'vitest'
import { RESERVED_INPUT_KEYS, RunSpec } from './run-spec.ts'

const ok = (spec: unknown) => RunSpec.safeParse(spec).success
const BASE = { workflow: 'video/talking-head', input: {} }

describe('a run-spec', () => {
  it('has defaults for what it leaves out', () => {
    expect(RunSpec.parse(BASE)).toEqual({ ...BASE, priority: 50, fail_fast: true })
  })

  it.each([
    ['priority', [0, 100], [-1, 101, 1.5, '70', null]],
    ['fail_fast', [true, false], ['false', 0]],
    ['metadata', [{}, { a: [1] }], [[], 'x', { a: 'x'.repeat(17_000) }]],
    ['state', [{}], [null, 1, { a: 'x'.repeat(17_000) }]],
    [
      'parent',
      [{ run_id: '01ARZ3NDEKTSV4RRFFQ69G5FAV' }],
      [{}, { run_id: 'x' }, { run_id: '01ARZ3NDEKTSV4RRFFQ69G5FAV', x: 1 }],
    ],
    ['$schema', ['./x.json'], []],
    ['unknown', [], [1]],
  ])('takes %s within its bounds only', (key, good, bad) => {
    for (const value of good) expect(ok({ ...BASE, [key]: value }), JSON.stringify(value)).toBe(true)
    for (const value of bad) expect(ok({ ...BASE, [key]: value }), JSON.stringify(value)).toBe(false)
  })

  it.each(RESERVED_INPUT_KEYS)('refuses the reserved input %s', (key) => {
    expect(ok({ ...BASE, input: { [key]: 1 } })).toBe(false)
  })

  it('takes a bundle by its rules', () => {
    const entry = { workflow: 'a', input: {} }
    const bundle = (over: object) => ok({ workflow: 'bundle/ad-hoc', bundle: [entry], ...over })
    expect(bundle({})).toBe(true)
    expect(bundle({ bundle: Array(100).fill(entry) })).toBe(true)
    expect(bundle({ bundle: Array(101).fill(entry) })).toBe(false)
    expect(bundle({ bundle: [] })).toBe(false)
    expect(bundle({ workflow: 'a' })).toBe(false)
    expect(bundle({ input: { variants: 2 } })).toBe(false)
    expect(bundle({ bundle: [{ workflow: 'bundle/ad-hoc', input: {} }] })).toBe(false)
    expect(bundle({ bundle: [{ workflow: 'a', input: { variants: 2 } }] })).toBe(false)
    expect(ok({ workflow: 'bundle/ad-hoc', input: {} })).toBe(false)
    expect(ok({ workflow: 'a' })).toBe(false)
  })
})
