// Which fields a schema asks for, and how: the hard parts of JSON Schema that templates use.
import { describe, expect, it } from 'vitest'
import { choicesOf, fieldsOf, initialValue, type Schema } from './schema.ts'

const kinds = (schema: Schema, value = {}) =>
  Object.fromEntries(fieldsOf(schema, value, schema).map(({ name, kind }) => [name, kind]))

describe('a field', () => {
  it.each([
    [{ type: 'string' }, 'text'],
    [{ type: 'string', maxLength: 500 }, 'long-text'],
    [{ type: 'string', format: 'file' }, 'file'],
    [{ type: 'string', format: 'date-time' }, 'date-time'],
    [{ type: ['string', 'null'] }, 'text'],
    [{ anyOf: [{ type: 'integer' }, { type: 'null' }] }, 'number'],
    [{ type: 'boolean' }, 'boolean'],
    [{ enum: ['a', 'b'] }, 'choice'],
    [{ oneOf: [{ const: 'a', title: 'First' }, { const: 'b' }] }, 'choice'],
    [{ const: 'fixed' }, 'const'],
    [{ type: 'array', items: { type: 'string' } }, 'list'],
    [{ type: 'array', uniqueItems: true, items: { enum: ['x', 'y'] } }, 'choices'],
    [{ type: 'array', prefixItems: [{ type: 'number' }] }, 'json'],
    [{ type: 'object', additionalProperties: { type: 'string' } }, 'json'],
    [{ properties: { inner: { type: 'string' } } }, 'object'],
    [{}, 'json'],
    [{ $ref: '#/$defs/size' }, 'number'],
  ])('of %j is asked for as %s', (field, kind) => {
    expect(kinds({ properties: { field }, $defs: { size: { type: 'integer' } } })).toEqual({ field: kind })
  })

  it('of a reference to itself ends', () => {
    expect(kinds({ properties: { field: { $ref: '#/properties/field' } } })).toEqual({ field: 'json' })
  })
})

it('stands where the author wants it, and those that are not named come after', () => {
  const properties = { c: {}, a: {}, b: {} }
  expect(Object.keys(kinds({ 'x-order': ['b', 'a'], properties }))).toEqual(['b', 'a', 'c'])
})

it('comes and goes with the condition that asks for it', () => {
  const schema = {
    properties: { mode: { enum: ['film', 'picture'] } },
    if: { properties: { mode: { const: 'film' } }, required: ['mode'] },
    // oxlint-disable-next-line unicorn/no-thenable
    then: { properties: { seconds: { type: 'integer' } }, required: ['seconds'] },
    else: { properties: { size: { type: 'string' } } },
  }
  expect(kinds(schema, { mode: 'film' })).toEqual({ mode: 'choice', seconds: 'number' })
  expect(kinds(schema, {})).toEqual({ mode: 'choice', size: 'text' })
})

it('begins with its default and its constant, also further in, and with nothing else', () => {
  const schema = {
    type: 'object',
    properties: {
      style: { type: 'string', default: 'flat' },
      kind: { const: 'k' },
      page: { type: 'object', properties: { margin: { type: 'number', default: 3 }, title: { type: 'string' } } },
      empty: { type: 'object', properties: { x: { type: 'string' } } },
    },
  }
  expect(initialValue(schema, schema)).toEqual({ style: 'flat', kind: 'k', page: { margin: 3 } })
})

it('offers choices by their titles, and never null', () => {
  expect(choicesOf({ enum: ['a', 2, null] }).map(({ label }) => label)).toEqual(['a', '2'])
  expect(choicesOf({ oneOf: [{ const: 1, title: 'One' }, { const: null }] })).toEqual([{ value: 1, label: 'One' }])
})
