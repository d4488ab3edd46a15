import { describe, expect, it } from 'vitest'
import { storable, storableRows } from './storable.ts'

/** A list in a list in a list … */
function nested(levels: number): unknown {
  let value: unknown = 'deep'
  for (let level = 0; level < levels; level += 1) value = [value]
  return value
}

describe('what is kept of an answer', () => {
  it('is the answer itself where PostgreSQL can hold it', () => {
    const answer = { text: 'ä 👍\n', list: [1, null, { deep: true }], bytes: new Uint8Array(2) }
    expect(storable(answer)).toBe(answer)
    expect(storable(nested(500))).toEqual(nested(500))
  })

  it('has no NUL and no half of a pair in the texts of its rows, and keeps them in what is JSON', () => {
    const row = { detail: 'b\0c\uD800', payload: { text: 'b\0c\uD800' }, number: 1 }
    expect(storableRows({ gates: [row], runId: 'r' })).toEqual({
      gates: [{ ...row, detail: 'b\u{FFFD}c\u{FFFD}' }],
      runId: 'r',
    })
  })

  it.each([501, 100_000])('is nothing where it is nested %i levels deep', (levels) => {
    expect(() => storable(nested(levels))).toThrow('nested deeper than 500 levels')
  })
})
