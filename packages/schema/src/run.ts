// A run as the API shows it, and the words for its states.
// Hides nothing: this is the outside shape; rows and engine state are other things, mapped to this one.
import { z } from 'zod'
import { Artifact } from './artifact.ts'
import { Instant, JsonRecord } from './json.ts'

export const RUN_STATUSES = ['pending', 'running', 'waiting', 'completed', 'failed', 'cancelled'] as const
export type RunStatus = (typeof RUN_STATUSES)[number]
export const RunStatusSchema = z.enum(RUN_STATUSES)

/** Terminal statuses never change. */
export function isTerminal(status: RunStatus): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled'
}

/** Why something failed, in words that an operator may read. */
export const RunError = z
  .object({
    code: z.string(),
    message: z.string(),
    node_key: z.string().exactOptional().describe('Where: a step, an item of one, or a slot.'),
    retryable: z.boolean().exactOptional().describe('Whether trying the same again can help.'),
  })
  .meta({ id: 'RunError', description: 'Why something failed.' })
export type RunError = z.infer<typeof RunError>

export const RunCost = z
  .object({
    currency: z.literal('USD'),
    estimated: z.number().describe('What was expected when the run was accepted.'),
    actual: z.number().describe('What the ledger says so far: `billed`, `simulated` and `unknown` together.'),
    billed: z.number().describe('What providers charge.'),
    simulated: z.number().describe('What simulated calls would have cost; nobody charges it.'),
    unknown: z.number().describe('Of calls whose outcome nobody knows: they may have been charged.'),
    pricing_version: z.string(),
  })
  .meta({ id: 'RunCost' })
export type RunCost = z.infer<typeof RunCost>

export const RunOutput = z
  .object({
    index: z.int().describe('Of the slot; 0 for a run without slots.'),
    workflow: z.string(),
    variant_index: z.int().nullable().describe('Counts from 0; null where the run has no variants.'),
    run_id: z.string(),
    status: RunStatusSchema,
    output: JsonRecord.nullable().describe("By the workflow's outputAliases, else by step."),
    artifacts: z.array(Artifact),
    error: RunError.nullable(),
  })
  .meta({ id: 'RunOutput' })
export type RunOutput = z.infer<typeof RunOutput>

/** The type of gates at which a person decides, by name, whether a call whose outcome is unknown is paid for again. */
export const DECISION_GATE = 'unknown-outcome'

export const RunGate = z
  .object({
    id: z.string(),
    name: z.string(),
    type: z.string(),
    status: z
      .enum(['passed', 'failed', 'open', 'approved', 'rejected', 'closed'])
      .describe('`open` waits for a decision; `closed`: its run ended before there was one.'),
    detail: z.string().nullable().describe('What it found; of an open `unknown-outcome` what calling again may cost.'),
    run_id: z.string().exactOptional().describe('Of an open gate below the run: the slot or called run that waits.'),
  })
  .meta({ id: 'Gate' })
export type RunGate = z.infer<typeof RunGate>

export const RunResource = z
  .object({
    id: z.string(),
    workflow: z.string(),
    workflow_version: z.string(),
    status: RunStatusSchema,
    partial: z.boolean().describe('Completed, and at least one slot has failed.'),
    priority: z.int(),
    fail_fast: z.boolean(),
    input: JsonRecord,
    metadata: JsonRecord,
    state: JsonRecord.nullable(),
    parent_run_id: z.string().nullable().describe('The run that this one regenerates.'),
    parent_variant_index: z.int().nullable(),
    root_run_id: z.string().describe('Itself, unless it is a slot or was called.'),
    caller_run_id: z.string().nullable().describe('The run whose step called this one.'),
    caller_step_id: z.string().nullable(),
    retry_of: z.string().nullable(),
    simulated: z.boolean().describe('Whether a built-in simulator stands in for any provider.'),
    outputs: z.array(RunOutput).describe('One for each slot; one for a run without slots.'),
    gates: z.array(RunGate),
    summary: z
      .object({ total: z.int(), completed: z.int(), failed: z.int(), cancelled: z.int() })
      .describe('Slots by status.'),
    cost: RunCost,
    error: RunError.nullable(),
    warnings: z.array(z.string()),
    created_at: Instant,
    started_at: Instant.nullable(),
    finished_at: Instant.nullable(),
    urls: z.object({ self: z.string(), events: z.string(), cancel: z.string(), specification: z.string() }),
  })
  .meta({ id: 'Run' })
export type RunResource = z.infer<typeof RunResource>

/** What of a run may be large. */
export const RUN_PAYLOADS = ['input', 'outputs', 'state', 'warnings'] as const
export type RunPayload = (typeof RUN_PAYLOADS)[number]

/** A run in a list: without what may be large, but for the fields that were asked for. */
export const ListedRun = RunResource.partial({ input: true, outputs: true, state: true, warnings: true }).meta({
  id: 'ListedRun',
  description: 'A run in a list; `input`, `outputs`, `state` and `warnings` only where `fields` asks for them.',
})
export type ListedRun = z.infer<typeof ListedRun>

/** What cancelling by a filter came to. */
export const BulkCancellation = z
  .object({
    matched: z.int().describe('Runs that fit the filter.'),
    cancelled: z.int(),
    already_finished: z.int(),
    dry_run: z.boolean().describe('True: none was cancelled.'),
  })
  .meta({ id: 'BulkCancellation' })
export type BulkCancellation = z.infer<typeof BulkCancellation>

/** Where the API keeps a run. */
export function runUrls(runId: string): RunResource['urls'] {
  const self = `/v1/workflows/runs/${runId}`
  return { self, events: `${self}/events`, cancel: `${self}/cancel`, specification: `${self}/specification` }
}

export type Lane = 'interactive' | 'batch'
/** Runs of this priority and above go to the interactive lane, which has reserved slots. */
export const INTERACTIVE_PRIORITY = 75

export function laneOf(priority: number): Lane {
  return priority >= INTERACTIVE_PRIORITY ? 'interactive' : 'batch'
}
