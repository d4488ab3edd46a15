import { describe, expect, it } from 'vitest'
import { parseTemplate, renderText, renderValue, type Scope } from './placeholders.ts'

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
