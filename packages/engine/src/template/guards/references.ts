// Everything in a template that points somewhere: placeholders, needs, lookups, aliases, files, gates.
import { declaredFields, isJsonObject, type JsonObject, pointerTo, type Step } from '@fabrique/schema'
import type { Catalog } from '../../catalog.ts'
import { type Placeholder, parsePath, placeholdersIn } from '../placeholders.ts'
import { dependenciesOf, findCycle } from '../data-flow.ts'
import { choices, type IndexedStep, type Report } from './report.ts'

const RUN_FIELDS = ['id', 'workflow', 'variant_index', 'seed']
const REGENERATE_FIELDS = ['direction', 'keep', 'extra_instructions']
const UNIVERSAL_FIELDS = ['variants', 'regenerate', 'output_dir']

/** Everything that points somewhere: placeholders, needs, lookups, aliases, files, and the cycles they make. */
export function checkReferences(document: JsonObject, steps: IndexedStep[], catalog: Catalog, report: Report): void {
  const byId = new Map(steps.map((entry) => [entry.step.id, entry.step]))
  const intake = declaredFields(document.intakeSchema)?.map(({ name }) => name) ?? null

  function checkOutput(pointer: string, placeholder: Placeholder): void {
    const [id, slot, ...inside] = placeholder.path
    const step = byId.get(String(id))
    if (step === undefined) {
      report(
        pointer,
        'unknown-reference',
        `${placeholder.text} names the step "${id ?? ''}", which does not exist; ${choices(String(id), [...byId.keys()])}`,
      )
      return
    }
    if (slot !== 'output') {
      report(
        pointer,
        'unknown-reference',
        `${placeholder.text} must read the step's output: {steps.${step.id}.output.…}`,
      )
      return
    }
    // With forEach the output is a list: an item of it comes first, then what one run of the step gives.
    if (step.forEach !== undefined && inside[0] !== undefined && !/^\d+$/.test(String(inside[0]))) {
      report(
        pointer,
        'unknown-output',
        `${placeholder.text}: "${step.id}" has forEach, so its output is a list; read one item, as in {steps.${step.id}.output[0].${String(inside[0])}}`,
      )
      return
    }
    const first = step.forEach === undefined ? inside[0] : inside[1]
    const tool = typeof step.tool === 'string' ? catalog.tool(step.tool) : undefined
    const keys = catalog.kind(step.kind)?.outputKeys(step, tool) ?? null
    if (first !== undefined && keys !== null && !keys.includes(String(first))) {
      report(
        pointer,
        'unknown-output',
        `${placeholder.text}: the output of "${step.id}" has ${keys.join(', ')}, and no "${first}"`,
      )
    }
  }

  function checkPlaceholder(pointer: string, step: Step, placeholder: Placeholder): void {
    const [first] = placeholder.path
    const key = String(first)
    switch (placeholder.root) {
      case 'steps':
        return checkOutput(pointer, placeholder)
      case 'intake':
        if (
          intake === null ||
          placeholder.optional ||
          intake.includes(key) ||
          UNIVERSAL_FIELDS.includes(key) ||
          key.startsWith('_fabric_')
        )
          return
        return report(
          pointer,
          'unknown-intake-field',
          `${placeholder.text}: the intake schema declares no "${key}"; declare it, or write {intake.${key}?} if it may be absent`,
        )
      case 'lookup':
        if (isJsonObject(step.lookups) && Object.hasOwn(step.lookups, key) && placeholder.path.length === 1) return
        return report(
          pointer,
          'unknown-lookup',
          `${placeholder.text}: the step has no lookup "${key}"; ${choices(key, Object.keys(step.lookups ?? {}))}`,
        )
      case 'run':
        if (RUN_FIELDS.includes(key) && placeholder.path.length === 1) return
        return report(pointer, 'unknown-run-field', `${placeholder.text}: a run has ${RUN_FIELDS.join(', ')}`)
      case 'regenerate':
        if (REGENERATE_FIELDS.includes(key)) return
        return report(
          pointer,
          'unknown-run-field',
          `${placeholder.text}: regenerate has ${REGENERATE_FIELDS.join(', ')}`,
        )
      case 'item':
      case 'index':
        if (step.forEach !== undefined) return
        return report(pointer, 'item-outside-foreach', `${placeholder.text} has a value only in a step with forEach`)
      default:
        return report(
          pointer,
          'unknown-root',
          `${placeholder.text}: placeholders begin with intake, lookup, steps, run or regenerate; write {{ and }} for literal braces`,
        )
    }
  }

  for (const { step, at } of steps) {
    const { id: _, kind: __, name: ___, lookups, outputSchema: ____, when: _____, ...fields } = step
    for (const { at: path, placeholder } of placeholdersIn(fields))
      checkPlaceholder(`${at}${pointerTo(...path)}`, step, placeholder)
    for (const [index, need] of (Array.isArray(step.needs) ? step.needs : []).entries()) {
      if (typeof need === 'string' && !byId.has(need))
        report(
          `${at}/needs/${index}`,
          'unknown-reference',
          `there is no step "${need}"; ${choices(need, [...byId.keys()])}`,
        )
    }
    for (const [name, lookup] of Object.entries(isJsonObject(lookups) ? lookups : {})) {
      const from = isJsonObject(lookup) && typeof lookup.from === 'string' ? parsePath(lookup.from) : undefined
      const key = String(from?.path[0])
      if (from !== undefined && intake !== null && !intake.includes(key)) {
        report(
          `${at}/lookups${pointerTo(name)}/from`,
          'unknown-intake-field',
          `the intake schema declares no "${key}"; ${choices(key, intake)}`,
        )
      }
    }
  }
  const cycle = findCycle(new Map(steps.map(({ step }) => [step.id, safeDependencies(step)])))
  if (cycle !== undefined) report('/runtimeSteps', 'cycle', `these steps wait for each other: ${cycle.join(' → ')}`)

  for (const [alias, path] of Object.entries(isJsonObject(document.outputAliases) ? document.outputAliases : {})) {
    checkPath(`/outputAliases${pointerTo(alias)}`, path)
  }
  const files =
    isJsonObject(document.artifactSchema) && Array.isArray(document.artifactSchema.files)
      ? document.artifactSchema.files
      : []
  for (const [index, file] of files.entries()) {
    if (isJsonObject(file) && file.from !== undefined)
      checkPath(pointerTo('artifactSchema', 'files', index, 'from'), file.from)
  }

  function checkPath(pointer: string, path: unknown): void {
    const parsed = typeof path === 'string' ? parsePath(path) : undefined
    if (parsed?.root !== 'steps')
      report(pointer, 'unknown-reference', 'must be the path of a step output, such as steps.render.output.artifact')
    else checkOutput(pointer, { ...parsed, text: String(path) })
  }
}

function safeDependencies(step: Step): string[] {
  return dependenciesOf(step).map(({ id }) => id)
}
