import type { JsonObject } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { isStrictSchema } from './strict-schema.ts'

const closed = (properties: JsonObject, more: JsonObject = {}): JsonObject => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...more,
})
const nested = (levels: number): JsonObject => (levels === 1 ? closed({}) : closed({ next: nested(levels - 1) }))

describe('a schema that strict mode takes', () => {
  it.each<[string, JsonObject]>([
    [
      'closed objects',
      closed({
        title: { type: 'string', description: 'A title.' },
        tags: { type: 'array', items: { type: 'string' }, minItems: 1 },
      }),
    ],
    ['what may be null', closed({ a: { type: ['string', 'null'] }, b: { anyOf: [{ type: 'null' }, closed({})] } })],
    [
      'choices, bounds, patterns and formats',
      closed({
        a: { enum: ['x', 1] },
        b: { type: 'number', minimum: 0 },
        c: { type: 'string', pattern: '^a', format: 'date' },
      }),
    ],
    ['references', closed({ a: { $ref: '#/$defs/a' } }, { $defs: { a: closed({}) } })],
    ['ten levels', nested(10)],
  ])('has %s', (_, schema) => {
    expect(isStrictSchema(schema)).toBe(true)
  })

  it.each<[string, JsonObject]>([
    ['an open object', { ...closed({}), additionalProperties: true }],
    ['an object that says nothing of more members', { type: 'object', properties: {}, required: [] }],
    ['an open object within', closed({ list: { type: 'array', items: { type: 'object' } } })],
    ['an optional member', { ...closed({ a: { type: 'string' } }), required: [] }],
    ['a root that is a list', { type: 'array', items: { type: 'string' } }],
    ['a root with anyOf', closed({}, { anyOf: [closed({})] })],
    ['a keyword beyond the subset', closed({ a: { type: 'string', maxLength: 5 } })],
    ['parts', closed({ a: { allOf: [{ type: 'string' }] } })],
    ['a list of anything', closed({ a: { type: 'array' } })],
    ['a value of any type', closed({ a: {} })],
    ['a format of our own', closed({ a: { type: 'string', format: 'file' } })],
    ['eleven levels', nested(11)],
    ['too many choices', closed({ a: { enum: Array.from({ length: 1_001 }, (_, n) => n) } })],
  ])('has not %s', (_, schema) => {
    expect(isStrictSchema(schema)).toBe(false)
  })
})
