// What a run should cost before it begins: at least, likely, and at most, step by step.
// Hides how lists and conditions stretch an estimate, and what a list that is made on the way may grow to.
import {
  createRules,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  priceOf,
  type Rate,
  roundUsd,
  type Step,
  type StepEstimate,
  type Template,
} from '@fabrique/schema'
import { type Catalog, type Model, pricedBy } from '../catalog.ts'
import { parseTemplate, placeholdersIn, renderValue, type Scope } from './placeholders.ts'
import { forEachOf } from './data-flow.ts'
import { requestFor } from './parameters.ts'
import type { Binding, Definition, Estimate, PricedStep } from '../specification.ts'

const exactly = (amount: number): Estimate => ({ low: amount, expected: amount, high: amount })
/** Of what costs nothing. */
export const FREE: Estimate = exactly(0)
/** How long a list is that no schema bounds. */
const ITEMS_UNBOUNDED: Estimate = { low: 1, expected: 5, high: 20 }

/** One call of the first model, by a request; null where a rate is missing. The dearest fallback makes the highest price. */
export function priceCall(
  catalog: Catalog,
  rates: readonly Rate[],
  models: readonly Pick<Binding['models'][number], 'model' | 'mapped'>[],
  request: JsonObject,
): Estimate | null {
  const prices = models.map((bound) => {
    const model = catalog.model(bound.model)
    return model === undefined ? FREE : priceModel(catalog, rates, pricedBy(rates, model), requestFor(bound, request))
  })
  const [first] = prices
  if (first === undefined || first === null || prices.includes(null)) return null
  return { ...first, high: Math.max(...prices.map((price) => price?.high ?? 0)) }
}

function priceModel(catalog: Catalog, rates: readonly Rate[], model: Model, request: JsonObject): Estimate | null {
  const provider = catalog.provider(model.provider)
  const usages = provider?.expectedUsage(model, request) ?? []
  const { low, high } = provider?.usageRange?.(model, request) ?? { low: usages, high: usages }
  const [least, expected, most] = [low, usages, high].map((one) => priceOf(rates, model.name, one))
  if (least == null || expected == null || most == null) return null
  return { low: least, expected, high: most }
}

/** The steps whose price an intake decides: by a parameter that it gives itself or through a lookup. */
export function stepsPricedByIntake({ stepInstructions }: Definition): Step[] {
  return stepInstructions.filter(({ params, args }) =>
    placeholdersIn([params, args]).some(({ placeholder: { root } }) => root === 'intake' || root === 'lookup'),
  )
}

/** The definition's prices, with those that the intake decides made anew; `scopeOf` is what a step sees beforehand. */
export function pricedFor(
  definition: Definition,
  catalog: Catalog,
  steps: readonly Step[],
  scopeOf: (step: Step) => Scope,
): PricedStep[] {
  const anew = new Map(
    steps.map((step) => {
      const models = definition.providerBindings[step.id]?.models ?? []
      const { value } = renderValue(catalog.kind(step.kind)?.expects(step) ?? {}, scopeOf(step))
      return [step.id, isJsonObject(value) ? priceCall(catalog, definition.rates, models, value) : null]
    }),
  )
  return definition.priced.map((one) => ({ ...one, once: anew.get(one.stepId) ?? one.once }))
}

/** How often a step with forEach runs, as far as the template alone tells. */
export function itemsOf(step: Step, template: Pick<Template, 'runtimeSteps'>): PricedStep['items'] {
  const each = forEachOf(step)
  if (each === null) return null
  const list = sourceOf(each.items, template)
  return { list, likely: likelyLength(list, template) }
}

/** The list behind a list: a step that goes through what another such step has made is as long as that one's. */
function sourceOf(list: JsonValue, { runtimeSteps }: Pick<Template, 'runtimeSteps'>): JsonValue {
  let source = list
  for (let depth = 0; depth < runtimeSteps.length; depth += 1) {
    const [only, ...more] = typeof source === 'string' ? parseTemplate(source) : []
    if (typeof only !== 'object' || more.length > 0 || only.root !== 'steps' || only.path.length !== 2) return source
    const before = runtimeSteps.find(({ id }) => id === only.path[0])
    const each = before === undefined ? null : forEachOf(before)
    if (each === null) return source
    source = each.items
  }
  return source
}

/** By the bounds that the output schema of the list's step gives. */
function likelyLength(list: JsonValue, { runtimeSteps }: Pick<Template, 'runtimeSteps'>): Estimate {
  if (Array.isArray(list)) return exactly(list.length)
  const [only] = typeof list === 'string' ? parseTemplate(list) : []
  if (typeof only !== 'object' || only.root !== 'steps') return ITEMS_UNBOUNDED
  const [id, , , ...path] = only.path
  const source = runtimeSteps.find((step) => step.id === id)
  if (!isJsonObject(source?.outputSchema)) return ITEMS_UNBOUNDED
  const { read } = createRules(source.outputSchema)
  const { minItems, maxItems } = path.reduce<JsonObject>((at, key) => {
    const { properties } = at
    return read(isJsonObject(properties) ? properties[String(key)] : undefined)
  }, read(source.outputSchema))
  const least = typeof minItems === 'number' ? minItems : ITEMS_UNBOUNDED.low
  const high = typeof maxItems === 'number' ? maxItems : Math.max(least, ITEMS_UNBOUNDED.high)
  const low = Math.min(least, high)
  return { low, expected: Math.round((low + high) / 2), high }
}

/** Each step's estimate for a run with this intake; those in `reused` cost nothing. */
export function estimateSteps(
  priced: readonly PricedStep[],
  scope: Scope,
  reused: ReadonlySet<string>,
): StepEstimate[] {
  return priced.map(({ stepId: step, kind, once, items, conditional }) => {
    if (reused.has(step)) return { step, kind, plan: 'reused', ...FREE }
    if (once === null) return { step, kind, plan: 'free', ...FREE }
    const times = items === null ? exactly(1) : lengthFor(items, scope)
    return {
      step,
      kind,
      plan: 'paid',
      low: conditional ? 0 : roundUsd(once.low * times.low),
      expected: roundUsd(once.expected * times.expected),
      high: roundUsd(once.high * times.high),
    }
  })
}

function lengthFor({ list, likely }: NonNullable<PricedStep['items']>, scope: Scope): Estimate {
  const { value } = renderValue(list, scope)
  return Array.isArray(value) ? exactly(value.length) : likely
}

/** The sum of estimates. */
export function sumOf(estimates: readonly Estimate[]): Estimate {
  const total = (of: (one: Estimate) => number) => roundUsd(estimates.reduce((sum, one) => sum + of(one), 0))
  return { low: total(({ low }) => low), expected: total(({ expected }) => expected), high: total(({ high }) => high) }
}
