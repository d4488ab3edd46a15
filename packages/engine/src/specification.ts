// The specification: everything a run needs to know of its template, frozen before the run begins.
// Hides nothing; it is the only program the engine reads.
import type { ArtifactClass, ArtifactSchema, BudgetPolicy, Gate, JsonObject, Rate, Step } from '@fabrique/schema'

/** Which model serves a step, in fallback order. `simulated` was decided at submit and does not change afterwards. */
export interface Binding {
  /** The role in the template's `providers` that led here, if the step named one. */
  role?: string
  models: { model: string; provider: string; endpoint: string; simulated: boolean }[]
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
}
