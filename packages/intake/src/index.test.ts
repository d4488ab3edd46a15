import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { createIntakeSchemas, type IntakeSchemas } from './index.ts'

const opened: IntakeSchemas[] = []
function setup(options?: { timeoutMs?: number; cacheEntries?: number }): IntakeSchemas {
  // Generous, so that a busy machine cannot fail a test that is not about the limit.
  const schemas = createIntakeSchemas({ timeoutMs: 10_000, ...options })
  opened.push(schemas)
  return schemas
}
afterEach(async () => {
  await Promise.all(opened.splice(0).map((schemas) => schemas.close()))
})

const CLIP_ART = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  title: 'Clip art',
  required: ['prompt'],
  properties: {
    prompt: { type: 'string', minLength: 1, maxLength: 2_000, examples: ['a fox'], 'x-order': 1 },
    style: { enum: ['flat', 'doodle', 'cartoon'], default: 'flat' },
    count: { type: 'integer', minimum: 1, maximum: 10 },
    slug: { type: 'string', pattern: '^[a-z0-9-]{1,40}$' },
    photo: { type: 'string', format: 'file' },
    options: { type: 'object', default: { tags: ['x'] }, properties: { dpi: { $ref: '#/$defs/dpi' } } },
  },
  $defs: { dpi: { type: 'integer', default: 300 } },
}

async function detailsOf(schema: unknown, value: unknown): Promise<string[]> {
  const { problems } = await setup().validate(JSON.stringify(schema), schema, value)
  return problems.map((problem) => problem.detail)
}

describe('check', () => {
  test('finds nothing wrong with an ordinary schema', async () => {
    expect(await setup().check(CLIP_ART)).toEqual([])
  })

  test('reports every problem at once, with its place and a remedy', async () => {
    const schema = {
      $schema: 'http://json-schema.org/draft-07/schema#',
      type: 'objekt',
      properties: {
        ahead: { pattern: '^(?=a)' },
        back: { pattern: '(a)\\1' },
        remote: { $ref: 'https://example.org/s.json' },
        missing: { $ref: '#/$defs/none' },
        loop: { $ref: '#/$defs/tree' },
        misspelt: { minLenght: 3, format: 'emial', nullable: true },
        wrong: { minimum: '3' },
      },
      $defs: { tree: { items: { $ref: '#/$defs/tree' } } },
    }
    const problems = await setup().check(schema)
    const found = Object.fromEntries(problems.map(({ pointer, detail }) => [pointer, detail]))
    expect(found).toEqual({
      '/$schema': expect.stringContaining('2020-12'),
      '/type': expect.stringContaining('did you mean object?'),
      '/properties/ahead/pattern': expect.stringContaining('Split it into several patterns'),
      '/properties/back/pattern': expect.stringContaining('back-reference'),
      '/properties/remote/$ref': expect.stringContaining('never fetched'),
      '/properties/missing/$ref': expect.stringContaining('there is no schema'),
      '/$defs/tree/items/$ref': expect.stringContaining('leads back to itself'),
      '/properties/misspelt/minLenght': expect.stringContaining('did you mean minLength?'),
      '/properties/misspelt/format': expect.stringContaining('did you mean email?'),
      '/properties/misspelt/nullable': expect.stringContaining('"null"'),
      '/properties/wrong/minimum': expect.stringContaining('must be a number'),
    })
    expect(problems).toHaveLength(11)
  })

  test.each([
    ['null', null],
    ['text', 'x'],
    ['a list', []],
    ['a number', 5],
    ['true', true],
  ])('says what a schema is when it gets %s', async (_, schema) => {
    expect(await setup().check(schema)).toEqual([{ pointer: '', detail: expect.stringContaining('must be an object') }])
  })

  test.each([
    ['3,000 levels', nested(3_000), 'nested deeper'],
    ['100,000 levels', nested(100_000), 'nested deeper'],
    ['a cycle', cyclic(), 'nested deeper'],
    ['too many values', { enum: Array.from({ length: 6_000 }, (_, index) => index) }, 'more than 5000 values'],
    ['too many bytes', { description: 'x'.repeat(300_000) }, 'larger than 256 KiB'],
    ['a wide list', { enum: Array.from({ length: 1e6 }, () => 1) }, 'more than 5000 values'],
    ['exponential references', bomb(40), 'references written out'],
    [
      'huge patterns',
      { allOf: Array.from({ length: 99 }, (_, n) => ({ pattern: `.{1,999}${n}` })) },
      'too large together',
    ],
    ['a function', { default: () => 1 }, 'not a JSON value'],
    ['not a number', { const: Number.NaN }, 'not a JSON value'],
    ['a self-reference of the root', { items: { $ref: '#' } }, 'leads back'],
    [
      'mutual references',
      { $ref: '#/$defs/a', $defs: { a: { not: { $ref: '#/$defs/b' } }, b: { not: { $ref: '#/$defs/a' } } } },
      'leads back',
    ],
    ['a reference by anchor to itself', { $anchor: 'top', items: { $ref: '#top' } }, 'leads back'],
    ['dynamic references', { $dynamicRef: '#x' }, 'not supported'],
  ])('refuses %s within a second', async (_, schema, reason) => {
    const schemas = setup()
    await schemas.check({})
    const started = performance.now()
    const problems = await schemas.check(schema)
    expect(problems[0]?.detail).toContain(reason)
    expect(performance.now() - started).toBeLessThan(1_000)
  })

  test('refuses prototype keys and pollutes nothing', async () => {
    for (const key of ['__proto__', 'constructor', 'prototype']) {
      const schema: unknown = JSON.parse(`{"properties":{"a":{"default":{"${key}":{"polluted":1}}}}}`)
      expect(await setup().check(schema)).toEqual([
        { pointer: `/properties/a/default/${key}`, detail: expect.stringContaining('not allowed') },
      ])
    }
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  test('cuts off a schema that compiles too slowly, and goes on with a new thread', async () => {
    const schemas = setup({ timeoutMs: 100 })
    // The largest that is let in: hundreds of milliseconds of code generation.
    const slow = {
      patternProperties: Object.fromEntries(Array.from({ length: 1_200 }, (_, n) => [`^k${n}`, { type: 'string' }])),
    }
    expect(await schemas.check(slow)).toEqual([{ pointer: '', detail: expect.stringContaining('longer than 100 ms') }])
    expect(await schemas.check({ type: 'strin' })).toEqual([{ pointer: '/type', detail: expect.any(String) }])
  })
})

describe('validate', () => {
  test('fills defaults into a copy, also behind a reference, and leaves the value as it was', async () => {
    const schemas = setup()
    const value = Object.freeze({ prompt: 'a fox', options: Object.freeze({}) })
    expect(await schemas.validate('c', CLIP_ART, value)).toEqual({
      problems: [],
      value: { prompt: 'a fox', style: 'flat', options: { dpi: 300 } },
      undeclared: [],
    })
    const first = await schemas.validate('c', CLIP_ART, { prompt: 'a' })
    const given = first.value as { options: { tags: string[] } }
    given.options.tags.push('changed')
    const second = await schemas.validate('c', CLIP_ART, { prompt: 'a' })
    expect(second.value).toMatchObject({ options: { tags: ['x'] } })
  })

  test('gives no default out of a branch that does not hold', async () => {
    const branch = { type: 'object', required: ['kind'], properties: { kind: { const: 'b' }, extra: { default: 1 } } }
    const schema = { anyOf: [branch, { $ref: '#/$defs/b' }, true], $defs: { b: branch } }
    expect((await setup().validate('b', schema, { kind: 'a' })).value).toEqual({ kind: 'a' })
  })

  test('allows undeclared keys and lists them', async () => {
    const schema = {
      properties: { a: true },
      patternProperties: { '^x_': true },
      allOf: [{ $ref: '#/$defs/more' }],
      $defs: { more: { properties: { b: true } } },
    }
    const { problems, undeclared, value } = await setup().validate('u', schema, {
      a: 1,
      b: 2,
      x_c: 3,
      toString: 4,
      model: 5,
    })
    expect({ problems, undeclared }).toEqual({ problems: [], undeclared: ['toString', 'model'] })
    expect(value).toMatchObject({ model: 5 })
  })

  test.each<[unknown, unknown, string[]]>([
    [
      CLIP_ART,
      { style: 'flatt' },
      ['/prompt is required', '/style must be one of flat, doodle, cartoon; got "flatt" — did you mean flat?'],
    ],
    [CLIP_ART, { prompt: 'a', count: 0 }, ['/count must be at least 1; got 0']],
    [CLIP_ART, { prompt: 'a', count: '3' }, ['/count must be an integer; got "3"']],
    [CLIP_ART, { prompt: '' }, ['/prompt must not be empty']],
    [CLIP_ART, [], ['the value must be an object; got a list of 0']],
    [
      { additionalProperties: false, properties: { prompt: true } },
      { promt: 1 },
      ['/promt is not a field here; did you mean prompt?'],
    ],
    [
      { items: { type: 'integer' }, uniqueItems: true },
      [1, 1],
      ['the value must not hold an item twice; items 0 and 1 (from 0) are equal'],
    ],
    [{ items: { maxLength: 2 } }, ['a', '😀😀', 'abc'], ['/2 must have at most 2 characters; it has 3']],
    [{ anyOf: [{ type: 'string' }, { type: 'null' }] }, 5, ['the value must be a string or null; got 5']],
    [
      { properties: { o: { oneOf: [{ type: 'string' }, { type: 'object', required: ['url'] }] } } },
      { o: {} },
      ['/o fits none of its 2 allowed forms; for the nearest of them, /o/url is required'],
    ],
    [
      { oneOf: [{ minimum: 1 }, { maximum: 5 }] },
      3,
      ['the value fits more than one of its allowed forms (1 and 2); make it fit one only'],
    ],
    [{ required: ['toString', 'valueOf'] }, {}, ['/toString is required', '/valueOf is required']],
    [
      { properties: { d: { format: 'date' } } },
      { d: '2026-02-30' },
      ['/d must be a valid date such as 2026-05-16; got "2026-02-30"'],
    ],
    [JSON.parse('{"if":{"required":["a"]},"then":{"required":["b"]}}'), { a: 1 }, ['/b is required']],
  ])('%# tells in a sentence what is wrong and where', async (schema, value, details) => {
    expect(await detailsOf(schema, value)).toEqual(details)
  })

  test('takes bytes for a file, and no path or address that somebody would have to read', async () => {
    const schema = { properties: { photo: { type: 'string', format: 'file' } } }
    for (const photo of ['data:image/png;base64,YWJj', 'data:image/svg+xml;charset=utf-8,%3Csvg/%3E'])
      expect(await detailsOf(schema, { photo })).toEqual([])
    const named = ['/etc/passwd', './cat.png', 'http://169.254.169.254/', 'file:///etc/passwd', 'DATA:', 'x data:a/b,c']
    for (const photo of [...named, `data:${'a/'.repeat(50_000)},`, ''])
      expect((await detailsOf(schema, { photo }))[0]).toMatch(/^\/photo must be a valid file, its bytes as a data: URI/)
  })

  test('keeps two patterns of one schema apart', async () => {
    const schema = { properties: { a: { pattern: '^a$' }, b: { pattern: '^b$' } } }
    expect(await detailsOf(schema, { a: 'a', b: 'b' })).toEqual([])
    expect(await detailsOf(schema, { a: 'b', b: 'a' })).toHaveLength(2)
  })

  test('shows at most 80 characters of a value, and nothing of a secret', async () => {
    const schema = {
      properties: {
        a: { type: 'integer' },
        b: { format: 'password', pattern: '^x' },
        c: { writeOnly: true, enum: ['hunter1'] },
      },
    }
    const details = await detailsOf(schema, { a: 'k'.repeat(500), b: 'hunter2', c: 'hunter3' })
    expect(details).toHaveLength(3)
    expect(details.join()).not.toContain('k'.repeat(81))
    expect(details.join()).not.toMatch(/hunter[23]/)
  })

  test('keeps the value out of every sentence where that is asked for, here and in the thread', async () => {
    const text = { type: 'string', pattern: '^[a-z]+$', maxLength: 3 }
    const parts = {
      a: text,
      b: { enum: ['left'] },
      c: { anyOf: [{ type: 'integer' }, { minLength: 99 }] },
      d: { not: text },
    }
    const many = Object.fromEntries(Array.from({ length: 2_000 }, (_, index) => [`p${index}`, {}]))
    const value = { a: 'HUNTER', b: 'HUNTER', c: 'HUNTER', d: 'abc', e: 'HUNTER' }
    for (const more of [{}, many]) {
      const schema = { properties: { ...parts, ...more }, additionalProperties: false }
      const { problems } = await setup().validate('s', schema, value, { showsValues: false })
      expect(problems.map(({ pointer }) => pointer)).toEqual(['/a', '/a', '/b', '/c', '/d', '/e'])
      expect(JSON.stringify(problems)).not.toMatch(/HUNTER|abc/)
    }
  })

  test('gives a hundred problems at the most, by place', async () => {
    const { problems } = await setup().validate(
      'h',
      { items: { type: 'string' } },
      Array.from({ length: 9_000 }, () => 1),
    )
    expect(problems).toHaveLength(100)
    expect(problems.slice(0, 3).map((problem) => problem.pointer)).toEqual(['/0', '/1', '/2'])
    expect(problems.at(-1)?.detail).toBe('and 8901 more problems')
  })

  test('refuses prototype keys and kinds of values that JSON has not', async () => {
    const value: unknown = JSON.parse('{"a":[{"__proto__":{"polluted":1}}],"constructor":{"prototype":{"polluted":1}}}')
    const { problems } = await setup().validate('p', {}, value)
    expect(problems.map((problem) => problem.pointer)).toEqual(['/a/0/__proto__', '/constructor'])
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
    expect(await detailsOf({}, { a: 5n })).toEqual(['/a is not a JSON value'])
    expect(await detailsOf({}, nested(100_000))).toEqual(['the value is nested deeper than 64 levels; flatten it'])
  })

  test('tells about a schema that is not usable instead of throwing', async () => {
    const details = await detailsOf({ properties: { a: { pattern: '(?=a)' } } }, {})
    expect(details).toEqual([expect.stringContaining('is not usable: /properties/a/pattern')])
    expect(await setup().validate('u', { type: 'objekt' }, {})).toMatchObject({ failure: 'unusable-schema' })
    expect((await setup().validate('v', { type: 'string' }, {})).failure).toBeUndefined()
  })

  test('compiles once for concurrent and later calls of one hash', async () => {
    const schemas = setup()
    // Only the first call's schema is looked at: that the others are broken goes unnoticed.
    const broken = { type: 'strin' }
    const calls = Array.from({ length: 1_000 }, (_, index) =>
      schemas.validate('once', index === 0 ? CLIP_ART : broken, { prompt: 'a' }),
    )
    for (const { problems } of await Promise.all(calls)) expect(problems).toEqual([])
    expect((await schemas.validate('once', broken, { prompt: 'a' })).problems).toEqual([])
  })

  test('drops the least recently used schema, and compiles it again when it comes back', async () => {
    const schemas = setup({ cacheEntries: 2 })
    for (const hash of ['1', '2', '3', '1']) {
      const { problems } = await schemas.validate(hash, { const: hash }, 'x')
      expect(problems[0]?.detail).toContain(`must be "${hash}"`)
    }
  })

  test('runs warm at more than 50,000 validations a second', async () => {
    const schemas = setup()
    const value = { prompt: 'a fox in the snow', style: 'flat', count: 3, slug: 'fox-in-snow' }
    for (let count = 0; count < 5_000; count += 1) await schemas.validate('w', CLIP_ART, value)
    const started = performance.now()
    for (let count = 0; count < 50_000; count += 1) await schemas.validate('w', CLIP_ART, value)
    expect(performance.now() - started).toBeLessThan(1_000)
  })

  test('with ^(a+)+$ answers a hostile text at once', async () => {
    const schemas = setup()
    const schema = { properties: { a: { pattern: '^(a+)+$' } } }
    await schemas.validate('r', schema, {})
    const started = performance.now()
    const { problems } = await schemas.validate('r', schema, { a: `${'a'.repeat(60_000)}!` })
    expect(problems).toHaveLength(1)
    expect(performance.now() - started).toBeLessThan(500)
  })

  test('of a costly pair of schema and value leaves the event loop free, gives defaults, and is cut off in time', async () => {
    const schemas = setup({ timeoutMs: 400 })
    const patterns = Array.from({ length: 40 }, (_, n) => ({ pattern: `^[ab]*a[ab]{100}${n}$` }))
    const schema = { properties: { text: { allOf: patterns }, dpi: { default: 300 } } }
    const text = Array.from({ length: 200 }, (_, index) => (index % 3 === 0 ? 'a' : 'b')).join('')
    expect((await schemas.validate('costly', schema, { text })).value).toEqual({ text, dpi: 300 })
    const lag = watchLag()
    let state = 1
    const hostile = Array.from({ length: 60_000 }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return state > 2 ** 31 ? 'a' : 'b'
    }).join('')
    const many = { items: { allOf: patterns } }
    await schemas.validate('many', many, ['x'])
    const { problems } = await schemas.validate(
      'many',
      many,
      Array.from({ length: 16 }, () => hostile),
    )
    expect(problems).toEqual([{ pointer: '', detail: expect.stringContaining('longer than 400 ms') }])
    expect(lag.stop()).toBeLessThan(200)
    expect((await schemas.validate('costly', schema, { text: 5 })).problems).toEqual([])
  })

  test('of a schema too large to compile on the event loop gives the same answer from the thread', async () => {
    const properties = Object.fromEntries(
      Array.from({ length: 900 }, (_, index) => [`p${index}`, { type: 'string', default: 'd' }]),
    )
    const { problems, value } = await setup().validate('large', { properties }, { p0: 5 })
    expect(problems).toEqual([{ pointer: '/p0', detail: '/p0 must be a string; got 5' }])
    expect(value).toMatchObject({ p0: 5, p899: 'd' })
  })

  test('that would fill the memory with errors costs the thread, not the process', async () => {
    const schemas = setup({ timeoutMs: 60_000 })
    const items = { allOf: Array.from({ length: 300 }, (_, index) => ({ required: [`r${index}`] })) }
    const { problems } = await schemas.validate(
      'm',
      { items },
      Array.from({ length: 9_000 }, () => ({})),
    )
    expect(problems).toEqual([{ pointer: '', detail: expect.stringContaining('too much memory') }])
    expect(await schemas.check({})).toEqual([])
  }, 60_000)
})

describe('the thread', () => {
  test('ends with close, which is idempotent, and later work rejects', async () => {
    const schemas = setup()
    const open = schemas.check({})
    await open
    const waiting = expect(schemas.check(CLIP_ART)).rejects.toThrow('closed')
    await Promise.all([schemas.close(), schemas.close(), waiting])
    await expect(schemas.check({})).rejects.toThrow('closed')
  })

  test('that never started closes as well', async () => {
    await setup().close()
  })

  test('never keeps a process alive, and holds it while an answer is due', async () => {
    const index = new URL('./index.ts', import.meta.url).href
    const program = `import { createIntakeSchemas } from '${index}'
      console.log(JSON.stringify(await createIntakeSchemas().check({ type: 'object' })))`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      cwd: fileURLToPath(new URL('.', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
    const [code] = (await once(child, 'close')) as [number]
    expect({ code, output }).toEqual({ code: 0, output: '[]\n' })
  })
})

function nested(levels: number): unknown {
  let schema: unknown = {}
  for (let level = 0; level < levels; level += 1) schema = { not: schema }
  return schema
}

function cyclic(): unknown {
  const schema: Record<string, unknown> = {}
  schema.not = schema
  return schema
}

/** Each definition refers twice to the next. */
function bomb(levels: number): unknown {
  const twice = (level: number): unknown => ({ allOf: [{ $ref: `#/$defs/d${level}` }, { $ref: `#/$defs/d${level}` }] })
  const definitions = Array.from({ length: levels }, (_, level) => [`d${level}`, twice(level + 1)])
  return { $ref: '#/$defs/d0', $defs: { ...Object.fromEntries(definitions), [`d${levels}`]: true } }
}

/** The longest time, in milliseconds, for which the event loop did not come round. */
function watchLag(): { stop(): number } {
  let last = performance.now()
  let worst = 0
  const timer = setInterval(() => {
    worst = Math.max(worst, performance.now() - last)
    last = performance.now()
  }, 5)
  return {
    stop() {
      clearInterval(timer)
      return worst
    },
  }
}
