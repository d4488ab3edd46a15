// A template's cap on a run, held against what a run costs on the plainest intake.
// Hides that parameters may be what is too dear: as they are written, a run is only warned of.
import { createPlaceholders, isJsonObject, type JsonObject, type ModelRow, type Rate } from '@fabrique/schema'
import { type Catalog, modelNamesOf } from '../../catalog.ts'
import { estimateSteps, FREE, itemsOf, priceCall, sumOf } from '../estimate.ts'
import { wordsOf } from '../parameters.ts'
import { renderValue, resolveLookup, runScope } from '../placeholders.ts'
import { providersOf, stepsOf } from './report.ts'

/** Why no run of a sound template would be accepted, or, not `isHopeless`, none as it is written; null where runs are. */
export function capFault(
  document: JsonObject,
  catalog: Catalog,
  { rates, models }: { rates: readonly Rate[]; models?: readonly ModelRow[] | undefined },
): { pointer: string; detail: string; isHopeless: boolean } | null {
  const { budgetPolicy, intakeSchema } = document
  const cap = isJsonObject(budgetPolicy) ? budgetPolicy.maxPerRunUsd : undefined
  if (typeof cap !== 'number' || !isJsonObject(intakeSchema)) return null
  const sample = createPlaceholders(intakeSchema).sample(intakeSchema, 'input')
  const intake = isJsonObject(sample) ? sample : {}
  const run = { id: '', workflow: '', organizationId: '' }
  const instance = { intake, regenerate: {}, variantIndex: null, variants: 1 }
  const steps = stepsOf(document).map(({ step }) => step)

  /** By the cheapest of several ways to ask. */
  function expectedOf(...ways: ((request: JsonObject) => JsonObject)[]): number {
    const priced = steps.flatMap((step) => {
      const kind = catalog.kind(step.kind)
      if (kind === undefined || kind.capability(step) === null) return []
      const { names: all, lookup } = modelNamesOf(step, providersOf(document))
      const names = lookup === undefined ? all : [resolveLookup(lookup, intake).fragment]
      const scope = runScope({ ...run, instance }, {}, step.lookups ?? {})
      const bound = names.map((model) => ({ model, ...wordsOf(models, all, model) }))
      const requests = ways.map((way) => renderValue(way(kind.expects(step)), scope).value as JsonObject)
      const [once = FREE] = requests
        .flatMap((request) => priceCall(catalog, rates, bound, request) ?? [])
        .sort((a, b) => a.expected - b.expected)
      const items = itemsOf(step, { runtimeSteps: steps })
      return [{ stepId: step.id, kind: step.kind, once, items, conditional: false }]
    })
    return sumOf(estimateSteps(priced, runScope({ ...run, instance }, {}, {}), new Set())).expected
  }

  const asWritten = (request: JsonObject) => request
  const written = expectedOf(asWritten)
  if (written <= cap) return null
  const least = expectedOf(asWritten, (request) => ({ ...request, params: {}, args: {} }))
  const detail = `a run is expected to cost $${written}, and would not be accepted; raise the cap, or have the steps cost less`
  return { pointer: '/budgetPolicy/maxPerRunUsd', detail, isHopeless: least > cap }
}
