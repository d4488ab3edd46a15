import { describe, expect, test } from 'vitest'
import { fileFields, orderedFields } from './index.ts'

describe('orderedFields', () => {
  test('gives the names of x-order first, then by number, then as declared', () => {
    const schema = {
      'x-order': ['z', 'missing'],
      required: ['b'],
      properties: { a: {}, b: { 'x-order': 2 }, c: { 'x-order': 1 }, d: true, z: { 'x-order': 9 } },
    }
    expect(orderedFields(schema)).toEqual([
      { name: 'z', required: false, schema: { 'x-order': 9 } },
      { name: 'c', required: false, schema: { 'x-order': 1 } },
      { name: 'b', required: true, schema: { 'x-order': 2 } },
      { name: 'a', required: false, schema: {} },
      { name: 'd', required: false, schema: true },
    ])
  })

  test.each([undefined, null, 5, [], {}, { properties: [] }, { properties: 'x' }])('gives nothing for %j', (schema) => {
    expect(orderedFields(schema)).toEqual([])
  })
})

describe('fileFields', () => {
  test('finds files in members, lists, alternatives and definitions', () => {
    const file = { type: 'string', format: 'file' }
    const schema = {
      properties: {
        photo: file,
        'a/b': { anyOf: [{ type: 'null' }, { $ref: '#/$defs/upload' }] },
        pages: { type: 'array', items: file },
        deep: { properties: { logo: { allOf: [file] } }, additionalProperties: file },
        text: { type: 'string' },
      },
      $defs: { upload: file },
    }
    expect(fileFields(schema)).toEqual(['/a~1b', '/deep/*', '/deep/logo', '/pages/*', '/photo'])
  })

  test('ends for a schema that refers to itself', () => {
    const schema = {
      properties: { a: { $ref: '#/$defs/t' } },
      $defs: { t: { format: 'file', allOf: [{ $ref: '#/$defs/t' }] } },
    }
    expect(fileFields(schema)).toEqual(['/a'])
  })
})
