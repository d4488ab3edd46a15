import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { problemsOf } from './problem.ts'

const Shape = z.strictObject({
  name: z.string().min(1).max(5),
  count: z.int().min(2).max(9).optional(),
  kind: z.enum(['a', 'b']).optional(),
  own: z.string().regex(/^x/, 'must begin with x').optional(),
  inside: z.strictObject({ list: z.array(z.string()).max(1), status: z.string().optional() }).optional(),
})

function told(value: unknown): string[] {
  const { error } = Shape.safeParse(value)
  if (error === undefined) return []
  return problemsOf(error, Shape).map(({ pointer, detail }) => `${pointer} ${detail}`)
}

describe('what a schema finds wrong', () => {
  it('says what must be', () => {
    expect(told({})).toEqual(['/name is required'])
    expect(told({ name: 7 })).toEqual(['/name must be a string'])
    expect(told({ name: '' })).toEqual(['/name must not be empty'])
    expect(told({ name: 'longer' })).toEqual(['/name must have at most 5 characters'])
    expect(told({ name: 'n', count: 10 })).toEqual(['/count must be at most 9'])
    expect(told({ name: 'n', count: 1.5 })).toEqual(['/count must be a whole number'])
    expect(told({ name: 'n', kind: 'c' })).toEqual(['/kind must be one of a, b'])
    expect(told({ name: 'n', inside: { list: ['a', 'b'] } })).toEqual(['/inside/list must have at most 1 items'])
  })

  it('keeps words of our own', () => {
    expect(told({ name: 'n', own: 'y' })).toEqual(['/own must begin with x'])
  })

  it('names the nearest key of the object that the unknown one stands in', () => {
    expect(told({ name: 'n', knd: 'a' })).toEqual(['/knd "knd" is not a key here; did you mean "kind"?'])
    expect(told({ name: 'n', inside: { list: [], statsu: 'x' } })).toEqual([
      '/inside/statsu "statsu" is not a key here; did you mean "status"?',
    ])
  })
  it('stops at a hundred, and shows long keys by their beginning', () => {
    const keys = Array.from({ length: 10_000 }, (_, index) => [`${'k'.repeat(2_000)}${index}`, 1])
    const { error } = Shape.safeParse(Object.fromEntries(keys))
    const problems = error === undefined ? [] : problemsOf(error, Shape)

    expect(problems).toHaveLength(100)
    expect(Math.max(...problems.map(({ detail }) => detail.length))).toBeLessThan(300)
  })
})
