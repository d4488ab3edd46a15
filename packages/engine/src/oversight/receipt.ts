// What became of each step of a run, what it cost, and what was saved by stopping it; from the record alone.
// Hides how the record tells a call that was cut off from one that was never made.
import {
  type EventKind,
  isTerminal,
  type Receipt,
  type ReceiptRun,
  type ReceiptStep,
  roundUsd,
  type RunStatus,
  type Step,
  type StepFate,
} from '@fabrique/schema'
import { estimateSteps } from '../template/estimate.ts'
import { runScope } from '../template/placeholders.ts'
import { dependenciesOf } from '../template/data-flow.ts'
import type { CallRecord, Checkpoint } from '../ports.ts'
import { type Definition, gateBinding, type Instance } from '../specification.ts'
import { isWithin, parseUnitKey } from '../unit-key.ts'

/** A run as the record has it, with the runs below it. */
export interface RecordedRun {
  id: string
  workflow: string
  organizationId: string
  status: RunStatus
  failFast: boolean
  /** Of a slot. */
  slotIndex: number | null
  /** Of a called run: the step, or the item of a step, that called it. */
  callerKey: string | null
  /** True for a run of slots, which executes nothing itself. */
  hasSlots: boolean
  cancelRequestedAt: string | null
  estimatedUsd: number
  definition: Definition
  instance: Instance
  checkpoints: Pick<Checkpoint, 'key' | 'stepId' | 'status' | 'attempt' | 'output'>[]
  /** Oldest first. */
  calls: Pick<CallRecord, 'stepKey' | 'stepId' | 'outcome' | 'estimatedUsd' | 'actualUsd'>[]
  /** Events of its steps, by the record's clock. */
  nodes: { key: string; kind: EventKind; at: string }[]
  /** Its slots by index, or the runs that it has called. */
  below: RecordedRun[]
}

type Call = RecordedRun['calls'][number]

/** The receipt of a run, whatever its status. */
export function receiptOf(run: RecordedRun): Receipt {
  const slots = run.hasSlots ? run.below : [run]
  const receipts = slots.map((slot, index) => ({ index: slot.slotIndex ?? index, ...receiptRun(slot) }))
  const calls = slots.flatMap(callsOf)
  const count = (outcome: Call['outcome']) => calls.filter((call) => call.outcome === outcome).length
  const stops = slots.flatMap(({ cancelRequestedAt }) => cancelRequestedAt ?? []).toSorted()
  return {
    run_id: run.id,
    status: run.status,
    cancelled_at: run.cancelRequestedAt ?? stops[0] ?? null,
    slots: receipts,
    totals: {
      spent_usd: spentOn(calls),
      saved_usd: sum(receipts.flatMap(({ steps }) => steps.map((step) => step.saved_usd))),
      estimated_usd: run.estimatedUsd,
      calls: {
        made: calls.length,
        succeeded: count('succeeded'),
        failed: count('failed'),
        cancelled: count('cancelled'),
        unknown: count('unknown'),
        pending: count('pending'),
      },
    },
  }
}

function receiptRun(run: RecordedRun): ReceiptRun {
  const { definition } = run
  const gates = definition.gates.map((gate) => ({ id: gateBinding(gate), gateId: gate.id }))
  const asking = gates.filter(({ id }) => run.instance.priced?.some(({ stepId }) => stepId === id))
  const expected = expectedOf(run)
  const steps = [
    ...definition.stepInstructions.map((step) => receiptStep(run, step, expected)),
    ...asking.map(({ id, gateId }) => receiptGate(run, id, gateId, expected)),
  ]
  return { run_id: run.id, workflow: run.workflow, status: run.status, steps }
}

function receiptStep(run: RecordedRun, step: Step, expected: ReadonlyMap<string, number>): ReceiptStep {
  const calls = run.calls.filter(({ stepId, stepKey }) => stepId === step.id && isWithin(stepKey, step.id))
  const called = run.below.filter(({ callerKey }) => callerKey !== null && isWithin(callerKey, step.id))
  const runs = called.map(receiptRun)
  const all = [...calls, ...called.flatMap(callsOf)]
  const state = fateOf(run, step, calls, runs)
  return {
    step: step.id,
    state,
    calls: all.length,
    spent_usd: spentOn(all),
    saved_usd: savedOn(run, { step: step.id, state, runs }, calls, expected.get(step.id) ?? 0),
    runs,
  }
}

/** A gate that asks a model, as a step of its own: `gates.<id>`. */
function receiptGate(run: RecordedRun, id: string, gateId: string, expected: ReadonlyMap<string, number>): ReceiptStep {
  const calls = run.calls.filter(({ stepKey }) => parseUnitKey(stepKey)?.gateId === gateId)
  const state = gateFate(run.status, calls)
  const isOwed = state === 'never_started' || state === 'aborted_in_flight'
  const saved = isOwed ? unspent(expected.get(id) ?? 0, calls) : 0
  return { step: id, state, calls: calls.length, spent_usd: spentOn(calls), saved_usd: saved, runs: [] }
}

function gateFate(status: RunStatus, calls: Call[]): StepFate {
  if (!isTerminal(status)) return 'open'
  if (calls.some(isCutOff)) return 'aborted_in_flight'
  if (calls.some(({ outcome }) => outcome === 'succeeded')) return 'finished'
  return status === 'completed' ? 'not_needed' : 'never_started'
}

function fateOf(run: RecordedRun, step: Step, calls: Call[], runs: ReceiptRun[]): StepFate {
  const checkpoint = run.checkpoints.find(({ key }) => key === step.id)
  if (checkpoint?.status === 'failed') return 'failed'
  if (checkpoint?.status === 'skipped') return isBroken(run, step) ? 'never_started' : 'not_needed'
  if (checkpoint !== undefined) return isLate(run, step.id) ? 'finished_anyway' : 'finished'
  if (!isTerminal(run.status)) return 'open'
  const fates = runs.flatMap(({ steps }) => steps.map(({ state }) => state))
  if (calls.some(isCutOff) || fates.includes('aborted_in_flight')) return 'aborted_in_flight'
  if (calls.some((call) => isUnused(run, call, calls)) || fates.includes('finished_anyway')) return 'finished_anyway'
  const isBegun =
    calls.length + runs.length > 0 || [...run.nodes, ...run.checkpoints].some(({ key }) => isWithin(key, step.id))
  return isBegun ? 'stopped_before_call' : 'never_started'
}

/** Its answer can no longer come: it may have been charged, or was called off at the provider. */
function isCutOff({ outcome }: Call): boolean {
  return outcome === 'unknown' || outcome === 'cancelled' || outcome === 'pending'
}

/** An answer that nothing was made of: no checkpoint of its unit, nor of one of its parts for each such answer. */
function isUnused({ checkpoints }: RecordedRun, { stepKey, outcome }: Call, calls: Call[]): boolean {
  if (outcome !== 'succeeded' || checkpoints.some(({ key }) => key === stepKey)) return false
  const answers = calls.filter((call) => call.stepKey === stepKey && call.outcome === 'succeeded')
  return answers.length > checkpoints.filter(({ key }) => isWithin(key, stepKey)).length
}

/** Whether the step completed after the run was cancelled or had failed. */
function isLate(run: RecordedRun, stepId: string): boolean {
  const failedAt = run.nodes.find(({ kind }) => kind === 'workflow.node.failed')?.at ?? null
  const stoppedAt = run.cancelRequestedAt ?? (run.failFast && run.status === 'failed' ? failedAt : null)
  if (stoppedAt === null || run.status === 'completed') return false
  return run.nodes.some(({ key, kind, at }) => key === stepId && kind === 'workflow.node.completed' && at > stoppedAt)
}

/** Left out because something before it failed, not because it was not wanted. */
function isBroken(run: RecordedRun, step: Step): boolean {
  return dependenciesOf(step).some(({ id }) => {
    const status = run.checkpoints.find(({ key }) => key === id)?.status
    if (status !== 'skipped') return status === 'failed'
    const before = run.definition.stepInstructions.find((one) => one.id === id)
    return before !== undefined && isBroken(run, before)
  })
}

/** What each step was expected to cost, by what is known of the lists that it goes through. */
function expectedOf(run: RecordedRun): Map<string, number> {
  const completed = run.checkpoints.filter(({ key, stepId, status }) => key === stepId && status === 'completed')
  const outputs = Object.fromEntries(completed.map(({ stepId, output }) => [stepId, { output }]))
  const reused = new Set(completed.filter(({ attempt }) => attempt === 0).map(({ stepId }) => stepId))
  const estimates = estimateSteps(run.instance.priced ?? [], reused, runScope(run, outputs, {}))
  return new Map(estimates.map(({ step, expected }) => [step, expected]))
}

function savedOn(
  { checkpoints, definition, instance }: RecordedRun,
  { step, state, runs }: Pick<ReceiptStep, 'step' | 'state' | 'runs'>,
  calls: Call[],
  expected: number,
): number {
  if (['finished', 'not_needed', 'open'].includes(state)) return 0
  if (state === 'finished_anyway' && checkpoints.some(({ key }) => key === step)) return 0
  const priced = instance.priced?.find(({ stepId }) => stepId === step)
  const once = priced?.once?.expected ?? 0
  const inRuns = runs.flatMap(({ steps }) => steps.map(({ saved_usd }) => saved_usd))
  if (definition.subWorkflows[step] !== undefined) {
    return sum([Math.max(0, expected - once * runs.length), ...inRuns])
  }
  // A failed attempt saved nothing; of a list, the items that were not started did.
  if (state === 'failed')
    return roundUsd(Math.max(0, expected - once * new Set(calls.map((call) => call.stepKey)).size))
  return unspent(expected, calls)
}

/** What is left of an expectation by the calls that were made, or may have been charged. */
function unspent(expected: number, calls: Call[]): number {
  const isCharged = ({ outcome, actualUsd }: Call) =>
    outcome === 'succeeded' || outcome === 'unknown' || outcome === 'pending' || (actualUsd ?? 0) > 0
  const charged = calls.filter(isCharged).reduce((total, { estimatedUsd }) => total + estimatedUsd, 0)
  return roundUsd(Math.max(0, expected - charged))
}

function callsOf(run: RecordedRun): Call[] {
  return [...run.calls, ...run.below.flatMap(callsOf)]
}

function spentOn(calls: Call[]): number {
  return sum(calls.map(({ actualUsd }) => actualUsd ?? 0))
}

function sum(amounts: number[]): number {
  return roundUsd(amounts.reduce((total, amount) => total + amount, 0))
}
