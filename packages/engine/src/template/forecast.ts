// What a run of a definition with this intake is likely to do and to cost: its steps are imagined in their order, with
// requests as they would be made and outputs of a likely length; at its lowest, likely, and at its highest.
// Hides what outputs look like before they are there, which steps run, how often they are paid for, and called workflows.
import {
  canonicalJson,
  createRules,
  FabriqueError,
  isJsonObject,
  objectOf,
  isQuantity,
  jsonBytes,
  type JsonObject,
  type JsonValue,
  priceOf,
  type Step,
  textOf,
} from '@fabrique/schema'
import { type Catalog, type MadeFile, type Outlook, pricedBy } from '../catalog.ts'
import { type Definition, gateBinding, type Instance, type PricedStep, type SubWorkflow } from '../specification.ts'
import { type Dependency, dependenciesOf, forEachOf, outputOf } from './data-flow.ts'
import { type Expression, parseExpression } from './expression.ts'
import { type Bound, type LikelyAnswer, likelyAnswer, LIST_UNBOUNDED, speakingMs } from './likely-answer.ts'
import { requestFor } from './parameters.ts'
import { renderFields, renderValue, runScope, type Scope } from './placeholders.ts'

const ITEMS_MAX = 200
const FILES_MAX = 10
const DEPTH_MAX = 8
const BYTES_MAX = 32 * 1_048_576
/** How exactly the length of texts is found for which the template's own conditions hold, as a part of their room. */
const ROOM_LEAST = 0.01

/** What of a definition tells what a run of it costs. */
type Program = Pick<
  Definition,
  'templateId' | 'stepInstructions' | 'gates' | 'providerBindings' | 'outputAliases' | 'subWorkflows' | 'rates'
>
type Intake = Pick<Instance, 'intake' | 'regenerate'>
type Fate = 'runs' | 'may' | 'never'

interface World {
  catalog: Catalog
  at: Bound
  /** Called workflows by what they are called with: the items of an imagined list are all the same. */
  called: Map<string, Imagined>
  unpriced: Set<string>
  /** Of what all steps are asked together; what is more is not gone through. */
  bytesLeft: number
}

interface Unit {
  /** Null for what asks nobody. */
  usd: number | null
  output: JsonValue
}

interface Imagined {
  /** By step, and by gate that asks a model. */
  parts: Map<string, { fate: Fate; once: number | null; times: number }>
  usd: number
  output: JsonObject
}

/**
 * What each step and asking gate is expected to cost. Throws `not-runnable` where the price list lacks a rate, and
 * `validation-failed` where the intake asks for an amount that no request can have.
 */
export function forecast(catalog: Catalog, definition: Program, intake: Intake): PricedStep[] {
  const unpriced = new Set<string>()
  const imagined = (at: Bound) =>
    imagine({ catalog, at, called: new Map(), unpriced, bytesLeft: BYTES_MAX }, definition, intake).parts
  const [low, expected, high] = [imagined('low'), imagined('expected'), imagined('high')]
  const [place] = unpriced
  if (place !== undefined)
    throw new FabriqueError(
      'not-runnable',
      `This workflow cannot run as it stands: the current price list has no rate for ${place}.`,
    )
  const asking = [...expected.keys()].filter((id) => definition.stepInstructions.every((step) => step.id !== id))
  const steps = [...definition.stepInstructions, ...asking.map((id): Step => ({ id, kind: 'gate' }))]
  return steps.map((step): PricedStep => {
    const [least, likely, most] = [low.get(step.id), expected.get(step.id), high.get(step.id)]
    const each = forEachOf(step)
    const once = (part: typeof likely) => part?.once ?? 0
    const times = (part: typeof likely) => part?.times ?? 0
    return {
      stepId: step.id,
      kind: step.kind,
      once: likely?.once == null ? null : { low: once(least), expected: once(likely), high: once(most) },
      items: each && { list: each.items, likely: { low: times(least), expected: times(likely), high: times(most) } },
      conditional: likely?.fate === 'may',
    }
  })
}

function imagine(world: World, definition: Program, intake: Intake): Imagined {
  const outline = outlineOf(definition, world.catalog)
  const parts: Imagined['parts'] = new Map()
  const outputs: Scope['steps'] = {}
  const instance = { ...intake, variantIndex: null, variants: 1 }
  for (const { step, needs, when } of outline.steps) {
    const run = { id: '', workflow: definition.templateId, organizationId: '', instance }
    const scope = { ...runScope(run, outputs, step.lookups ?? {}), retry: { attempt: 1 } }
    const fate = fateOf(needs, when, scope, (id) => parts.get(id)?.fate ?? 'runs')
    if (fate === 'never') {
      parts.set(step.id, { fate, once: null, times: 0 })
      continue
    }
    const each = forEachOf(step)
    const list = each === null ? null : renderValue(each.items, scope).value
    const items = Array.isArray(list) ? list.slice(0, ITEMS_MAX) : Array(LIST_UNBOUNDED[world.at]).fill(null)
    const scopes = each === null ? [scope] : items.map((item, index) => ({ ...scope, item, index }))
    const units = scopes.map((one) => imagineUnit(world, definition, step, one, outline.asserts.get(step.id) ?? []))
    outputs[step.id] = { output: each === null ? (units[0]?.output ?? null) : units.map(({ output }) => output) }
    const isFree = units.every(({ usd }) => usd === null)
    const usd = units.reduce((sum, unit) => sum + (unit.usd ?? 0), 0)
    parts.set(step.id, { fate, once: isFree ? null : usd / units.length, times: units.length })
  }
  for (const gate of definition.gates) {
    const place = gateBinding(gate)
    const outlook: Outlook = { at: world.at, answer: '', files: [] }
    const fate = (gate.after === undefined ? undefined : parts.get(gate.after)?.fate) ?? 'runs'
    const once = fate === 'never' ? null : priceAt(world, definition, { id: place }, {}, outlook)
    if (definition.providerBindings[place] !== undefined) parts.set(place, { fate, once, times: 1 })
  }
  const paid = [...parts.values()].filter(({ fate }) => fate === 'runs' || world.at !== 'low')
  const usd = paid.reduce((sum, { once, times }) => sum + (once ?? 0) * times, 0)
  return { parts, usd, output: outputOf(definition, outputs) }
}

interface Outline {
  steps: { step: Step; needs: Dependency[]; when: Expression | null }[]
  /** What gates demand of a step's output, by step. */
  asserts: Map<string, Expression[]>
}

const outlines = new WeakMap<Program, Outline>()

/** The steps, each after those that it needs, with conditions ready to be asked. */
function outlineOf(definition: Program, catalog: Catalog): Outline {
  const known = outlines.get(definition)
  if (known !== undefined) return known
  const left = definition.stepInstructions.map((step) => {
    return { step, needs: dependenciesOf(step), when: typeof step.when === 'string' ? parsed(step.when) : null }
  })
  const steps: Outline['steps'] = []
  while (left.length > 0) {
    const isLeft = ({ id }: Dependency) => left.some(({ step }) => step.id === id)
    const ready = left.findIndex(({ needs }) => !needs.some(isLeft))
    // Steps of a circle never run; they are refused before anything asks what they cost.
    steps.push(...left.splice(Math.max(ready, 0), 1))
  }
  const asserts = new Map<string, Expression[]>()
  for (const gate of definition.gates) {
    const kind = catalog.gate(gate.type)
    const expression = kind?.stands === 'condition' ? parsed(kind.expression(gate)) : null
    if (gate.after !== undefined && expression !== null)
      asserts.set(gate.after, [...(asserts.get(gate.after) ?? []), expression])
  }
  const outline = { steps, asserts }
  outlines.set(definition, outline)
  return outline
}

function parsed(text: string): Expression | null {
  try {
    return parseExpression(text)
  } catch {
    return null
  }
}

/** A condition on the intake alone is decided; any other may hold. */
function fateOf(needs: Dependency[], when: Expression | null, scope: Scope, of: (id: string) => Fate): Fate {
  const before = needs.filter(({ optional }) => !optional).map(({ id }) => of(id))
  if (before.includes('never')) return 'never'
  const isOpen = before.includes('may')
  if (when === null) return isOpen ? 'may' : 'runs'
  if (when.references.some(({ root }) => root !== 'intake')) return 'may'
  const does = holds(when, { intake: scope.intake, steps: {}, run: scope.run })
  return does === false ? 'never' : isOpen || does === null ? 'may' : 'runs'
}

function holds(expression: Expression, scope: Parameters<Expression['holds']>[0]): boolean | null {
  try {
    return expression.holds(scope)
  } catch {
    return null
  }
}

function tooLarge(): FabriqueError {
  const detail = `fills the steps with more than ${BYTES_MAX / 1_048_576} MiB together; shorten its texts or lists`
  const message = 'The input is too large for this workflow.'
  return new FabriqueError('validation-failed', message, {
    problems: [{ pointer: '', detail, code: 'run-too-large' }],
  })
}

/** One time of a step. */
function imagineUnit(world: World, definition: Program, step: Step, scope: Scope, asserts: Expression[]): Unit {
  const { catalog, at } = world
  const kind = catalog.kind(step.kind)
  if (kind === undefined) return { usd: null, output: null }
  const { fields } = renderFields(step, kind.renders, scope)
  world.bytesLeft -= jsonBytes(fields, world.bytesLeft)
  if (world.bytesLeft < 0) throw tooLarge()
  const called = definition.subWorkflows[step.id]
  if (called !== undefined) {
    const { usd, output } = imagineCall(world, called, objectOf(fields.input), scope.regenerate)
    return { usd, output }
  }
  const request = kind.expects(fields)
  const files = filesIn(request)
  const bound = definition.providerBindings[step.id]?.models[0]?.model
  const capability = bound === undefined ? undefined : catalog.model(bound)?.capability
  if (capability === 'text' || (capability === undefined && isJsonObject(step.outputSchema))) {
    const { outputSchema = null } = step
    const { text, ...json } = answerTo(
      { outputSchema: outputSchema as JsonValue, ...request },
      at,
      step,
      scope,
      asserts,
    )
    const usd = priceAt(world, definition, step, request, { at, answer: text, files })
    return { usd, output: { text, ...json, turns: 1, usage: {} } }
  }
  const usd = priceAt(world, definition, step, request, { at, answer: '', files })
  const tool = catalog.tool(textOf(step.tool))
  if (capability === undefined && tool === undefined) return { usd, output: fields }
  const { args, params } = request
  const asked: JsonObject = { ...objectOf(params), ...objectOf(args) }
  if (tool?.foresees !== undefined) return { usd, output: tool.foresees(asked) }
  const lengthMs = files.reduce((sum, { durationMs }) => sum + (durationMs ?? 0), 0)
  return { usd, output: filesMade(asked, typeof asked.text === 'string' ? speakingMs(asked.text, at) : lengthMs) }
}

/** The answer to a request, at its highest only as far as the template's own conditions let the run go on. */
function answerTo(
  request: JsonObject,
  at: Bound,
  step: Step,
  { intake, steps, run }: Scope,
  asserts: Expression[],
): LikelyAnswer {
  if (at === 'high' && asserts.length > 0 && step.forEach === undefined) {
    for (const lists of [1, 0]) {
      let best: LikelyAnswer | undefined
      // As long as it may be: half of the room, then a quarter more or less of it, and so on.
      for (let texts = 1, by = 1; by > ROOM_LEAST; by /= 2) {
        const answer = likelyAnswer(request, at, { lists, texts })
        const scope = { intake, run, steps: { ...steps, [step.id]: { output: { ...answer } } } }
        const isFit = asserts.every((one) => holds(one, scope))
        if (isFit) best = answer
        if (isFit && texts === 1) break
        texts += isFit ? by / 2 : -by / 2
      }
      if (best !== undefined) return best
    }
  }
  return likelyAnswer(request, at)
}

/** What one time of a step or gate costs, by its first model; at most, by its dearest in all attempts after bad output. */
function priceAt(
  { catalog, at, unpriced }: World,
  definition: Program,
  { id, retry }: Pick<Step, 'id' | 'retry'>,
  request: JsonObject,
  outlook: Outlook,
): number | null {
  const models = definition.providerBindings[id]?.models ?? []
  const prices = models.map((bound) => {
    const model = catalog.model(bound.model)
    const provider = model && catalog.provider(model.provider)
    const usages = model
      ? (provider?.expectedUsage(pricedBy(definition.rates, model, bound.usual), requestFor(bound, request), outlook) ??
        [])
      : []
    const odd = usages.find(({ quantity }) => !isQuantity(quantity))
    if (odd !== undefined) throw oddAmount(id, odd.unit)
    const price = priceOf(definition.rates, bound.model, usages)
    if (price === null) unpriced.add(`step "${id}"`)
    return price ?? 0
  })
  const [first] = prices
  if (first === undefined || at !== 'high') return first ?? null
  // Other failures cost nothing, or nobody knows what: before such a call is made again, the caps are asked again.
  const attempts = retry?.on?.includes('bad_output') === true ? retry.maxAttempts : 1
  return Math.max(...prices) * attempts
}

function oddAmount(id: string, unit: string): FabriqueError {
  const detail = `makes step "${id}" ask for an amount in ${unit}s that no request can have`
  return new FabriqueError('validation-failed', `The input ${detail}. Check the sizes, numbers and durations in it.`, {
    problems: [{ pointer: '', detail, code: 'invalid-amount' }],
  })
}

/** A called workflow, with the input that its step gives it. */
function imagineCall(world: World, called: SubWorkflow, input: JsonObject, regenerate: JsonObject): Imagined {
  const key = canonicalJson([called.hash, input])
  const known = world.called.get(key)
  if (known !== undefined) return known
  const defaults = createRules(called.intakeSchema)
    .fields(called.intakeSchema)
    .flatMap(({ name, schema }) => (schema.default === undefined ? [] : [[name, schema.default]]))
  const intake = { ...Object.fromEntries(defaults), ...input }
  const imagined = imagine(world, called.definition, { intake, regenerate })
  world.called.set(key, imagined)
  return imagined
}

/** References to files, wherever they are in a request. */
function filesIn(value: JsonValue | undefined, depth = 0): MadeFile[] {
  if (typeof value !== 'object' || value === null || depth > DEPTH_MAX) return []
  if (Array.isArray(value) || typeof value.sha256 !== 'string')
    return Object.values(value).flatMap((member) => filesIn(member, depth + 1))
  const { mime_type: mimeType, width, height, duration_ms: durationMs } = value
  const number = (one: JsonValue | undefined) => (typeof one === 'number' ? one : null)
  return [{ mimeType: textOf(mimeType), width: number(width), height: number(height), durationMs: number(durationMs) }]
}

/** The output of a step that makes files: as many as it is asked for, of a length where that is known. */
function filesMade({ n, num_images: number = n }: JsonObject, durationMs: number): JsonObject {
  const artifact = {
    id: '',
    mime_type: '',
    bytes: 0,
    sha256: '',
    width: null,
    height: null,
    duration_ms: durationMs || null,
  }
  const artifacts = Array<JsonObject>(Math.min(Math.max(Math.trunc(Number(number)) || 1, 1), FILES_MAX)).fill(artifact)
  return { artifact, artifacts, data: {} }
}
