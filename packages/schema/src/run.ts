// A run as the API shows it, and the words for its states.
// Hides nothing: this is the outside shape; rows and engine state are other things, mapped to this one.
import { z } from 'zod'
import type { JsonObject, JsonValue } from './json.ts'

export const RUN_STATUSES = ['pending', 'running', 'waiting', 'completed', 'failed', 'cancelled'] as const
export type RunStatus = (typeof RUN_STATUSES)[number]
export const RunStatusSchema = z.enum(RUN_STATUSES)

/** Terminal statuses never change. */
export function isTerminal(status: RunStatus): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled'
}

/** Why something failed, in words that an operator may read. */
export interface RunError {
  code: string
  message: string
  node_key?: string
  retryable?: boolean
}

export interface RunCost {
  currency: 'USD'
  estimated: number
  /** What the ledger says so far; calls of unknown outcome count as spent. */
  actual: number
  pricing_version: string
}

export interface RunOutput {
  index: number
  workflow: string
  variant_index: number | null
  run_id: string
  status: RunStatus
  output: JsonObject | null
  artifacts: JsonObject[]
  error: RunError | null
}

export interface RunResource {
  id: string
  workflow: string
  workflow_version: string
  status: RunStatus
  partial: boolean
  priority: number
  fail_fast: boolean
  input: JsonObject
  metadata: JsonObject
  state: JsonObject | null
  parent_run_id: string | null
  parent_variant_index: number | null
  root_run_id: string
  caller_run_id: string | null
  caller_step_id: string | null
  retry_of: string | null
  simulated: boolean
  outputs: RunOutput[]
  /** With `run_id`: an open gate of a slot or of a called run. */
  gates: { id: string; name: string; type: string; status: string; detail: string | null; run_id?: string }[]
  summary: { total: number; completed: number; failed: number; cancelled: number }
  cost: RunCost
  error: RunError | null
  warnings: string[]
  created_at: string
  started_at: string | null
  finished_at: string | null
  urls: { self: string; events: string; cancel: string; specification: string }
}

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

export const EVENT_KINDS = [
  'workflow.run.created',
  'workflow.run.queued',
  'workflow.run.started',
  'workflow.run.waiting',
  'workflow.run.completed',
  'workflow.run.failed',
  'workflow.run.cancelled',
  'workflow.node.started',
  'workflow.node.progress',
  'workflow.node.completed',
  'workflow.node.failed',
  'workflow.node.skipped',
  'workflow.node.retrying',
  'workflow.artifact.created',
] as const
export type EventKind = (typeof EVENT_KINDS)[number]

const TERMINAL_KINDS: readonly EventKind[] = ['workflow.run.completed', 'workflow.run.failed', 'workflow.run.cancelled']

/** True for the one event that ends a run's log. */
export function isTerminalKind(kind: EventKind): boolean {
  return TERMINAL_KINDS.includes(kind)
}

/** The event that ends a run: the whole outcome, so that whoever hears it has nothing left to ask. */
export function endEvent(
  run: { state: JsonObject | null; metadata: JsonObject },
  end: {
    status: 'completed' | 'failed' | 'cancelled'
    partial: boolean
    outputs: RunOutput[]
    error: RunError | null
  },
  cost: Omit<RunCost, 'currency'>,
): { kind: EventKind; payload: JsonObject } {
  const { status, partial, outputs, error } = end
  return {
    kind: `workflow.run.${status}`,
    payload: {
      status,
      partial,
      state: run.state,
      metadata: run.metadata,
      outputs: outputs.map((output) => ({ ...output, error: output.error === null ? null : { ...output.error } })),
      cost: { currency: 'USD', ...cost },
      error: error === null ? null : { ...error },
    },
  }
}

/** The one event object of SSE, the JSON list, webhooks and the CLI. `seq` counts per run from 1, without gaps. */
export interface RunEvent {
  id: string
  seq: number
  kind: EventKind
  run_id: string
  root_run_id: string
  node_key?: string
  timestamp: string
  payload: { [key: string]: JsonValue }
}
