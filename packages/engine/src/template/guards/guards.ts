// The publish guards: everything that keeps a template from being listed, all at once, each with place and remedy.
// Hides the order of checks; a template without problems compiles, and every metered step of it has a price.
import {
  ARTIFACT_CLASSES,
  type ArtifactClass,
  findRate,
  isJsonObject,
  objectOf,
  type JsonObject,
  type ModelRow,
  pointerTo,
  type Problem,
  PROBLEMS_MAX,
  type Rate,
  SCHEMA_VERSIONS,
  type Step,
  Template,
  textOf,
} from '@fabrique/schema'
import { type Catalog, modelNamesOf, pricedBy } from '../../catalog.ts'
import type { Clock, IntakeSchemas } from '../../ports.ts'
import { endsIn, endsOf } from '../model-ends.ts'
import { placeholdersIn } from '../placeholders.ts'
import { checkConditions, checkGates } from './conditions.ts'
import { capFault } from './cap.ts'
import { checkFiles } from './files.ts'
import { checkParameters } from './parameters.ts'
import { checkReferences } from './references.ts'
import { choices, type IndexedStep, issuesOf, providersOf, type Report, stepsOf, type Subject } from './report.ts'
import { createShapes } from './shapes.ts'
import { checkSteps } from './steps.ts'

export interface GuardDeps {
  catalog: Catalog
  pricing: { current(): Promise<{ rates: readonly Rate[]; models?: readonly ModelRow[] | undefined }> }
  clock: Pick<Clock, 'nowMs'>
  templates: {
    /** Documents of these templates, as far as they are listed. */
    listed(ids: string[]): Promise<Map<string, JsonObject>>
  }
  intake: Pick<IntakeSchemas, 'validate'> & {
    /** Problems of a JSON Schema, found off the event loop. */
    check(schema: unknown): Promise<{ pointer: string; detail: string }[]>
  }
}

/** Thrown to leave the guards when nothing more of what they find would be shown. */
const ENOUGH = Symbol('enough problems')
const CALL_DEPTH_MAX = 8

/** The problems of a normalised document, `executability` first; the first hundred. Never throws for what an author wrote. */
export async function checkTemplate(document: JsonObject, deps: GuardDeps): Promise<Problem[]> {
  const problems = new Map<string, Problem>()
  try {
    await check(document, deps, problems)
  } catch (error) {
    if (error !== ENOUGH) throw error
  }
  return [...problems.values()]
}

async function check(document: JsonObject, deps: GuardDeps, problems: Map<string, Problem>): Promise<void> {
  const report =
    (guard: Problem['guard']): Report =>
    (pointer, code, detail) => {
      const found = { pointer, detail, code, ...(guard === undefined ? {} : { guard }) }
      const key = JSON.stringify([pointer, code, detail])
      if (!problems.has(key)) problems.set(key, found)
      if (problems.size >= PROBLEMS_MAX) throw ENOUGH
    }
  const executability = report('executability')
  const checkSchema = async (schema: unknown, at: string, code: Parameters<Report>[1]): Promise<void> => {
    if (!isJsonObject(schema)) return
    for (const { pointer, detail } of await deps.intake.check(schema)) {
      unsound.add(schema)
      executability(at + pointer, code, detail)
    }
  }
  const unsound = new Set<unknown>()
  const { catalog } = deps
  const steps = stepsOf(document)
  const plain = steps.map(({ step }) => step)
  const shapes = createShapes(document, plain, catalog, (schema) => !unsound.has(schema))
  const subject = { document, steps, catalog, shapes, report: executability }
  checkShape(document, executability)
  await checkSchema(document.intakeSchema, '/intakeSchema', 'invalid-intake-schema')
  checkSteps(subject)
  // What models are to answer with: usable as it stands, or every answer would fail after it was paid for.
  for (const { step, at } of steps) await checkSchema(step.outputSchema, `${at}/outputSchema`, 'invalid-output-schema')
  checkReferences(subject)
  checkConditions(subject)
  checkGates(subject)
  checkArtifacts(document, executability)
  checkFiles(subject)
  await checkCalls(subject, deps)
  const { rates, models } = await deps.pricing.current()
  await checkParameters(subject, models, deps.intake)
  for (const { end, problem } of endsIn(document, endsOf(models, deps.clock.nowMs())))
    if (end.daysLeft < 0) executability(problem.pointer, 'model-retired', problem.detail)
  checkPrices({ ...subject, report: report('estimability') }, rates)
  if (problems.size === 0) {
    const cap = capFault(document, catalog, { rates, models })
    if (cap?.isHopeless) report('estimability')(cap.pointer, 'cap-below-estimate', cap.detail)
  }
}

/** What a template without problems is warned of, as prices are now. */
export async function adviseOn(document: JsonObject, { catalog, pricing }: Pick<GuardDeps, 'catalog' | 'pricing'>) {
  const cap = capFault(document, catalog, await pricing.current())
  const warnings: Problem[] =
    cap === null ? [] : [{ pointer: cap.pointer, code: 'cap-below-estimate', detail: cap.detail }]
  for (const { step, at } of stepsOf(document)) {
    if (catalog.kind(step.kind)?.capability(step) == null) continue
    const said = placeholdersIn(step).map(({ placeholder: { root, path } }) => `${root}.${path[0]}`)
    const { on = [], maxAttempts = 3 } = step.retry ?? {}
    if (on.includes('bad_output') && maxAttempts > 1 && !said.some((name) => name.startsWith('retry.')))
      warnings.push({
        pointer: `${at}/retry/on`,
        code: 'blind-retry',
        detail:
          'each attempt is paid for, and asks the same again; tell the model what was wrong by {retry.problem?}, or leave bad_output out',
      })
    const isVaried = said.some((name) => name === 'run.seed' || name === 'run.variant_index')
    for (const field of ['params', 'args']) {
      const given = step[field]
      if (isVaried || !isJsonObject(given) || typeof given.seed !== 'number') continue
      const detail = 'all variants of a run get this seed and may be alike; leave it out, or write "{run.seed}"'
      warnings.push({ pointer: `${at}/${field}/seed`, code: 'fixed-seed', detail })
    }
  }
  return warnings
}

/** Fields, types, the version's date, the schema version. */
function checkShape(document: JsonObject, report: Report): void {
  const { schemaVersion, runtimeSteps } = document
  if (schemaVersion !== undefined && !SCHEMA_VERSIONS.some((known) => known === schemaVersion)) {
    const shown = JSON.stringify(schemaVersion).slice(0, 80)
    const why = `there is no schema version ${shown}; the versions are ${SCHEMA_VERSIONS.join(', ')}`
    report('/schemaVersion', 'unknown-schema-version', why)
  }
  const hasNoSteps = runtimeSteps === undefined || (Array.isArray(runtimeSteps) && runtimeSteps.length === 0)
  if (hasNoSteps)
    report('/runtimeSteps', 'no-steps', 'a listed template needs at least one step that the engine can execute')
  for (const { path, is, detail } of issuesOf(document, Template, Object.keys(Template.shape))) {
    const pointer = pointerTo(...path)
    if (pointer === '/schemaVersion' && schemaVersion !== undefined) continue
    if (pointer === '/runtimeSteps' && hasNoSteps) continue
    if (is === 'unknown') report(pointer, 'unknown-field', detail)
    else if (is === 'missing') report(pointer, 'missing-field', 'is required for listing')
    else report(pointer, path[0] === 'version' ? 'invalid-version' : 'invalid-field', detail)
  }
}

/** What a class of artifact must have among its files, where it has files at all. */
const CONTRACTS: Record<ArtifactClass, { type: RegExp; what: string }> = {
  visual: { type: /^image\//, what: 'a picture (image/…)' },
  video: { type: /^video\//, what: 'a video (video/…)' },
  research: { type: /^(text|application)\//, what: 'a document (text/…, application/json, application/pdf)' },
  knowledge: { type: /^(text|application)\//, what: 'a document (text/…, application/json, application/pdf)' },
}

function checkArtifacts({ artifactClass, artifactSchema }: JsonObject, report: Report): void {
  const contract = ARTIFACT_CLASSES.find((known) => known === artifactClass)
  const files = isJsonObject(artifactSchema) && Array.isArray(artifactSchema.files) ? artifactSchema.files : []
  if (contract === undefined || files.length === 0) return
  const { type, what } = CONTRACTS[contract]
  if (files.some((file) => isJsonObject(file) && type.test(textOf(file.mimeType)))) return
  report(
    '/artifactSchema/files',
    'artifact-contract',
    `an artifact of class "${contract}" has ${what} among its files; add it, or choose another artifactClass`,
  )
}

/** Sub-workflows: listed, and never calling themselves, however long the chain. */
async function checkCalls({ document, steps, report }: Subject, { templates }: GuardDeps): Promise<void> {
  for (const { step, at } of steps) {
    if (step.kind !== 'workflow' || typeof step.workflow !== 'string') continue
    const { workflow } = step
    const pointer = `${at}/workflow`
    if (workflow === document.id) {
      report(pointer, 'cyclic-sub-workflow', 'a workflow cannot call itself')
      continue
    }
    const direct = (await templates.listed([workflow])).get(workflow)
    if (direct === undefined) {
      report(pointer, 'unlisted-sub-workflow', `there is no listed workflow "${workflow}"; publish it first`)
      continue
    }
    checkCalled(step, at, direct, steps, report)
    const chain = await chainBackTo(textOf(document.id), workflow, direct, templates)
    const circle = [textOf(document.id), ...(chain ?? [])].join(' → ')
    if (chain !== null) report(pointer, 'cyclic-sub-workflow', `these workflows call each other: ${circle}`)
  }
}

/** What a called workflow needs is given to it, and what is read of it is there. */
function checkCalled(step: Step, at: string, called: JsonObject, steps: IndexedStep[], report: Report): void {
  const given = isJsonObject(step.input) ? Object.keys(step.input) : []
  const { required } = objectOf(called.intakeSchema)
  for (const key of Array.isArray(required) ? required.map(textOf) : []) {
    if (!given.includes(key))
      report(`${at}/input`, 'invalid-step', `"${step.workflow as string}" needs the input "${key}"; give it here`)
  }
  const aliases = isJsonObject(called.outputAliases) ? Object.keys(called.outputAliases) : []
  if (aliases.length === 0) return
  for (const reader of steps) {
    for (const { at: path, placeholder } of placeholdersIn(reader.step)) {
      const [id, slot, ...inside] = placeholder.root === 'steps' ? placeholder.path : []
      const key = step.forEach === undefined ? inside[0] : inside[1]
      if (id !== step.id || slot !== 'output' || key === undefined || aliases.includes(String(key))) continue
      const why = `"${step.workflow as string}" answers no "${key}"; ${choices(String(key), aliases)}`
      report(`${reader.at}${pointerTo(...path)}`, 'unknown-output', `${placeholder.text}: ${why}`)
    }
  }
}

/** The ids from `start` back to `target` along sub-workflow calls, or null where there is no such way. */
async function chainBackTo(
  target: string,
  start: string,
  document: JsonObject,
  templates: GuardDeps['templates'],
): Promise<string[] | null> {
  let callers: { chain: string[]; document: JsonObject | undefined }[] = [{ chain: [start], document }]
  const seen = new Set([start])
  for (let depth = 0; depth < CALL_DEPTH_MAX && callers.length > 0; depth += 1) {
    const calls = callers.flatMap(({ chain, document: caller = {} }) =>
      stepsOf(caller).flatMap(({ step }) =>
        step.kind === 'workflow' && typeof step.workflow === 'string' ? [{ chain, callee: step.workflow }] : [],
      ),
    )
    const found = calls.find(({ callee }) => callee === target)
    if (found !== undefined) return [...found.chain, target]
    const fresh = calls.filter(({ callee }) => !seen.has(callee))
    for (const { callee } of fresh) seen.add(callee)
    const documents = await templates.listed(fresh.map(({ callee }) => callee))
    callers = fresh.map(({ chain, callee }) => ({ chain: [...chain, callee], document: documents.get(callee) }))
  }
  return null
}

/** Every model of a metered step or gate has a rate for what it is expected to use; a rate of 0 is a rate. */
function checkPrices({ document, steps, catalog, report }: Subject, rates: readonly Rate[]): void {
  const asked = steps.flatMap(({ step, at }) => {
    const kind = catalog.kind(step.kind)
    if (kind === undefined || kind.capability(step) === null) return []
    const { names } = modelNamesOf(step, providersOf(document))
    return names.map((name) => ({ at, name, request: kind.expects(step) }))
  })
  for (const [index, gate] of (Array.isArray(document.gates) ? document.gates : []).entries()) {
    if (!isJsonObject(gate) || typeof gate.type !== 'string' || typeof gate.model !== 'string') continue
    if (catalog.gate(gate.type)?.model !== undefined)
      asked.push({ at: pointerTo('gates', index), name: gate.model, request: {} })
  }
  for (const { at, name, request } of asked) {
    const model = catalog.model(name)
    const usages = model && catalog.provider(model.provider)?.expectedUsage(pricedBy(rates, model), request)
    for (const usage of usages ?? []) {
      const why = `the current price list has no rate for one ${usage.unit} of "${name}"`
      const remedy = 'add it with POST /v1/pricing, or use a priced model'
      if (findRate(rates, name, usage) === undefined) report(at, 'unknown-rate', `${why}; ${remedy}`)
    }
  }
}
