// How an execution leaves a run once none of its steps is running: judged and ended, or suspended.
// Hides what its terminal event says, and which files become the run's own.
import {
  type EndOutput,
  endEvent,
  type Gate,
  type JsonValue,
  type RunError,
  runCost,
  spendingOf,
  sumOfSpending,
  waitingEvent,
} from '@fabrique/schema'
import type { EndEvidence, Verdict } from '../catalog.ts'
import { StepFailure } from '../failure.ts'
import { outputOf } from '../template/data-flow.ts'
import { parsePath, valueAt } from '../template/placeholders.ts'
import type { BoundGate } from './plan.ts'
import { asUnknown } from './call-bill.ts'
import type { ArtifactStore, GateRecord, Transition } from '../ports.ts'
import { excessOf } from './run-size.ts'
import { artifactSummary, type RunState } from './run-state.ts'
import { stored, verdictOn } from './run-step.ts'

export interface EndRunDeps {
  artifacts: Pick<ArtifactStore, 'get'>
  killpoint?: (name: string) => void
}

type End = Exclude<NonNullable<Transition['end']>, { wakeInMs: unknown }>

/** A suspended run wakes after this long to check its called runs, in case their notification is lost. */
const RECHECK_MS = 30_000
/** The same while a person decides, which may take days. */
const RECHECK_WAITING_MS = 3_600_000

/** Ends a run whose steps are all settled, by its failure or its end gates; suspends it while a review is open. */
export async function conclude(deps: EndRunDeps, state: RunState): Promise<'finished' | 'waiting' | 'suspended'> {
  const { graph, gates } = state
  const files = finalFiles(state)
  const rejected = graph.gates.find(({ gate }) => gates.get(gate.id)?.status === 'rejected')
  const failure = state.failure ?? (await judgeEnd(deps, state, files)) ?? rejection(rejected?.gate)
  const open = failure === null ? graph.gates.filter((bound) => isDue(state, bound)) : []
  // Only a person rejects files; those of a run that failed otherwise stay drafts.
  const status =
    rejected !== undefined ? 'rejected' : failure !== null ? 'draft' : open.length > 0 ? 'review' : 'approved'
  for (const { role, found } of files) if (found !== null) state.noteArtifact({ ...found, role, status })
  if (open.length > 0) {
    for (const { gate } of open) openGate(state, gate)
    return await suspend(state)
  }
  const simulated = [...state.checkpoints.values()].some((checkpoint) => checkpoint.simulated)
  deps.killpoint?.('W9')
  if (failure !== null) return await finish(state, { status: 'failed', error: failure, simulated })
  const output = outputOf(state.definition, state.outputs())
  const excess = excessOf(output)
  if (excess === null) return await finish(state, { status: 'completed', output, simulated })
  return await finish(state, { status: 'failed', error: { code: excess.code, message: excess.message }, simulated })
}

/** Whether a review still needs a decision: of the whole run, or of a step that completed. */
function isDue({ gates, checkpoints }: RunState, { gate, kind }: BoundGate): boolean {
  if (kind.stands !== 'review' || gates.get(gate.id)?.status === 'approved') return false
  return gate.after === undefined || checkpoints.get(gate.after)?.status === 'completed'
}

/** Opens a gate, with the time after which it decides itself; does nothing where it is open. */
export function openGate(state: RunState, gate: Gate): void {
  if (state.gates.get(gate.id)?.status === 'open') return
  const inMs = typeof gate.expiresIn === 'string' ? durationMs(gate.expiresIn) : undefined
  state.noteGate(gate, 'open', null, inMs === undefined ? undefined : { inMs, approve: gate.onExpiry === 'approve' })
}

const UNITS_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Milliseconds of `90s`, `30m`, `12h` or `7d`; undefined for anything else. */
export function durationMs(text: string): number | undefined {
  const [, amount, unit] = /^(\d{1,4})([smhd])$/.exec(text) ?? []
  return amount === undefined ? undefined : Number(amount) * UNITS_MS[unit as keyof typeof UNITS_MS]
}

/** Suspends the run until a person decides or a called run ends; it is `waiting` while a gate is open in either. */
export async function suspend(state: RunState): Promise<'waiting' | 'suspended'> {
  const own = [...state.gates.values()].filter(({ status }) => status === 'open')
  const waiting = [...state.children.values()].filter(({ status }) => status === 'waiting')
  const called = waiting.flatMap(({ openGates }) => openGates)
  const gates = [
    ...own.map(({ id, name }) => ({ id, name, run_id: state.run.id })),
    ...called.map(({ id, name, runId }) => ({ id, name, run_id: runId })),
  ]
  if (gates.length === 0) {
    await state.save('W11', { status: 'suspended', wakeInMs: RECHECK_MS })
    return 'suspended'
  }
  if (called.length > 0 || own.some(({ id }) => !state.announced.has(id))) {
    state.noteEvent(waitingEvent(gates))
  }
  await state.save('W11', { status: 'waiting', wakeInMs: wakeInMs(own, state.suspended.size > 0) })
  return 'waiting'
}

/** Until the first gate decides itself, or called runs have to be checked; null for never. */
function wakeInMs(open: GateRecord[], hasSuspended: boolean): number | null {
  const times = open.flatMap(({ expiry }) => (expiry === undefined ? [] : [Math.max(expiry.inMs, 0)]))
  if (hasSuspended) times.push(RECHECK_WAITING_MS)
  return times.length === 0 ? null : Math.min(...times)
}

/** Ends the run with its terminal event. */
export async function finish(state: RunState, end: End): Promise<'finished'> {
  state.noteCalls(
    state
      .calls()
      .filter(({ outcome }) => outcome === 'pending')
      .map(asUnknown),
  )
  for (const gate of state.gates.values()) if (gate.status === 'open') state.noteGate(gate, 'closed', gate.detail)
  const called = [...state.children.values()].map(({ spent }) => spent)
  const spending = sumOfSpending([spendingOf(state.calls()), ...called])
  const output = ownOutput(state, end)
  state.noteEvent(
    endEvent(
      state.run,
      { status: end.status, partial: false, outputs: [output], error: output.error },
      runCost(spending, { estimated: state.run.estimatedUsd, pricing_version: state.definition.pricingVersion }),
    ),
  )
  await state.save('W10', end)
  return 'finished'
}

/** The one entry of `outputs` that a run without slots has; a slot's own is the one of its run, by its index. */
function ownOutput({ run, artifacts }: RunState, end: End): EndOutput {
  return {
    index: run.slotIndex ?? 0,
    workflow: run.workflow,
    variant_index: run.instance.variantIndex,
    run_id: run.id,
    status: end.status,
    output: end.status === 'completed' ? end.output : null,
    artifacts: [...artifacts.values()].filter(({ status }) => status !== 'draft').map(artifactSummary),
    error: end.status === 'failed' ? end.error : null,
  }
}

/** Judges the gates at the end of a run, up to the first that does not pass. */
async function judgeEnd(
  deps: Pick<EndRunDeps, 'artifacts'>,
  state: RunState,
  files: EndEvidence['files'],
): Promise<RunError | null> {
  for (const bound of state.graph.gates) {
    if (state.gates.get(bound.gate.id)?.status === 'passed') continue
    const verdict = await verdictAtEnd(deps, state, files, bound)
    const complaint = verdict === null ? null : state.noteVerdict(bound.gate, verdict)
    if (complaint !== null) return { code: 'gate-failed', message: complaint }
  }
  return null
}

async function verdictAtEnd(
  deps: Pick<EndRunDeps, 'artifacts'>,
  state: RunState,
  files: EndEvidence['files'],
  { gate, kind, expression }: BoundGate,
): Promise<Verdict | null> {
  switch (kind.stands) {
    // Both would have stopped the run before a call.
    case 'before-call':
      return { passed: true }
    case 'spending':
      return gate.after === undefined ? { passed: true } : null
    case 'condition': {
      if (gate.after !== undefined || expression === null) return null
      return verdictOn(gate, () => expression.holds(state.expressionScope()))
    }
    case 'end': {
      const { artifactSchema } = state.definition
      const judged = kind.judge({ artifactSchema, files, read: (record) => stored(deps, record) })
      return await judged.catch((error: unknown) => {
        if (!StepFailure.is(error)) throw error
        return { passed: false, detail: error.message }
      })
    }
    default:
      return null
  }
}

function rejection(gate: Gate | undefined): RunError | null {
  return gate === undefined ? null : { code: 'review-rejected', message: `The review "${gate.name}" was rejected.` }
}

/** The artifact behind each file that the template promises; a step with forEach may make several of a role. */
function finalFiles(state: RunState): EndEvidence['files'] {
  const outputs = state.outputs()
  return state.definition.artifactSchema.files.flatMap(({ role, mimeType, from }) => {
    const path = parsePath(from ?? `steps.${role}.output.artifact`)
    const value = path === undefined ? undefined : valueAt(outputs, path.path)
    const found = (Array.isArray(value) ? value : [value]).map((one) => artifactAt(state, one))
    if (path?.optional === true && found.every((one) => one === null)) return []
    return found.map((one) => ({ role, mimeType, found: one }))
  })
}

/** The artifact that a value refers to, itself or as its `artifact`. */
function artifactAt(state: RunState, value: JsonValue | undefined) {
  const id = valueAt(value, ['id']) ?? valueAt(value, ['artifact', 'id'])
  return (typeof id === 'string' ? state.artifacts.get(id) : undefined) ?? null
}
