// A template's cap on a run, held against what a run costs on the plainest intake.
// Hides that parameters may be what is too dear: as they are written, a run is only warned of.
import {
  createPlaceholders,
  FabriqueError,
  type Gate,
  isJsonObject,
  objectOf,
  type JsonObject,
  type ModelRow,
  type Rate,
  roundUsd,
  type Step,
} from '@fabrique/schema'
import { type Catalog, modelNamesOf } from '../../catalog.ts'
import type { Definition } from '../../specification.ts'
import { estimateSteps, sumOf } from '../estimate.ts'
import { forecast } from '../forecast.ts'
import { wordsOf } from '../parameters.ts'
import { resolveLookup } from '../placeholders.ts'
import { providersOf, stepsOf } from './report.ts'

/**
 * Why no run of a sound template would be accepted, or, not `isHopeless`, none as it is written; null where runs are.
 * What called workflows cost is left out.
 */
export function capFault(
  document: JsonObject,
  catalog: Catalog,
  { rates, models }: { rates: readonly Rate[]; models?: readonly ModelRow[] | undefined },
): { pointer: string; detail: string; isHopeless: boolean } | null {
  const { budgetPolicy, intakeSchema, gates } = document
  const cap = isJsonObject(budgetPolicy) ? budgetPolicy.maxPerRunUsd : undefined
  if (typeof cap !== 'number' || !isJsonObject(intakeSchema)) return null
  const sample = createPlaceholders(intakeSchema).sample(intakeSchema, 'input')
  const intake = objectOf(sample)
  const steps = stepsOf(document).map(({ step }) => step)

  function boundTo(step: Step): Definition['providerBindings'][string] {
    const { names: all, lookup } = modelNamesOf(step, providersOf(document))
    const names = lookup === undefined ? all : [resolveLookup(lookup, intake).fragment]
    const bound = names.map((model) => {
      const usual = models?.find((row) => row.model === model)?.defaults
      return {
        model,
        provider: '',
        endpoint: '',
        simulated: false,
        ...wordsOf(models, all, model),
        ...(usual && { usual }),
      }
    })
    return { models: catalog.kind(step.kind)?.capability(step) == null ? [] : bound }
  }
  const definition = {
    templateId: '',
    stepInstructions: steps,
    gates: (Array.isArray(gates) ? gates : []).filter(isJsonObject) as unknown as Gate[],
    providerBindings: Object.fromEntries(steps.map((step) => [step.id, boundTo(step)])),
    outputAliases: {},
    subWorkflows: {},
    rates: [...rates],
  }
  const estimate = (stepInstructions: Step[]) =>
    estimateSteps(forecast(catalog, { ...definition, stepInstructions }, { intake, regenerate: {} }), new Set())
  try {
    const written = estimate(steps)
    const { high } = sumOf(written)
    if (high <= cap) return null
    const plain = estimate(steps.map((step) => ({ ...step, params: {}, args: {} })))
    const least = written.reduce((sum, { expected }, index) => sum + Math.min(expected, plain[index]?.expected ?? 0), 0)
    const detail = `a run may cost $${high}, and would not be accepted; raise the cap, or have the steps cost less`
    return { pointer: '/budgetPolicy/maxPerRunUsd', detail, isHopeless: roundUsd(least) > cap }
  } catch (error) {
    // The plainest intake is no input of the template's own: what it asks for may have no price.
    if (FabriqueError.is(error)) return null
    throw error
  }
}
