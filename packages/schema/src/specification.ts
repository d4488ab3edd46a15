// A run's specification as the API shows it: everything that the run needs of its template, frozen before it began.
import { z } from 'zod'
import { Instant, JsonRecord } from './json.ts'
import { ARTIFACT_CLASSES, ArtifactSchema, BudgetPolicy, Gate, ON_UNKNOWN_OUTCOME, StepOutline } from './template.ts'

export const Specification = z
  .object({
    id: z.string(),
    runId: z.string(),
    createdAt: Instant,
    intake: JsonRecord.describe('The input with the defaults of the intake schema.'),
    regenerate: JsonRecord,
    templateId: z.string(),
    templateVersion: z.string(),
    schemaVersion: z.string(),
    artifactClass: z.enum(ARTIFACT_CLASSES),
    providerBindings: z
      .record(
        z.string(),
        z.object({
          role: z.string().exactOptional(),
          models: z.array(
            z.object({
              model: z.string(),
              provider: z.string(),
              endpoint: z.string(),
              simulated: z.boolean(),
              mapped: JsonRecord.exactOptional().describe('How it understands the parameters of the others.'),
              usual: JsonRecord.exactOptional().describe('What its row says that a request takes which says nothing.'),
              timeLimitMs: z
                .int()
                .exactOptional()
                .describe('How long it may take for one request of a step without `timeoutMs`.'),
            }),
          ),
        }),
      )
      .describe('Which models serve a step or asking gate, in fallback order.'),
    stepInstructions: z
      .array(StepOutline.loose())
      .describe('For admins with everything that the template says of them.'),
    gates: z.array(Gate),
    artifactSchema: ArtifactSchema,
    fileFormats: z.array(z.object({ role: z.string(), format: z.string(), codec: z.string() })),
    outputAliases: z.record(z.string(), z.string()),
    budgetPolicy: BudgetPolicy,
    onUnknownOutcome: z.enum(ON_UNKNOWN_OUTCOME),
    subWorkflows: z.array(z.object({ stepId: z.string(), workflow: z.string(), workflowVersion: z.string() })),
    pricingVersion: z.string(),
    estimatedCostUsd: z.number(),
    resolvedPrompts: z
      .array(z.object({ stepId: z.string(), key: z.string(), field: z.string(), text: z.string() }))
      .exactOptional()
      .describe('For admins: what models are asked, as far as its placeholders have values by now.'),
  })
  .meta({ id: 'Specification' })
export type Specification = z.infer<typeof Specification>
