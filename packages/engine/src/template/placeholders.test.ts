import { describe, expect, it } from 'vitest'
import {
  parsePath,
  parseTemplate,
  placeholdersIn,
  renderText,
  renderValue,
  resolveLookup,
  runScope,
  type Scope,
  valueAt,
} from './placeholders.ts'

const scope = (over: Partial<Scope> = {}): Scope => ({
  intake: { prompt: 'a fox', style: 'doodle', tags: ['x', 'y'], size: 3, nested: { a: { b: [true] } }, empty: '' },
  steps: { render: { output: { artifact: { id: '1' } } } },
  run: { id: 'R' },
  regenerate: {},
  lookups: {
    style: { from: 'intake.style', map: { doodle: 'hand-drawn {intake.prompt}' }, default: 'flat' },
    hostile: { from: 'intake.key', map: { a: 'A' }, default: 'fallback' },
  },
  ...over,
})
const text = (template: string, over?: Partial<Scope>) => renderText(template, scope(over))

describe('placeholders', () => {
  it('are replaced by intake values, lookups, outputs and the run', () => {
    expect(
      text('{intake.prompt}. {lookup.style}! {steps.render.output.artifact.id} {run.id} {intake.nested.a.b[0]}'),
    ).toEqual({
      text: 'a fox. hand-drawn {intake.prompt}! 1 R true',
      missing: [],
    })
  })

  it('inside a value or a fragment are never expanded again', () => {
    expect(text('{intake.prompt}', { intake: { prompt: '{run.id} {{x}}' } }).text).toBe('{run.id} {{x}}')
  })

  it('that have no value are named, and with ? are empty', () => {
    expect(text('{intake.nope} {intake.empty} {intake.nope?}{regenerate.direction?}|').missing).toEqual([
      '{intake.nope}',
      '{intake.empty}',
    ])
    expect(text('[{intake.nope?}]').text).toBe('[]')
  })

  it('cannot reach a prototype or outside their roots', () => {
    for (const path of [
      'intake.constructor',
      'intake.__proto__.x',
      'intake.tags.length',
      'env.SECRET',
      'process.pid',
    ]) {
      expect(text(`{${path}}`), path).toEqual({ text: '', missing: [`{${path}}`] })
    }
  })

  it('leave every other brace as it is, and {{ }} escape', () => {
    expect(text('{"a": 1} {word} {two words} {{intake.prompt}} {').text).toBe(
      '{"a": 1} {word} {two words} {intake.prompt} {',
    )
    expect(parseTemplate('{item}{index}')).toHaveLength(2)
  })

  it('use a lookup default for keys that only a prototype has', () => {
    expect(text('{lookup.hostile}', { intake: { key: 'toString' } }).text).toBe('fallback')
  })

  it('that are a whole value keep its type, and an empty optional one drops its member', () => {
    const value = {
      n: '{intake.size}',
      list: '{intake.tags}',
      t: 'n={intake.size}',
      gone: '{intake.nope?}',
      deep: ['{intake.nope?}', 1],
    }
    expect(renderValue(value, scope())).toEqual({ value: { n: 3, list: ['x', 'y'], t: 'n=3', deep: [1] }, missing: [] })
    expect(renderValue('{intake.nope}', scope()).missing).toEqual(['{intake.nope}'])
  })
})

describe('a placeholder', () => {
  it.each<[string, string]>([
    ['{item} {index}', 'x 3'],
    ['{item.a}', ''],
    ['{index.a}', ''],
    ['{run.id}', 'R'],
    ['{regenerate.direction}', 'bolder'],
    ['{lookup.style.more}', ''],
    ['{lookup.none}', ''],
    ['{lookup.toString}', ''],
    ['{intake.zero} {intake.no}', '0 false'],
    ['{intake.tags}', '["x","y"]'],
    ['{intake.nested}', '{"a":{"b":[true]}}'],
    ['{intake.tags[1]}{intake.tags.0}', 'yx'],
    ['{intake.tags[7]}', ''],
    ['{intake.tags[1234567]}', '{intake.tags[1234567]}'],
    ['{steps.a-b.output}', 'dashed'],
    ['{intake.empty?}!', '!'],
  ])('%s is "%s"', (template, rendered) => {
    const values = { zero: 0, no: false, tags: ['x', 'y'], nested: { a: { b: [true] } }, empty: '', style: 'doodle' }
    const over = {
      intake: values,
      item: 'x',
      index: 3,
      regenerate: { direction: 'bolder' },
      steps: { 'a-b': { output: 'dashed' } },
    }
    expect(text(template, over).text).toBe(rendered)
  })

  it('of an item is missing outside a list', () => {
    expect(text('{item}{index}').missing).toEqual(['{item}', '{index}'])
  })

  it('is found with the place of the string that holds it', () => {
    expect(
      placeholdersIn({ a: 'x {intake.p?}', list: [1, { deep: '{run.id}{item}' }], none: null }).map(
        ({ at, placeholder: { root, path, optional } }) => [at.join('/'), root, path.join('.'), optional],
      ),
    ).toEqual([
      ['a', 'intake', 'p', true],
      ['list/1/deep', 'run', 'id', false],
      ['list/1/deep', 'item', '', false],
    ])
  })

  it('stands between the texts around it, which are kept to the letter', () => {
    expect(parseTemplate('a {{b}} {item} c')).toEqual([
      'a {b} ',
      { root: 'item', path: [], optional: false, text: '{item}' },
      ' c',
    ])
    expect(parseTemplate('{item}')).toHaveLength(1)
    expect(parseTemplate('')).toEqual([])
  })
})

describe('a path', () => {
  it('is a root with keys and indices, and nothing around it', () => {
    expect(parsePath('steps.a.output[0].b')).toMatchObject({ root: 'steps', path: ['a', 'output', 0, 'b'] })
    for (const other of ['a b', 'steps', '', 'intake.a} {intake.b', 'x {intake.a'])
      expect(parsePath(other)).toBeUndefined()
  })

  it('leads through own properties and elements only', () => {
    expect(valueAt({ a: [{ b: 1 }] }, ['a', 0, 'b'])).toBe(1)
    expect(valueAt({ a: [{ b: 1 }] }, [])).toEqual({ a: [{ b: 1 }] })
    for (const path of [['a', 'b'], ['a', 'length'], ['toString'], ['a', 0, 'b', 'c'], ['a', -1]])
      expect(valueAt({ a: [{ b: 1 }] }, path), path.join('.')).toBeUndefined()
  })
})

describe('a lookup', () => {
  const lookup = { from: 'intake.style', map: { flat: 'F', 2: 'two', true: 'yes' }, default: 'D' }

  it.each([
    ['flat', 'F', false],
    [2, 'two', false],
    [true, 'yes', false],
    ['other', 'D', true],
    ['toString', 'D', true],
    [null, 'D', true],
    [['flat'], 'D', true],
    [undefined, 'D', true],
  ])('of %j is "%s", by default: %s', (style, fragment, fellBack) => {
    expect(resolveLookup(lookup, style === undefined ? {} : { style })).toEqual({ fragment, fellBack })
  })

  it('from what is no path is the default', () => {
    expect(resolveLookup({ ...lookup, from: 'not a path' }, { style: 'flat' })).toEqual({
      fragment: 'D',
      fellBack: true,
    })
  })
})

describe('the scope of a run', () => {
  it('has the injected keys beside the intake, and counts variants from 0', () => {
    const run = (variantIndex: number | null) => ({
      id: 'R',
      workflow: 'w',
      organizationId: 'o',
      instance: {
        intake: { prompt: 'a fox', output_dir: 'mine' },
        regenerate: { direction: 'b' },
        variantIndex,
        variants: 3,
      },
    })
    const steps = { a: { output: 1 } }
    const lookups = { style: { from: 'intake.x', map: {}, default: '' } }
    expect(runScope(run(2), steps, lookups)).toEqual({
      intake: {
        prompt: 'a fox',
        _fabric_run_id: 'R',
        _fabric_organization_id: 'o',
        _fabric_variants: 3,
        _fabric_variant_index: 2,
        output_dir: 'runs/R',
      },
      steps,
      run: { id: 'R', workflow: 'w', variant_index: 2, seed: 2 },
      regenerate: { direction: 'b' },
      retry: { attempt: 1 },
      lookups,
    })
    expect(runScope(run(null), {}, {})).toMatchObject({
      intake: { _fabric_variant_index: 0 },
      run: { variant_index: 0, seed: 0 },
    })
  })
})

describe('a value', () => {
  it('keeps what is no text, renders members and elements, and names what is missing in all of them', () => {
    const value = { n: 1, no: false, none: null, list: ['{intake.size}', 2, '{intake.x}'], deep: { t: '{intake.y}!' } }
    expect(renderValue(value, scope())).toEqual({
      value: { n: 1, no: false, none: null, list: [3, 2], deep: { t: '!' } },
      missing: ['{intake.x}', '{intake.y}'],
    })
  })

  it('that is one placeholder may be empty text, and is absent for null', () => {
    const intake = { empty: '', none: null }
    expect(renderValue('{intake.empty}', scope({ intake }))).toEqual({ value: '', missing: [] })
    expect(renderValue('{intake.none}', scope({ intake }))).toEqual({ value: undefined, missing: ['{intake.none}'] })
    expect(renderValue('{intake.none?}', scope({ intake }))).toEqual({ value: undefined, missing: [] })
  })
})
