// Ajv, set up once: from an understood schema to a function that validates. Runs in both threads.
// Hides what was changed in Ajv so that its time is linear: patterns, uniqueItems, and two formats.

import { canonicalJson, compileLinearPattern, isOfFormat } from '@fabrique/schema'
import type { ErrorObject } from 'ajv'
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
    // Linear where Ajv's own compares each with each.
    validate: (wanted: boolean, items: unknown[]) => !wanted || new Set(items.map(canonicalJson)).size === items.length,
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
  // No path and no address: what stands here is handed on to providers, and neither we nor they may read it for a caller.
  ajv.addFormat('file', (text: string) => isOfFormat(text, 'file'))
}
