// The receipt of a run: what each step came to, what that cost, and what a cancel or a failure has saved.
// Hides nothing: this is the outside shape.
import type { RunStatus } from './run.ts'

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

export interface ReceiptStep {
  step: string
  state: StepFate
  /** Calls of providers, those of called runs included; so are the amounts. */
  calls: number
  spent_usd: number
  /** What was expected of calls that were never made. */
  saved_usd: number
  /** The runs that the step has called. */
  runs: ReceiptRun[]
}

export interface ReceiptRun {
  run_id: string
  workflow: string
  status: RunStatus
  steps: ReceiptStep[]
}

export interface Receipt {
  run_id: string
  status: RunStatus
  /** When the run, or what a failure left of it, was told to stop; null where nothing was. */
  cancelled_at: string | null
  /** One for a run without slots. */
  slots: (ReceiptRun & { index: number })[]
  totals: {
    /** The sum of the ledger. */
    spent_usd: number
    saved_usd: number
    /** What the run was expected to cost when it was accepted. */
    estimated_usd: number
    calls: { made: number; succeeded: number; failed: number; cancelled: number; unknown: number; pending: number }
  }
}
