// Everything in a template that points somewhere: placeholders, needs, lookups, aliases, files, gates.
import { declaredFields, isJsonObject, objectOf, pointerTo, type Step } from '@fabrique/schema'
import { type Placeholder, parsePath, placeholdersIn } from '../placeholders.ts'
import { dependenciesOf, findCycle } from '../data-flow.ts'
import { choices, type Fault, noSuch, type Subject } from './report.ts'

const RUN_FIELDS = ['id', 'workflow', 'variant_index', 'seed']
const REGENERATE_FIELDS = ['direction', 'keep', 'extra_instructions']
const UNIVERSAL_FIELDS = ['variants', 'regenerate', 'output_dir']

/** Everything that points somewhere: placeholders, needs, lookups, aliases, files, and the cycles they make. */
export function checkReferences({ document, steps, report, shapes }: Subject): void {
  const byId = new Map(steps.map((entry) => [entry.step.id, entry.step]))
  const ids = [...byId.keys()]
  const declared = declaredFields(document.intakeSchema)
  const intake = declared && new Set(declared.map(({ name }) => name))

  function outputFault(placeholder: Placeholder): Fault {
    const { path, text } = placeholder
    const [id = '', slot, ...inside] = path
    const step = byId.get(String(id))
    if (step === undefined) {
      const why = `${text} names the step "${id}", which does not exist; ${choices(String(id), ids)}`
      return ['unknown-reference', why]
    }
    if (slot !== 'output') {
      return ['unknown-reference', `${text} must read the step's output: {steps.${step.id}.output.…}`]
    }
    // With forEach the output is a list: an item of it comes first, then what one run of the step gives.
    if (step.forEach !== undefined && inside[0] !== undefined && !/^\d+$/.test(String(inside[0]))) {
      const remedy = `read one item, as in {steps.${step.id}.output[0].${inside[0]}}`
      return ['unknown-output', `${text}: "${step.id}" has forEach, so its output is a list; ${remedy}`]
    }
    return pathFault('unknown-output', `the output of "${step.id}"`, placeholder)
  }

  /** What a placeholder can never find; and what it may not find, unless it says that it need not. */
  function pathFault(
    code: 'unknown-output' | 'unknown-intake-field',
    where: string,
    placeholder: Placeholder,
    reader?: Step,
  ): Fault {
    const { optional, text } = placeholder
    const { is, missing } = shapes.at(placeholder, reader)
    if (missing === undefined || is === 'open' || (optional && (is === 'unnamed' || /^\d+$/.test(missing.key))))
      return undefined
    const remedy = missing.known.length === 0 ? 'there is nothing below' : choices(missing.key, missing.known)
    return [code, `${text}: ${where} has no "${missing.key}" there; ${remedy}`]
  }

  const intakeFault = (placeholder: Placeholder) => pathFault('unknown-intake-field', 'the intake', placeholder)

  function placeholderFault(placeholder: Placeholder, step: Step): Fault {
    const { lookups, forEach } = step
    const { root, path, optional, text } = placeholder
    const key = String(path[0])
    switch (root) {
      case 'steps':
        return outputFault(placeholder)
      case 'intake': {
        const isGiven = UNIVERSAL_FIELDS.includes(key) || key.startsWith('_fabric_')
        if (intake?.has(key) ?? true) return intakeFault(placeholder)
        if (optional || isGiven) return undefined
        const remedy = `declare it, or write {intake.${key}?} if it may be absent`
        return ['unknown-intake-field', `${text}: the intake schema declares no "${key}"; ${remedy}`]
      }
      case 'lookup': {
        const names = Object.keys(lookups ?? {})
        if (isJsonObject(lookups) && names.includes(key) && path.length === 1) return undefined
        return ['unknown-lookup', `${text}: the step has no lookup "${key}"; ${choices(key, names)}`]
      }
      case 'run':
        if (RUN_FIELDS.includes(key) && path.length === 1) return undefined
        return ['unknown-run-field', `${text}: a run has ${RUN_FIELDS.join(', ')}`]
      case 'regenerate':
        if (REGENERATE_FIELDS.includes(key)) return undefined
        return ['unknown-run-field', `${text}: regenerate has ${REGENERATE_FIELDS.join(', ')}`]
      case 'retry':
        if (path.length === 1 && (key === 'attempt' || (key === 'problem' && optional))) return undefined
        return ['unknown-run-field', `${text}: write {retry.attempt}, or {retry.problem?}, which is not always there`]
      case 'item':
      case 'index':
        if (forEach !== undefined) return pathFault('unknown-output', 'an item of the list', placeholder, step)
        return ['item-outside-foreach', `${text} has a value only in a step with forEach`]
      default: {
        const roots = 'placeholders begin with intake, lookup, steps, run, retry or regenerate'
        return ['unknown-root', `${text}: ${roots}; write {{ and }} for literal braces`]
      }
    }
  }

  for (const { step, at } of steps) {
    const { id: _, kind: __, name: ___, lookups, outputSchema: ____, when: _____, ...fields } = step
    const looked = new Set<string>()
    for (const { at: path, placeholder } of placeholdersIn(fields)) {
      // A text may hold the same placeholder thousands of times.
      const place = JSON.stringify([path, placeholder.text])
      if (looked.has(place)) continue
      looked.add(place)
      const fault = placeholderFault(placeholder, step)
      if (fault !== undefined) report(`${at}${pointerTo(...path)}`, ...fault)
    }
    for (const [index, need] of (Array.isArray(step.needs) ? step.needs : []).entries()) {
      if (typeof need === 'string' && !byId.has(need))
        report(`${at}/needs/${index}`, 'unknown-reference', noSuch('step', need, ids))
    }
    for (const [name, lookup] of Object.entries(objectOf(lookups))) {
      const from = isJsonObject(lookup) && typeof lookup.from === 'string' ? parsePath(lookup.from) : undefined
      const key = String(from?.path[0])
      if (from === undefined || intake === null) continue
      const why = `the intake schema declares no "${key}"; ${choices(key, [...intake])}`
      const fault: Fault = intake.has(key) ? intakeFault(from) : ['unknown-intake-field', why]
      if (fault !== undefined) report(`${at}/lookups${pointerTo(name)}/from`, ...fault)
    }
  }
  const cycle = findCycle(new Map(steps.map(({ step }) => [step.id, dependenciesOf(step).map(({ id }) => id)])))
  if (cycle !== undefined) report('/runtimeSteps', 'cycle', `these steps wait for each other: ${cycle.join(' → ')}`)

  const { outputAliases, artifactSchema } = document
  for (const [alias, path] of Object.entries(objectOf(outputAliases))) {
    checkPath(`/outputAliases${pointerTo(alias)}`, path)
  }
  const files = isJsonObject(artifactSchema) && Array.isArray(artifactSchema.files) ? artifactSchema.files : []
  for (const [index, file] of files.entries()) {
    if (isJsonObject(file) && file.from !== undefined) checkPath(`/artifactSchema/files/${index}/from`, file.from)
  }

  function checkPath(pointer: string, path: unknown): void {
    const parsed = typeof path === 'string' ? parsePath(path) : undefined
    const fault: Fault =
      parsed?.root === 'steps'
        ? outputFault({ ...parsed, text: String(path) })
        : ['unknown-reference', 'must be the path of a step output, such as steps.render.output.artifact']
    if (fault !== undefined) report(pointer, ...fault)
  }
}
