// Each step by itself: kind, own fields, tool and its arguments, model and its fitness.
import { inWords, isJsonObject, type JsonObject, ownFields, pointerTo, type Step, StepCommon } from '@fabrique/schema'
import { z } from 'zod'
import { type Catalog, modelNamesOf, type StepKind } from '../../catalog.ts'
import { placeholdersIn } from '../placeholders.ts'
import { choices, type IndexedStep, isMissing, providersOf, type Report, unknownKey } from './report.ts'

/** Each step by itself: id, kind, the kind's own fields, tool, model. */
export function checkSteps(document: JsonObject, steps: IndexedStep[], catalog: Catalog, report: Report): void {
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
    checkOwnFields(step, at, kind, report)
    checkTool(step, at, catalog, report)
    checkModel(document, step, at, kind, catalog, report)
  }
}

function checkOwnFields(step: Step, at: string, kind: StepKind, report: Report): void {
  const own = ownFields(step)
  const parsed = kind.fields.safeParse(own)
  if (parsed.success) return
  const known =
    kind.fields instanceof z.ZodObject ? [...Object.keys(kind.fields.shape), ...Object.keys(StepCommon.shape)] : []
  for (const issue of parsed.error.issues) {
    const { path } = issue
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys)
        report(`${at}${pointerTo(...path, key)}`, 'unknown-step-field', unknownKey(key, path.length === 0 ? known : []))
    } else {
      report(
        `${at}${pointerTo(...path)}`,
        'invalid-step',
        isMissing(own, path) ? `a step of kind "${kind.kind}" needs it` : inWords(issue),
      )
    }
  }
}

function checkTool(step: Step, at: string, catalog: Catalog, report: Report): void {
  for (const [index, name] of (Array.isArray(step.tools) ? step.tools : []).entries()) {
    if (typeof name === 'string' && catalog.tool(name) === undefined)
      report(
        `${at}/tools/${index}`,
        'unknown-tool',
        `there is no local tool "${name}"; ${choices(name, catalog.names.tools)}`,
      )
  }
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
    const [issue] = parsed.error?.issues ?? []
    if (issue !== undefined) report(`${at}/args${pointerTo(key)}`, 'invalid-tool-argument', inWords(issue))
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

function unknownModel(name: string, catalog: Catalog): string {
  const provider = name.split('/')[0] ?? ''
  if (catalog.provider(provider) !== undefined) return `"${name}" is not a model of ${provider}`
  return `"${name}" names no provider; models are written provider/model, with one of the providers ${catalog.names.providers.join(', ')}`
}
