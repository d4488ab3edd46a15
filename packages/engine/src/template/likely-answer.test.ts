import { objectOf, type JsonObject, type JsonValue } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { type Bound, likelyAnswer, speakingMs } from './likely-answer.ts'

const BOUNDS: Bound[] = ['low', 'expected', 'high']
const wordsOf = (text: string) => text.split(/\s+/).filter((word) => word !== '').length
const object = (properties: JsonObject): JsonObject => ({ type: 'object', properties })

/** The likely value of a schema's property. */
function valueOf(properties: JsonObject, prompt = '', at: Bound = 'expected'): JsonObject {
  const { json } = likelyAnswer({ prompt, outputSchema: object(properties) }, at)
  return objectOf(json)
}

describe('a likely text', () => {
  it.each<[string, number]>([
    ['Write a note of 200 words.', 200],
    ['140 to 220 words', 180],
    ['140-220 words, please', 180],
    ['1,200 words', 1200],
    ['A script for 30 seconds at two and a half words a second.', 75],
    ['a 20-second script', 50],
    ['about 2 minutes long', 300],
    ['at 150 words a minute, for 30 seconds', 75],
    ['at 2.5 words per second, for 30 seconds', 75],
    ['100 words about the 30 seconds after a fall', 100],
  ])('to "%s" has %d words', (prompt, words) => {
    expect(Math.abs(wordsOf(likelyAnswer({ prompt }, 'expected').text) - words)).toBeLessThanOrEqual(1)
  })

  it('stays below the limit that its request sets, and reaches it at its highest', () => {
    const lengths = BOUNDS.map((at) => likelyAnswer({ prompt: '', params: { max_output_tokens: 100 } }, at).text.length)
    expect(lengths).toEqual([160, 320, 400])
  })

  it('takes two and a half words a second to say, or as many characters where nothing parts words', () => {
    expect(speakingMs('one two three four five')).toBe(2000)
    expect(speakingMs('')).toBe(0)
    expect(BOUNDS.map((at) => speakingMs('one two three four five', at))).toEqual([1600, 2000, 2400])
    expect(speakingMs('灯'.repeat(70))).toBe(2000)
  })
})

describe('a likely value', () => {
  it('fits its schema at every bound: lengths, numbers of items, choices', () => {
    const part = {
      text: { type: 'string', minLength: 40, maxLength: 50 },
      choice: { enum: ['b', 'a'] },
      number: { type: 'integer', minimum: 7 },
      flag: { type: 'boolean' },
      maybe: { type: ['null', 'string'], maxLength: 10 },
      items: { type: 'array', minItems: 2, maxItems: 4, items: object({ x: { type: 'string' } }) },
    }
    for (const at of BOUNDS) {
      const { text, items, ...others } = valueOf(part, '', at) as { text: string; items: JsonValue[] }
      expect([text.length >= 40, text.length <= 50, items.length >= 2, items.length <= 4]).not.toContain(false)
      expect(others).toMatchObject({ choice: 'b', number: 7, flag: true, maybe: expect.any(String) })
    }
  })

  it('has as many of a thing as the prompt asks for, within what the schema allows', () => {
    const hooks = { hooks: { type: 'array', minItems: 1, maxItems: 20, items: { type: 'string' } } }
    const count = (prompt: string) => (valueOf(hooks, prompt).hooks as JsonValue[]).length
    expect(count('Write exactly 7 hooks.')).toBe(7)
    expect(count('Write 7 short, honest hooks about 3 lines long.')).toBe(7)
    expect(count('Give one hook for each of 4 hooks')).toBe(4)
    expect(count('Write exactly 9 opening lines.')).toBe(9)
    expect(count('Write 99 hooks.')).toBe(20)
    expect(count('Write some.')).toBe(11)
  })

  it('has the words that are asked for where prose belongs, and usual lengths elsewhere', () => {
    const schema = {
      title: { type: 'string', maxLength: 90 },
      script: { type: 'string', maxLength: 1500 },
      notes: { type: 'string', maxLength: 3000 },
    }
    const { title, script, notes } = valueOf(schema, 'Write a script of 60 seconds.') as Record<string, string>
    expect([wordsOf(script ?? ''), (title ?? '').length < 90, (notes ?? '').length]).toEqual([150, true, 1110])
    const unnamed = { a: { type: 'string', maxLength: 90 }, b: { type: 'string', maxLength: 2000 } }
    expect(wordsOf(valueOf(unnamed, 'In 100 words.').b as string)).toBe(100)
  })

  it('is bounded however its lists multiply and its parts repeat themselves', () => {
    const list = (items: JsonObject): JsonObject => ({ type: 'array', minItems: 200, items })
    const deep = object({ x: list(list(list(list({ type: 'string', minLength: 500 })))) })
    expect(likelyAnswer({ outputSchema: deep }, 'high').text.length).toBeLessThan(300_000)
    const self = { ...object({ a: { $ref: '#' }, b: { $ref: '#' }, c: list({ $ref: '#' }) }) }
    expect(likelyAnswer({ outputSchema: self }, 'high').text.length).toBeLessThan(300_000)
    const endless = { outputSchema: object({ x: { type: 'string', minLength: 1e12 } }) }
    expect(likelyAnswer(endless, 'expected').text.length).toBeLessThan(110_000)
    expect(likelyAnswer({ prompt: '1 '.repeat(100_000) }, 'expected').text.length).toBe(1600)
  })
})
