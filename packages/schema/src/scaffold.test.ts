import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseDocument } from './document.ts'
import { isJsonObject, type JsonObject, type JsonValue } from './json.ts'
import { RunSpec } from './run-spec.ts'
import { type ScaffoldOptions, scaffoldRunSpec } from './scaffold.ts'
import { createPlaceholders } from './json-schema/placeholder.ts'
import { cpuMs } from './testing/cpu-time.ts'

const FORMATS = ['yaml', 'toml', 'json'] as const
const EVERYTHING = { optional: true, showOutput: true, schemaUrl: 'https://example.com/v1/schemas/run-spec.json' }

const TALKING_HEAD = {
  id: 'video/talking-head',
  name: 'Talking head',
  description: 'One speaker says a short script.\nCosts little.',
  intakeSchema: {
    type: 'object',
    required: ['topic', 'script_formula', 'speakers', 'publish_on'],
    'x-order': ['topic', 'script_formula'],
    properties: {
      language: { type: 'string', default: 'en', description: 'Spoken # language: "ISO 639"', minLength: 2 },
      duration_secs: { type: 'integer', minimum: 5, maximum: 90, default: 30, 'x-order': 1 },
      publish_on: { type: 'string', format: 'date' },
      script_formula: { enum: ['reframe', 'listicle'], description: 'How the script is built.' },
      topic: { type: 'string', minLength: 2, maxLength: 500, examples: ['overthinking'] },
      speakers: {
        type: 'array',
        minItems: 1,
        maxItems: 3,
        items: {
          type: 'object',
          required: ['name'],
          properties: { name: { type: 'string', description: 'Shown below.' }, voice: { type: 'string' } },
        },
      },
    },
  },
  outputAliases: { video: 'steps.render.output.artifact' },
  artifactSchema: { artifactType: 'talking-head', files: [{ role: 'video', mimeType: 'video/mp4' }] },
} satisfies Parameters<typeof scaffoldRunSpec>[0]

/** The input of the scaffold, which must be a run-spec of its format. */
function inputOf(text: string, format: ScaffoldOptions['format']): JsonObject {
  const outcome = parseDocument(text, format)
  if (!outcome.ok) throw new Error(`refused: ${JSON.stringify(outcome.problems)}\n${text}`)
  const spec = RunSpec.safeParse(outcome.document.value)
  if (!spec.success) throw new Error(`${spec.error.message}\n${text}`)
  const { value } = outcome.document
  if (!isJsonObject(value) || !isJsonObject(value.input)) throw new Error(`no input\n${text}`)
  return value.input
}

function scaffoldedInput(intakeSchema: JsonObject, format: ScaffoldOptions['format'] = 'yaml'): JsonObject {
  return inputOf(scaffoldRunSpec({ id: 'a/b', intakeSchema }, { format, ...EVERYTHING }), format)
}

/** The placeholder of one required field. */
function valueOf(property: JsonValue, more: JsonObject = {}): JsonValue | undefined {
  return scaffoldedInput({ type: 'object', required: ['field'], properties: { field: property }, ...more }).field
}

/** An object that `await` would mistake cannot be written out. */
function keyword(name: string, schema: JsonObject): JsonObject {
  return Object.fromEntries([[name, schema]])
}

const SOON_MS = 2_000

describe('the text', () => {
  test('in YAML shows optional fields as comments and required ones ready to run', () => {
    expect(scaffoldRunSpec(TALKING_HEAD, { format: 'yaml', ...EVERYTHING })).toBe(`\
# yaml-language-server: $schema=https://example.com/v1/schemas/run-spec.json
# Talking head
# One speaker says a short script.
# Costs little.
workflow: video/talking-head

# Output of a run, for \`inputs_from\` of a workflow set by alias:
#   video: steps.render.output.artifact
# Files (talking-head):
#   video: video/mp4

# Optional fields: copy any line below \`input:\` and uncomment it.
# Indent it there by two spaces.
#
# [minimum=5, maximum=90]
# duration_secs: 30
#
# Spoken # language: "ISO 639"
# [min_length=2]
# language: en
#
# How many variants to make (1 to 10).
# [minimum=1, maximum=10]
# variants: 1
#
# How this run differs from the run it regenerates.
# [such as {"direction":"more humor"}, no default]
#   .direction [max_length=4000]
#   .keep [max_items=100]
#   .extra_instructions [max_length=4000]
#   .parent_run_id [pattern=^[0-7][0-9A-HJKMNP-TV-Z]{25}$]
#   .parent_variant_index [minimum=0, maximum=9]
# regenerate: { direction: more humor }

input:
  # [min_length=2, max_length=500, such as overthinking]
  topic: overthinking
  # How the script is built.
  # [one of reframe | listicle]
  script_formula: reframe
  # [format=date]
  publish_on: "2026-01-01"
  # [min_items=1, max_items=3]
  #   [].name - Shown below. [required]
  #   [].voice
  speakers: [{ name: name }]
`)
  })

  test('in TOML does the same with a table', () => {
    expect(scaffoldRunSpec(TALKING_HEAD, { format: 'toml', ...EVERYTHING, showOutput: false })).toBe(`\
#:schema https://example.com/v1/schemas/run-spec.json
# Talking head
# One speaker says a short script.
# Costs little.
workflow = "video/talking-head"

# Optional fields: copy any line below \`[input]\` and uncomment it.
#
# [minimum=5, maximum=90]
# duration_secs = 30
#
# Spoken # language: "ISO 639"
# [min_length=2]
# language = "en"
#
# How many variants to make (1 to 10).
# [minimum=1, maximum=10]
# variants = 1
#
# How this run differs from the run it regenerates.
# [such as {"direction":"more humor"}, no default]
#   .direction [max_length=4000]
#   .keep [max_items=100]
#   .extra_instructions [max_length=4000]
#   .parent_run_id [pattern=^[0-7][0-9A-HJKMNP-TV-Z]{25}$]
#   .parent_variant_index [minimum=0, maximum=9]
# regenerate = { direction = "more humor" }

[input]
# [min_length=2, max_length=500, such as overthinking]
topic = "overthinking"
# How the script is built.
# [one of reframe | listicle]
script_formula = "reframe"
# [format=date]
publish_on = "2026-01-01"
# [min_items=1, max_items=3]
#   [].name - Shown below. [required]
#   [].voice
speakers = [{ name = "name" }]
`)
  })

  test('in JSON holds the required fields only, whatever else is asked for', () => {
    expect(scaffoldRunSpec(TALKING_HEAD, { format: 'json', ...EVERYTHING })).toBe(`\
{
  "$schema": "https://example.com/v1/schemas/run-spec.json",
  "workflow": "video/talking-head",
  "input": {
    "topic": "overthinking",
    "script_formula": "reframe",
    "publish_on": "2026-01-01",
    "speakers": [
      {
        "name": "name"
      }
    ]
  }
}
`)
  })

  test('leaves optional fields, output and schema out where they are not wanted', () => {
    const options = { format: 'yaml', optional: false, showOutput: false } as const
    const intakeSchema = { type: 'object', properties: { style: { type: 'string' } } }
    expect(scaffoldRunSpec({ id: 'a', intakeSchema }, options)).toBe('workflow: a\n\ninput: {}\n')
    expect(scaffoldRunSpec({ id: 'a', intakeSchema }, { ...options, format: 'toml' })).toBe(
      'workflow = "a"\n\n[input]\n',
    )
  })

  test('quotes an id that YAML would read as something else', () => {
    for (const id of ['2024', '1e5', 'null', 'true', 'y', '0x1f', 'a--', '1/2']) {
      const outcome = parseDocument(
        scaffoldRunSpec({ id, intakeSchema: {} }, { format: 'yaml', optional: false, showOutput: false }),
        'yaml',
      )
      expect(outcome.ok && outcome.document.value).toEqual({ workflow: id, input: {} })
    }
  })

  test('keeps hostile words of a template inside comments and strings', () => {
    const words =
      'a\nworkflow: evil\r\n[input]\u2028x = 1\u0085"quoted" # \'\'\' """ \u0000 \u0007 \ud800 \u202e \\ é 🦊 {intake.x}'
    const intakeSchema = {
      type: 'object',
      required: ['topic', words],
      properties: {
        topic: { description: words, title: words, default: words.replaceAll(/[\0\ud800]/g, '') },
        style: { description: words, default: words, examples: [words], enum: [words, 'plain'], pattern: words },
        [`${words.replaceAll(/[\0\ud800]/g, '')} `]: {
          type: 'object',
          properties: { [words]: { description: words } },
        },
      },
    }
    const template = { id: 'a/b', name: words, description: words, intakeSchema, outputAliases: { [words]: words } }
    for (const format of FORMATS) {
      const text = scaffoldRunSpec(template, { format, ...EVERYTHING, schemaUrl: words })
      expect(inputOf(text, format), text).toEqual({ topic: intakeSchema.properties.topic.default })
    }
  })

  test('never asks for keys that the engine sets, and knows the universal ones better than a template', () => {
    const input = scaffoldedInput({
      type: 'object',
      required: ['output_dir', 'variants', '_fabric_run_id', 'regenerate'],
      properties: { variants: { type: 'string' }, output_dir: { type: 'string' } },
    })
    expect(input).toEqual({ variants: 1, regenerate: { direction: 'more humor' } })
  })

  test('shows optional fields that can be taken over as they are', () => {
    for (const format of ['yaml', 'toml'] as const) {
      const text = scaffoldRunSpec(TALKING_HEAD, { format, ...EVERYTHING })
      const fields = text.split('\n').flatMap((line) => /^# ([a-z_]+(?::| =) .*)$/.exec(line)?.[1] ?? [])
      const indent = format === 'yaml' ? '  ' : ''
      const input = inputOf(`${text}${fields.map((line) => `${indent}${line}\n`).join('')}`, format)
      expect(input).toMatchObject({ language: 'en', duration_secs: 30, variants: 1, regenerate: {} })
    }
  })
})

describe('a placeholder', () => {
  test.each<[string, JsonValue, JsonValue]>([
    ['takes a default before an example', { type: 'string', default: 'd', examples: ['e'] }, 'd'],
    [
      'takes no default that breaks the schema',
      { type: 'string', default: 5, minLength: 3, examples: ['x', 'xyz'] },
      'xyz',
    ],
    ['takes a constant', { const: { a: [1] }, default: 7 }, { a: [1] }],
    ['takes the first choice', { enum: ['b', 'a'] }, 'b'],
    ['is a value rather than null', { type: ['null', 'integer'], default: null }, 1],
    ['is null where nothing else is left', { enum: [null] }, null],
    ['is named after its field', {}, 'field'],
    ['is long enough', { type: 'string', minLength: 12 }, 'field field field'],
    ['is short enough', { type: 'string', maxLength: 3 }, 'fie'],
    ['counts characters, not code units', { type: 'string', minLength: 2, examples: ['🦊', '🦊🦊'] }, '🦊🦊'],
    ['matches a pattern', { type: 'string', pattern: '^[a-z]{3}-\\d+$', minLength: 8 }, 'aaa-1111'],
    ['is a mail address', { type: 'string', format: 'email' }, 'person@example.com'],
    ['is an address', { type: 'string', format: 'uri', minLength: 22 }, 'https://example.com/aa'],
    ['keeps above a bound', { type: 'number', exclusiveMinimum: 3.5, maximum: 3.75 }, 3.75],
    ['lies between bounds', { type: 'number', exclusiveMinimum: 0.1, exclusiveMaximum: 0.2 }, 0.15000000000000002],
    ['is a multiple', { type: 'integer', minimum: 11, multipleOf: 5 }, 15],
    ['is not above zero', { type: 'integer', maximum: -3 }, -3],
    [
      'has enough items, all different',
      { type: 'array', minItems: 2, uniqueItems: true, items: { enum: ['a', 'b'] } },
      ['a', 'b'],
    ],
    [
      'has as many items as a tuple needs',
      { type: 'array', prefixItems: [{ const: 1 }, { const: 'x' }], minItems: 2 },
      [1, 'x'],
    ],
    ['has no item where none may be', { type: 'array', maxItems: 0 }, []],
    [
      'holds the members that its object requires',
      {
        type: 'object',
        required: ['b'],
        dependentRequired: { b: ['c'] },
        properties: { a: { type: 'string' }, b: { type: 'boolean' }, c: { type: 'object', required: ['d'] } },
      },
      { b: false, c: { d: 'd' } },
    ],
    [
      'has enough members',
      { type: 'object', minProperties: 2, properties: { a: { const: 1 } } },
      { a: 1, key_1: 'value' },
    ],
    ['follows references', { $ref: '#/$defs/colour', description: 'x' }, 'red'],
    ['meets all parts', { allOf: [{ type: 'integer', minimum: 3 }, { minimum: 7 }] }, 7],
    ['meets one alternative', { anyOf: [{ type: 'null' }, { type: 'string', minLength: 6 }] }, 'field field'],
    [
      'heeds a condition that holds',
      {
        type: 'object',
        required: ['kind'],
        properties: { kind: { const: 'url' } },
        if: { properties: { kind: { const: 'url' } } },
        ...keyword('then', { required: ['url'], properties: { url: { format: 'url' } } }),
        else: { required: ['text'] },
      },
      { kind: 'url', url: 'https://example.com/' },
    ],
  ])('%s', (_, property, expected) => {
    expect(valueOf(property, { $defs: { colour: { enum: ['red'] } } })).toEqual(expected)
  })

  test('stands for every required field, declared or not, also behind allOf', () => {
    const input = scaffoldedInput({ required: ['a'], anyOf: [{ required: ['b'] }], allOf: [{ required: ['c'] }] })
    expect(Object.keys(input).toSorted()).toEqual(['a', 'b', 'c'])
  })

  test('is inline data where a file is wanted', () => {
    expect(valueOf({ type: 'string', format: 'file' })).toMatch(/^data:image\/png;base64,/)
  })

  test('comes soon, however often a schema refers to itself', () => {
    const properties = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`p${index}`, { $ref: '#' }]))
    const twice = (next: string) => ({ allOf: [{ $ref: next }, { $ref: next }], minItems: 1e9, minLength: 1e9 })
    const chain = Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [`d${index}`, twice(`#/$defs/d${index + 1}`)]),
    )
    for (const schema of [
      { type: 'object', properties, required: Object.keys(properties), allOf: [{ $ref: '#' }, { $ref: '#' }] },
      { required: ['x'], properties: { x: { $ref: '#/$defs/d0' } }, $defs: chain },
      { required: ['x'], properties: { x: { type: 'array', minItems: 1e9, items: { $ref: '#/properties/x' } } } },
      {
        required: ['x'],
        properties: { x: { enum: Array.from({ length: 5000 }, (_, index) => `v${index}`), default: 'v' } },
      },
      { required: ['x'], properties: { x: { pattern: '(((a{999}){999}){999})+', minLength: 1e9 } } },
    ] as unknown as JsonObject[]) {
      // The least of a few readings: what is endless stays so, and a busy machine decides nothing.
      let ms = Number.POSITIVE_INFINITY
      for (let reading = 0; reading < 5 && ms >= SOON_MS; reading += 1) {
        const start = cpuMs()
        scaffoldRunSpec({ id: 'a', intakeSchema: schema }, { format: 'yaml', ...EVERYTHING })
        ms = Math.min(ms, cpuMs() - start)
      }
      expect(ms).toBeLessThan(SOON_MS)
    }
  })
})

/** A schema and what its values must satisfy, said a second time. */
interface Sample {
  schema: JsonObject
  accepts(value: JsonValue | undefined): boolean
}

const anyText = fc.string({ unit: 'binary', maxLength: 40 })
const notes = fc.record(
  { description: anyText, title: anyText, 'x-order': fc.integer({ min: 0, max: 5 }) },
  { requiredKeys: [] },
)
const range = (most: number) =>
  fc.tuple(fc.nat(most), fc.nat(most)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)

const text: fc.Arbitrary<Sample> = fc
  .tuple(range(60), fc.option(anyText), fc.option(anyText))
  .map(([[least, most], a, b]) => ({
    schema: {
      type: 'string',
      minLength: least,
      maxLength: most,
      ...(a === null ? {} : { default: a }),
      ...(b === null ? {} : { examples: [b] }),
    },
    accepts: (value) =>
      typeof value === 'string' && Array.from(value).length >= least && Array.from(value).length <= most,
  }))
const integer: fc.Arbitrary<Sample> = fc
  .tuple(fc.integer({ min: -1000, max: 1000 }), fc.nat(50))
  .map(([low, span]) => ({
    schema: { type: 'integer', minimum: low, maximum: low + span },
    accepts: (value) => Number.isInteger(value) && Number(value) >= low && Number(value) <= low + span,
  }))
const choice: fc.Arbitrary<Sample> = fc
  .uniqueArray(fc.oneof(anyText, fc.integer(), fc.boolean()), { minLength: 1, maxLength: 5 })
  .filter((values) => values.some((value) => typeof value !== 'string' || !/\0/.test(value)))
  .map((values) => ({
    schema: { enum: values },
    accepts: (value) => values.some((choice) => choice === value),
  }))
const formatted: fc.Arbitrary<Sample> = fc
  .constantFrom<[string, RegExp]>(['date', /^\d{4}-\d\d-\d\d$/], ['email', /^\S+@\S+$/], ['uri', /^https:/])
  .map(([format, shape]) => ({
    schema: { type: 'string', format },
    accepts: (value) => typeof value === 'string' && shape.test(value),
  }))
const sample = fc.letrec<{ any: Sample; list: Sample; object: Sample }>((tie) => ({
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    text,
    integer,
    choice,
    formatted,
    tie('list'),
    tie('object'),
  ),
  list: fc.tuple(tie('any'), range(4)).map(([item, [least, most]]) => ({
    schema: { type: 'array', items: item.schema, minItems: least, maxItems: most },
    accepts: (value) =>
      Array.isArray(value) && value.length >= least && value.length <= most && value.every(item.accepts),
  })),
  object: fc
    .uniqueArray(
      fc.tuple(
        fc.oneof(anyText, fc.constantFrom('topic', 'true', '1', 'a-b', 'toString')),
        tie('any'),
        fc.boolean(),
        notes,
      ),
      {
        maxLength: 5,
        selector: ([name]) => name,
      },
    )
    .map((members) =>
      members.filter(
        ([name]) =>
          !name.includes('\0') && !['variants', 'regenerate', '__proto__', 'constructor', 'prototype'].includes(name),
      ),
    )
    .map((members) => ({
      schema: {
        type: 'object',
        properties: Object.fromEntries(
          members.map(([name, member, , words]) => [name, { ...member.schema, ...words }]),
        ),
        required: members.filter(([, , required]) => required).map(([name]) => name),
      },
      accepts: (value) =>
        isJsonObject(value) &&
        members.every(([name, member, required]) =>
          Object.hasOwn(value, name) ? member.accepts(value[name]) : !required,
        ),
    })),
}))

test('every scaffold is a run-spec whose input meets the schema, the same in every format', () => {
  fc.assert(
    fc.property(
      sample.object,
      anyText,
      fc.boolean(),
      fc.boolean(),
      ({ schema, accepts }, words, optional, showOutput) => {
        const template = {
          id: 'a/b',
          name: words,
          description: words,
          intakeSchema: schema,
          outputAliases: { a: words },
        }
        const inputs = FORMATS.map((format) =>
          inputOf(scaffoldRunSpec(template, { format, optional, showOutput, schemaUrl: words }), format),
        )
        for (const input of inputs) {
          expect(accepts(input), JSON.stringify(input)).toBe(true)
          expect(input).toEqual(inputs[0])
        }
      },
    ),
    { numRuns: 500 },
  )
})

test('fields come in the order of x-order, then of their own numbers, then as declared', () => {
  const schema = {
    'x-order': ['z', 'missing'],
    required: ['b', 'extra'],
    properties: { a: {}, b: { 'x-order': 2 }, c: { 'x-order': 1 }, d: true, z: { 'x-order': 9 } },
  }
  expect(
    createPlaceholders(schema)
      .fields(schema)
      .map(({ name }) => name),
  ).toEqual(['z', 'c', 'b', 'a', 'd', 'extra'])
})
