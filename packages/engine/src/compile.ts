// From a template version to the definition part of a specification, and what a run of it should cost.
// Hides routing (roles, fallback lists, live or simulated) and which rates a definition takes along.
import { createHash } from 'node:crypto'
import {
  type BudgetPolicy,
  canonicalJson,
  FabriqueError,
  type JsonObject,
  type Rate,
  type RateTable,
  roundUsd,
  type Template,
} from '@fabrique/schema'
import { priceOf } from './call.ts'
import { type Catalog, modelNamesOf } from './catalog.ts'
import type { Binding, Definition } from './specification.ts'

/** Says for a provider whether its calls are real here; throws `provider-key-missing` where they must be and cannot. */
export type ProviderMode = (provider: string) => 'live' | 'simulated'

export interface Compiled {
  definition: Definition
  hash: string
  simulated: boolean
  estimatedUsd: number
}

/** The SHA-256 of a value's canonical JSON, in hex. */
export function contentHash(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex')
}

/** The budget as an object; the seed's text is a description without limits. */
export function budgetOf(policy: string | BudgetPolicy): BudgetPolicy {
  return typeof policy === 'string' ? { description: policy } : policy
}

/** Binds a template version to models, prices and formats as they are now. Listed templates always compile. */
export function compile(template: Template, catalog: Catalog, pricing: RateTable, mode: ProviderMode): Compiled {
  const providerBindings: Record<string, Binding> = {}
  const rates = new Set<Rate>()
  let estimatedUsd = 0
  let simulated = false
  for (const step of template.runtimeSteps) {
    const kind = catalog.kind(step.kind)
    if (kind === undefined) throw notRunnable(`step "${step.id}" has an unknown kind`)
    const local = typeof step.tool === 'string' ? catalog.tool(step.tool) : undefined
    const missing = local?.missing?.() ?? null
    if (missing !== null) throw new FabriqueError('tool-unavailable', `Step "${step.id}" cannot run here: ${missing}`)
    if (kind.capability(step) === null) continue
    const { role, names } = modelNamesOf(step, template.providers)
    const models = names.map((name) => {
      const model = catalog.model(name)
      if (model === undefined) throw notRunnable(`step "${step.id}" names the unknown model "${name}"`)
      for (const rate of pricing.rates) if (rate.model === name) rates.add(rate)
      return {
        model: name,
        provider: model.provider,
        endpoint: model.endpoint,
        simulated: mode(model.provider) === 'simulated',
      }
    })
    const [first] = models
    if (first === undefined) throw notRunnable(`step "${step.id}" has no model`)
    providerBindings[step.id] = { ...(role === undefined ? {} : { role }), models }
    simulated ||= models.some((model) => model.simulated)
    const model = catalog.model(first.model)
    const usages =
      model === undefined ? [] : (catalog.provider(model.provider)?.expectedUsage(model, kind.expects(step)) ?? [])
    const price = priceOf(pricing.rates, first.model, usages)
    if (price === null) throw notRunnable(`the current price list has no rate for step "${step.id}"`)
    estimatedUsd += price
  }
  const definition: Definition = {
    templateId: template.id,
    templateVersion: template.version,
    schemaVersion: template.schemaVersion,
    artifactClass: template.artifactClass,
    providerBindings,
    stepInstructions: template.runtimeSteps,
    gates: template.gates,
    artifactSchema: template.artifactSchema,
    fileFormats: template.artifactSchema.files.map(({ role, mimeType, codec }) => {
      const format = mimeType.split('/')[1] ?? mimeType
      return { role, format, codec: codec ?? format }
    }),
    outputAliases: template.outputAliases ?? {},
    budgetPolicy: budgetOf(template.budgetPolicy),
    onUnknownOutcome: template.onUnknownOutcome ?? 'retry',
    pricingVersion: pricing.version,
    rates: [...rates],
  }
  return { definition, hash: contentHash(definition), simulated, estimatedUsd: roundUsd(estimatedUsd) }
}

function notRunnable(detail: string): FabriqueError {
  return new FabriqueError('not-runnable', `This workflow cannot run as it stands: ${detail}.`)
}

/** A specification's public spelling, whole; prompts and lookups only where `expanded` (admins). */
export function specificationDocument(
  run: {
    id: string
    createdAt: string
    instance: { intake: JsonObject; regenerate: JsonObject }
    estimatedUsd: number
  },
  definition: Definition,
  expanded: boolean,
): JsonObject {
  const { rates: _rates, stepInstructions, ...rest } = definition
  const steps = expanded
    ? stepInstructions
    : stepInstructions.map(({ id, kind, name }) => ({ id, kind, ...(name === undefined ? {} : { name }) }))
  return JSON.parse(
    JSON.stringify({
      id: `spec_${run.id}`,
      runId: run.id,
      createdAt: run.createdAt,
      intake: run.instance.intake,
      regenerate: run.instance.regenerate,
      ...rest,
      stepInstructions: steps,
      estimatedCostUsd: run.estimatedUsd,
    }),
  ) as JsonObject
}
