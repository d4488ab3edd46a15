// From a template version to the definition part of a specification, and what a run of it should cost.
// Hides routing (roles, fallback lists, live or simulated) and which rates a definition takes along.
import { createHash } from 'node:crypto'
import {
  canonicalJson,
  FabriqueError,
  type JsonObject,
  type Rate,
  type RateTable,
  type Specification,
  type Template,
} from '@fabrique/schema'
import { type Catalog, type Model, modelNamesOf, type Providers } from '../catalog.ts'
import { endInWords, type ModelEnd } from './model-ends.ts'
import { wordsOf } from './parameters.ts'
import { resolveLookup } from './placeholders.ts'
import { type Binding, type Definition, gateBinding, type Instance, type SubWorkflow } from '../specification.ts'

/** Says for a provider whether its calls are real here; throws `provider-key-missing` where they must be and cannot. */
export type ProviderMode = (provider: string) => 'live' | 'simulated'

export interface Compiled {
  definition: Definition
  hash: string
  simulated: boolean
}

/** What a template is bound to when it is compiled. */
export interface Bindings {
  catalog: Catalog
  pricing: RateTable
  mode: ProviderMode
  /** Why a model cannot be called here, for want of a program. */
  missing?: Providers['missing']
  /** The models that are no longer offered. */
  retired: ReadonlyMap<string, ModelEnd>
  /** The workflows that its steps call, by step id. */
  subWorkflows: ReadonlyMap<string, SubWorkflow>
  /** Chooses the model of a step that takes it from a lookup. */
  intake: JsonObject
}

/** The SHA-256 of a value's canonical JSON, in hex. */
export function contentHash(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex')
}

/** Binds a template version to models, prices, formats and called workflows as they are now. Listed templates always compile. */
export function compile(template: Template, bindings: Bindings): Compiled {
  const { catalog, pricing, subWorkflows, intake, retired } = bindings
  const { budgetPolicy } = template
  const providerBindings: Record<string, Binding> = {}
  const rates = new Set<Rate>()
  let simulated = [...subWorkflows.values()].some((called) => called.simulated)

  /** Those that are still offered: a fallback may have ended, as long as another is left. */
  function offered(place: string, names: string[]): string[] {
    const left = names.filter((name) => !retired.has(name))
    const [ended] = names.flatMap((name) => retired.get(name) ?? [])
    if (left.length > 0 || ended === undefined) return left
    throw new FabriqueError('model-retired', `This workflow cannot run any more: in "${place}", ${endInWords(ended)}.`)
  }

  /** `all` are the models that the step names, whether or not they are offered. */
  function bind(place: string, names: string[], all: string[], role?: string): void {
    const models = names.map((name) => {
      const model = catalog.model(name)
      if (model === undefined) throw notRunnable(`${place} names the unknown model "${name}"`)
      const isSimulated = bindings.mode(model.provider) === 'simulated'
      const others = isSimulated ? new Set() : servedInstead(catalog, pricing, model)
      for (const rate of pricing.rates) if (rate.model === name || others.has(rate.model)) rates.add(rate)
      refuseMissing(place, bindings.missing?.(model, isSimulated) ?? null)
      simulated ||= isSimulated
      const { provider, endpoint } = model
      const row = pricing.models?.find((one) => one.model === name)
      const limit = row?.time_limit_s === undefined ? {} : { timeLimitMs: row.time_limit_s * 1_000 }
      return {
        model: name,
        provider,
        endpoint,
        simulated: isSimulated,
        ...wordsOf(pricing.models, all, name),
        ...limit,
        ...(row?.defaults && { usual: row.defaults }),
      }
    })
    if (models.length === 0) throw notRunnable(`${place} has no model`)
    providerBindings[place] = { ...(role === undefined ? {} : { role }), models }
  }

  for (const step of template.runtimeSteps) {
    const kind = catalog.kind(step.kind)
    if (kind === undefined) throw notRunnable(`step "${step.id}" has an unknown kind`)
    // Its own tool, and those that an agent may use.
    for (const name of [step.tool, step.tools].flat()) {
      if (typeof name === 'string') refuseMissing(step.id, catalog.tool(name)?.missing?.() ?? null)
    }
    if (kind.capability(step) === null) continue
    const { role, names: all, lookup } = modelNamesOf(step, template.providers)
    const names = offered(step.id, lookup === undefined ? all : [resolveLookup(lookup, intake).fragment])
    bind(step.id, names, all, role)
  }
  for (const gate of template.gates) {
    const model = catalog.gate(gate.type)?.model?.(gate)
    if (model === undefined) continue
    const place = gateBinding(gate)
    offered(place, [model])
    bind(place, [model], [model])
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
    // The seed's text is a description without limits.
    budgetPolicy: typeof budgetPolicy === 'string' ? { description: budgetPolicy } : budgetPolicy,
    onUnknownOutcome: template.onUnknownOutcome ?? 'retry',
    subWorkflows: Object.fromEntries(subWorkflows),
    pricingVersion: pricing.version,
    rates: [...rates],
  }
  return { definition, hash: contentHash(definition), simulated }
}

/** The priced models that may answer in the place of one, as its provider then says: only those that write text say it. */
function servedInstead(catalog: Catalog, { rates }: RateTable, { provider, capability }: Model): Set<string> {
  if (capability !== 'text') return new Set()
  const priced = [...new Set(rates.map(({ model }) => model))]
  return new Set(
    priced.filter((name) => {
      const other = catalog.model(name)
      return other?.provider === provider && other.capability === capability
    }),
  )
}

/** What of an intake decides on models: two intakes that agree in it compile to the same definition. */
export function modelChoices(template: Template, intake: JsonObject): string {
  const lookups = template.runtimeSteps.flatMap((step) => modelNamesOf(step, template.providers).lookup ?? [])
  return lookups.map((lookup) => resolveLookup(lookup, intake).fragment).join(' ')
}

function refuseMissing(place: string, missing: string | null): void {
  if (missing !== null) throw new FabriqueError('tool-unavailable', `Step "${place}" cannot run here: ${missing}`)
}

/** Why a workflow cannot be run, other than the caller's doing. */
export function notRunnable(detail: string): FabriqueError {
  return new FabriqueError('not-runnable', `This workflow cannot run as it stands: ${detail}.`)
}

/** A specification's public spelling, whole; prompts and lookups only where `expanded` (admins). */
export function specificationDocument(
  run: { id: string; createdAt: string; instance: Pick<Instance, 'intake' | 'regenerate'>; estimatedUsd: number },
  definition: Definition,
  expanded: boolean,
): Specification {
  const { rates: _rates, stepInstructions, subWorkflows, ...rest } = definition
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
      subWorkflows: Object.entries(subWorkflows ?? {}).map(([stepId, { workflow, workflowVersion }]) => {
        return { stepId, workflow, workflowVersion }
      }),
      estimatedCostUsd: run.estimatedUsd,
    }),
  ) as Specification
}
