import type { JsonObject } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { writeText } from './write-text.ts'

const seeds = Array.from({ length: 40 }, (_, i) => i)
const prompt = 'Write a visual essay about the golden age of lighthouses for curious readers'

/** Writes with many seeds and hands each value to the check. */
function forEverySeed(outputSchema: JsonObject, check: (value: Record<string, unknown>) => void): void {
  for (const seed of seeds) {
    const { text, json } = writeText({ prompt, outputSchema, seed })
    expect(JSON.parse(text)).toEqual(json)
    check(json as Record<string, unknown>)
  }
}
const object = (properties: Record<string, JsonObject>, required = Object.keys(properties)): JsonObject => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
})

describe('writeText without a schema', () => {
  it('writes a title and paragraphs about the words of the prompt, the same every time', () => {
    const { text, json } = writeText({ prompt })
    expect(writeText({ prompt }).text).toBe(text)
    expect(json).toBeUndefined()
    expect(text.split('\n\n').length).toBe(4)
    expect(text).toMatch(/lighthouses/)
    expect(text.length).toBeGreaterThan(400)
  })

  it('differs by prompt, system and seed', () => {
    const texts = [
      writeText({ prompt }),
      writeText({ prompt: 'About foxes' }),
      writeText({ prompt, system: 'Be brief' }),
      writeText({ prompt, seed: 1 }),
    ]
    expect(new Set(texts.map(({ text }) => text)).size).toBe(4)
  })

  it('writes as many paragraphs as asked for, and survives an empty prompt', () => {
    expect(writeText({ prompt: 'Two paragraphs about tea' }).text.split('\n\n').length).toBe(3)
    expect(writeText({ prompt: '' }).text.length).toBeGreaterThan(50)
  })
})

describe('writeText with a schema', () => {
  it('keeps strings within their lengths', () => {
    forEverySeed(
      object({
        title: { type: 'string', minLength: 5, maxLength: 24 },
        body: { type: 'string', minLength: 900 },
        x: { type: 'string', maxLength: 1 },
        y: { type: 'string', minLength: 50, maxLength: 50 },
      }),
      (value) => {
        const length = (key: string): number => String(value[key]).length
        expect(length('title')).toBeGreaterThanOrEqual(5)
        expect(length('title')).toBeLessThanOrEqual(24)
        expect(length('body')).toBeGreaterThanOrEqual(900)
        expect(length('x')).toBeLessThanOrEqual(1)
        expect(length('y')).toBe(50)
      },
    )
  })

  it('keeps numbers within their bounds, and whole where they must be', () => {
    forEverySeed(
      object({
        count: { type: 'integer', minimum: 3, maximum: 5 },
        even: { type: 'integer', minimum: 1, maximum: 9, multipleOf: 2 },
        share: { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 0.5 },
        below: { type: 'integer', maximum: -10 },
        above: { type: 'number', minimum: 1e6 },
        only: { type: 'number', minimum: 0.123, maximum: 0.124 },
      }),
      (value) => {
        expect([3, 4, 5]).toContain(value['count'])
        expect([2, 4, 6, 8]).toContain(value['even'])
        expect(value['share']).toBeGreaterThan(0)
        expect(value['share']).toBeLessThan(0.5)
        expect(value['below']).toBeLessThanOrEqual(-10)
        expect(Number.isInteger(value['below'])).toBe(true)
        expect(value['above']).toBeGreaterThanOrEqual(1e6)
        expect(value['only']).toBeGreaterThanOrEqual(0.123)
        expect(value['only']).toBeLessThanOrEqual(0.124)
      },
    )
  })

  it('respects enum, const, type lists, oneOf, anyOf, allOf and local references', () => {
    const schema: JsonObject = {
      ...object({
        tone: { enum: ['warm', 'dry', 7] },
        kind: { const: { a: [1] } },
        maybe: { type: ['null', 'boolean'] },
        one: { oneOf: [{ type: 'integer', minimum: 4, maximum: 4 }, { type: 'string' }] },
        any: { anyOf: [{ type: 'null' }, { type: 'string' }] },
        all: { allOf: [{ type: 'string' }, { maxLength: 3 }] },
        person: { $ref: '#/$defs/person' },
      }),
      $defs: {
        person: object({ name: { type: 'string' }, friends: { type: 'array', items: { $ref: '#/$defs/person' } } }, [
          'name',
        ]),
      },
    }
    forEverySeed(schema, (value) => {
      expect(['warm', 'dry', 7]).toContain(value['tone'])
      expect(value['kind']).toEqual({ a: [1] })
      expect(typeof value['maybe']).toBe('boolean')
      expect(value['one']).toBe(4)
      expect(typeof value['any']).toBe('string')
      expect(String(value['all']).length).toBeLessThanOrEqual(3)
      expect(typeof (value['person'] as { name: unknown }).name).toBe('string')
    })
  })

  it('fills nested arrays within their counts, unique where asked, and as many as the prompt asks for', () => {
    const scene = object({ caption: { type: 'string' }, seconds: { type: 'integer', minimum: 2, maximum: 6 } })
    forEverySeed(
      object({
        scenes: { type: 'array', items: scene, minItems: 4, maxItems: 6 },
        none: { type: 'array', items: scene, maxItems: 0 },
        set: { type: 'array', items: { enum: ['a', 'b', 'c'] }, uniqueItems: true, minItems: 3 },
      }),
      (value) => {
        const scenes = value['scenes'] as { caption: string; seconds: number }[]
        expect(scenes.length).toBeGreaterThanOrEqual(4)
        expect(scenes.length).toBeLessThanOrEqual(6)
        for (const { caption, seconds } of scenes) {
          expect(caption.length).toBeGreaterThan(0)
          expect(seconds).toBeGreaterThanOrEqual(2)
          expect(seconds).toBeLessThanOrEqual(6)
        }
        expect(value['none']).toEqual([])
        expect([...(value['set'] as string[])].sort()).toEqual(['a', 'b', 'c'])
      },
    )
    const five = writeText({
      prompt: 'Write 5 punchy hooks about tea',
      outputSchema: object({ hooks: { type: 'array', items: { type: 'string' } } }),
    })
    expect((five.json as { hooks: string[] }).hooks.length).toBe(5)
  })

  it('writes formats and simple patterns that match', () => {
    const patterns = [
      '^[a-z0-9][a-z0-9-]*$',
      '^#[0-9a-f]{6}$',
      '^\\d{4}\\.\\d{2}\\.\\d{2}$',
      '^(draft|final)-[A-Z]{2,3}$',
      '^\\S+@\\S+$',
      '^v\\d+(\\.\\d+)?$',
      '[^aeiou]{3}',
    ]
    const properties = Object.fromEntries(patterns.map((pattern, i) => [`p${i}`, { type: 'string', pattern }]))
    forEverySeed(
      object({
        ...properties,
        long: { type: 'string', pattern: '^[a-z]+$', minLength: 12, maxLength: 40 },
        when: { type: 'string', format: 'date' },
        at: { type: 'string', format: 'date-time' },
        link: { type: 'string', format: 'uri' },
        mail: { type: 'string', format: 'email' },
        uuid: { type: 'string', format: 'uuid' },
      }),
      (value) => {
        patterns.forEach((pattern, i) => expect(value[`p${i}`]).toMatch(new RegExp(pattern, 'u')))
        expect(value['long']).toMatch(/^[a-z]{12,40}$/)
        expect(new Date(`${String(value['when'])}T00:00:00Z`).toISOString().slice(0, 10)).toBe(value['when'])
        expect(Number.isNaN(Date.parse(String(value['at'])))).toBe(false)
        expect(URL.canParse(String(value['link']))).toBe(true)
        expect(value['mail']).toMatch(/^[^@\s]+@[a-z0-9.-]+\.[a-z]+$/)
        expect(value['uuid']).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      },
    )
  })

  it('writes what a field is called', () => {
    const { json } = writeText({
      prompt,
      outputSchema: object({
        title: { type: 'string' },
        hook: { type: 'string' },
        script: { type: 'string' },
        imagePrompt: { type: 'string' },
      }),
    })
    const value = json as Record<string, string>
    expect(value['title']).not.toMatch(/\.$/)
    expect(value['script']?.length).toBeGreaterThan(value['hook']?.length ?? Infinity)
    expect(value['imagePrompt']).toMatch(/^A picture of /)
  })

  it('stays bounded for schemas that demand too much', () => {
    const recursive: JsonObject = {
      type: 'object',
      required: ['next', 'other'],
      properties: { next: { $ref: '#' }, other: { $ref: '#' } },
    }
    const knot: JsonObject = { allOf: [{ $ref: '#' }, { $ref: '#' }] }
    for (const outputSchema of [
      recursive,
      knot,
      { type: 'string', minLength: 1e12 },
      { type: 'array', minItems: 1e9 },
      { $ref: '#' },
    ]) {
      expect(writeText({ prompt, outputSchema }).text.length).toBeLessThan(5_000_000)
    }
  })
})
