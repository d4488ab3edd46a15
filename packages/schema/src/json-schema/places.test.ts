import { describe, expect, test } from 'vitest'
import { createPlaces, fileFields } from './places.ts'

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

describe('the place that a path leads to', () => {
  const at = createPlaces({
    type: 'object',
    additionalProperties: false,
    properties: {
      title: { type: 'string' },
      words: { type: 'array', maxItems: 3, items: { type: 'string' } },
      size: { anyOf: [{ enum: ['small', 'large'] }, { type: 'object', properties: { width: { type: 'integer' } } }] },
      open: {},
      extra: { type: 'object', additionalProperties: { type: 'number' } },
      node: { $ref: '#/$defs/node' },
    },
    $defs: {
      node: { type: 'object', properties: { next: { $ref: '#/$defs/node' }, name: { type: ['string', 'null'] } } },
    },
  })

  test.each<[path: (string | number)[], is: string, types: string[]]>([
    [[], 'named', ['object']],
    [['title'], 'named', ['string']],
    [['words', 2], 'named', ['string']],
    [['words', '2'], 'named', ['string']],
    [['size'], 'named', ['string', 'object']],
    [['size', 'width'], 'named', ['integer']],
    [['extra', 'anything'], 'named', ['number']],
    [['node', 'next', 'next', 'name'], 'named', ['string', 'null']],
    [['open', 'whatever'], 'open', []],
    [['open'], 'named', []],
    [['titel'], 'never', []],
    [['title', 'length'], 'never', []],
    [['words', 'first'], 'never', []],
    [['words', 3], 'never', []],
    [['node', 'nxt'], 'unnamed', []],
  ])('%j is %s', (path, is, types) => {
    expect(at(path)).toMatchObject({ is, types })
  })

  test('tells which names there are where it leads nowhere', () => {
    expect(at(['node', 'nxt', 'name']).missing).toEqual({ key: 'nxt', known: ['next', 'name'] })
  })

  test('is found in bounded time where references lead round and round', () => {
    const all = { allOf: [{ $ref: '#/$defs/a' }, { $ref: '#/$defs/a' }], properties: { a: { $ref: '#/$defs/a' } } }
    const places = createPlaces({ $ref: '#/$defs/a', $defs: { a: all } })
    const started = performance.now()
    for (let count = 0; count < 100; count += 1) places(Array(60).fill('a'))
    expect(places(Array(5_000).fill('a')).is).toBe('open')
    expect(performance.now() - started).toBeLessThan(10_000)
  })
})
