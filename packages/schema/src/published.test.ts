import { describe, expect, test } from 'vitest'
import { isJsonObject, type JsonObject, type JsonValue } from './json.ts'
import { PUBLISHED_SCHEMAS, publishedSchema, universalInputProperties, workflowInputSchema } from './published.ts'

/** What stands at the path of keywords and names; fails where nothing does. */
function at(schema: JsonValue | undefined, ...path: string[]): JsonValue {
  let value = schema
  for (const part of path) value = isJsonObject(value) ? value[part] : undefined
  if (value === undefined) throw new Error(`nothing at ${path.join('/')}`)
  return value
}

/** Every object and list in a value, itself included. */
function partsOf(value: JsonValue): JsonValue[] {
  if (typeof value !== 'object' || value === null) return []
  return [value, ...Object.values(value).flatMap(partsOf)]
}

describe('a published schema', () => {
  test.each(PUBLISHED_SCHEMAS)('%s says what it is, where it lives, and that unknown keys are wrong', (name) => {
    expect(publishedSchema(name)).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $id: `/v1/schemas/${name}.json`,
      title: expect.stringMatching(/\S/),
      description: expect.stringMatching(/\S/),
      type: 'object',
      additionalProperties: false,
    })
  })

  test.each(PUBLISHED_SCHEMAS)('%s refers to nothing and holds patterns that every engine reads', (name) => {
    for (const part of partsOf(publishedSchema(name) ?? {}).filter(isJsonObject)) {
      const { pattern } = part
      if (typeof pattern === 'string') expect(() => new RegExp(pattern, 'u')).not.toThrow()
      expect(part).not.toHaveProperty('$ref')
    }
  })

  test('of another name is none', () => {
    for (const name of ['run-spec.json', 'template', '', 'toString', '__proto__'])
      expect(publishedSchema(name)).toBeUndefined()
  })

  test('is a copy of its own', () => {
    const first = publishedSchema('run-spec') as JsonObject
    first.title = 'changed'
    expect(publishedSchema('run-spec')?.title).toBe('Run-spec')
  })

  test('of a run-spec has every key, objects as objects, and input or bundle', () => {
    const schema = publishedSchema('run-spec')
    expect(Object.keys(at(schema, 'properties') as JsonObject).toSorted()).toEqual(
      ['$schema', 'bundle', 'fail_fast', 'input', 'metadata', 'parent', 'priority', 'state', 'workflow'].toSorted(),
    )
    expect(at(schema, 'properties', 'metadata', 'type')).toBe('object')
    expect(at(schema, 'properties', 'state', 'type')).toBe('object')
    expect(at(schema, 'properties', '$schema')).not.toHaveProperty('type')
    expect(schema).not.toHaveProperty('required')
    expect(schema?.anyOf).toMatchObject([{ required: ['bundle'] }, { required: ['input'] }])
    expect(at(schema, 'properties', 'input', 'propertyNames', 'not', 'enum')).toContain('output_dir')
  })

  test('of a template takes both spellings, gates by name, visibility and owner', () => {
    const schema = publishedSchema('workflow-schema-v1')
    expect(at(schema, 'properties', 'gates', 'items', 'anyOf')).toMatchObject([{ type: 'string' }, { type: 'object' }])
    expect(at(schema, 'properties', 'visibility', 'enum')).toEqual(['draft', 'internal', 'public'])
    expect(at(schema, 'properties', 'owner')).toMatchObject({ type: 'string', readOnly: true })
    expect(at(schema, 'properties', 'intakeSchema')).toEqual({ type: 'object' })
    expect(at(schema, 'properties', 'outputShape', 'properties')).toEqual(
      at(schema, 'properties', 'artifactSchema', 'properties'),
    )
    expect(at(schema, 'required')).not.toContain('artifactSchema')
    expect(schema?.anyOf).toEqual([{ required: ['artifactSchema'] }, { required: ['outputShape'] }])
  })

  test('of a workflow set explains its own choices', () => {
    const schema = publishedSchema('workflow-set')
    expect(at(schema, 'required')).toEqual(['set', 'runs'])
    expect(at(schema, 'properties', 'on_error', 'description')).toMatch(/Fabrique’s own/)
    expect(at(schema, 'properties', 'runs', 'items', 'required')).toEqual(['name', 'workflow'])
  })
})

describe("a workflow's whole input", () => {
  test('is its intake schema and the universal fields, which stand above its own', () => {
    const intake = { type: 'object', required: ['topic'], properties: { topic: { type: 'string' }, variants: true } }
    expect(workflowInputSchema(intake)).toEqual({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      ...intake,
      properties: { topic: { type: 'string' }, ...universalInputProperties() },
    })
    expect(intake.properties.variants).toBe(true)
  })

  test('of a schema without properties is an object with the universal ones', () => {
    const schema = workflowInputSchema({})
    expect(schema.type).toBe('object')
    expect(at(schema, 'properties', 'variants')).toMatchObject({ type: 'integer', minimum: 1, maximum: 10, default: 1 })
    expect(at(schema, 'properties', 'regenerate')).toMatchObject({ type: 'object', additionalProperties: false })
  })
})
