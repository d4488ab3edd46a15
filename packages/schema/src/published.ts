// The schemas that are published for editors and other programs, made from the ones that decide (JSON Schema 2020-12).
// Hides what zod cannot say of itself: the older spellings, and rules between two fields.
import { z } from 'zod'
import { isJsonObject, objectOf, type JsonObject, type JsonValue } from './json.ts'
import { BUNDLE_WORKFLOW, RESERVED_INPUT_KEYS, RunSpec } from './run-spec.ts'
import { Template, VISIBILITIES } from './template.ts'
import { WorkflowSet } from './workflow-set.ts'

const DIALECT = 'https://json-schema.org/draft/2020-12/schema'

const PUBLISHED = {
  'workflow-schema-v1': {
    title: 'Workflow template',
    description: 'A Fabrique workflow template (Workflow Schema v1).',
    schema: templateSchema,
  },
  'run-spec': {
    title: 'Run-spec',
    description: 'A Fabrique run-spec: one document that fully describes one run.',
    schema: runSpecSchema,
  },
  'workflow-set': {
    title: 'Workflow set',
    description: 'A Fabrique workflow set: several runs, with outputs of some as inputs of others.',
    schema: setSchema,
  },
}

/** What `publishedSchema` knows. */
export const PUBLISHED_SCHEMAS = Object.keys(PUBLISHED) as (keyof typeof PUBLISHED)[]

/**
 * The published schema of that name, a fresh copy; undefined for any other name.
 * It takes what the API takes as a complete document; what only a whole program can tell (a real date, a cycle) it leaves out.
 */
export function publishedSchema(name: string): JsonObject | undefined {
  if (!Object.hasOwn(PUBLISHED, name)) return undefined
  const { title, description, schema } = PUBLISHED[name as keyof typeof PUBLISHED]
  return { $schema: DIALECT, $id: `/v1/schemas/${name}.json`, title, description, ...schema() }
}

/**
 * The whole schema of a workflow's `input`: its intake schema with `variants` and `regenerate`, which every workflow has.
 * Where the intake schema declares those itself, the universal ones stand.
 */
export function workflowInputSchema(intakeSchema: JsonObject): JsonObject {
  const own = objectOf(intakeSchema.properties)
  return {
    $schema: DIALECT,
    type: 'object',
    ...intakeSchema,
    properties: { ...own, ...universalInputProperties() },
  }
}

/** `variants` and `regenerate` as properties of a JSON Schema. */
export function universalInputProperties(): { variants: JsonObject; regenerate: JsonObject } {
  const input = propertyOf(convert(RunSpec), 'input')
  return {
    variants: { ...propertyOf(input, 'variants'), default: 1 },
    regenerate: { ...propertyOf(input, 'regenerate'), examples: [{ direction: 'more humor' }] },
  }
}

function runSpecSchema(): JsonObject {
  const schema = convert(RunSpec)
  const input = propertyOf(schema, 'input')
  const entry = propertyOf(propertyOf(schema, 'bundle'), 'items', true)
  const unreserved = { propertyNames: { not: { enum: [...RESERVED_INPUT_KEYS] } } }
  Object.assign(input, unreserved)
  const entryInput = propertyOf(entry, 'input')
  Object.assign(entryInput, unreserved)
  Object.assign(entryInput.properties ?? {}, { variants: false })
  Object.assign(propertyOf(entry, 'workflow'), { not: { const: BUNDLE_WORKFLOW } })
  return {
    ...schema,
    anyOf: [
      {
        required: ['bundle'],
        properties: { workflow: { const: BUNDLE_WORKFLOW }, input: { properties: { variants: false } } },
      },
      {
        required: ['input'],
        properties: { workflow: { not: { const: BUNDLE_WORKFLOW } }, bundle: false },
      },
    ],
  }
}

function templateSchema(): JsonObject {
  const schema = convert(Template)
  const properties = objectOf(schema.properties)
  const gates = propertyOf(schema, 'gates')
  const required = Array.isArray(schema.required) ? schema.required : []
  return {
    ...schema,
    properties: {
      ...properties,
      gates: {
        ...gates,
        description: 'Names of built-in gates, or gates of your own; names are stored as objects.',
        items: { anyOf: [{ type: 'string', minLength: 1, maxLength: 200 }, gates.items ?? {}] },
      },
      outputShape: {
        ...propertyOf(schema, 'artifactSchema'),
        description: 'The older spelling of artifactSchema.',
        deprecated: true,
      },
      visibility: {
        description: 'Who sees the workflow; naming internal or public promotes it, and runs the publish guards.',
        type: 'string',
        enum: [...VISIBILITIES],
        default: 'draft',
      },
      owner: { description: 'The organization that the template belongs to.', type: 'string', readOnly: true },
    },
    required: required.filter((name) => name !== 'artifactSchema'),
    anyOf: [{ required: ['artifactSchema'] }, { required: ['outputShape'] }],
  }
}

function setSchema(): JsonObject {
  const schema = convert(WorkflowSet)
  const run = propertyOf(propertyOf(schema, 'runs'), 'items', true)
  const unreserved = { propertyNames: { not: { enum: [...RESERVED_INPUT_KEYS] } } }
  Object.assign(propertyOf(schema, 'shared_input'), unreserved)
  Object.assign(propertyOf(run, 'input'), unreserved)
  Object.assign(propertyOf(run, 'workflow'), { not: { const: BUNDLE_WORKFLOW } })
  return schema
}

function convert(schema: z.ZodType): JsonObject {
  const converted = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  // Plain JSON without anything that belongs to zod.
  return JSON.parse(JSON.stringify(converted)) as JsonObject
}

/** A property's schema itself, to be read or extended; with `keyword` the schema under a keyword of that name. */
function propertyOf(schema: JsonObject, name: string, keyword = false): JsonObject {
  const owner: JsonValue | undefined = keyword ? schema : schema.properties
  const found = isJsonObject(owner) ? owner[name] : undefined
  if (!isJsonObject(found)) throw new Error(`the published schema has no ${name}`)
  return found
}
