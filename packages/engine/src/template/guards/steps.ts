// Each step by itself: kind, own fields, tool and its arguments, model and its fitness.
import { isJsonObject, type JsonObject, ownFields, pointerTo, type Step, StepCommon } from '@fabrique/schema'
import { z } from 'zod'
import { type Catalog, modelNamesOf, type StepKind, type Tool } from '../../catalog.ts'
import { placeholdersIn, valueAt } from '../placeholders.ts'
import { choices, issuesOf, modelFault, noSuch, providersOf, type Report, type Subject, unknownKey } from './report.ts'

/** Each step by itself: id, kind, the kind's own fields, tool, model. */
export function checkSteps({ document, steps, catalog, report }: Subject): void {
  const seen = new Set<string>()
  for (const { step, at } of steps) {
    const reportHere: Report = (pointer, code, detail) => report(at + pointer, code, detail)
    if (seen.has(step.id))
      reportHere('/id', 'duplicate-step-id', `two steps are called "${step.id}"; give each its own id`)
    seen.add(step.id)
    const kind = catalog.kind(step.kind)
    if (kind === undefined) {
      reportHere('/kind', 'unknown-step-kind', noSuch('step kind', step.kind, catalog.names.kinds))
      continue
    }
    checkOwnFields(step, kind, reportHere)
    checkTool(step, catalog, reportHere)
    checkModel(step, kind, providersOf(document), catalog, reportHere)
  }
}

function checkOwnFields(step: Step, kind: StepKind, report: Report): void {
  const known =
    kind.fields instanceof z.ZodObject ? [...Object.keys(kind.fields.shape), ...Object.keys(StepCommon.shape)] : []
  for (const { path, is, detail } of issuesOf(ownFields(step), kind.fields, known)) {
    const code = is === 'unknown' ? 'unknown-step-field' : 'invalid-step'
    report(pointerTo(...path), code, is === 'missing' ? `a step of kind "${kind.kind}" needs it` : detail)
  }
}

function checkTool(step: Step, catalog: Catalog, report: Report): void {
  for (const [index, name] of (Array.isArray(step.tools) ? step.tools : []).entries()) {
    if (typeof name === 'string' && catalog.tool(name) === undefined)
      report(`/tools/${index}`, 'unknown-tool', noSuch('local tool', name, catalog.names.tools))
  }
  if (typeof step.tool !== 'string') return
  const tool = catalog.tool(step.tool)
  if (tool === undefined) {
    const why = `${noSuch('tool', step.tool, catalog.names.tools)}, or a model such as fal/birefnet-light`
    if (!step.tool.includes('/')) report('/tool', 'unknown-tool', why)
    return
  }
  if (isJsonObject(step.args ?? {})) checkToolArguments(tool, (step.args ?? {}) as JsonObject, report)
}

/** What has placeholders is known only at run time; all else of a tool's arguments is judged now. */
function checkToolArguments(tool: Tool, given: JsonObject, report: Report): void {
  const known = keysOfVariant(tool.args, given)
  // Where a placeholder chooses the variant, the schema says nothing of the other keys.
  for (const key of Object.keys(given).filter((one) => !known.includes(one)))
    report(`/args${pointerTo(key)}`, 'unknown-tool-argument', unknownKey(key, known))
  for (const { path, is, detail } of issuesOf(given, tool.args, known)) {
    const pointer = `/args${pointerTo(...(path as string[]))}`
    if (is === 'missing') report('/args', 'missing-tool-argument', `the tool "${tool.name}" needs "${path.join('.')}"`)
    else if (is === 'unknown') report(pointer, 'unknown-tool-argument', detail)
    else if (placeholdersIn(valueAt(given, path as string[])).length === 0)
      report(pointer, 'invalid-tool-argument', detail)
  }
}

/** The keys that an object may have; where one of its values says which of several it is, and is known, of that one. */
function keysOfVariant(args: z.ZodType, given: JsonObject): string[] {
  const variants = args instanceof z.ZodDiscriminatedUnion ? args.options : [args]
  const shapes = variants.flatMap((variant) => (variant instanceof z.ZodObject ? [variant.shape] : []))
  const key = args instanceof z.ZodDiscriminatedUnion ? args.def.discriminator : undefined
  const chosen = shapes.filter((shape) => key !== undefined && shape[key]?.safeParse(given[key]).success)
  return [...new Set((chosen.length > 0 ? chosen : shapes).flatMap(Object.keys))]
}

function checkModel(
  step: Step,
  kind: StepKind,
  roles: ReturnType<typeof providersOf>,
  catalog: Catalog,
  report: Report,
): void {
  const wanted = kind.capability(step)
  if (wanted === null) return
  const field = step.model !== undefined ? 'model' : step.provider !== undefined ? 'provider' : 'tool'
  if (step.model !== undefined && step.provider !== undefined) {
    report('', 'model-and-provider', 'name either a "model" or a "provider" role, not both')
  }
  if (step.model === undefined && typeof step.provider === 'string' && !Object.hasOwn(roles, step.provider)) {
    const remedy = choices(step.provider, Object.keys(roles))
    const why = `the template's "providers" has no role "${step.provider}"; ${remedy}`
    return report('/provider', 'unknown-provider-role', why)
  }
  const { names } = modelNamesOf(step, roles)
  if (names.length === 0) {
    report('', 'no-model', `a step of kind "${step.kind}" needs a "model", or a "provider" role of the template`)
  }
  for (const name of names) {
    const fault = modelFault(name, wanted, 'step', catalog)
    if (fault !== undefined) report(`/${field}`, ...fault)
  }
}
