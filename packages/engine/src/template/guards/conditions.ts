// What decides whether and how often a step runs, and what gates ask: conditions, lists, and the gates' own fields.
import { declaredFields, isJsonObject, type JsonObject, type JsonValue, pointerTo, textOf } from '@fabrique/schema'
import type { GateKind } from '../../catalog.ts'
import { ExpressionError, parseExpression, type Reference } from '../expression.ts'
import { parseTemplate } from '../placeholders.ts'
import { dependenciesOf } from '../data-flow.ts'
import { choices, type IndexedStep, issuesOf, modelFault, type Report, type Subject, unknownKey } from './report.ts'
import type { Shapes } from './shapes.ts'

/** What none of can be a list, whatever is asked of it. */
const SCALARS = ['lookup', 'run', 'retry', 'index']
const GATE_KEYS = ['id', 'name', 'type', 'after', 'unlocks', 'inputs', 'outputs', 'description']

/** `when` and `forEach` of every step. */
export function checkConditions({ document, steps, report, shapes }: Subject): void {
  for (const { step, at } of steps) {
    if (typeof step.when === 'string') {
      const known = steps.map((one) => one.step.id).filter((id) => id !== step.id)
      checkExpression(`${at}/when`, step.when, known, intakeOf(document), report)
    }
    if (step.forEach !== undefined) checkForEach(`${at}/forEach`, step.forEach as JsonValue, shapes, report)
  }
}

function checkForEach(at: string, forEach: JsonValue, shapes: Shapes, report: Report): void {
  const { items = null, concurrency, ...others } = isJsonObject(forEach) ? forEach : { items: forEach }
  const [where, other] = isJsonObject(forEach) ? [`${at}/items`, 'a list'] : [at, '{items, concurrency}']
  const [only, ...more] = typeof items === 'string' ? parseTemplate(items) : []
  if (typeof only === 'object' && more.length === 0) {
    const types = SCALARS.includes(only.root) ? ['string'] : shapes.at(only).types
    const what = `${only.text} is ${types.join(' or ')}, and a step can only go through a list`
    if (types.length > 0 && !types.includes('array')) report(where, 'invalid-foreach', what)
  } else if (!Array.isArray(items)) {
    const form = 'must be one placeholder that gives a list, such as {steps.plan.output.json.sections}'
    report(where, 'invalid-foreach', `${form}, or ${other}`)
  }
  const isCount = Number.isInteger(concurrency) && Number(concurrency) >= 1 && Number(concurrency) <= 50
  if (concurrency !== undefined && !isCount)
    report(`${at}/concurrency`, 'invalid-foreach', 'must be a whole number from 1 to 50')
  for (const key of Object.keys(others))
    report(`${at}${pointerTo(key)}`, 'invalid-foreach', unknownKey(key, ['items', 'concurrency']))
}

interface Intake {
  /** Keys that every valid intake has. */
  certain: string[]
  declared: string[]
}

function intakeOf({ intakeSchema }: JsonObject): Intake | null {
  const fields = declaredFields(intakeSchema)
  if (fields === null) return null
  const certain = fields.filter(({ required, schema }) => required || schema.default !== undefined)
  return { certain: certain.map(({ name }) => name), declared: fields.map(({ name }) => name) }
}

function checkExpression(
  at: string,
  text: string,
  stepIds: readonly string[],
  intake: Intake | null,
  report: Report,
): void {
  let references: Reference[]
  try {
    references = parseExpression(text).references
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error
    report(at, 'invalid-condition', `is not a condition that can be evaluated: ${error.message}`)
    return
  }
  const asked = references.filter(({ guarded }) => guarded).map(({ root, key }) => `${root}.${key}`)
  for (const { root, key } of references) {
    if (root === 'steps' && !stepIds.includes(key)) {
      report(at, 'unknown-reference', `steps.${key} is not there to be read here; ${choices(key, stepIds)}`)
    }
    if (root !== 'intake' || intake === null || intake.certain.includes(key) || asked.includes(`intake.${key}`))
      continue
    const why = intake.declared.includes(key) ? 'may be absent' : `is not declared; ${choices(key, intake.declared)}`
    const remedy = `ask first, as in has(intake.${key}) && …, or give it a default`
    report(at, 'invalid-condition', `intake.${key} ${why}: ${remedy}`)
  }
}

/** Known types, unique ids, existing steps and gates, and each type's own fields. */
export function checkGates(subject: Subject): void {
  const { document, steps, catalog, report } = subject
  if (!Array.isArray(document.gates)) return
  const ids = document.gates.map((gate) => (isJsonObject(gate) ? textOf(gate.id) : ''))
  document.gates.forEach((gate, index) => {
    if (!isJsonObject(gate) || typeof gate.type !== 'string') return
    const at = pointerTo('gates', index)
    const kind = catalog.gate(gate.type)
    if (kind === undefined) {
      const name = textOf(gate.name ?? gate.type)
      report(at, 'unknown-gate', `there is no gate "${name}"; ${choices(gate.type, catalog.names.gates)}`)
    } else checkGate(gate, at, kind, subject)
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

function checkGate(gate: JsonObject, at: string, kind: GateKind, { document, steps, catalog, report }: Subject): void {
  if (kind.needsStep === true && gate.after === undefined) {
    report(at, 'invalid-gate', `a gate of type "${kind.type}" judges one step: name it in "after"`)
  }
  if (kind.fields !== undefined) {
    const own = Object.fromEntries(Object.entries(gate).filter(([key]) => !GATE_KEYS.includes(key)))
    for (const { path, detail } of issuesOf(own, kind.fields, [...Object.keys(kind.fields.shape), ...GATE_KEYS]))
      report(`${at}${pointerTo(...path)}`, 'invalid-gate', detail)
  }
  const model = typeof gate.model === 'string' ? kind.model?.(gate as never) : undefined
  const fault = model === undefined ? undefined : modelFault(model, kind.capability, 'gate', catalog)
  if (fault !== undefined) report(`${at}/model`, ...fault)
  if (kind.stands === 'condition' && typeof gate.assert === 'string') {
    const { after } = gate
    const before = typeof after === 'string' ? ancestorsOf(after, steps) : new Set(steps.map(({ step }) => step.id))
    checkExpression(`${at}/assert`, gate.assert, [...before], intakeOf(document), report)
  }
}

/** The steps that are done by the time that a step is, itself among them. */
function ancestorsOf(id: string, steps: IndexedStep[]): Set<string> {
  const found = new Set([id])
  // The set grows while it is walked.
  for (const at of found) {
    const step = steps.find((one) => one.step.id === at)?.step
    for (const need of step === undefined ? [] : dependenciesOf(step)) found.add(need.id)
  }
  return found
}
