import { describe, expect, it } from 'vitest'
import { type DocumentFormat, parseDocument } from './document.ts'
import { hiddenBelow, jsonOnTerminal, onOneLine, onTerminal } from './hidden-characters.ts'

function problemsOf(text: string, format: DocumentFormat = 'yaml') {
  const outcome = parseDocument(Buffer.from(text), format)
  return outcome.ok ? [] : outcome.problems
}

describe('a character that cannot be seen', () => {
  it.each<[DocumentFormat, string, RegExp, [number, number]]>([
    ['yaml', 'input:\n\u00a0\u00a0prompt: a fox\n', /no-break space \(U\+00A0\)/, [2, 1]],
    ['yaml', 'input:\n \u00a0prompt: a fox\n', /no-break space \(U\+00A0\)/, [2, 2]],
    ['yaml', 'a: 1\n\u00a0b: 2\n', /no-break space \(U\+00A0\)/, [2, 1]],
    ['yaml', 'a:\n  b: 1\n\u00a0\u00a0c: 2\n', /no-break space \(U\+00A0\)/, [3, 1]],
    ['yaml', 'a:\n\u3000b: 1\n', /ideographic space \(U\+3000\)/, [2, 1]],
    ['yaml', 'a:\n\u2003b: 1\n', /space of another kind \(U\+2003\)/, [2, 1]],
    ['yaml', 'a:\n  \u200bb: 1\n', /zero width space \(U\+200B\)/, [2, 3]],
    ['yaml', 'a:\n  pro\u00admpt: 1\n', /soft hyphen \(U\+00AD\)/, [2, 3]],
    ['yaml', 'a: 1\n\ufeffb: 2\n', /byte order mark \(U\+FEFF\)/, [2, 1]],
    ['yaml', 'a: 1\nb\u00a0: 2\n', /no-break space \(U\+00A0\)/, [2, 1]],
    ['yaml', 'a:\n  \u201cb\u201d: 1\n', /curly quotation mark \(U\+201C\); write straight/, [2, 3]],
    ['yaml', 'a:\n  b:\u00a0a fox\n', /no-break space \(U\+00A0\) stands here/, [2, 3]],
    ['yaml', 'a: {b:\u00a01}\n', /no-break space \(U\+00A0\) stands here/, [1, 5]],
    ['yaml', 'a:\n  -\u00a0b\n', /no-break space \(U\+00A0\) stands here/, [2, 3]],
    ['yaml', 'a:\u00a0b\nc: 1\n', /not YAML.*no-break space \(U\+00A0\)/, [1, 1]],
    ['yaml', 'a: 1\n\u00a0\nb: 2\n', /not YAML.*no-break space \(U\+00A0\)/, [2, 1]],
    ['yaml', 'a: 1\u2028b: 2\n', /not YAML.*line separator \(U\+2028\)/, [1, 4]],
    ['json', '{"a":\u00a01}', /not JSON.*no-break space \(U\+00A0\)/, [1, 6]],
    ['json', '{"a": 1}\u200b', /not JSON.*zero width space \(U\+200B\)/, [1, 9]],
    ['json', '{\u201ca\u201d: 1}', /not JSON.*curly quotation mark \(U\+201C\)/, [1, 2]],
    ['json', '{"\u00a0a": 1}', /no-break space \(U\+00A0\)/, [1, 2]],
    ['json', '{"a\\u200b": 1}', /zero width space \(U\+200B\)/, [1, 2]],
    ['toml', 'a\u00a0= 1', /not TOML.*no-break space \(U\+00A0\)/, [1, 2]],
    ['toml', 'a = \u201cb\u201d', /not TOML.*curly quotation mark \(U\+201C\)/, [1, 5]],
    ['toml', 'a = 1\n\ufeff[b]\nc = 1', /not TOML.*byte order mark \(U\+FEFF\)/, [2, 1]],
  ])('in %s is named with its code and place: %j', (format, text, detail, [line, column]) => {
    expect(problemsOf(text, format)).toEqual([
      expect.objectContaining({ detail: expect.stringMatching(detail), line, column }),
    ])
  })

  it.each<[DocumentFormat, string]>([
    ['yaml', 'prompt: 10\u00a0km \u00ab\u00a0vite\u00a0\u00bb\n'],
    ['yaml', 'prompt: |\n  a\u200bb\n  note:\u00a0c\n'],
    ['yaml', 'prompt: "note:\u00a0c"\n'],
    ['yaml', 'prompt: \u201ca fox\u201d\n'],
    ['yaml', 'a: 1 # \u00a0a note\n'],
    ['json', '{"a b": "\u00a0", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645": 1, "prix\u00a0net": 2}'],
    ['toml', 'a = "\u200b\u00a0" # \u00a0'],
  ])('in %s is left alone in texts, comments and words: %j', (format, text) => {
    expect(problemsOf(text, format)).toEqual([])
  })

  it('is not blamed for a fault of another line', () => {
    expect(problemsOf('a: 10\u00a0km\nb: [1\nc: 2\n')[0]?.detail).not.toMatch(/U\+/)
  })

  it('is named behind what else is wrong with the key or the short text that holds it', () => {
    const document = {
      style: 'flat\u200b',
      'work\u200bflow': 1,
      prompt: `${'x'.repeat(300)}\u00a0`,
      list: [{ a: 'b' }],
    }
    expect(hiddenBelow(document, '/style')).toBe('; it holds a zero width space (U+200B)')
    expect(hiddenBelow(document, '/work\u200bflow')).toBe('; it holds a zero width space (U+200B)')
    for (const pointer of ['', '/prompt', '/list/0/a', '/nothing']) expect(hiddenBelow(document, pointer)).toBe('')
  })
})

describe('a text of a model or a server on a terminal', () => {
  const HOSTILE = 'a\u001b]0;title\u0007\u001b[2Jb\r\nc\u009b31m\u202e\u2028d\0\tend'
  const STEERING = /(?![\n\r\t])[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u

  it('moves no cursor, sets no title and fakes no line', () => {
    expect(onOneLine(HOSTILE)).toBe('a ]0;title  [2Jb  c 31m  d  end')
    expect(onOneLine('x'.repeat(100), 10)).toBe('xxxxxxxxx…')
    expect(onTerminal(HOSTILE)).not.toMatch(STEERING)
    expect(onTerminal('a:\n\tb')).toBe('a:\n\tb')
  })

  it('stays the same value as JSON', () => {
    const value = { [HOSTILE]: [HOSTILE] }
    for (const indent of [undefined, 2]) {
      expect(jsonOnTerminal(value, indent)).not.toMatch(STEERING)
      expect(JSON.parse(jsonOnTerminal(value, indent))).toEqual(value)
    }
  })
})
