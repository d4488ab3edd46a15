import { describe, expect, it } from 'vitest'
import { ExpressionError, parseExpression } from './expression.ts'

const SCOPE = {
  intake: {
    style: 'flat',
    count: 3,
    ratio: 0.5,
    big: 2 ** 53,
    tags: ['a', 'b'],
    nested: { deep: { on: true } },
    none: null,
  },
  steps: {
    plan: { output: { json: { sections: [{ title: 'one' }, { title: 'two' }], ok: true } } },
    skipped: { output: {} },
  },
  run: { id: 'r', workflow: 'test/example', variant_index: 0 },
}

describe('an expression', () => {
  it.each([
    ['intake.style == "flat"', true],
    ['intake.count > 2 && intake.count % 2 == 1', true],
    ['intake.count > 2.5', true],
    ['intake.ratio < 1', true],
    ['intake.big > 1', true],
    ['size(intake.tags) == 2 && "b" in intake.tags', true],
    ['intake.nested.deep.on', true],
    ['intake.none == null', true],
    ['has(intake.missing) && intake.missing.deep', false],
    ['has(steps.plan.output.json) && steps.plan.output.json.ok', true],
    ['steps.plan.output.json.sections.exists(s, s.title == "two")', true],
    ['steps.plan.output.json.sections.all(s, size(s.title) > 5)', false],
    ['has(steps.skipped.output.text)', false],
    ['run.variant_index == 0 && run.workflow == "test/example"', true],
    ['intake["style"] == "flat"', true],
    ['steps["plan"].output.json.sections[1].title == "two"', true],
  ])('%s is %s', (text, expected) => {
    expect(parseExpression(text).holds(SCOPE)).toBe(expected)
  })

  it.each([
    'intake.n * 2 > 3',
    '2 * intake.n + 1 >= 5',
    '1 - intake.n < 0 && intake.n - 1 > 0',
    'intake.n / 2 == intake.n * 0.5',
    '6 / intake.n == 6.0 / intake.n',
    'intake.n % 2 == (intake.n - 2) * 1',
    'intake.n * 1.0 == intake.n && 1 * intake.n == intake.n',
    'intake.n * intake.n / intake.n == intake.n',
    '-intake.n < 0',
    'intake.n in [2, 2.5] && intake.n in [2.0, 2.5] && !(intake.n in [7, 8]) && !(intake.n in [7.5])',
    '!(intake.n in intake.list.filter(x, x > 100)) && intake.n * 2 in intake.list.map(x, x * 2)',
    'intake.n in intake.list && 2 in intake.list && 2.5 in intake.list && !(3 in intake.list) && !(1 in intake.empty)',
    'size(intake.list) in [1, 2, 3] && size(intake.list) == 3.0 && !(size(intake.list) in intake.list)',
    'intake.list.exists(x, x == intake.n) && intake.list.map(x, x * 2).exists(y, y == intake.n * 2)',
    'size(intake.list) * intake.n == intake.n * 3 && size(intake.list) / intake.n > 1',
    'intake.list[intake.n * 0] == 2 && intake.list[intake.n / intake.n] == 2.5',
    'intake.?missing.orValue(1) * 2.5 == 2.5 && intake.?n.orValue(1) * 1.5 > 2.9',
    '(intake.n > 1 ? intake.n : 1) == intake.n',
    'intake.list == [2, 2.5, 4]',
    'run.variant_index + 0.5 == 0.5',
    '"abc".substring(intake.n * 0, int(intake.n)) == "ab" && "abc".substring(intake.n - intake.n) == "abc"',
  ])('%s holds for 2 and for 2.5: a number of JSON has one type', (text) => {
    const expression = parseExpression(text)
    for (const n of [2, 2.5])
      expect(expression.holds({ ...SCOPE, intake: { n, list: [2, 2.5, 4], empty: [] } }), String(n)).toBe(true)
  })

  it('divides numbers of JSON like numbers, and counts like counts', () => {
    const scope = { ...SCOPE, intake: { n: 3, tags: ['a', 'b', 'c'] } }
    for (const text of ['intake.n / 2 == 1.5', 'size(intake.tags) / 2 == 1', 'int(intake.n) / 2 == 1'])
      expect(parseExpression(text).holds(scope), text).toBe(true)
  })

  it.each(['1 / intake.zero > 0', 'intake.count / intake.zero > 0', 'intake.ratio / 0.0 > 0', 'intake.ratio % 0 == 0'])(
    '%s fails: what is divided by zero is not endless',
    (text) => {
      const scope = { ...SCOPE, intake: { ...SCOPE.intake, zero: 0 } }
      expect(() => parseExpression(text).holds(scope)).toThrow('division by zero')
    },
  )

  it.each([
    ['intake.missing == 1', 'a value that is not there'],
    ['steps.skipped.output.text == "x"', 'a part of an empty output'],
    ['intake.style', 'a text where a boolean is due'],
    ['intake.style > 3', 'types that do not compare'],
    ['intake.count / 0 == 1', 'a division by zero'],
    ['steps.plan.output.json.sections[7].title == "x"', 'an index out of bounds'],
  ])('%s fails when it meets %s', (text) => {
    const expression = parseExpression(text)
    expect(() => expression.holds(SCOPE)).toThrow(ExpressionError)
  })

  it.each([
    ['intake.style ==', 'is not whole'],
    ['1 + 1', 'gives a number'],
    ['"yes"', 'gives a text'],
    ['env.HOME == "x"', 'reads a root that does not exist'],
    ['process.exit()', 'calls what is not there'],
    ['intake.style.matches("(a+)+$")', 'matches a pattern, which could run for ever'],
    ['size(steps) > 0', 'reads all steps at once'],
    ['steps[intake.style].output.x == 1', 'reads a step by a computed name'],
    ['has(steps.plan)', 'asks for a step as a whole'],
    ['has(steps.plan.output)', 'asks for an output as a whole'],
    ['intake.tags.all(a, intake.tags.all(b, intake.tags.all(c, a == b && b == c)))', 'loops three deep'],
    [`${'('.repeat(400)}true${')'.repeat(400)}`, 'is nested without end'],
    [Array.from({ length: 600 }, () => 'true').join(' && '), 'is too long'],
  ])('%s is refused: it %s', (text) => {
    expect(() => parseExpression(text)).toThrow(ExpressionError)
  })

  it('names what it reads, and whether it asks first', () => {
    const { references } = parseExpression(
      'has(intake.a) && intake.b == 1 && steps.x.output.text == intake["c"] && intake.?d.orValue(1) == steps.y.output[intake.e]',
    )
    expect(references.map(({ root, key, guarded }) => `${root}.${key}${guarded ? '?' : ''}`).sort()).toEqual([
      'intake.a?',
      'intake.b',
      'intake.c',
      'intake.d?',
      'intake.e',
      'steps.x',
      'steps.y',
    ])
  })

  it('sees own properties only', () => {
    for (const text of ['has(intake.constructor)', 'has(intake.__proto__)', 'has(intake.nested.toString)']) {
      expect(parseExpression(text).holds(SCOPE), text).toBe(false)
    }
  })

  it('stays below a second over the longest lists that it may loop through', () => {
    const list = Array.from({ length: 200 }, (_, index) => index)
    const expression = parseExpression('intake.list.all(a, intake.list.all(b, a + b >= 0))')
    const startedMs = performance.now()
    expect(expression.holds({ ...SCOPE, intake: { list } })).toBe(true)
    expect(performance.now() - startedMs).toBeLessThan(1_000)
  })

  it.each([
    ['intake.list.all(a, intake.list.all(b, a + b >= 0))', 'the same list twice'],
    [
      'intake.list.exists(a, intake.list.map(b, b).exists(c, c < 0)) || intake.list.exists(a, a >= 0)',
      'a list made of it',
    ],
    ['intake.list.all(a, !intake.text.contains("nowhere"))', 'a long text for each item'],
  ])('gives up early, whatever an expression finds afterwards: %s goes through %s', (text) => {
    const list = Array.from({ length: 9_900 }, (_, index) => index)
    const expression = parseExpression(text)
    const startedMs = performance.now()
    const holds = () => expression.holds({ ...SCOPE, intake: { list, text: 'x'.repeat(100_000) } })
    expect(holds).toThrow(/too many items/)
    expect(performance.now() - startedMs).toBeLessThan(1_500)
    expect(expression.holds({ ...SCOPE, intake: { list: [1], text: '' } })).toBe(true)
  })

  it('goes through a list of any length once', () => {
    const list = Array.from({ length: 9_900 }, (_, index) => ({ score: index }))
    const text = 'intake.list.filter(a, a.score % 2 == 0 && a.score > 10).all(b, b.score != 7 || b.score < 5)'
    expect(parseExpression(text).holds({ ...SCOPE, intake: { list } })).toBe(true)
  })

  it('leaves the values that it reads as they were', () => {
    const before = structuredClone(SCOPE)
    parseExpression('intake.count + 1 == 4').holds(SCOPE)
    expect(SCOPE).toEqual(before)
  })
})
