// The reference page of a workflow, in Markdown, written out of its row and nothing else.
// Hides how an author's words become cells and lines that cannot change the page around them.
import { isJsonObject, objectOf, type JsonObject, type JsonValue, textOf } from './json.ts'
import { createRules, typesOf } from './json-schema/rules.ts'
import { workflowInputSchema } from './published.ts'
import { RESERVED_INPUT_KEYS } from './run-spec.ts'
import { scaffoldRunSpec, type ScaffoldTemplate } from './scaffold.ts'

const CHOICES_MAX = 20
const TEXT_MAX = 2000

/**
 * The page of a template document, ending with a line break; the same document gives the same page.
 * It names steps, models and rules, never a prompt. `source` is the path of the document, if it has one, and `costs`
 * are rows of what runs of it were estimated at and cost.
 */
export function workflowPage(document: JsonObject, source?: string, costs: readonly string[][] = []): string {
  const id = textOf(document.id)
  const facts = [
    ['Category', textOf(document.category)],
    ['Artifact class', textOf(document.artifactClass)],
    ['Version', textOf(document.version)],
    ['Cadence', textOf(document.cadence)],
    ['Source', source === undefined ? '' : `\`${source}\``],
  ].filter(([, fact]) => fact !== '')
  const parts = [
    `# ${sentence(document.name) || id}`,
    `\`${id}\``,
    sentence(document.description),
    facts.map(([label, fact]) => `- ${label}: ${label === 'Source' ? fact : sentence(fact)}`).join('\n'),
    '## Input Schema',
    inputTable(objectOr(document.intakeSchema)),
    'What the table does not name passes through to the steps, with a warning.',
    '## Output',
    outputPart(document),
    '## Steps',
    stepsPart(listOf(document.runtimeSteps)),
    '## Gates',
    gatesPart(listOf(document.gates)),
    '## Cost',
    costPart(document.budgetPolicy, costs),
    '## Run-spec example',
    fenced('yaml', scaffoldRunSpec(scaffoldOf(document), { format: 'yaml', optional: false, showOutput: false })),
    '## Run it',
    'Save the example as `run.yaml`, with optional fields as comments where you want them:',
    fenced('sh', `npx fab-workflow --scaffold ${id} -o run.yaml\nnpx fab-workflow --from-file run.yaml`),
    'The same file is the body of a request:',
    fenced(
      'sh',
      [
        `curl -fsS "http://127.0.0.1:3000/v1/workflows/runs?name=${id}" \\`,
        '  -H "Authorization: Bearer $FABRIQUE_API_KEY" -H "content-type: application/yaml" \\',
        '  --data-binary @run.yaml',
      ].join('\n'),
    ),
  ]
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`
}

/** What a scaffold needs of a stored document, whatever else it holds or lacks. */
export function scaffoldOf(document: JsonObject): ScaffoldTemplate {
  const { id, name, description, intakeSchema, outputAliases, artifactSchema } = document
  return {
    id: textOf(id),
    intakeSchema: objectOr(intakeSchema),
    ...(typeof name === 'string' ? { name } : {}),
    ...(typeof description === 'string' ? { description } : {}),
    ...(isJsonObject(outputAliases) ? { outputAliases: outputAliases as Record<string, string> } : {}),
    ...(isJsonObject(artifactSchema) ? { artifactSchema } : {}),
  }
}

/** Every field by name, the universal ones among them. */
function inputTable(intakeSchema: JsonObject): string {
  const schema = workflowInputSchema(intakeSchema)
  const fields = createRules(schema)
    .fields(schema)
    .filter(({ name }) => !RESERVED_INPUT_KEYS.some((key) => key === name))
  const rows = fields
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, required, schema }) => [
      `\`${name}\``,
      typeOf(schema),
      required ? 'required' : schema.default === undefined ? '—' : code(schema.default),
      [sentence(schema.description ?? schema.title), rulesOf(schema)].filter(Boolean).join(' '),
    ])
  return table(['Field', 'Type', 'Default', 'Description'], rows)
}

function typeOf(schema: JsonObject): string {
  const [type = 'any'] = typesOf(schema)
  if (type === 'array') return `${isJsonObject(schema.items) ? typeOf(schema.items) : 'any'}[]`
  return type === 'string' && schema.format === 'file' ? 'file' : type
}

/** The constraints that somebody who fills in the field has to know, in words. */
function rulesOf(schema: JsonObject): string {
  const rules: string[] = []
  const choices = listOf(schema.enum)
  if (choices.length > 0) rules.push(`One of ${shortList(choices)}.`)
  const unit = schema.type === 'array' ? ' items' : schema.type === 'string' ? ' characters' : ''
  const [least, most] =
    schema.type === 'array'
      ? [schema.minItems, schema.maxItems]
      : schema.type === 'string'
        ? [schema.minLength, schema.maxLength]
        : [schema.minimum, schema.maximum]
  if (least !== undefined && most !== undefined) rules.push(`${textOf(least)} to ${textOf(most)}${unit}.`)
  else if (least !== undefined) rules.push(`At least ${textOf(least)}${unit}.`)
  else if (most !== undefined) rules.push(`At most ${textOf(most)}${unit}.`)
  const examples = listOf(schema.examples)
  if (choices.length === 0 && examples.length > 0) rules.push(`Such as ${shortList(examples)}.`)
  return rules.join(' ')
}

function outputPart(document: JsonObject): string {
  const aliases = Object.entries(objectOr(document.outputAliases))
  const { artifactType, files } = objectOr(document.artifactSchema)
  const promised = listOf(files).filter(isJsonObject)
  const parts = [
    aliases.length === 0
      ? 'No aliases: the output holds what the last steps give, by step id.'
      : table(
          ['Alias', 'From'],
          aliases.map(([alias, path]) => [`\`${alias}\``, code(path)]),
        ),
    promised.length === 0
      ? 'No files.'
      : table(
          ['File', 'Media type'],
          promised.map(({ role, mimeType }) => [code(role ?? ''), sentence(mimeType)]),
        ),
  ]
  if (typeof artifactType === 'string') parts.unshift(`Artifact type: ${sentence(artifactType)}`)
  return parts.join('\n\n')
}

function stepsPart(given: readonly JsonValue[]): string {
  const steps = given.filter(isJsonObject)
  if (steps.length === 0) return 'No steps yet.'
  const rows = steps.map((step) => [
    `\`${textOf(step.id)}\``,
    sentence(step.kind),
    sentence(step.name),
    sentence(step.model ?? step.tool ?? step.workflow ?? step.provider) || '—',
  ])
  return `${pipelineOf(steps)}\n\n${table(['Step', 'Kind', 'Does', 'With'], rows)}`
}

/** `a → b, c → d`: each step as early as the steps that it names allow. */
function pipelineOf(steps: readonly JsonObject[]): string {
  const ids = new Set(steps.map(({ id }) => textOf(id)))
  const needs = new Map(
    steps.map((step) => {
      const { needs: declared, ...rest } = step
      const named = [...JSON.stringify(rest).matchAll(/\bsteps\.([A-Za-z_][A-Za-z0-9_-]*)/g)].map(([, id = '']) => id)
      const wanted = [...named, ...listOf(declared).map(textOf)]
      return [textOf(step.id), wanted.filter((id) => ids.has(id) && id !== step.id)] as const
    }),
  )
  const stages: string[][] = []
  const placed = new Set<string>()
  for (;;) {
    const ready = [...needs].filter(([id, wanted]) => !placed.has(id) && wanted.every((one) => placed.has(one)))
    if (ready.length === 0) break
    for (const [id] of ready) placed.add(id)
    stages.push(ready.map(([id]) => id))
  }
  return `\`${stages.map((stage) => stage.join(', ')).join(' → ')}\``
}

function gatesPart(gates: readonly JsonValue[]): string {
  if (gates.length === 0) return 'None.'
  const lines = gates.map((gate) => {
    if (!isJsonObject(gate)) return `- ${sentence(gate)}`
    const after = typeof gate.after === 'string' ? ` after \`${gate.after}\`` : ''
    const type = gate.type === gate.id ? '' : ` (${sentence(gate.type)})`
    return `- ${sentence(gate.name)}${type}${after}`
  })
  return lines.join('\n')
}

function costPart(policy: JsonValue | undefined, costs: readonly string[][]): string {
  const { maxPerRunUsd, maxPerDayUsd, description } = isJsonObject(policy) ? policy : { description: policy ?? '' }
  const lines = [
    sentence(description),
    maxPerRunUsd === undefined ? '' : `A run may cost at most $${textOf(maxPerRunUsd)}.`,
    maxPerDayUsd === undefined ? '' : `All runs of a day together may cost at most $${textOf(maxPerDayUsd)}.`,
    'What a run costs at the present prices: `npx fab-workflow estimate run.yaml`.',
    costs.length === 0 ? '' : table(['Intake', 'Low', 'Expected', 'High', 'Cost', 'Deviation'], costs),
  ]
  return lines.filter((line) => line !== '').join('\n\n')
}

function table(head: readonly string[], rows: readonly string[][]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
}

function fenced(language: string, text: string): string {
  return `\`\`\`${language}\n${text.trimEnd()}\n\`\`\``
}

/** An author's words on one line, with nothing in them that Markdown or HTML takes for its own. */
function sentence(text: JsonValue | undefined): string {
  const line = onOneLine(textOf(text))
  return line.replaceAll(/[\\`*_[\]<>]/g, (mark) => `\\${mark}`)
}

function code(value: JsonValue): string {
  const text = onOneLine(typeof value === 'string' ? value : JSON.stringify(value)).replaceAll('`', "'")
  return text === '' ? '`""`' : `\`${text}\``
}

function onOneLine(text: string): string {
  const line = text
    .toWellFormed()
    .replaceAll(/[\s\p{Cc}\u202A-\u202E\u2066-\u2069]+/gu, ' ')
    .trim()
  return line.length > TEXT_MAX ? `${line.slice(0, TEXT_MAX).toWellFormed()}…` : line
}

function shortList(values: readonly JsonValue[]): string {
  const more = values.length > CHOICES_MAX ? ` and ${values.length - CHOICES_MAX} more` : ''
  return values.slice(0, CHOICES_MAX).map(code).join(', ') + more
}

function objectOr(value: JsonValue | undefined): JsonObject {
  return objectOf(value)
}

function listOf(value: JsonValue | undefined): JsonValue[] {
  return Array.isArray(value) ? value : []
}
