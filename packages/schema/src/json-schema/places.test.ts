import { describe, expect, test } from 'vitest'
import { fileFields } from './places.ts'

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
