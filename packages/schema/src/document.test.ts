import fc from 'fast-check'
import { stringify as toToml } from 'smol-toml'
import { describe, expect, test } from 'vitest'
import { stringify as toYaml } from 'yaml'
import {
  type DocumentFormat,
  type DocumentOutcome,
  formatOfMediaType,
  formatOfPath,
  nearestKey,
  parseDocument,
} from './document.ts'
import { hiddenInKey } from './hidden-characters.ts'
import { canonicalJson, type JsonValue } from './json.ts'
import { cpuMs } from './testing/cpu-time.ts'

const FORMATS = ['json', 'yaml', 'toml'] as const
/** What the contract promises for hostile input. */
const HOSTILE_MS = 50

function valueOf(text: string | Uint8Array, format: DocumentFormat): JsonValue {
  const outcome = parseDocument(text, format)
  if (!outcome.ok) throw new Error(`refused: ${JSON.stringify(outcome)}`)
  return outcome.document.value
}

function refusalOf(text: string | Uint8Array, format: DocumentFormat): Extract<DocumentOutcome, { ok: false }> {
  const outcome = parseDocument(text, format)
  if (outcome.ok) throw new Error(`accepted: ${canonicalJson(outcome.document.value).slice(0, 200)}`)
  return outcome
}

/** The least time of up to thirty readings, until one is quick enough: neither a cold compiler nor a busy machine decides. */
function timed(text: string | Uint8Array, format: DocumentFormat): { outcome: DocumentOutcome; ms: number } {
  let ms = Number.POSITIVE_INFINITY
  let outcome = parseDocument('{}', 'json')
  for (let run = 0; run < 30 && ms >= HOSTILE_MS; run++) {
    const start = cpuMs()
    outcome = parseDocument(text, format)
    ms = Math.min(ms, cpuMs() - start)
  }
  return { outcome, ms }
}

/** As much of the pattern as one mebibyte holds. */
function fill(pattern: string, around: [string, string] = ['', '']): string {
  return around[0] + pattern.repeat(Math.floor(1_040_000 / pattern.length)) + around[1]
}

function numbered(count: number, line: (n: number) => string, join = '\n'): string {
  return Array.from({ length: count }, (_, n) => line(n)).join(join)
}

function utf8(...parts: (string | number[])[]): Uint8Array {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Uint8Array.from(part))))
}

interface Refused {
  name: string
  format: DocumentFormat
  text: string | Uint8Array
  status: 400 | 413 | 422
  pointer?: string
  /** `[line, column]`, or null where no place in a text belongs to it. */
  at?: [number, number] | null
}

function each(
  name: string,
  status: Refused['status'],
  cases: Partial<Record<DocumentFormat, Omit<Refused, 'name' | 'format' | 'status'>>>,
): Refused[] {
  return Object.entries(cases).map(([format, rest]) => ({ name, status, format: format as DocumentFormat, ...rest }))
}

const same = (name: string, status: Refused['status'], rest: Omit<Refused, 'name' | 'format' | 'status'>): Refused[] =>
  each(name, status, { json: rest, yaml: rest, toml: rest })

const long = 'x'.repeat(65_537)
const deepJson = '{"a":'.repeat(33) + '1' + '}'.repeat(33)

const REFUSED: Refused[] = [
  ...same('empty', 400, { text: '', pointer: '', at: [1, 1] }),
  ...same('blank', 400, { text: ' \n\t\n', pointer: '', at: [1, 1] }),
  ...same('only a byte order mark', 400, { text: utf8([0xef, 0xbb, 0xbf]), at: [1, 1] }),
  ...each('only comments', 400, { yaml: { text: '# a\n# b\n' }, toml: { text: '# a\n# b\n' } }),
  ...same('Latin-1', 400, { text: utf8('a: "gr', [0xfc], 'n"'), at: [1, 7] }),
  ...same('Latin-1 behind a genuine U+FFFD', 400, { text: utf8('\ufffd\n\ufffdé', [0xe9], 'x'), at: [2, 3] }),
  ...same('UTF-16', 400, { text: Uint8Array.from(Buffer.from('\ufeff{"a":1}', 'utf16le')), at: [1, 1] }),
  ...same('a surrogate in UTF-8', 400, { text: utf8('{"a":"', [0xed, 0xa0, 0x80], '"}'), at: [1, 7] }),
  ...same('overlong UTF-8', 400, { text: utf8([0xc0, 0xaf]), at: [1, 1] }),
  ...same('a raw NUL', 400, { text: 'a\n b\0', at: [2, 3] }),
  ...same('half a surrogate pair in a string argument', 400, { text: 'a\nb \ud83d', at: [2, 3] }),
  ...each('an escaped NUL', 400, {
    json: { text: '{"a": "\\u0000"}', pointer: '/a', at: [1, 7] },
    yaml: { text: 'a: "\\0"', pointer: '/a', at: [1, 4] },
    toml: { text: 'a = "\\u0000"', pointer: '/a', at: [1, 5] },
  }),
  ...each('an escaped half of a surrogate pair', 400, {
    json: { text: '{"a": "\\ud83d"}', pointer: '/a', at: [1, 7] },
    yaml: { text: 'a: "\\ud83d"', at: [1, 4] },
    toml: { text: 'a = "\\ud83d"', at: [1, 6] },
  }),
  ...each('malformed', 400, {
    json: { text: '{\n  "a": 1,\n}', pointer: '', at: [3, 1] },
    yaml: { text: 'a: 1\nb: [1, 2\nc: 3\n', at: [3, 1] },
    toml: { text: 'a = 1\nb = [1 2]\n', pointer: '', at: [2, 8] },
  }),
  ...each('two values', 400, { json: { text: '{} {}', at: [1, 4] }, toml: { text: 'a = 1 b = 2', at: [1, 7] } }),
  ...each('NaN in JSON', 400, { json: { text: '{"a": NaN}', pointer: '/a', at: [1, 7] } }),
  ...each('a comment in JSON', 400, { json: { text: '{} // x', at: [1, 4] } }),
  ...each('a raw line break in a string', 400, {
    json: { text: '{"a": "x\ny"}', pointer: '/a', at: [1, 9] },
    toml: { text: 'a = "x\ny"', at: [1, 7] },
  }),
  ...same('one byte too large', 413, { text: `"${'x'.repeat(1_048_575)}"`, pointer: '', at: null }),
  ...each('too deep', 400, {
    json: { text: deepJson, pointer: '/a'.repeat(32), at: [1, 161] },
    yaml: { text: deepJson },
    toml: { text: `b = ${'['.repeat(32)}${']'.repeat(32)}`, pointer: `/b${'/0'.repeat(31)}`, at: [1, 36] },
  }),
  ...each('too deep by indentation', 400, { yaml: { text: numbered(34, (n) => `${' '.repeat(n)}a:`) } }),
  ...each('too deep by dotted keys', 400, { toml: { text: `${'a.'.repeat(32)}a = 1` } }),
  ...each('too deep by headers', 400, { toml: { text: `[${'a.'.repeat(32)}a]` } }),
  ...each('too many nodes', 400, {
    json: { text: `[${numbered(10_000, () => '1', ',')}]`, at: [1, 20_000] },
    yaml: { text: numbered(10_000, () => '- 1') },
    toml: { text: `a = [${numbered(9_999, () => '1', ',')}]` },
  }),
  ...each('a string too long', 400, {
    json: { text: `{"a": "${long}"}`, pointer: '/a', at: [1, 7] },
    yaml: { text: `a: ${long}`, pointer: '/a', at: [1, 4] },
    toml: { text: `a = "${long}"`, pointer: '/a', at: [1, 5] },
  }),
  ...each('a string too long only as UTF-8', 400, {
    json: { text: `{"a": "${'ü'.repeat(32_769)}"}`, pointer: '/a' },
    yaml: { text: `a: ${'ü'.repeat(32_769)}`, pointer: '/a' },
    toml: { text: `a = '${'ü'.repeat(32_769)}'`, pointer: '/a' },
  }),
  ...each('a key too long', 400, {
    json: { text: `{"${long}": 1}` },
    yaml: { text: `? ${long}\n: 1` },
    toml: { text: `${long} = 1` },
  }),
  ...each('a key of half a mebibyte', 400, {
    json: { text: `{"a": {"${'x'.repeat(500_000)}": 1}}`, pointer: '/a', at: [1, 8] },
    yaml: { text: `a:\n  ? ${'x'.repeat(500_000)}\n  : 1`, pointer: '/a', at: [2, 5] },
    toml: { text: `[a]\n${'x'.repeat(500_000)} = 1`, pointer: '/a', at: [2, 1] },
  }),
  ...each('a duplicate key', 400, {
    json: { text: '{"a": {"b": 1,\n  "c": 2, "\\u0062": 3}}', pointer: '/a/b', at: [2, 11] },
    yaml: { text: 'a:\n  b: 1\n  c: 2\n  "\\u0062": 3', pointer: '/a/b', at: [4, 3] },
    toml: { text: '[a]\nb = 1\nc = 2\n"\\u0062" = 3', pointer: '/a/b', at: [4, 1] },
  }),
  ...each('a duplicate key far down', 400, {
    json: { text: `{${numbered(20, (n) => `"k${n}":1`, ',')},"k3":2}`, pointer: '/k3' },
    yaml: { text: `${numbered(20, (n) => `k${n}: 1`)}\nk3: 2`, pointer: '/k3', at: [21, 1] },
    toml: { text: `${numbered(20, (n) => `k${n} = 1`)}\nk3 = 2`, pointer: '/k3', at: [21, 1] },
  }),
  ...each('a duplicate table', 400, { toml: { text: '[a]\nb = 1\n[a]\nc = 1', pointer: '/a', at: [3, 2] } }),
  ...each('a duplicate key in an inline table', 400, {
    toml: { text: 'x = {a = 1, a = 2}', pointer: '/x/a', at: [1, 13] },
  }),
  ...each('an integer beyond the safe range', 422, {
    json: { text: '{"a": 9007199254740993}', pointer: '/a', at: [1, 7] },
    yaml: { text: 'a: 9007199254740993', pointer: '/a', at: [1, 4] },
    toml: { text: 'a = 9007199254740993', pointer: '/a', at: [1, 5] },
  }),
  ...each('a number beyond every float', 422, {
    json: { text: '{"a": [1, -1e400]}', pointer: '/a/1', at: [1, 11] },
    yaml: { text: 'a: [1, -1e400]', pointer: '/a/1', at: [1, 8] },
    toml: { text: 'a = [1, -1e400]', pointer: '/a/1', at: [1, 9] },
  }),
  ...each('a number that would become 0', 422, {
    json: { text: '{"a": 1e-400}', pointer: '/a', at: [1, 7] },
    yaml: { text: 'a: 1e-400', pointer: '/a', at: [1, 4] },
    toml: { text: 'a = 1e-400', pointer: '/a', at: [1, 5] },
  }),
  ...each('NaN', 422, { yaml: { text: 'a: .nan', pointer: '/a' }, toml: { text: 'a = nan', pointer: '/a' } }),
  ...each('infinity', 422, { yaml: { text: 'a: -.inf', pointer: '/a' }, toml: { text: 'a = -inf', pointer: '/a' } }),
  ...['__proto__', 'constructor', 'prototype'].flatMap((key) =>
    each(`the key ${key}`, 422, {
      json: { text: `{"a": [{"${key}": {"polluted": 1}}]}`, pointer: `/a/0/${key}`, at: [1, 9] },
      yaml: { text: `a:\n  - ${key}:\n      polluted: 1`, pointer: `/a/0/${key}`, at: [2, 5] },
      toml: { text: `[[a]]\n[a.${key}]\npolluted = 1`, pointer: `/a/0/${key}`, at: [2, 4] },
    }),
  ),
  ...each('a forbidden key behind an escape', 422, {
    json: { text: '{"\\u005f_proto__": 1}', pointer: '/__proto__', at: [1, 2] },
    yaml: { text: '"\\u005f_proto__": 1', pointer: '/__proto__', at: [1, 1] },
    toml: { text: '"\\u005f_proto__" = 1', pointer: '/__proto__', at: [1, 1] },
  }),
  ...each('a syntax error behind a forbidden key', 400, {
    json: { text: '{"__proto__": 1' },
    yaml: { text: '__proto__: 1\nb: [' },
    toml: { text: '__proto__ = 1\nb = [' },
  }),
  ...each('a duplicate forbidden key', 400, {
    json: { text: '{"__proto__": 1, "__proto__": 2}', pointer: '/__proto__' },
    yaml: { text: '__proto__: 1\n__proto__: 2', pointer: '/__proto__' },
    toml: { text: '__proto__ = 1\n__proto__ = 2', pointer: '/__proto__' },
  }),
  ...[
    ['a custom tag', 'a: !js/function x', [1, 4]],
    ['a binary tag', 'a: !!binary aGk=', [1, 4]],
    ['a core tag', 'a: !!str 1', [1, 4]],
    ['a tag on a key', '!x a: 1', [1, 1]],
    ['a merge key', 'x: &x {a: 1}\ny:\n  <<: *x', [3, 3]],
    ['several documents', 'a: 1\n---\nb: 2', [2, 1]],
    ['an empty second document', 'a: 1\n---\n', [2, 1]],
    ['a document after an end mark', 'a: 1\n...\nb: 2', [3, 1]],
    ['a directive for tags', '%TAG ! tag:x,2000:\n---\na: 1', [1, 1]],
    ['YAML 1.1', '%YAML 1.1\n---\na: yes', [1, 1]],
    ['a self-alias', 'a: &a [1, *a]', [1, 11]],
    ['a self-alias further down', 'a: &a\n  b:\n    c: *a', [3, 8]],
    ['an unknown alias', 'a: *b', [1, 4]],
    ['an alias before its anchor', 'a: *b\nb: &b 1', [1, 4]],
    ['an alias as a key', 'a: &a x\n*a : 1', [2, 1]],
    ['a list as a key', '? [1, 2]\n: 3', undefined],
    ['a missing key', ': 1', undefined],
    ['a list that does not end', 'a: [1,\nb: 2', undefined],
    ['a tag behind a control character', '- \u001f\n- !!str x', [2, 3]],
    ['tabs as indentation', 'a:\n\tb: 1', undefined],
  ].map(([name, text, at]) => ({
    name: name as string,
    format: 'yaml' as const,
    text: text as string,
    status: 400 as const,
    ...(at === undefined ? {} : { at: at as [number, number] }),
  })),
]

describe('bad input', () => {
  test.each(REFUSED)('$format: $name is refused with $status', ({ text, format, status, pointer, at }) => {
    const outcome = refusalOf(text, format)
    expect(outcome.status).toBe(status)
    const problem = outcome.problems[0]
    expect(problem?.detail).toMatch(/\w/)
    expect(JSON.stringify(problem).length).toBeLessThan(2000)
    if (pointer !== undefined) expect(problem?.pointer).toBe(pointer)
    if (at === null) expect(problem).not.toHaveProperty('line')
    else if (at) expect([problem?.line, problem?.column]).toEqual(at)
    else expect(problem?.line).toBeGreaterThan(0)
  })

  test('every refused key and number is named at once, at most twenty', () => {
    const three = refusalOf('{"prototype": 1, "a": 1e999, "b": {"constructor": 2}}', 'json')
    expect(three.problems.map((problem) => problem.pointer)).toEqual(['/prototype', '/a', '/b/constructor'])
    expect(refusalOf(`[${numbered(100, () => '1e999', ',')}]`, 'json').problems).toHaveLength(20)
  })

  test('nothing is polluted, and results hold own data members only', () => {
    for (const { text, format } of REFUSED) parseDocument(text, format)
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
    for (const [format, text] of [
      ['json', '{"a": {"b": [{}]}}'],
      ['yaml', 'a: {b: [{}]}'],
      ['toml', 'a = {b = [{}]}'],
    ] as const) {
      const value = valueOf(text, format) as { a: { b: object[] } }
      for (const object of [value, value.a, value.a.b[0]]) expect(Object.getPrototypeOf(object)).toBe(Object.prototype)
    }
  })
})

describe('hostile input is answered within 50 ms by a warm process', () => {
  const bomb = [
    'a0: &a0 [x,x,x,x,x,x,x,x,x,x]',
    ...Array.from({ length: 11 }, (_, n) => `a${n + 1}: &a${n + 1} [${Array(10).fill(`*a${n}`).join(',')}]`),
  ].join('\n')
  const hostile: [string, DocumentFormat, string | Uint8Array, status?: 200 | 400 | 422][] = [
    ['an alias bomb', 'yaml', bomb],
    ['a bomb of text', 'yaml', `s: &s ${'x'.repeat(65_000)}\nl: [${numbered(5000, () => '*s', ',')}]`],
    ['open brackets', 'yaml', fill('[')],
    ['open braces', 'yaml', fill('{a: ')],
    ['compact lists', 'yaml', fill('- ')],
    ['a staircase', 'yaml', numbered(1400, (n) => `${' '.repeat(n)}a:`)],
    ['list items', 'yaml', fill('- x\n')],
    ['a list in one line', 'yaml', fill('1,', ['[', ']'])],
    ['commas', 'yaml', fill(',', ['[', ']'])],
    ['members', 'yaml', numbered(28_000, (n) => `key${n}: value`)],
    ['members in one line', 'yaml', `{${numbered(80_000, (n) => `k${n}: 1`, ',')}}`],
    ['explicit keys', 'yaml', fill('? ')],
    ['colons', 'yaml', fill(': ')],
    ['anchors', 'yaml', fill('&a ')],
    ['aliases', 'yaml', fill('*a,', ['[', ']'])],
    ['tags', 'yaml', fill('!a ')],
    ['comments', 'yaml', fill('#\n')],
    ['documents', 'yaml', fill('---\n')],
    ['closing brackets', 'yaml', fill(']')],
    ['stray brackets', 'yaml', fill('- ]\n').slice(0, 40_000)],
    ['bad escapes', 'yaml', fill('\\q', ['a: "', '"'])],
    ['bad hexadecimal escapes', 'yaml', fill('\\uzzzz', ['a: "', '"'])],
    ['an endless quoted string', 'yaml', fill('x\n', ["a: '", ''])],
    ['a block of line ends', 'yaml', `a: |+\n${'\n'.repeat(29_000)}`, 200],
    ['a folded block', 'yaml', fill('  x\n   y\n\n', ['a: >\n', ''])],
    ['nested arrays', 'json', fill('[')],
    ['nested objects', 'json', fill('{"a":')],
    ['many items', 'json', fill('1,', ['[', '1]'])],
    ['an endless string', 'json', fill('x', ['"', ''])],
    ['an endless number', 'json', fill('9'), 422],
    ['duplicate keys', 'json', fill('"a":1,', ['{', '"a":1}'])],
    ['line ends', 'json', fill('\n', ['{', ''])],
    ['dotted keys', 'toml', fill('a.', ['', 'a = 1'])],
    ['nested arrays', 'toml', fill('[', ['a = ', ''])],
    ['nested tables', 'toml', fill('{a=', ['a = ', ''])],
    ['headers', 'toml', numbered(28_000, (n) => `[t${n}]`)],
    ['an endless number', 'toml', fill('9', ['a = ', ''])],
    ['an endless string', 'toml', fill('x', ['a = "', ''])],
    ['line ends', 'toml', fill('\n', ['a = 1', 'x'])],
    ['noise', 'yaml', Buffer.alloc(1_000_000, 0xff)],
  ]
  test.each(hostile)('%s (%s)', (_, format, text, status = 400) => {
    const { outcome, ms } = timed(text, format)
    expect(outcome.ok ? 200 : outcome.status).toBe(status)
    expect(ms).toBeLessThan(HOSTILE_MS)
  })
})

describe('the same document in three formats', () => {
  test('gives the same value and the same places', () => {
    const texts = {
      json: '{"workflow": "a/b",\n "input": {"n": 24, "f": 1.5, "big": 9007199254740991, "s": "x\\ty ü 😀", "on": true, "no": "no", "one": 1.0, "zero": -0.0},\n "bundle": [{"w": 1},\n {"w": 2}], "when": "2026-05-16", "list": [[], [1, "012"]]}',
      yaml: 'workflow: a/b\ninput:\n  n: 24\n  f: 1.5\n  big: 9007199254740991\n  s: "x\\ty ü 😀"\n  on: true\n  no: no\n  one: 1.0\n  zero: -0.0\nbundle:\n  - w: 1\n  - w: 2\nwhen: 2026-05-16\nlist: [[], [1, "012"]]\n',
      toml: 'workflow = "a/b"\nwhen = 2026-05-16\nlist = [[], [1, "012"]]\n[input]\nn = 24\nf = 1.5\nbig = 9007199254740991\ns = "x\\ty ü 😀"\non = true\nno = "no"\none = 1.0\nzero = -0.0\n[[bundle]]\nw = 1\n[[bundle]]\nw = 2\n',
    }
    const expected = {
      workflow: 'a/b',
      input: { n: 24, f: 1.5, big: 9007199254740991, s: 'x\ty ü 😀', on: true, no: 'no', one: 1, zero: 0 },
      bundle: [{ w: 1 }, { w: 2 }],
      when: '2026-05-16',
      list: [[], [1, '012']],
    }
    for (const format of FORMATS) expect(valueOf(texts[format], format)).toStrictEqual(expected)

    const places = { '/input/f': { json: [2, 21], yaml: [4, 3], toml: [6, 1] } } as const
    for (const [pointer, at] of Object.entries(places)) {
      for (const format of FORMATS) {
        const outcome = parseDocument(texts[format], format)
        const found = outcome.ok ? outcome.document.locate(pointer) : undefined
        expect([found?.line, found?.column], `${format} ${pointer}`).toEqual(at[format])
      }
    }
  })

  test('dates in TOML are the characters they were written with', () => {
    const text =
      'a = 1979-05-27T07:32:00Z\nb = [1979-05-27 07:32:00, 07:32:00] # x\nc = {d = 1979-05-27T00:32:00.5-07:00}'
    expect(valueOf(text, 'toml')).toStrictEqual({
      a: '1979-05-27T07:32:00Z',
      b: ['1979-05-27 07:32:00', '07:32:00'],
      c: { d: '1979-05-27T00:32:00.5-07:00' },
    })
  })

  const key = fc
    .string({ minLength: 1, maxLength: 12, unit: 'grapheme' })
    .filter((name) => !['__proto__', 'constructor', 'prototype'].includes(name) && !name.includes('\0'))
    .filter((name) => hiddenInKey(name) === undefined)
  const text = fc.oneof(
    fc.string({ maxLength: 30, unit: 'grapheme' }),
    fc.constantFrom(
      '',
      'no',
      '012',
      '1e3',
      '~',
      '2026-05-16',
      '<<',
      '- a',
      '# a',
      'a: b',
      ' a ',
      'x\ny\n',
      '\t',
      '"',
      "'",
    ),
  )
  const { tree } = fc.letrec<{ tree: JsonValue; node: JsonValue }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      text.filter((value) => !value.includes('\0')),
      fc.boolean(),
      fc.maxSafeInteger(),
      fc.double({ noNaN: true, min: -1e15, max: 1e15 }).map((value) => (Object.is(value, -0) ? 0 : value)),
      fc.array(tie('node'), { maxLength: 4 }),
      fc.dictionary(key, tie('node'), { maxKeys: 4, noNullPrototype: true }),
    ),
    tree: fc.dictionary(key, tie('node'), { minKeys: 1, maxKeys: 5, noNullPrototype: true }) as fc.Arbitrary<JsonValue>,
  }))

  test('any tree comes back from each', () => {
    fc.assert(
      fc.property(tree, (value) => {
        expect(valueOf(JSON.stringify(value), 'json')).toStrictEqual(value)
        expect(valueOf(JSON.stringify(value, null, 2), 'json')).toStrictEqual(value)
        expect(valueOf(toYaml(value), 'yaml')).toStrictEqual(value)
        expect(valueOf(JSON.stringify(value), 'yaml')).toStrictEqual(value)
        expect(valueOf(toToml(value), 'toml')).toStrictEqual(value)
      }),
      { numRuns: 300 },
    )
  })

  test('every member of any tree is located, in each', () => {
    const pointers = (value: JsonValue, at = ''): string[] =>
      typeof value !== 'object' || value === null
        ? [at]
        : [
            at,
            ...Object.entries(value).flatMap(([name, member]) =>
              pointers(member, `${at}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`),
            ),
          ]
    // Distinct keys make a wrong place visible: the text at each place must begin with the last key of the pointer.
    const plain = fc.dictionary(
      fc.stringMatching(/^[a-z]{3,8}$/),
      fc.oneof(fc.integer(), fc.array(fc.dictionary(fc.stringMatching(/^[a-z]{3,8}$/), fc.boolean(), { minKeys: 1 }))),
      { minKeys: 1, noNullPrototype: true },
    ) as fc.Arbitrary<JsonValue>
    const texts = { json: (value: JsonValue) => JSON.stringify(value, null, 1), yaml: toYaml, toml: toToml }
    fc.assert(
      fc.property(plain, (value) => {
        for (const format of FORMATS) {
          const source = texts[format](value)
          const outcome = parseDocument(source, format)
          if (!outcome.ok) throw new Error('refused')
          for (const pointer of pointers(value)) {
            const name = pointer.slice(pointer.lastIndexOf('/') + 1)
            if (!/^[a-z]/.test(name)) continue
            const place = outcome.document.locate(pointer)
            const line = source.split('\n')[(place?.line ?? 0) - 1] ?? ''
            expect(line.slice((place?.column ?? 0) - 1), `${format} ${pointer}`).toMatch(new RegExp(`^"?${name}\\b`))
          }
        }
      }),
      { numRuns: 60 },
    )
  })
})

describe('never throws', () => {
  test('on any bytes, in any format', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...FORMATS), (bytes, format) => {
        const outcome = parseDocument(bytes, format)
        if (outcome.ok) outcome.document.locate('/a/0')
      }),
      { numRuns: 2000 },
    )
  })

  test('on any text made of the signs of the formats', () => {
    const sign = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      '[[',
      ']]',
      ':',
      ': ',
      ',',
      '-',
      '- ',
      '? ',
      '=',
      '.',
      '"',
      "'",
      '"""',
      '\\',
      '\n',
      '\n  ',
      '\t',

      '#',
      '&a ',
      '*a',
      '!x',
      '|',
      '>',
      '%',
      '---\n',
      '...',
      '<<',
      'a',
      'b',
      '1',
      '-0',
      '1e9',
      'null',
      'true',
      '2020-01-01',
      '\u0002',
      '\u001f',
      '\u0018',
      '\ufeff',
    )
    fc.assert(
      fc.property(fc.array(sign, { maxLength: 30 }), fc.constantFrom(...FORMATS), (signs, format) => {
        const outcome = parseDocument(signs.join(''), format)
        if (outcome.ok) expect(outcome.document.locate('')).toBeDefined()
        else expect(outcome.problems[0]?.detail).not.toMatch(/^this cannot be read as/)
      }),
      { numRuns: 5000 },
    )
  })

  test('and JSON is exactly what the engine takes for JSON, where both judge alike', () => {
    const sign = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ':',
      ',',
      '"a"',
      '"b\\n"',
      '"\\x"',
      '"',
      '1',
      '-',
      '0',
      '01',
      '.5',
      '1.',
      'e3',
      'E+2',
      'null',
      'tru',
      'true',
      'false',
      ' ',
      '\n',
      '\u00a0',
    )
    fc.assert(
      fc.property(fc.array(sign, { maxLength: 12 }), (signs) => {
        const text = signs.join('')
        let expected: { value: unknown } | undefined
        try {
          expected = { value: JSON.parse(text) }
        } catch {}
        const outcome = parseDocument(text, 'json')
        if (!expected) expect(outcome).toMatchObject({ ok: false, status: 400 })
        else if (outcome.ok) expect(canonicalJson(outcome.document.value)).toBe(canonicalJson(expected.value))
        else expect(outcome.problems[0]?.detail).toMatch(/stands twice|would lose digits|no finite/)
      }),
      { numRuns: 5000 },
    )
  })
})

describe('limits', () => {
  test('what stands exactly at a limit is accepted', () => {
    const nested = '['.repeat(32) + ']'.repeat(32)
    expect(parseDocument(nested, 'json').ok).toBe(true)
    expect(parseDocument(nested, 'yaml').ok).toBe(true)
    expect(parseDocument(`a = ${nested.slice(1, -1)}`, 'toml').ok).toBe(true)
    expect(parseDocument(`${'a.'.repeat(31)}a = 1`, 'toml').ok).toBe(true)
    expect(
      parseDocument(
        numbered(32, (n) => `${' '.repeat(n)}a:`),
        'yaml',
      ).ok,
    ).toBe(true)
    expect(parseDocument(`[${numbered(9_999, () => '1', ',')}]`, 'json').ok).toBe(true)
    expect(parseDocument(`[${numbered(9_999, () => '1', ',')}]`, 'yaml').ok).toBe(true)
    expect(
      parseDocument(
        numbered(9_999, (n) => `  key${n}: value ${n} # why`),
        'yaml',
      ).ok,
    ).toBe(true)
    expect(
      parseDocument(
        numbered(9_999, (n) => `? key${n}\n: value ${n}`),
        'yaml',
      ).ok,
    ).toBe(true)
    expect(
      parseDocument(
        numbered(9_999, (n) => `key${n} = ${n}`),
        'toml',
      ).ok,
    ).toBe(true)
    expect(parseDocument(`a: ${long.slice(1)}`, 'yaml').ok).toBe(true)
  })

  test('the caller may set them', () => {
    expect(parseDocument('{"a":[1]}', 'json', { depth: 1 })).toMatchObject({ ok: false, status: 400 })
    expect(parseDocument('{"a":[1]}', 'json', { nodes: 2 })).toMatchObject({ ok: false, status: 400 })
    expect(parseDocument('{"a":[1]}', 'json', { bodyBytes: 8 })).toMatchObject({ ok: false, status: 413 })
    expect(parseDocument('{"a":"xyz"}', 'json', { stringBytes: 2 })).toMatchObject({ ok: false, status: 400 })
    expect(parseDocument(`"${long}"`, 'json', { stringBytes: 70_000 })).toMatchObject({ ok: true })
  })

  test('a body the size of a usual run-spec takes microseconds', () => {
    const body = Buffer.from(
      JSON.stringify({ workflow: 'a/b', input: { topic: 'x'.repeat(300), n: [1, 2, 3] }, priority: 50 }),
    )
    let best = Number.POSITIVE_INFINITY
    for (let round = 0; round < 10; round++) {
      const start = cpuMs()
      for (let run = 0; run < 1000; run++) parseDocument(body, 'json')
      best = Math.min(best, cpuMs() - start)
    }
    expect(best, 'µs each').toBeLessThan(20)
  })
})

describe('YAML that is welcome', () => {
  test('anchors are copied, and mean what they meant where they were written', () => {
    const value = valueOf('a: &x {k: &n 1}\nb: &y [*x, *n]\nc: &n 2\nd: *y\ne: *n\n', 'yaml') as Record<string, unknown>
    expect(value).toStrictEqual({ a: { k: 1 }, b: [{ k: 1 }, 1], c: 2, d: [{ k: 1 }, 1], e: 2 })
    expect(value['d']).not.toBe(value['b'])
  })

  test.each([
    ['---\na: 1\n...\n', { a: 1 }],
    ['%YAML 1.2\n---\na: yes', { a: 'yes' }],
    ['\ufeffa: 0o17\r\nb: 0x1F\r\n', { a: 15, b: 31 }],
    ['1: a\ntrue: b\n1.0: c\n012: d\n', { '1': 'a', true: 'b', '1.0': 'c', '012': 'd' }],
    ['"<<": x\n"": y', { '<<': 'x', '': 'y' }],
    ['a: <<\nb:\n? c', { a: '<<', b: null, c: null }],
    ['a: |\n  x\n  --- y\n  !tag &a *b\n', { a: 'x\n--- y\n!tag &a *b\n' }],
    ['a: "\\ud83d\\ude00"', { a: '😀' }],
  ])('%j', (text, expected) => {
    expect(valueOf(text, 'yaml')).toStrictEqual(expected)
  })
})

describe('locate', () => {
  test('falls back to the nearest ancestor that exists', () => {
    const outcome = parseDocument('a:\n  b/c: 1\n', 'yaml')
    if (!outcome.ok) throw new Error('refused')
    const locate = (pointer: string) => outcome.document.locate(pointer)
    expect(locate('')).toEqual({ line: 1, column: 1 })
    expect(locate('/a/b~1c')).toEqual({ line: 2, column: 3 })
    expect(locate('/a/b~1c/0/x')).toEqual({ line: 2, column: 3 })
    expect(locate('/a/z')).toEqual({ line: 1, column: 1 })
    expect(locate('/z')).toEqual({ line: 1, column: 1 })
    expect(locate('a')).toBeUndefined()
  })

  test('follows an alias to where its members are written', () => {
    const outcome = parseDocument('a: &x\n  k: 1\nb: *x\n', 'yaml')
    if (!outcome.ok) throw new Error('refused')
    expect(outcome.document.locate('/b')).toEqual({ line: 3, column: 1 })
    expect(outcome.document.locate('/b/k')).toEqual({ line: 2, column: 3 })
  })

  test('knows tables, arrays of tables, dotted and quoted keys of TOML', () => {
    const outcome = parseDocument(
      'a.b = 1\n[c]\n"d e" = [1,\n  2]\n[[f]]\ng = {h = """\nx"""}\n[[f]]\n[f.i]\nj = 1\n',
      'toml',
    )
    if (!outcome.ok) throw new Error('refused')
    const at = (pointer: string) => Object.values(outcome.document.locate(pointer) ?? {})
    expect(at('/a')).toEqual([1, 1])
    expect(at('/a/b')).toEqual([1, 3])
    expect(at('/c/d e')).toEqual([3, 1])
    expect(at('/c/d e/1')).toEqual([4, 3])
    expect(at('/f/0')).toEqual([5, 1])
    expect(at('/f/0/g/h')).toEqual([6, 6])
    expect(at('/f/1')).toEqual([8, 1])
    expect(at('/f/1/i/j')).toEqual([10, 1])
  })
})

test.each([
  ['application/json', 'json'],
  ['Application/JSON; charset=UTF-8', 'json'],
  ['application/json;charset="utf-8"', 'json'],
  ['application/json; charset=latin1', undefined],
  ['application/json; x=1; charset=utf-16', undefined],
  ['application/merge-patch+json', 'json'],
  ['application/yaml', 'yaml'],
  ['text/yaml; charset=utf8', 'yaml'],
  ['application/x-yaml', 'yaml'],
  ['application/toml', 'toml'],
  ['application/x-ndjson', undefined],
  ['text/plain', undefined],
  ['constructor', undefined],
  ['application/json, text/yaml', undefined],
  ['', undefined],
  [undefined, undefined],
] as const)('the media type %j is %j', (type, format) => {
  expect(formatOfMediaType(type)).toBe(format)
})

test.each([
  ['spec.json', 'json'],
  ['a/b.YAML', 'yaml'],
  ['./x.y.yml', 'yaml'],
  ['C:\\x\\a.Toml', 'toml'],
  ['json', undefined],
  ['a.json/b', undefined],
  ['.json', undefined],
  ['a.constructor', undefined],
  ['a.txt', undefined],
] as const)('the path %j is %j', (path, format) => {
  expect(formatOfPath(path)).toBe(format)
})

describe('nearestKey', () => {
  const valid = ['workflow', 'input', 'metadata', 'priority', 'state', 'fail_fast', 'bundle', 'parent'] as const
  test.each([
    ['workfow', 'workflow'],
    ['worfklow', 'workflow'],
    ['Workflow', 'workflow'],
    ['failFast', 'fail_fast'],
    ['fail-fast', 'fail_fast'],
    ['inputs', 'input'],
    ['prioritiy', 'priority'],
    ['meta_date', 'metadata'],
    ['stat', 'state'],
    ['statr', 'state'],
    ['x', undefined],
    ['', undefined],
    ['temperature', undefined],
    ['workflow'.repeat(1000), undefined],
  ])('%j means %j', (wrong, right) => {
    expect(nearestKey(wrong, valid)).toBe(right)
  })

  test('the closest wins, then the first', () => {
    expect(nearestKey('colour', ['colours', 'color', 'colour_'])).toBe('colour_')
    expect(nearestKey('ab1', ['ab2', 'ab3'])).toBe('ab2')
  })
})
