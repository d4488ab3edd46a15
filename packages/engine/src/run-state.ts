// What one execution knows of its run, and what of that is not on the record yet.
// Hides how facts gather in a draft, who hears of them once they are durable, and what a refused commit leaves behind.
import type { EventKind, JsonObject, JsonValue, RunError, Step } from '@fabrique/schema'
import type { Verdict } from './catalog.ts'
import type { Scope } from './placeholders.ts'
import type { Graph } from './plan.ts'
import type {
  ArtifactRecord,
  ArtifactStore,
  CallRecord,
  Checkpoint,
  ClaimedRun,
  Clock,
  GateRecord,
  NewEvent,
  RunHistory,
  RunQueue,
  RunStore,
  Transition,
} from './ports.ts'
import type { Definition } from './specification.ts'

export interface RunStateDeps {
  store: Pick<RunStore, 'commit'>
  queue: Pick<RunQueue, 'publish'>
  artifacts: Pick<ArtifactStore, 'unstage'>
  clock: Pick<Clock, 'nowMs'>
  killpoint?: (name: string) => void
}

/** One attempt of a step and what it has brought about so far, which is true whether or not it succeeds. */
export interface Attempt {
  number: number
  /** When the first attempt of the step began. */
  startedAt: string
  made: ArtifactRecord[]
  /** Calls that have an answer, to be booked together with the outcome. */
  settled: CallRecord[]
}

type Outcome =
  | { status: 'completed'; output: JsonValue }
  | { status: 'failed'; error: RunError }
  | { status: 'skipped' }

type GateName = Pick<GateRecord, 'id' | 'name' | 'type'>

/** Everything noted here is in the next commit. What the readers answer includes it at once. */
export interface RunState {
  readonly run: ClaimedRun
  readonly definition: Definition
  readonly graph: Graph
  readonly checkpoints: ReadonlyMap<string, Checkpoint>
  readonly gates: ReadonlyMap<string, GateRecord>
  readonly artifacts: ReadonlyMap<string, ArtifactRecord>
  /** Of the first step that failed. */
  readonly failure: RunError | null
  /** Stops what is in flight. Aborted by whoever ends the execution, and by a commit that is refused. */
  readonly stop: AbortController
  now(): string
  /** The outputs of the completed steps, by step id. */
  outputs(): Scope['steps']
  /** A step's calls, of earlier executions too. The array itself: who makes a call keeps it current. */
  callsOf(stepKey: string): CallRecord[]
  /** Every call of the run as it stands, or will stand after the next commit. */
  calls(): CallRecord[]

  noteStart(step: Step): void
  noteEvent(event: NewEvent): void
  noteCalls(calls: CallRecord[]): void
  noteGate(gate: GateName, status: GateRecord['status'], detail: string | null): void
  /** Notes what a gate found; answers what to say where it did not pass. */
  noteVerdict(gate: GateName, verdict: Verdict): string | null
  /** Notes an artifact that has changed. */
  noteArtifact(artifact: ArtifactRecord): void
  /** Notes how a step came out, for planning too. */
  settle(step: Step, attempt: Attempt, outcome: Outcome): void

  /** Commits calls of a step ahead of its outcome, and nothing else of the draft. Throws `RunTaken`. */
  commitCalls(stepKey: string, calls: CallRecord[], events?: NewEvent[]): Promise<void>
  /** Commits the draft; does nothing where it is empty and the run goes on. Throws `RunTaken`. */
  save(killpoint: string, end?: Transition['end']): Promise<void>
}

/** Thrown inside an execution whose run is no longer its own. */
export class RunTaken extends Error {
  readonly outcome: 'lost' | 'cancelled'
  constructor(outcome: 'lost' | 'cancelled') {
    super(`the run was ${outcome}`)
    this.outcome = outcome
  }
}

/** The state of a claimed run, from what earlier executions left behind. */
export function createRunState(
  deps: RunStateDeps,
  run: ClaimedRun,
  definition: Definition,
  graph: Graph,
  history: RunHistory,
): RunState {
  const checkpoints = new Map(history.checkpoints.map((checkpoint) => [checkpoint.key, checkpoint]))
  const gates = new Map(history.gates.map((gate) => [gate.id, gate]))
  const artifacts = new Map(history.artifacts.map((artifact) => [artifact.id, artifact]))
  const calls = Map.groupBy(history.calls, (call) => call.stepKey)
  const stop = new AbortController()
  const unannounced = new Map<string, NewEvent>()
  let failure = history.checkpoints.find(({ error }) => error !== null)?.error ?? null
  let draft = emptyTransition(run)

  function now(): string {
    return new Date(deps.clock.nowMs()).toISOString()
  }

  /** A step's start becomes visible with the first write that it causes: one statement less for a short step. */
  function takeStarted(stepKey: string): NewEvent[] {
    const started = unannounced.get(stepKey)
    unannounced.delete(stepKey)
    return started === undefined ? [] : [started]
  }

  /** Writes a transition and tells those who watch; a run that is no longer ours ends the execution here. */
  async function commit(transition: Transition): Promise<void> {
    const outcome = await deps.store.commit(transition)
    if (outcome.outcome === 'committed') {
      deps.queue.publish(outcome.events)
      return
    }
    stop.abort(outcome.outcome === 'lost' ? 'lost' : 'cancel')
    // What happened before the cancel was heard of is true all the same: it is booked with the run's end.
    if (outcome.outcome === 'cancelled') {
      draft.checkpoints.unshift(...transition.checkpoints)
      draft.calls.unshift(...transition.calls.filter((call) => call.outcome !== 'pending'))
      draft.artifacts.unshift(...transition.artifacts)
      draft.events.unshift(...transition.events.filter(({ nodeKey }) => nodeKey !== undefined))
    }
    throw new RunTaken(outcome.outcome)
  }

  function noteArtifact(artifact: ArtifactRecord): void {
    artifacts.set(artifact.id, artifact)
    draft.artifacts = [...draft.artifacts.filter(({ id }) => id !== artifact.id), artifact]
  }

  function noteGate(gate: GateName, status: GateRecord['status'], detail: string | null): void {
    const record: GateRecord = { id: gate.id, name: gate.name, type: gate.type, status, detail }
    gates.set(gate.id, record)
    draft.gates = [...draft.gates.filter(({ id }) => id !== gate.id), record]
  }

  return {
    run,
    definition,
    graph,
    checkpoints,
    gates,
    artifacts,
    stop,
    get failure() {
      return failure
    },
    now,

    outputs() {
      const completed = [...checkpoints.values()].filter(({ status }) => status === 'completed')
      return Object.fromEntries(completed.map(({ stepId, output }) => [stepId, { output }]))
    },

    callsOf(stepKey) {
      const known = calls.get(stepKey) ?? []
      calls.set(stepKey, known)
      return known
    },

    calls() {
      const known = [...calls.values()].flat()
      return [...new Map([...known, ...draft.calls].map((call) => [call.id, call])).values()]
    },

    noteStart(step) {
      unannounced.set(step.id, {
        kind: 'workflow.node.started',
        nodeKey: step.id,
        payload: { step: step.id, kind: step.kind },
      })
    },

    noteEvent: (event) => draft.events.push(event),
    noteCalls: (noted) => draft.calls.push(...noted),
    noteGate,
    noteArtifact,

    noteVerdict(gate, verdict) {
      const detail = verdict.passed ? null : verdict.detail
      noteGate(gate, verdict.passed ? 'passed' : 'failed', detail)
      return detail === null ? null : `The gate "${gate.name}" did not pass: ${detail}`
    },

    settle(step, attempt, outcome) {
      const error = outcome.status === 'failed' ? outcome.error : null
      const checkpoint: Checkpoint = {
        key: step.id,
        stepId: step.id,
        status: outcome.status,
        attempt: attempt.number,
        output: outcome.status === 'completed' ? outcome.output : null,
        error,
        simulated: outcome.status === 'completed' && attempt.settled.some(({ simulated }) => simulated),
        startedAt: attempt.startedAt,
        finishedAt: now(),
      }
      failure ??= error
      checkpoints.set(checkpoint.key, checkpoint)
      draft.checkpoints.push(checkpoint)
      draft.calls.push(...attempt.settled)
      draft.events.push(...takeStarted(checkpoint.key))
      for (const artifact of attempt.made) {
        noteArtifact(artifact)
        draft.events.push({
          kind: 'workflow.artifact.created',
          nodeKey: checkpoint.key,
          payload: artifactSummary(artifact),
        })
      }
      const kind: EventKind = `workflow.node.${checkpoint.status}`
      draft.events.push({
        kind,
        nodeKey: checkpoint.key,
        payload: {
          step: checkpoint.stepId,
          attempt: checkpoint.attempt,
          simulated: checkpoint.simulated,
          ...(error === null ? {} : { error: { ...error } }),
        },
      })
    },

    commitCalls: (stepKey, noted, events = []) =>
      commit({ ...emptyTransition(run), calls: noted, events: [...takeStarted(stepKey), ...events] }),

    async save(killpoint, end) {
      const transition = end === undefined ? draft : { ...draft, end }
      if (isEmpty(transition)) return
      draft = emptyTransition(run)
      await commit(transition)
      deps.killpoint?.(killpoint)
      // Answers that are booked need no safekeeping any more.
      for (const { id } of transition.calls) await deps.artifacts.unstage(id)
    },
  }
}

function emptyTransition(run: ClaimedRun): Transition {
  return { runId: run.id, fence: run.fence, checkpoints: [], calls: [], artifacts: [], gates: [], events: [] }
}

function isEmpty({ checkpoints, calls, artifacts, gates, events, end }: Transition): boolean {
  return end === undefined && checkpoints.length + calls.length + artifacts.length + gates.length + events.length === 0
}

/** What a step's output holds of an artifact; later steps refer to the file by it. */
export function artifactReference(record: ArtifactRecord): JsonObject {
  return {
    id: record.id,
    mime_type: record.mimeType,
    bytes: record.bytes,
    sha256: record.sha256,
    width: record.width,
    height: record.height,
  }
}

/** What events hold of an artifact. */
export function artifactSummary(record: ArtifactRecord): JsonObject {
  return {
    ...artifactReference(record),
    role: record.role,
    status: record.status,
    storage_key: record.storageKey,
    simulated: record.simulated,
  }
}
