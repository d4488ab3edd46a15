// Ajv, set up once: from an understood schema to a function that validates. Runs in both threads.
// Hides what was changed in Ajv so that its time is linear: patterns, uniqueItems, and two formats.

import { compileLinearPattern } from '@fabrique/schema'
import type { ErrorObject, SchemaValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { fullFormats } from 'ajv-formats/dist/formats.js'
import type { CleanSchema, SchemaProblem } from './schema-shape.ts'
import { FORMATS } from './schema-shape.ts'
import { describeErrors, type ValueProblem } from './sentences.ts'

/** Checks a value and writes defaults into it: hand over a copy. */
export type Validator = (value: unknown, showsValues: boolean) => ValueProblem[]

const MAX_EMAIL = 320
const MAX_REGEX = 500

/**
 * Compiles an understood schema. A fresh Ajv each time: it never frees what it compiled, so that only dropping it whole
 * does. Throws what Ajv throws where the schema cannot be compiled.
 */
export function compileValidator(clean: CleanSchema): Validator {
  const ajv = new Ajv2020({
    allErrors: true,
    verbose: true,
    messages: false,
    strict: false,
    logger: false,
    useDefaults: true,
    ownProperties: true,
    meta: false,
    validateSchema: false,
    addUsedSchema: false,
    code: { regExp: linearRegExp },
  })
  addFormats(ajv)
  ajv.removeKeyword('uniqueItems')
  ajv.addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    errors: true,
    validate: createUniqueItems(),
  })
  const validate = ajv.compile(clean)
  return (value, showsValues) => {
    if (validate(value)) return []
    const errors: ErrorObject[] = validate.errors ?? []
    // Ajv keeps the last errors, and through them the last value, on the function.
    validate.errors = null
    return describeErrors(errors, showsValues)
  }
}

/**
 * Returns a function that tells what the rules of JSON Schema itself say about a schema: wrong types, bad type names…
 */
export function createSchemaChecker(): (schema: object) => SchemaProblem[] {
  const ajv = new Ajv2020({ allErrors: true, verbose: true, messages: false, strict: false, logger: false })
  addFormats(ajv)
  // Told with a better text before: a pattern by its own parser.
  ajv.addFormat('regex', true)
  const check = ajv.getSchema('https://json-schema.org/draft/2020-12/schema')
  if (check === undefined) throw new Error('the 2020-12 meta-schema is missing')
  return (schema) => {
    if (check(schema) === true) return []
    const first = new Map<string, ErrorObject>()
    for (const error of check.errors ?? []) {
      // The meta-schema is made of many parts; one sentence for each place is what helps.
      if (!first.has(error.instancePath) && error.keyword !== '$dynamicRef') first.set(error.instancePath, error)
    }
    return describeErrors([...first.values()])
  }
}

const linearRegExp = Object.assign(
  (source: string) => {
    const pattern = compileLinearPattern(source)
    // Ajv tells patterns apart by their text.
    return { test: (text: string) => pattern.test(text), toString: () => source }
  },
  { code: 'linearRegExp' },
)

function addFormats(ajv: Ajv2020): void {
  for (const name of FORMATS) {
    const known = fullFormats[name as keyof typeof fullFormats]
    ajv.addFormat(name, known ?? true)
  }
  // The published expressions of these take quadratic time or more.
  const email = fullFormats.email as RegExp
  ajv.addFormat('email', (text: string) => text.length <= MAX_EMAIL && email.test(text))
  ajv.addFormat('url', (text: string) => /^(?:https?|ftp):\/\/\S/i.test(text) && !/\s/.test(text) && URL.canParse(text))
  ajv.addFormat('regex', (text: string) => {
    if (text.length > MAX_REGEX) return false
    try {
      compileLinearPattern(text)
      return true
    } catch {
      return false
    }
  })
  // Text as far as the schema goes; what may stand in it differs between HTTP and the command line.
  ajv.addFormat('file', true)
}

/** Equal items by their canonical text: linear where Ajv's own compares each with each. */
function createUniqueItems(): SchemaValidateFunction {
  const uniqueItems: SchemaValidateFunction = (wanted: boolean, items: unknown[]) => {
    delete uniqueItems.errors
    if (!wanted) return true
    const seen = new Map<string, number>()
    for (const [index, item] of items.entries()) {
      const text = canonicalText(item)
      const earlier = seen.get(text)
      if (earlier !== undefined) {
        uniqueItems.errors = [{ keyword: 'uniqueItems', params: { i: index, j: earlier } }]
        return false
      }
      seen.set(text, index)
    }
    return true
  }
  return uniqueItems
}

function canonicalText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonicalText(member)}`).join(',')}}`
}
