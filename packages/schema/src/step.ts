// A step of a run as the API shows it: how far it is. A run with slots has those for steps.
import { z } from 'zod'
import { Instant } from './json.ts'
import { ProviderError } from './ledger.ts'
import { RUN_STATUSES, RunError, RunStatusSchema } from './run.ts'

export const RunStep = z
  .object({
    id: z.string(),
    kind: z.string().describe('The kind of the step, or `slot`.'),
    name: z.string().nullable(),
    status: z.enum([...RUN_STATUSES, 'skipped']),
    reused: z.boolean().exactOptional().describe('Taken over from the run that this one retries or regenerates.'),
    attempt: z.int().exactOptional().describe('0 before the first.'),
    simulated: z.boolean(),
    model: z.string().nullable().exactOptional().describe('The last model that it has called.'),
    cost_usd: z.number().exactOptional().describe('With the runs that it has called.'),
    error: RunError.nullable(),
    provider_error: ProviderError.exactOptional().describe(
      'Of a step that failed: what its last call was told. Admins see it.',
    ),
    started_at: Instant.nullable(),
    finished_at: Instant.nullable(),
    items: z
      .array(z.object({ key: z.string(), status: z.enum(['completed', 'failed', 'skipped']), attempt: z.int() }))
      .exactOptional()
      .describe('Of a step with forEach, as far as they have ended.'),
    runs: z
      .array(z.object({ run_id: z.string(), status: RunStatusSchema, key: z.string().nullable() }))
      .describe('The runs that it has called, or the run of the slot.'),
  })
  .meta({
    id: 'Step',
    description: 'A step of a run. Slots have neither attempts, model, cost nor items of their own.',
  })
export type RunStep = z.infer<typeof RunStep>
