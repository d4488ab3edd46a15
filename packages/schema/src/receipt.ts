// The receipt of a run: what each step came to, what that cost, and what a cancel or a failure has saved.
// Hides nothing: this is the outside shape.
import { z } from 'zod'
import { Instant } from './json.ts'
import { RunStatusSchema } from './run.ts'

/**
 * `finished_anyway`: its answer came after the stop was asked for; it is paid. `aborted_in_flight`: a provider was at
 * work; what it may charge is counted as spent. `stopped_before_call`: begun, and no call under way. `not_needed`: its
 * condition did not hold. `open`: the run goes on, and may still come to it.
 */
export const STEP_FATES = [
  'finished',
  'finished_anyway',
  'failed',
  'aborted_in_flight',
  'stopped_before_call',
  'never_started',
  'not_needed',
  'open',
] as const
export type StepFate = (typeof STEP_FATES)[number]

export const ReceiptStep = z
  .object({
    step: z.string().describe('A step, or `gates.<id>` of a gate that asks a model.'),
    state: z.enum(STEP_FATES),
    calls: z.int().describe('Calls of providers, those of called runs included; so are the amounts.'),
    spent_usd: z.number(),
    saved_usd: z.number().describe('What was expected of calls that were never made.'),
    get runs(): z.ZodArray<typeof ReceiptRun> {
      return z.array(ReceiptRun)
    },
  })
  .meta({ id: 'ReceiptStep' })
export type ReceiptStep = z.infer<typeof ReceiptStep>

export const ReceiptRun = z
  .object({
    run_id: z.string(),
    workflow: z.string(),
    status: RunStatusSchema,
    steps: z.array(ReceiptStep),
  })
  .meta({ id: 'ReceiptRun' })
export type ReceiptRun = z.infer<typeof ReceiptRun>

export const Receipt = z
  .object({
    run_id: z.string(),
    status: RunStatusSchema,
    cancelled_at: Instant.nullable().describe('When the run, or what a failure left of it, was told to stop.'),
    slots: z
      .array(ReceiptRun.extend({ index: z.int(), steps: z.array(ReceiptStep) }))
      .describe('One for a run without slots.'),
    totals: z.object({
      spent_usd: z.number().describe('The sum of the ledger.'),
      saved_usd: z.number(),
      estimated_usd: z.number().describe('What the run was expected to cost when it was accepted.'),
      calls: z.object({
        made: z.int(),
        succeeded: z.int(),
        failed: z.int(),
        cancelled: z.int(),
        unknown: z.int(),
        pending: z.int(),
      }),
    }),
  })
  .meta({ id: 'Receipt' })
export type Receipt = z.infer<typeof Receipt>
