import { describe, expect, test } from 'vitest'
import { textMatching } from './scaffold-pattern.ts'

describe('a text for a pattern', () => {
  test.each([
    '^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)?$',
    '^#[0-9a-fA-F]{6}$',
    '^\\d{4}-\\d{2}$',
    '^(?:https?):\\/\\/\\S+$',
    '^[^@\\s]+@[^@\\s]+$',
    '^\\p{Lu}.{2,5}\\u0041$',
    'cat|dog',
    '^[0-7][0-9A-HJKMNP-TV-Z]{25}$',
    '^a?b*c+d{2,}$',
  ])('%s matches it', (pattern) => {
    const text = textMatching(pattern, 0, 100)
    expect(text).toBeDefined()
    expect(text).not.toBe('')
    expect(text).toMatch(new RegExp(pattern, 'u'))
  })

  test('is left to others where it cannot be promised', () => {
    for (const pattern of ['(?=a)b', '(a)\\1', '\\bword', '(', 'a)', '[z-a]', '*a', 'a{2', '^[^\\s\\S]$']) {
      expect(textMatching(pattern, 0, 100), pattern).toBeUndefined()
    }
    expect(textMatching('^abc$', 4, 10)).toBeUndefined()
  })
})
