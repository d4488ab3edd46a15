// The publish guards: everything that keeps a template from being listed, all at once, each with place and remedy.
// Hides the order of checks; a template without problems compiles, and every metered step of it has a price.
import {
  findRate,
  isJsonObject,
  type JsonObject,
  nearestKey,
  pointerTo,
  type Problem,
  type Rate,
  SCHEMA_VERSIONS,
  type Step,
  StepCommon,
  Template,
  textOf,
} from '@fabrique/schema'
import { z } from 'zod'
import { type Catalog, modelNamesOf, type StepKind } from './catalog.ts'
import { dependenciesOf, findCycle } from './plan.ts'
import { type Placeholder, parsePath, placeholdersIn } from './placeholders.ts'

export interface GuardDeps {
  catalog: Catalog
  pricing: { current(): Promise<{ rates: readonly Rate[] }> }
  templates: {
    /** Documents of these templates, as far as they are listed. */
    listed(ids: string[]): Promise<Map<string, JsonObject>>
  }
  intake: {
    /** Problems of a JSON Schema, found off the event loop. */
    check(schema: unknown): Promise<{ pointer: string; detail: string }[]>
  }
}

const PROBLEMS_MAX = 200
const CALL_DEPTH_MAX = 8
const RUN_FIELDS = ['id', 'workflow', 'variant_index']
const REGENERATE_FIELDS = ['direction', 'keep', 'extra_instructions']
const UNIVERSAL_FIELDS = ['variants', 'regenerate', 'output_dir']
/** Fields of the language that this version of the engine does not execute yet: listing them would be a lie. */
const NOT_EXECUTED = ['when', 'forEach'] as const

/** Every code that a problem of a template can have; each has a row in docs/reference/template-problems.md. */
export const TEMPLATE_PROBLEMS = [
  'no-steps',
  'missing-field',
  'invalid-field',
  'unknown-field',
  'invalid-version',
  'unknown-schema-version',
  'duplicate-step-id',
  'unknown-step-kind',
  'invalid-step',
  'unknown-step-field',
  'not-executable',
  'unknown-tool',
  'unknown-tool-argument',
  'missing-tool-argument',
  'invalid-tool-argument',
  'unknown-model',
  'unfit-model',
  'no-model',
  'model-and-provider',
  'unknown-provider-role',
  'unknown-gate',
  'duplicate-gate-id',
  'unknown-reference',
  'unknown-output',
  'unknown-lookup',
  'unknown-root',
  'unknown-intake-field',
  'unknown-run-field',
  'item-outside-foreach',
  'cycle',
  'unlisted-sub-workflow',
  'cyclic-sub-workflow',
  'invalid-intake-schema',
  'unknown-rate',
] as const

type Report = (pointer: string, code: (typeof TEMPLATE_PROBLEMS)[number], detail: string) => void

/** Every problem of a normalised document, `executability` first. Never throws for what an author wrote. */
export async function checkTemplate(document: JsonObject, deps: GuardDeps): Promise<Problem[]> {
  const problems: Problem[] = []
  const report =
    (guard: Problem['guard']): Report =>
    (pointer, code, detail) => {
      if (
        problems.length < PROBLEMS_MAX &&
        !problems.some((one) => one.pointer === pointer && one.code === code && one.detail === detail)
      ) {
        problems.push({ pointer, detail, code, ...(guard === undefined ? {} : { guard }) })
      }
    }
  const executability = report('executability')
  checkShape(document, executability)
  if (isJsonObject(document.intakeSchema)) {
    for (const { pointer, detail } of await deps.intake.check(document.intakeSchema)) {
      executability(`/intakeSchema${pointer}`, 'invalid-intake-schema', detail)
    }
  }
  const steps = stepsOf(document)
  checkSteps(document, steps, deps.catalog, executability)
  checkReferences(document, steps, deps.catalog, executability)
  checkGates(document, steps, deps.catalog, executability)
  await checkCalls(document, steps, deps, executability)
  checkPrices(document, steps, deps.catalog, (await deps.pricing.current()).rates, report('estimability'))
  return problems
}

interface IndexedStep {
  step: Step
  at: string
}

/** The steps that are at least objects with an id and a kind; the rest is named by `checkShape`. */
function stepsOf(document: JsonObject): IndexedStep[] {
  if (!Array.isArray(document.runtimeSteps)) return []
  return document.runtimeSteps.slice(0, 100).flatMap((step, index) => {
    const usable = isJsonObject(step) && typeof step.id === 'string' && typeof step.kind === 'string'
    return usable ? [{ step: step as unknown as Step, at: pointerTo('runtimeSteps', index) }] : []
  })
}

/** Fields, types, the version's date, the schema version. */
function checkShape(document: JsonObject, report: Report): void {
  const { schemaVersion, runtimeSteps } = document
  if (schemaVersion !== undefined && !SCHEMA_VERSIONS.some((known) => known === schemaVersion)) {
    report(
      '/schemaVersion',
      'unknown-schema-version',
      `there is no schema version ${shown(schemaVersion)}; the versions are ${SCHEMA_VERSIONS.join(', ')}`,
    )
  }
  if (runtimeSteps === undefined || (Array.isArray(runtimeSteps) && runtimeSteps.length === 0)) {
    report('/runtimeSteps', 'no-steps', 'a listed template needs at least one step that the engine can execute')
  }
  if (document.onUnknownOutcome === 'review') {
    report('/onUnknownOutcome', 'not-executable', 'this version of the engine opens no gate for it; use retry or fail')
  }
  const parsed = Template.safeParse(document)
  if (parsed.success) return
  for (const issue of parsed.error.issues) {
    const path = issue.path as (string | number)[]
    const pointer = pointerTo(...path)
    if (pointer === '/schemaVersion' && schemaVersion !== undefined) continue
    if (pointer === '/runtimeSteps' && (runtimeSteps === undefined || issue.code === 'too_small')) continue
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys)
        report(
          pointerTo(...path, key),
          'unknown-field',
          unknownKey(key, path.length === 0 ? Object.keys(Template.shape) : []),
        )
    } else if (isMissing(document, path)) {
      report(pointer, 'missing-field', 'is required for listing')
    } else {
      report(pointer, path[0] === 'version' ? 'invalid-version' : 'invalid-field', issue.message)
    }
  }
}

function isMissing(document: JsonObject, path: (string | number)[]): boolean {
  let value: unknown = document
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return false
    value = (value as Record<string | number, unknown>)[key]
  }
  return value === undefined
}

/** Each step by itself: id, kind, the kind's own fields, tool, model. */
function checkSteps(document: JsonObject, steps: IndexedStep[], catalog: Catalog, report: Report): void {
  const seen = new Set<string>()
  for (const { step, at } of steps) {
    if (seen.has(step.id))
      report(`${at}/id`, 'duplicate-step-id', `two steps are called "${step.id}"; give each its own id`)
    seen.add(step.id)
    const kind = catalog.kind(step.kind)
    if (kind === undefined) {
      report(
        `${at}/kind`,
        'unknown-step-kind',
        `there is no step kind "${step.kind}"; ${choices(step.kind, catalog.names.kinds)}`,
      )
      continue
    }
    for (const field of NOT_EXECUTED) {
      if (step[field] !== undefined)
        report(
          `${at}/${field}`,
          'not-executable',
          `"${field}" is not executed by this version of the engine; remove it`,
        )
    }
    checkOwnFields(step, at, kind, report)
    checkTool(step, at, catalog, report)
    checkModel(document, step, at, kind, catalog, report)
  }
}

function checkOwnFields(step: Step, at: string, kind: StepKind, report: Report): void {
  const own = Object.fromEntries(Object.entries(step).filter(([key]) => !Object.hasOwn(StepCommon.shape, key)))
  const parsed = kind.fields.safeParse(own)
  if (parsed.success) return
  const known =
    kind.fields instanceof z.ZodObject ? [...Object.keys(kind.fields.shape), ...Object.keys(StepCommon.shape)] : []
  for (const issue of parsed.error.issues) {
    const path = issue.path as (string | number)[]
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys)
        report(`${at}${pointerTo(...path, key)}`, 'unknown-step-field', unknownKey(key, path.length === 0 ? known : []))
    } else {
      report(
        `${at}${pointerTo(...path)}`,
        'invalid-step',
        isMissing(own as JsonObject, path) ? `a step of kind "${kind.kind}" needs it` : issue.message,
      )
    }
  }
}

function checkTool(step: Step, at: string, catalog: Catalog, report: Report): void {
  if (typeof step.tool !== 'string') return
  const tool = catalog.tool(step.tool)
  if (tool === undefined) {
    if (!step.tool.includes('/'))
      report(
        `${at}/tool`,
        'unknown-tool',
        `there is no tool "${step.tool}"; ${choices(step.tool, catalog.names.tools)}, or a model such as fal/birefnet-light`,
      )
    return
  }
  if (!(tool.args instanceof z.ZodObject) || !isJsonObject(step.args ?? {})) return
  const shape = tool.args.shape as Record<string, z.ZodType>
  const given = (step.args ?? {}) as JsonObject
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(shape, key))
      report(`${at}/args${pointerTo(key)}`, 'unknown-tool-argument', unknownKey(key, Object.keys(shape)))
  }
  for (const [key, type] of Object.entries(shape)) {
    if (given[key] === undefined && !type.safeParse(undefined).success)
      report(`${at}/args`, 'missing-tool-argument', `the tool "${tool.name}" needs "${key}"`)
    // A value with placeholders is known only at run time; a plain one can be judged now.
    const value = given[key]
    if (value === undefined || placeholdersIn(value).length > 0) continue
    const parsed = type.safeParse(value)
    if (!parsed.success)
      report(`${at}/args${pointerTo(key)}`, 'invalid-tool-argument', parsed.error.issues[0]?.message ?? 'is not valid')
  }
}

function checkModel(
  document: JsonObject,
  step: Step,
  at: string,
  kind: StepKind,
  catalog: Catalog,
  report: Report,
): void {
  const wanted = kind.capability(step)
  if (wanted === null) return
  const field = step.model !== undefined ? 'model' : step.provider !== undefined ? 'provider' : 'tool'
  if (step.model !== undefined && step.provider !== undefined) {
    report(at, 'model-and-provider', 'name either a "model" or a "provider" role, not both')
  }
  const roles = providersOf(document)
  if (step.model === undefined && typeof step.provider === 'string' && !Object.hasOwn(roles, step.provider)) {
    report(
      `${at}/provider`,
      'unknown-provider-role',
      `the template's "providers" has no role "${step.provider}"; ${choices(step.provider, Object.keys(roles))}`,
    )
    return
  }
  const { names } = modelNamesOf(step, roles)
  if (names.length === 0) {
    report(at, 'no-model', `a step of kind "${step.kind}" needs a "model", or a "provider" role of the template`)
    return
  }
  for (const name of names) {
    const model = catalog.model(name)
    const pointer = `${at}/${field}`
    if (model === undefined) report(pointer, 'unknown-model', unknownModel(name, catalog))
    else if (!wanted.includes(model.capability))
      report(pointer, 'unfit-model', `"${name}" makes ${model.capability}, and this step needs ${wanted.join(' or ')}`)
  }
}

function providersOf(document: JsonObject): Record<string, string | string[]> {
  if (!isJsonObject(document.providers)) return {}
  return Object.fromEntries(
    Object.entries(document.providers).filter((entry): entry is [string, string | string[]] =>
      [entry[1]].flat().every((name) => typeof name === 'string'),
    ),
  )
}

function unknownModel(name: string, catalog: Catalog): string {
  const provider = name.split('/')[0] ?? ''
  if (catalog.provider(provider) !== undefined) return `"${name}" is not a model of ${provider}`
  return `"${name}" names no provider; models are written provider/model, with one of the providers ${catalog.names.providers.join(', ')}`
}

/** Everything that points somewhere: placeholders, needs, lookups, aliases, files, and the cycles they make. */
function checkReferences(document: JsonObject, steps: IndexedStep[], catalog: Catalog, report: Report): void {
  const byId = new Map(steps.map((entry) => [entry.step.id, entry.step]))
  const intake =
    isJsonObject(document.intakeSchema) && isJsonObject(document.intakeSchema.properties)
      ? Object.keys(document.intakeSchema.properties)
      : null

  function checkOutput(pointer: string, placeholder: Placeholder): void {
    const [id, slot, first] = placeholder.path
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
    const { id: _, kind: __, name: ___, lookups, outputSchema: ____, ...fields } = step
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
  return dependenciesOf({
    ...step,
    needs: Array.isArray(step.needs) ? step.needs.filter((need) => typeof need === 'string') : [],
  })
}

/** Known types, unique ids, existing steps and gates. */
function checkGates(document: JsonObject, steps: IndexedStep[], catalog: Catalog, report: Report): void {
  if (!Array.isArray(document.gates)) return
  const ids = document.gates.map((gate) => (isJsonObject(gate) ? textOf(gate.id) : ''))
  document.gates.forEach((gate, index) => {
    if (!isJsonObject(gate) || typeof gate.type !== 'string') return
    const at = pointerTo('gates', index)
    if (catalog.gate(gate.type) === undefined) {
      report(
        at,
        'unknown-gate',
        `there is no gate "${textOf(gate.name ?? gate.type)}"; ${choices(gate.type, catalog.names.gates)}`,
      )
    }
    if (ids.indexOf(textOf(gate.id)) !== index)
      report(`${at}/id`, 'duplicate-gate-id', `two gates are called "${textOf(gate.id)}"; give each its own id`)
    if (typeof gate.after === 'string' && !steps.some(({ step }) => step.id === gate.after)) {
      report(`${at}/after`, 'unknown-reference', `there is no step "${gate.after}"`)
    }
    for (const [place, unlocked] of (Array.isArray(gate.unlocks) ? gate.unlocks : []).entries()) {
      if (!ids.includes(textOf(unlocked)))
        report(`${at}/unlocks/${place}`, 'unknown-gate', `there is no gate with the id "${textOf(unlocked)}"`)
    }
  })
}

/** Sub-workflows: listed, and never calling themselves, however long the chain. */
async function checkCalls(document: JsonObject, steps: IndexedStep[], deps: GuardDeps, report: Report): Promise<void> {
  for (const { step, at } of steps) {
    if (step.kind !== 'workflow' || typeof step.workflow !== 'string') continue
    const pointer = `${at}/workflow`
    if (step.workflow === document.id) {
      report(pointer, 'cyclic-sub-workflow', 'a workflow cannot call itself')
      continue
    }
    const direct = (await deps.templates.listed([step.workflow])).get(step.workflow)
    if (direct === undefined) {
      report(pointer, 'unlisted-sub-workflow', `there is no listed workflow "${step.workflow}"; publish it first`)
      continue
    }
    const chain = await chainBackTo(textOf(document.id), step.workflow, direct, deps)
    if (chain !== null)
      report(
        pointer,
        'cyclic-sub-workflow',
        `these workflows call each other: ${[textOf(document.id), ...chain].join(' → ')}`,
      )
  }
}

/** The ids from `start` back to `target` along sub-workflow calls, or null where there is no such way. */
async function chainBackTo(
  target: string,
  start: string,
  document: JsonObject,
  deps: GuardDeps,
): Promise<string[] | null> {
  let paths: { chain: string[]; document: JsonObject }[] = [{ chain: [start], document }]
  const seen = new Set([start])
  for (let depth = 0; depth < CALL_DEPTH_MAX && paths.length > 0; depth += 1) {
    const calls = paths.flatMap(({ chain, document: caller }) =>
      stepsOf(caller).flatMap(({ step }) =>
        step.kind === 'workflow' && typeof step.workflow === 'string' ? [{ chain, callee: step.workflow }] : [],
      ),
    )
    const found = calls.find(({ callee }) => callee === target)
    if (found !== undefined) return [...found.chain, target]
    const fresh = calls.filter(({ callee }) => !seen.has(callee))
    for (const { callee } of fresh) seen.add(callee)
    const documents = await deps.templates.listed(fresh.map(({ callee }) => callee))
    paths = fresh.flatMap(({ chain, callee }) => {
      const next = documents.get(callee)
      return next === undefined ? [] : [{ chain: [...chain, callee], document: next }]
    })
  }
  return null
}

/** Every model of a metered step has a rate for what it is expected to use; a rate of 0 is a rate. */
function checkPrices(
  document: JsonObject,
  steps: IndexedStep[],
  catalog: Catalog,
  rates: readonly Rate[],
  report: Report,
): void {
  for (const { step, at } of steps) {
    const kind = catalog.kind(step.kind)
    if (kind === undefined || kind.capability(step) === null) continue
    for (const name of modelNamesOf(step, providersOf(document)).names) {
      const model = catalog.model(name)
      const usages =
        model === undefined ? [] : (catalog.provider(model.provider)?.expectedUsage(model, kind.expects(step)) ?? [])
      for (const usage of usages) {
        if (findRate(rates, name, usage) !== undefined) continue
        report(
          at,
          'unknown-rate',
          `the current price list has no rate for one ${usage.unit} of "${name}"; add it with POST /v1/pricing, or use a priced model`,
        )
      }
    }
  }
}

function choices(wrong: string, valid: readonly string[]): string {
  if (valid.length === 0) return 'there are none'
  const near = nearestKey(wrong, valid)
  return near === undefined ? `there are ${valid.join(', ')}` : `did you mean "${near}"?`
}

function unknownKey(key: string, valid: readonly string[]): string {
  return valid.length === 0
    ? `"${key}" is not known here; remove it`
    : `"${key}" is not known here; ${choices(key, valid)}`
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 80) ?? 'nothing'
}
