// The specification: everything a run needs to know of its template, frozen before the run begins.
// Hides nothing; it is the only program the engine reads.
import type {
  ArtifactClass,
  ArtifactSchema,
  BudgetPolicy,
  Gate,
  JsonObject,
  JsonValue,
  ModelRow,
  Rate,
  Step,
} from '@fabrique/schema'

/** Which model serves a step, in fallback order. `simulated` was decided at submit and does not change afterwards. */
export interface Binding {
  /** The role in the template's `providers` that led here, if the step named one. */
  role?: string
  models: {
    model: string
    provider: string
    endpoint: string
    simulated: boolean
    /** How it understands the parameters of the others. */
    mapped?: NonNullable<ModelRow['mapped']>
    /** How long it may take for one request where the step has no limit of its own. */
    timeLimitMs?: number
    /** What the price list says that a request takes which says nothing. */
    usual?: JsonObject
  }[]
}

/** A called workflow, pinned: everything that a run of it needs. */
export interface SubWorkflow {
  workflow: string
  workflowVersion: string
  hash: string
  definition: Definition
  intakeSchema: JsonObject
  simulated: boolean
}

/** What an organization's runs of a workflow may spend on one day (UTC), all calls below them included. */
export interface DayCap {
  workflow: string
  maxUsd: number
}

/** What a step is expected to cost for one time in a run with this intake, and how often it may run. */
export interface PricedStep {
  stepId: string
  kind: string
  /** Null for a step that costs nothing, whatever happens. With forEach, of an item like the others. */
  once: Estimate | null
  /** Of a step with forEach: the list, and how long it is where it is made on the way. */
  items: { list: JsonValue; likely: Estimate } | null
  /** May be skipped. */
  conditional: boolean
}

/** What something is expected to cost, in USD: if all goes well, likely, and at most. */
export type Estimate = {
  low: number
  expected: number
  high: number
}

/**
 * The part of a specification that is the same for every run of a template version under the same pricing and
 * provider mode. Stored once by the SHA-256 of its canonical JSON.
 */
export interface Definition {
  templateId: string
  templateVersion: string
  schemaVersion: string
  artifactClass: ArtifactClass
  providerBindings: Record<string, Binding>
  stepInstructions: Step[]
  gates: Gate[]
  artifactSchema: ArtifactSchema
  fileFormats: { role: string; format: string; codec: string }[]
  outputAliases: Record<string, string>
  budgetPolicy: BudgetPolicy
  onUnknownOutcome: 'retry' | 'review' | 'fail'
  /** The workflows that steps call, by step id, in the version that was current when the run was accepted. */
  subWorkflows: Record<string, SubWorkflow>
  pricingVersion: string
  /** The rows of the pricing version that this definition's models can be charged by. */
  rates: Rate[]
}

/** The part of a specification that is a run's own. */
export interface Instance {
  intake: JsonObject
  regenerate: JsonObject
  variantIndex: number | null
  variants: number
  /** What each step and asking gate was expected to cost when the run was accepted. */
  priced?: PricedStep[]
  /** Some of its steps were taken over from an earlier run. */
  inherited?: true
  /** Of a retry: the runs that the earlier one had called, by the unit that called them; calling again goes on there. */
  earlierCalls?: Record<string, string>
  /** Of a called run: the run that it retries, whose finished steps it inherits when it is first executed. */
  continues?: string
  /** What a called run may spend, set by its caller; absent for other runs. */
  capUsd?: number
  /** Caps of the day of the workflows that called this one. */
  dayCaps?: DayCap[]
}

/** Where a specification keeps the model that a gate asks. No step can be called so. */
export function gateBinding({ id }: Pick<Gate, 'id'>): string {
  return `gates.${id}`
}
