// How a run comes to rest once nothing of it is in flight: judged, parked for a person, or ended for good.
// Hides what its terminal event says, and which files become the run's own.
import { endEvent, type Gate, type JsonObject, type RunError, roundUsd } from '@fabrique/schema'
import type { EndEvidence } from './catalog.ts'
import { parsePath, valueAt } from './placeholders.ts'
import type { ArtifactStore, Transition } from './ports.ts'
import { artifactSummary, type RunState } from './run-state.ts'

export interface EndRunDeps {
  artifacts: Pick<ArtifactStore, 'get'>
  killpoint?: (name: string) => void
}

type End = Exclude<NonNullable<Transition['end']>, { status: 'waiting' }>

/** Every step is settled: judges the end gates, opens the review, or finishes. */
export async function conclude(deps: EndRunDeps, state: RunState): Promise<'finished' | 'waiting'> {
  const { graph, gates } = state
  const files = finalFiles(state)
  const rejected = graph.gates.find(({ gate }) => gates.get(gate.id)?.status === 'rejected')
  const failure = state.failure ?? (await judgeEnd(deps, state, files)) ?? rejection(rejected?.gate)
  const reviews = graph.gates.filter(({ gate, kind }) => kind.stands === 'review' && gate.after === undefined)
  const open = failure === null ? reviews.filter(({ gate }) => gates.get(gate.id)?.status !== 'approved') : []
  // A run that failed for another reason than a person's no leaves its files as drafts.
  const status =
    rejected !== undefined ? 'rejected' : failure !== null ? 'draft' : open.length > 0 ? 'review' : 'approved'
  for (const { role, found } of files) if (found !== null) state.noteArtifact({ ...found, role, status })
  if (open.length > 0) {
    return await park(
      state,
      open.map(({ gate }) => gate),
    )
  }
  const simulated = [...state.checkpoints.values()].some((checkpoint) => checkpoint.simulated)
  deps.killpoint?.('W9')
  return await finish(
    state,
    failure === null
      ? { status: 'completed', output: outputOf(state), simulated }
      : { status: 'failed', error: failure, simulated },
  )
}

/** Leaves the run to a person: these gates are open until somebody decides. */
export async function park(state: RunState, open: Gate[]): Promise<'waiting'> {
  for (const gate of open) if (state.gates.get(gate.id)?.status !== 'open') state.noteGate(gate, 'open', null)
  state.noteEvent({
    kind: 'workflow.run.waiting',
    payload: {
      status: 'waiting',
      gates: open.map(({ id, name }) => ({ id, name })),
      detail: `Waiting for a decision: ${open.map(({ name }) => name).join(', ')}.`,
    },
  })
  await state.save('W11', { status: 'waiting' })
  return 'waiting'
}

/** Ends the run with its terminal event; nothing of it changes afterwards. */
export async function finish(state: RunState, end: End): Promise<'finished'> {
  // Nobody will ask for these any more: they may have been charged, and count as spent.
  const open = state.calls().filter(({ outcome }) => outcome === 'pending')
  state.noteCalls(open.map((call) => ({ ...call, outcome: 'unknown', actualUsd: call.estimatedUsd })))
  const calls = state.calls()
  state.noteEvent(
    endEvent(
      state.run,
      {
        status: end.status,
        index: 0,
        output: end.status === 'completed' ? end.output : null,
        artifacts: [...state.artifacts.values()].filter(({ status }) => status !== 'draft').map(artifactSummary),
        error: end.status === 'failed' ? end.error : null,
      },
      {
        estimated: roundUsd(calls.reduce((sum, call) => sum + call.estimatedUsd, 0)),
        actual: roundUsd(calls.reduce((sum, call) => sum + (call.actualUsd ?? 0), 0)),
        pricing_version: state.definition.pricingVersion,
      },
    ),
  )
  await state.save('W10', end)
  return 'finished'
}

/** Judges the gates at the end of a run, up to the first that does not pass. */
async function judgeEnd(
  deps: Pick<EndRunDeps, 'artifacts'>,
  state: RunState,
  files: EndEvidence['files'],
): Promise<RunError | null> {
  const { artifactSchema } = state.definition
  for (const { gate, kind } of state.graph.gates) {
    if (kind.stands === 'before-call') state.noteGate(gate, 'passed', null)
    if (kind.stands !== 'end' || state.gates.get(gate.id)?.status === 'passed') continue
    const read: EndEvidence['read'] = (record) => deps.artifacts.get(record.storageKey)
    const complaint = state.noteVerdict(gate, await kind.judge({ artifactSchema, files, read }))
    if (complaint !== null) return { code: 'gate-failed', message: complaint }
  }
  return null
}

function rejection(gate: Gate | undefined): RunError | null {
  return gate === undefined ? null : { code: 'review-rejected', message: `The review "${gate.name}" was rejected.` }
}

/** The artifact behind each file that the template promises. */
function finalFiles(state: RunState): EndEvidence['files'] {
  const outputs = state.outputs()
  return state.definition.artifactSchema.files.map(({ role, mimeType, from }) => {
    const path = parsePath(from ?? `steps.${role}.output.artifact`)
    const id = path === undefined ? undefined : valueAt(outputs, [...path.path, 'id'])
    return { role, mimeType, found: (typeof id === 'string' ? state.artifacts.get(id) : undefined) ?? null }
  })
}

/** The run's output: its declared aliases, else the outputs of the steps that no other step references. */
function outputOf(state: RunState): JsonObject {
  const outputs = state.outputs()
  const aliases = Object.entries(state.definition.outputAliases)
  if (aliases.length > 0) {
    return Object.fromEntries(
      aliases.map(([alias, path]) => [alias, valueAt(outputs, parsePath(path)?.path ?? []) ?? null]),
    )
  }
  const referenced = new Set(state.graph.steps.flatMap(({ needs }) => needs))
  const last = Object.entries(outputs).filter(([id]) => !referenced.has(id))
  return Object.fromEntries(last.map(([id, { output }]) => [id, output]))
}
