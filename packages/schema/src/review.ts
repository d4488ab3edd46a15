// A decision that a person has to make, with what it is about: one entry of the review inbox.
import { z } from 'zod'
import { Artifact } from './artifact.ts'
import { Instant, JsonRecord } from './json.ts'
import { RunGate } from './run.ts'
import { ARTIFACT_CLASSES } from './template.ts'

export const Review = z
  .object({
    id: z.string().describe('The run and the gate: what the list pages by.'),
    run_id: z.string().describe('The run that waits: of a run with slots, the slot.'),
    gate: RunGate.omit({ run_id: true }),
    workflow: z.string(),
    workflow_version: z.string(),
    artifact_class: z.enum(ARTIFACT_CLASSES),
    root_run_id: z.string(),
    slot_index: z.int().nullable(),
    parent_run_id: z.string().nullable(),
    simulated: z.boolean(),
    input: JsonRecord,
    metadata: JsonRecord,
    cost: z.object({
      actual: z.number().describe('So far, in USD, with the runs below it.'),
      estimated: z.number().describe('What the whole run was expected to cost.'),
    }),
    since: Instant.describe('When the gate opened, or was decided.'),
    expires_at: Instant.nullable().describe('When it decides itself.'),
    on_expiry: z.enum(['approve', 'reject']).nullable(),
    decided_by: z
      .object({ id: z.string(), name: z.string().nullable() })
      .nullable()
      .describe('The key that decided; null while it is open, and where it decided itself.'),
    artifacts: z.array(Artifact).describe('What is to be judged; without such, whatever the run has made.'),
  })
  .meta({ id: 'Review' })
export type Review = z.infer<typeof Review>
