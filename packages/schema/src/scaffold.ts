// A run-spec to start from, written out of a template: required inputs with values that are valid as they stand.
// Hides how comments and values are written so that nothing in a template's own words can change the document.
import { isJsonObject, objectOf, type JsonObject, type JsonValue } from './json.ts'
import { createPlaceholders } from './json-schema/placeholder.ts'
import type { SchemaField } from './json-schema/rules.ts'
import type { Sampler } from './json-schema/sample.ts'
import { workflowInputSchema } from './published.ts'
import { RESERVED_INPUT_KEYS } from './run-spec.ts'

/** What a scaffold is made from; a stored template has it all. */
export interface ScaffoldTemplate {
  id: string
  name?: string
  description?: string
  intakeSchema: JsonObject
  outputAliases?: Record<string, string>
  artifactSchema?: JsonObject
}

export interface ScaffoldOptions {
  format: 'yaml' | 'toml' | 'json'
  /** Also show the optional fields, as comments to copy from. */
  optional: boolean
  /** Also show, as comments, the output aliases and the files of a run. */
  showOutput: boolean
  /** The schema for editors: a comment in YAML and TOML, `$schema` in JSON. */
  schemaUrl?: string
}

interface Notation {
  editorLine(schemaUrl: string): string
  colon: string
  /** How it writes null, if it can. */
  nothing: string | undefined
  isPlainKey(key: string): boolean
  isPlainText(text: string): boolean
  inputHeader: string
  indent: string
}

const COMMENT_LENGTH = 1000
const VALUE_LENGTH = 2000
const CHOICES = 30

/**
 * The text of a run-spec for the template, ending with a line break; it parses in its format to a valid run-spec.
 * JSON has no comments, so there `optional` and `showOutput` change nothing. TOML has no null: a required field that
 * takes nothing else is named in a comment. What `Sampler.sample` cannot find may break the schema.
 */
export function scaffoldRunSpec(template: ScaffoldTemplate, options: ScaffoldOptions): string {
  const { fields, placeholders } = readInput(template.intakeSchema)
  const required = fields.filter((field) => field.required)
  if (options.format === 'json') {
    const input = Object.fromEntries(required.map(({ name, value }) => [name, value]))
    const editor = options.schemaUrl === undefined ? {} : { $schema: inline(options.schemaUrl) }
    return `${JSON.stringify({ ...editor, workflow: template.id, input }, null, 2)}\n`
  }

  const notation = NOTATIONS[options.format]
  const lines = options.schemaUrl === undefined ? [] : [notation.editorLine(inline(options.schemaUrl))]
  lines.push(...comments(template.name), ...comments(template.description))
  lines.push(pair(notation, 'workflow', template.id) ?? '', '')
  if (options.showOutput) lines.push(...outputLines(template), '')
  const extra = fields.filter((field) => !field.required)
  if (options.optional) lines.push(...optionalLines(placeholders, notation, extra, required.length === 0), '')
  if (required.length === 0 && options.format === 'yaml') lines.push('input: {}')
  else {
    lines.push(notation.inputHeader)
    const body = required.flatMap((field) => requiredLines(placeholders, notation, field))
    lines.push(...body.map((line) => notation.indent + line))
  }
  return `${lines.join('\n')}\n`
}

type InputField = SchemaField & { value: JsonValue }

/** The fields of an input that the schema accepts; `required` are those that it holds. */
function readInput(intakeSchema: JsonObject): { fields: InputField[]; placeholders: Sampler } {
  const schema = workflowInputSchema(intakeSchema)
  const placeholders = createPlaceholders(schema)
  const sample = placeholders.sample(schema, 'input')
  const input = objectOf(sample)
  const fields = placeholders.fields(schema, input).map((field): InputField => {
    const value = Object.hasOwn(input, field.name) ? input[field.name] : undefined
    const required = field.required || value !== undefined
    return { ...field, required, value: value ?? placeholders.sample(field.schema, field.name) }
  })
  return { fields: fields.filter(({ name }) => !RESERVED_INPUT_KEYS.some((key) => key === name)), placeholders }
}

function optionalLines(
  placeholders: Sampler,
  notation: Notation,
  fields: InputField[],
  isInputEmpty: boolean,
): string[] {
  const lines = [`# Optional fields: copy any line below \`${notation.inputHeader}\` and uncomment it.`]
  if (notation.indent !== '') lines.push('# Indent it there by two spaces.')
  if (isInputEmpty && notation.indent !== '') lines.push('# Then `input:` stands alone, without the `{}`.')
  for (const { name, schema, value } of fields) {
    const known = placeholders.hints(schema)
    const hasDefault = schema.default !== undefined && known.includes(schema.default)
    const sample = firstPair(notation, name, [...known, value], VALUE_LENGTH)
    lines.push('#', ...fieldComments(placeholders, schema, hasDefault ? [] : ['no default']))
    lines.push(sample === undefined ? `# ${inline(name)}: ${NOT_WRITABLE}` : `# ${sample}`)
  }
  return lines
}

const NOT_WRITABLE = 'no short value that this format can hold'

function requiredLines(placeholders: Sampler, notation: Notation, { name, schema, value }: InputField): string[] {
  const pair = firstPair(notation, name, [value, ...placeholders.hints(schema)])
  return [...fieldComments(placeholders, schema), pair ?? `# ${inline(name)}: ${NOT_WRITABLE}`]
}

function firstPair(notation: Notation, name: string, values: JsonValue[], most = Infinity): string | undefined {
  const pairs = values.map((value) => pair(notation, name, value))
  return pairs.find((text) => text !== undefined && text.length <= most)
}

/** The description, the constraints, then one line for each member of an object or of a list's objects. */
function fieldComments(placeholders: Sampler, schema: JsonObject, notes: string[] = []): string[] {
  const lines = [...comments(schema.description ?? schema.title)]
  const rules = [...constraints(schema), ...notes]
  if (rules.length > 0) lines.push(`# [${rules.join(', ')}]`)
  const items = isJsonObject(schema.items) ? placeholders.read(schema.items) : {}
  const members = placeholders.fields(schema).map((field) => ({ ...field, path: `.${field.name}` }))
  const itemMembers = placeholders.fields(items).map((field) => ({ ...field, path: `[].${field.name}` }))
  for (const { path, required, schema: member } of [...members, ...itemMembers]) {
    const memberRules = [...(required ? ['required'] : []), ...constraints(member)]
    const text = textLines(member.description ?? member.title).join(' ')
    const brackets = memberRules.length === 0 ? '' : ` [${memberRules.join(', ')}]`
    lines.push(`#   ${inline(path)}${text === '' ? '' : ` - ${text}`}${brackets}`)
  }
  return lines
}

const SHOWN_KEYWORDS: Record<string, string> = {
  minLength: 'min_length',
  maxLength: 'max_length',
  minimum: 'minimum',
  maximum: 'maximum',
  exclusiveMinimum: 'exclusive_minimum',
  exclusiveMaximum: 'exclusive_maximum',
  multipleOf: 'multiple_of',
  minItems: 'min_items',
  maxItems: 'max_items',
  uniqueItems: 'unique_items',
  minProperties: 'min_properties',
  maxProperties: 'max_properties',
  format: 'format',
  pattern: 'pattern',
}

function constraints(schema: JsonObject): string[] {
  const rules: string[] = []
  if (schema.const !== undefined) rules.push(`always ${shown(schema.const)}`)
  if (Array.isArray(schema.enum)) rules.push(`one of ${choices(schema.enum)}`)
  for (const [keyword, label] of Object.entries(SHOWN_KEYWORDS)) {
    const value = schema[keyword]
    if (value !== undefined) rules.push(`${label}=${shown(value)}`)
  }
  if (Array.isArray(schema.examples) && schema.examples.length > 0) rules.push(`such as ${choices(schema.examples)}`)
  return rules
}

function choices(values: JsonValue[]): string {
  const more = values.length > CHOICES ? ` and ${values.length - CHOICES} more` : ''
  return values.slice(0, CHOICES).map(shown).join(' | ') + more
}

/** A value in a comment: short, on one line, text without quotes. */
function shown(value: JsonValue): string {
  const text = inline(typeof value === 'string' ? value : JSON.stringify(value))
  return text.length > 120 ? `${text.slice(0, 120).toWellFormed()}…` : text
}

function outputLines({ outputAliases = {}, artifactSchema = {} }: ScaffoldTemplate): string[] {
  const aliases = Object.entries(outputAliases)
  const files = Array.isArray(artifactSchema.files) ? artifactSchema.files.filter(isJsonObject) : []
  const type = typeof artifactSchema.artifactType === 'string' ? ` (${inline(artifactSchema.artifactType)})` : ''
  return [
    '# Output of a run, for `inputs_from` of a workflow set by alias:',
    ...(aliases.length === 0 ? ['#   no aliases: what the last steps give, by step id'] : []),
    ...aliases.map(([alias, source]) => `#   ${inline(alias)}: ${inline(source)}`),
    `# Files${type}:`,
    ...(files.length === 0 ? ['#   none'] : []),
    ...files.map(({ role, mimeType }) => `#   ${shown(role ?? '')}: ${shown(mimeType ?? '')}`),
  ]
}

function comments(text: JsonValue | undefined): string[] {
  return textLines(text).map((line) => `# ${line}`)
}

/** The text's lines with nothing in them that could end a comment, or that a format forbids there. */
function textLines(text: JsonValue | undefined): string[] {
  if (typeof text !== 'string') return []
  const clipped = text.length > COMMENT_LENGTH ? `${text.slice(0, COMMENT_LENGTH)}…` : text
  return clipped
    .toWellFormed()
    .split(/\r\n|[\n\v\f\r\u0085\u2028\u2029]/)
    .map((line) => line.replaceAll(UNPRINTABLE, ' ').trim())
    .filter((line) => line !== '')
}

function inline(text: string): string {
  return textLines(text).join(' ')
}

/** Controls, and the marks that change the direction in which a text is shown. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\u202A-\u202E\u2066-\u2069\uFEFF\uFFFE\uFFFF]/gu
/** What no parser of the last decades takes for anything but text; in block and flow places alike. */
const PLAIN_TEXT = /^[A-Za-z][A-Za-z0-9_]*(?:[ /.-][A-Za-z0-9_]+)*$/
const PLAIN_KEY = /^[A-Za-z_][A-Za-z0-9_-]*$/
const YAML_WORDS = /^(?:null|true|false|yes|no|on|off|y|n)$/i

const NOTATIONS: Record<'yaml' | 'toml', Notation> = {
  yaml: {
    editorLine: (schemaUrl) => `# yaml-language-server: $schema=${schemaUrl}`,
    colon: ': ',
    nothing: 'null',
    isPlainKey: (key) => PLAIN_KEY.test(key) && !YAML_WORDS.test(key),
    isPlainText: (text) => PLAIN_TEXT.test(text) && !YAML_WORDS.test(text),
    inputHeader: 'input:',
    indent: '  ',
  },
  toml: {
    editorLine: (schemaUrl) => `#:schema ${schemaUrl}`,
    colon: ' = ',
    nothing: undefined,
    isPlainKey: (key) => PLAIN_KEY.test(key),
    isPlainText: () => false,
    inputHeader: '[input]',
    indent: '',
  },
}

/** A key with its value; undefined where the notation has none for it. */
function pair(notation: Notation, key: string, value: JsonValue): string | undefined {
  const text = written(notation, value)
  const name = notation.isPlainKey(key) ? key : quoted(key)
  return text === undefined ? undefined : name + notation.colon + text
}

/** Where a notation has no null: undefined for it and for a list that holds it; members that are null are left out. */
function written(notation: Notation, value: JsonValue): string | undefined {
  if (value === null) return notation.nothing
  if (Array.isArray(value)) {
    const items = value.map((item) => written(notation, item))
    return items.includes(undefined) ? undefined : `[${items.join(', ')}]`
  }
  if (isJsonObject(value)) {
    const members = Object.entries(value).flatMap(([key, member]) => pair(notation, key, member) ?? [])
    return members.length === 0 ? '{}' : `{ ${members.join(', ')} }`
  }
  if (typeof value !== 'string') return JSON.stringify(value)
  return notation.isPlainText(value) ? value : quoted(value)
}

/** A double-quoted text that JSON, YAML and TOML read alike. */
function quoted(text: string): string {
  return JSON.stringify(text).replaceAll(
    /[\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069\uFEFF\uFFFE\uFFFF]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
