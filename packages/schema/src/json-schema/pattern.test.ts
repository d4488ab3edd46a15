import { describe, expect, test } from 'vitest'
import { readPattern } from './pattern.ts'

const first = () => 0
const last = (count: number) => count - 1

describe('a text for a pattern', () => {
  test.each([
    '^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)?$',
    '^#[0-9a-fA-F]{6}$',
    '^\\d{4}-\\d{2}$',
    '^(?:https?):\\/\\/\\S+$',
    '^[^@\\s]+@[^@\\s]+$',
    '^\\p{Lu}.{2,5}\\u0041$',
    '^\\p{Lu}{3}$',
    '^\\p{Script=Greek}+$',
    '\\bword',
    'cat|dog',
    '^[0-7][0-9A-HJKMNP-TV-Z]{25}$',
    '^a?b*c+d{2,}$',
  ])('%s matches it, whatever is picked', (source) => {
    const pattern = readPattern(source)
    for (const pick of [first, last]) {
      const text = pattern?.write(0, 100, pick)
      expect(text).not.toBe('')
      expect(text).toMatch(new RegExp(source, 'u'))
      expect(pattern?.test(text ?? '')).toBe(true)
    }
  })

  test('has the length that is asked for, by another alternative or more of what may be repeated', () => {
    for (const [source, length] of [
      ['^[a-z]+(-[a-z]+)*$', 17],
      ['^(a|[b-z]{5})$', 5],
      ['[a-f]', 9],
    ] as const) {
      expect(readPattern(source)?.write(length, length, first), source).toHaveLength(length)
    }
  })

  test('is left to others where it cannot be promised', () => {
    for (const source of [
      '(?=a)b',
      '(a)\\1',
      '(',
      'a)',
      '[z-a]',
      '*a',
      'a{2',
      '^[^\\s\\S]$',
      '(((a{999}){999}){999})+',
    ]) {
      expect(readPattern(source)?.write(0, 100, first), source).toBeUndefined()
    }
    expect(readPattern('^abc$')?.write(4, 10, first)).toBeUndefined()
  })
})

test('a pattern is tested as ECMAScript does, in time that grows with the text', () => {
  for (const [source, text] of [
    ['^(a|ab)(c|bcd)(d*)$', 'abcd'],
    ['^(?:x+x+)+y$', 'x'.repeat(40)],
    ['\\Bb', 'ab'],
    ['^.$', '\u{1F98A}'],
    ['^[^a-c]{2}$', 'ad'],
    ['a{2,3}$', 'caaaa'],
  ] as const) {
    const expected = source.includes('x+') ? false : new RegExp(source, 'u').test(text)
    expect(readPattern(source)?.test(text), source).toBe(expected)
  }
})
