// The publish guards: everything that keeps a template from being listed, all at once, each with place and remedy.
// Hides the order of checks; a template without problems compiles, and every metered step of it has a price.
import {
  ARTIFACT_CLASSES,
  type ArtifactClass,
  findRate,
  inWords,
  isJsonObject,
  type JsonObject,
  type ModelRow,
  pointerTo,
  type Problem,
  type Rate,
  SCHEMA_VERSIONS,
  type Step,
  Template,
  textOf,
} from '@fabrique/schema'
import { type Catalog, modelNamesOf } from '../../catalog.ts'
import type { Clock } from '../../ports.ts'
import { endsIn, endsOf } from '../model-ends.ts'
import { placeholdersIn } from '../placeholders.ts'
import { checkConditions, checkGates } from './conditions.ts'
import { checkReferences } from './references.ts'
import { choices, type IndexedStep, isMissing, providersOf, type Report, stepsOf, unknownKey } from './report.ts'
import { checkSteps } from './steps.ts'

export interface GuardDeps {
  catalog: Catalog
  pricing: { current(): Promise<{ rates: readonly Rate[]; models?: readonly ModelRow[] | undefined }> }
  clock: Pick<Clock, 'nowMs'>
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
  await checkOutputSchemas(steps, deps, executability)
  checkConditions(document, steps, executability)
  checkGates(document, steps, deps.catalog, executability)
  checkArtifacts(document, executability)
  await checkCalls(document, steps, deps, executability)
  const { rates, models } = await deps.pricing.current()
  for (const { end, problem } of endsIn(document, endsOf(models, deps.clock.nowMs())))
    if (end.daysLeft < 0) executability(problem.pointer, 'model-retired', problem.detail)
  checkPrices(document, steps, deps.catalog, rates, report('estimability'))
  return problems
}

/** What models are to answer with: usable as it stands, or every answer would fail after it was paid for. */
async function checkOutputSchemas(steps: IndexedStep[], { intake }: GuardDeps, report: Report): Promise<void> {
  for (const { step, at } of steps) {
    if (!isJsonObject(step.outputSchema)) continue
    for (const { pointer, detail } of await intake.check(step.outputSchema))
      report(`${at}/outputSchema${pointer}`, 'invalid-output-schema', detail)
  }
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
  const parsed = Template.safeParse(document)
  if (parsed.success) return
  for (const issue of parsed.error.issues) {
    const { path } = issue
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
      report(pointer, path[0] === 'version' ? 'invalid-version' : 'invalid-field', inWords(issue))
    }
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
    checkCalled(step, at, direct, steps, report)
    const chain = await chainBackTo(textOf(document.id), step.workflow, direct, deps)
    if (chain !== null)
      report(
        pointer,
        'cyclic-sub-workflow',
        `these workflows call each other: ${[textOf(document.id), ...chain].join(' → ')}`,
      )
  }
}

/** What a called workflow needs is given to it, and what is read of it is there. */
function checkCalled(step: Step, at: string, called: JsonObject, steps: IndexedStep[], report: Report): void {
  const given = isJsonObject(step.input) ? Object.keys(step.input) : []
  const { required } = isJsonObject(called.intakeSchema) ? called.intakeSchema : {}
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
      const remedy = choices(String(key), aliases)
      report(
        `${reader.at}${pointerTo(...path)}`,
        'unknown-output',
        `${placeholder.text}: "${step.workflow as string}" answers no "${String(key)}"; ${remedy}`,
      )
    }
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
        if (findRate(rates, name, usage) === undefined) report(at, 'unknown-rate', unpriced(usage.unit, name))
      }
    }
  }
  for (const [index, gate] of (Array.isArray(document.gates) ? document.gates : []).entries()) {
    if (!isJsonObject(gate) || typeof gate.type !== 'string' || typeof gate.model !== 'string') continue
    const model = catalog.gate(gate.type)?.model === undefined ? undefined : catalog.model(gate.model)
    for (const usage of (model && catalog.provider(model.provider)?.expectedUsage(model, {})) ?? []) {
      if (findRate(rates, gate.model, usage) === undefined)
        report(pointerTo('gates', index), 'unknown-rate', unpriced(usage.unit, gate.model))
    }
  }
}

function unpriced(unit: string, model: string): string {
  return `the current price list has no rate for one ${unit} of "${model}"; add it with POST /v1/pricing, or use a priced model`
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 80) ?? 'nothing'
}
