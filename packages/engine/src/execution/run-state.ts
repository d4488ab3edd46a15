// What an execution knows of its run, including the draft: what it has noted since the last commit.
// Hides how the draft is committed and published, and what of it survives a commit that is refused.
import {
  type ArtifactSummary,
  type EventKind,
  type JsonObject,
  type JsonValue,
  NOTHING_SPENT,
  roundUsd,
  type RunError,
  spendingOf,
  type Step,
  totalSpent,
} from '@fabrique/schema'
import type { Verdict } from '../catalog.ts'
import type { ExpressionScope } from '../template/expression.ts'
import { StepFailure } from '../failure.ts'
import { runScope, type Scope } from '../template/placeholders.ts'
import type { Graph } from './plan.ts'
import type {
  ArtifactRecord,
  ArtifactStore,
  CallRecord,
  Checkpoint,
  ChildRecord,
  ChildRun,
  ClaimedRun,
  Clock,
  GateRecord,
  Inheritance,
  NewEvent,
  RunHistory,
  RunQueue,
  RunStore,
  Transition,
} from '../ports.ts'
import { capsOf, dayCapsOf, reservedFor } from './run-caps.ts'
import { storableRows, unstorable } from './storable.ts'
import type { Definition } from '../specification.ts'
import { isWithin, stepIdOf, unitKeyOf } from '../unit-key.ts'

/** Progress is written at most this often, however often a step reports it. */
const PROGRESS_MS = 1_000

export interface RunStateDeps {
  store: Pick<RunStore, 'commit'>
  queue: Pick<RunQueue, 'publish'>
  artifacts: Pick<ArtifactStore, 'unstage'>
  clock: Pick<Clock, 'nowMs' | 'sleep'>
  killpoint?: (name: string) => void
}

/** What is attempted and settled by itself: a step, or one item of a step with forEach. */
export interface Unit {
  step: Step
  /** See `unit-key.ts`. */
  key: string
  item?: { value: JsonValue; index: number }
}

/** One attempt of a unit with what it has made and paid so far, which is recorded whether or not it succeeds. */
export interface Attempt {
  number: number
  /** When the first attempt of the unit began. */
  startedAt: string
  made: ArtifactRecord[]
  /** Calls that have an answer, recorded together with the outcome. */
  settled: CallRecord[]
}

type Outcome =
  | { status: 'completed'; output: JsonValue }
  | { status: 'failed'; error: RunError }
  | { status: 'skipped' }

/** A transition that has not had its turn. */
type Unnumbered = Omit<Transition, 'number'>

type GateName = Pick<GateRecord, 'id' | 'name' | 'type'>

/** What is noted here goes into the next commit; reading includes it at once. */
export interface RunState {
  readonly run: ClaimedRun
  readonly definition: Definition
  readonly graph: Graph
  readonly checkpoints: ReadonlyMap<string, Checkpoint>
  readonly gates: ReadonlyMap<string, GateRecord>
  readonly artifacts: ReadonlyMap<string, ArtifactRecord>
  /** Runs that this one has called, by the key of the unit that waits for them. */
  readonly children: ReadonlyMap<string, ChildRecord>
  /** Keys of the units that are suspended until a run that they called has ended. */
  readonly suspended: Set<string>
  /** Ids of the gates that were open before this execution: their event is in the log. */
  readonly announced: ReadonlySet<string>
  /** Of the first step that failed. */
  readonly failure: RunError | null
  /** Stops the running steps: aborted where the execution ends early, and by a commit that is refused. */
  readonly stop: AbortController
  now(): string
  /** The outputs of the completed steps, by step id. */
  outputs(): Scope['steps']
  /** What a unit without calls of its own is made from; empty for one with calls. */
  sourcesOf(unit: Pick<Unit, 'step' | 'key'>): { simulated: boolean }[]
  /** What conditions may see: as `outputs`, but with an empty output for a step that was skipped. */
  expressionScope(): ExpressionScope
  /** Throws a `budget` failure where the run may not spend this much more. */
  admit(estimatedUsd: number): void
  /** What is left under the tightest cap of the run; infinite where it has none. */
  leftUsd(): number
  /** Spent on calls, reserved for pending calls, and spent by or reserved for called runs. */
  spentUsd(): number
  /** The calls under a key, of earlier executions too. The caller keeps this very array current while it makes calls. */
  callsOf(stepKey: string): CallRecord[]
  /** Every call of the run, as it will be after the next commit. */
  calls(): CallRecord[]

  noteStart(unit: Unit): void
  noteEvent(event: NewEvent): void
  /**
   * Notes how far a unit is, in place of its progress that is not written yet. It goes with the next commit or is
   * written by itself within a second; a crash may lose it.
   */
  noteProgress(unit: Pick<Unit, 'key' | 'step'>, payload: JsonObject): void
  noteCalls(calls: CallRecord[]): void
  /** `expiry` is for an opened gate that decides itself in time. */
  noteGate(gate: GateName, status: GateRecord['status'], detail: string | null, expiry?: GateRecord['expiry']): void
  /** Notes what a gate found; answers the complaint where it did not pass. */
  noteVerdict(gate: GateName, verdict: Verdict): string | null
  /** Notes an artifact that has changed. */
  noteArtifact(artifact: ArtifactRecord): void
  /** Notes the outcome of a unit. */
  settle(unit: Unit, attempt: Attempt, outcome: Outcome): void
  /** Notes the output of a part of a unit under the part's key, with what it paid and made. */
  remember(unit: Unit, key: string, attempt: Attempt, output: JsonValue): void
  /** Notes what the run inherits from an earlier one. */
  inherit(inheritance: Inheritance): void
  /** Takes the current states of the called runs. */
  noteChildren(children: ChildRecord[]): void

  /** Commits calls ahead of their step's outcome, without the draft. Throws `RunTaken`, or a `budget` failure. */
  commitCalls(stepKey: string, calls: CallRecord[], events?: NewEvent[]): Promise<void>
  /** Commits a called run together with the draft. Throws `RunTaken`. */
  commitChild(child: ChildRun, capUsd: number): Promise<void>
  /** Commits the draft; does nothing where it is empty and the run goes on. Throws `RunTaken`. */
  save(killpoint: string, end?: Transition['end']): Promise<void>
}

/** Thrown by a commit that is refused, because another worker has the run or it was cancelled. */
export class RunTaken extends Error {
  readonly outcome: 'lost' | 'cancelled'
  constructor(outcome: 'lost' | 'cancelled') {
    super(`the run was ${outcome}`)
    this.outcome = outcome
  }
}

/** The state of a claimed run, from the history that earlier executions recorded. */
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
  const children = new Map(history.children.map((child) => [child.callerKey, child]))
  const caps = capsOf(run, definition, graph)
  const dayCaps = dayCapsOf(run, definition)
  const capped = dayCaps.length > 0 ? { dayCaps } : {}
  const stop = new AbortController()
  const unannounced = new Map<string, NewEvent>()
  let failure = history.checkpoints.find(({ key, stepId, error }) => key === stepId && error !== null)?.error ?? null
  let draft = emptyTransition(run)
  let progressDue = false
  let commits = 0
  let lastCommit: Promise<unknown> = Promise.resolve()

  function now(): string {
    return new Date(deps.clock.nowMs()).toISOString()
  }

  /** The start of a unit is written with the first commit that it causes, which saves a short step one statement. */
  function takeStarted(stepKey: string): NewEvent[] {
    // The step of a list starts with its first item.
    const keys = [...new Set([stepIdOf(stepKey), unitKeyOf(stepKey)])]
    const started = keys.flatMap((key) => unannounced.get(key) ?? [])
    for (const key of keys) unannounced.delete(key)
    return started
  }

  /** One commit after another: while the record is away they are repeated, and must not overtake each other. */
  async function commit(transition: Unnumbered): Promise<void> {
    const turn = lastCommit.then(() => commitInTurn(transition))
    lastCommit = turn.catch(() => {})
    await turn
  }

  /** Commits a transition and publishes its events; a refused commit stops the execution. */
  async function commitInTurn(transition: Unnumbered): Promise<void> {
    commits += 1
    const outcome = await deps.store.commit({ ...storableRows(transition), number: commits })
    if (outcome.outcome === 'committed') {
      deps.queue.publish(outcome.events)
      return
    }
    if (outcome.outcome === 'over-budget') {
      draft.events.unshift(...transition.events)
      const { workflow, maxUsd } = outcome.cap
      const detail = `"${workflow}" may spend $${maxUsd} a day, and $${roundUsd(outcome.spentUsd)} of it is spent or reserved.`
      throw new StepFailure('budget', detail, { code: 'budget-exceeded' })
    }
    if (outcome.outcome === 'unstorable') {
      // The calls are paid for; what was said about them may be what cannot be stored.
      draft.calls.unshift(...settledOf(transition).map((call) => ({ ...call, bill: null })))
      throw unstorable('the record refuses it')
    }
    stop.abort(outcome.outcome === 'lost' ? 'lost' : 'cancel')
    // What the steps did before they were stopped is recorded with the run's end.
    if (outcome.outcome === 'cancelled') {
      draft.checkpoints.unshift(...transition.checkpoints)
      draft.calls.unshift(...settledOf(transition))
      draft.artifacts.unshift(...transition.artifacts)
      draft.events.unshift(...transition.events.filter(({ nodeKey }) => nodeKey !== undefined))
    }
    throw new RunTaken(outcome.outcome)
  }

  /** Drops the staged answers of calls that are on record with their outcome. */
  async function committed(killpoint: string, { calls: settled }: Unnumbered): Promise<void> {
    deps.killpoint?.(killpoint)
    for (const { id } of settled) await deps.artifacts.unstage(id)
  }

  function allCalls(): CallRecord[] {
    const known = [...calls.values()].flat()
    return [...new Map([...known, ...draft.calls].map((call) => [call.id, call])).values()]
  }

  function spentUsd(): number {
    const own = totalSpent(spendingOf(allCalls()))
    const called = [...children.values()].reduce((sum, child) => sum + reservedFor(child), 0)
    return roundUsd(own + called)
  }

  function addCheckpoint(unit: Unit, key: string, attempt: Attempt, outcome: Outcome): Checkpoint {
    const checkpoint: Checkpoint = {
      key,
      stepId: unit.step.id,
      status: outcome.status,
      attempt: attempt.number,
      output: outcome.status === 'completed' ? outcome.output : null,
      error: outcome.status === 'failed' ? outcome.error : null,
      simulated: outcome.status === 'completed' && isSimulated(unit, attempt),
      startedAt: attempt.startedAt,
      finishedAt: now(),
    }
    checkpoints.set(key, checkpoint)
    draft.checkpoints.push(checkpoint)
    draft.calls.push(...attempt.settled)
    for (const artifact of attempt.made) {
      noteArtifact(artifact)
      draft.events.push({ kind: 'workflow.artifact.created', nodeKey: unit.key, payload: artifactSummary(artifact) })
    }
    return checkpoint
  }

  function sourcesOf({ step, key }: Pick<Unit, 'step' | 'key'>): { simulated: boolean }[] {
    if ([...calls].some(([other, made]) => made.length > 0 && isWithin(other, key))) return []
    return (graph.nodes.get(step.id)?.needs ?? []).flatMap(({ id }) => checkpoints.get(id) ?? [])
  }

  /** A unit is simulated where anything is that it paid for, made, called, or was made from. */
  function isSimulated(unit: Unit, attempt: Attempt): boolean {
    const parts = [...checkpoints.values()].filter(({ key }) => isWithin(key, unit.key))
    const sources = [...attempt.settled, ...attempt.made, ...parts, ...sourcesOf(unit)]
    return sources.some(({ simulated }) => simulated) || children.get(unit.key)?.simulated === true
  }

  /** Commits the progress in the draft, and nothing else of it. */
  async function commitProgress(): Promise<void> {
    const isProgress = ({ kind }: NewEvent) => kind === 'workflow.node.progress'
    const events = draft.events.filter(isProgress)
    if (events.length === 0) return
    draft.events = draft.events.filter((event) => !isProgress(event))
    const started = events.flatMap(({ nodeKey }) => (nodeKey === undefined ? [] : takeStarted(nodeKey)))
    await commit({ ...emptyTransition(run), events: [...started, ...events] })
  }

  function noteArtifact(artifact: ArtifactRecord): void {
    artifacts.set(artifact.id, artifact)
    draft.artifacts = [...draft.artifacts.filter(({ id }) => id !== artifact.id), artifact]
  }

  function noteGate(
    gate: GateName,
    status: GateRecord['status'],
    detail: string | null,
    expiry?: GateRecord['expiry'],
  ) {
    const { id, name, type } = gate
    const record: GateRecord = { id, name, type, status, detail, ...(expiry === undefined ? {} : { expiry }) }
    gates.set(id, record)
    draft.gates = [...draft.gates.filter((one) => one.id !== id), record]
  }

  return {
    run,
    definition,
    graph,
    checkpoints,
    gates,
    artifacts,
    children,
    suspended: new Set(),
    announced: new Set(history.gates.filter(({ status }) => status === 'open').map(({ id }) => id)),
    stop,
    get failure() {
      return failure
    },
    now,

    outputs() {
      const steps = [...checkpoints.values()].filter(({ key, stepId }) => key === stepId)
      const completed = steps.filter(({ status }) => status === 'completed')
      return Object.fromEntries(completed.map(({ stepId, output }) => [stepId, { output }]))
    },

    expressionScope() {
      const { intake, steps, run: facts } = runScope(run, this.outputs(), {})
      const skipped = [...checkpoints.values()].filter(({ status }) => status === 'skipped')
      const empty = Object.fromEntries(skipped.map(({ stepId }) => [stepId, { output: {} }]))
      return { intake, steps: { ...empty, ...steps }, run: facts }
    },

    spentUsd,
    leftUsd: () => Math.min(...caps.map(({ maxUsd }) => maxUsd - spentUsd())),
    admit(estimatedUsd) {
      const spent = spentUsd()
      const wanted = roundUsd(spent + estimatedUsd)
      const broken = caps.find(({ maxUsd }) => wanted > maxUsd)
      if (broken === undefined) return
      const reason =
        spent > broken.maxUsd ? `the run has spent $${spent}` : `the next call would bring the run to $${wanted}`
      const detail = `${reason}, over its limit of $${broken.maxUsd}.`
      if (broken.gate !== null) noteGate(broken.gate, 'failed', detail)
      const by = broken.gate === null ? 'Stopped before a call' : `The gate "${broken.gate.name}" did not pass`
      throw new StepFailure('budget', `${by}: ${detail}`, { code: 'budget-exceeded' })
    },

    sourcesOf,

    callsOf(stepKey) {
      const known = calls.get(stepKey) ?? []
      calls.set(stepKey, known)
      return known
    },

    calls: allCalls,

    noteStart({ step, key, item }) {
      unannounced.set(key, {
        kind: 'workflow.node.started',
        nodeKey: key,
        payload: { step: step.id, kind: step.kind, ...(item === undefined ? {} : { index: item.index }) },
      })
    },

    noteEvent: (event) => draft.events.push(event),
    noteProgress({ key, step }, payload) {
      const kind: EventKind = 'workflow.node.progress'
      draft.events = draft.events.filter((event) => event.kind !== kind || event.nodeKey !== key)
      draft.events.push({ kind, nodeKey: key, payload: { step: step.id, ...payload } })
      if (progressDue) return
      progressDue = true
      deps.clock
        .sleep(PROGRESS_MS, stop.signal)
        .then(() => commitProgress())
        // A refused commit has stopped the execution already, and an aborted sleep has nothing to write.
        .catch(() => {})
        .finally(() => {
          progressDue = false
        })
    },
    noteCalls: (noted) => draft.calls.push(...noted),
    noteGate,
    noteArtifact,

    noteVerdict(gate, verdict) {
      const detail = verdict.passed ? null : verdict.detail
      // A gate judges many units: one that passes does not undo the failure of another.
      if (verdict.passed && gates.get(gate.id)?.status === 'failed') return null
      noteGate(gate, verdict.passed ? 'passed' : 'failed', detail)
      return detail === null ? null : `The gate "${gate.name}" did not pass: ${detail}`
    },

    settle(unit, attempt, outcome) {
      draft.events.push(...takeStarted(unit.key))
      const { key, stepId, status, error, simulated } = addCheckpoint(unit, unit.key, attempt, outcome)
      if (key === stepId) failure ??= error
      const reason = error === null ? {} : { error: { ...error } }
      const payload = { step: stepId, attempt: attempt.number, simulated, ...reason }
      draft.events.push({ kind: `workflow.node.${status}`, nodeKey: key, payload })
    },

    remember(unit, key, attempt, output) {
      draft.events.push(...takeStarted(unit.key))
      addCheckpoint(unit, key, attempt, { status: 'completed', output })
    },

    inherit({ checkpoints: finished, artifacts: files, gates: decided = [] }) {
      for (const checkpoint of finished) checkpoints.set(checkpoint.key, checkpoint)
      draft.checkpoints.push(...finished)
      for (const file of files) noteArtifact(file)
      for (const gate of decided) noteGate(gate, gate.status, gate.detail)
    },

    noteChildren(known) {
      for (const child of known) children.set(child.callerKey, child)
    },

    async commitCalls(stepKey, noted, events = []) {
      await commit({ ...emptyTransition(run), ...capped, calls: noted, events: [...takeStarted(stepKey), ...events] })
    },

    async commitChild(child, capUsd) {
      const events = [...draft.events, ...takeStarted(child.callerKey)]
      const transition = { ...draft, ...capped, children: [child], events }
      draft = emptyTransition(run)
      // Reserved before the commit, so that concurrent calls see what is left.
      children.set(child.callerKey, { ...newChild(child), capUsd })
      try {
        await commit(transition)
      } catch (error) {
        children.delete(child.callerKey)
        throw error
      }
      await committed('W12', transition)
    },

    async save(killpoint, end) {
      const transition = { ...draft, ...(end === undefined ? {} : { end }), ...capped }
      if (isEmpty(transition)) return
      draft = emptyTransition(run)
      await commit(transition)
      await committed(killpoint, transition)
    },
  }
}

function settledOf({ calls }: Pick<Transition, 'calls'>): CallRecord[] {
  return calls.filter(({ outcome }) => outcome !== 'pending')
}

function newChild({ id, callerKey, workflow, simulated }: ChildRun): Omit<ChildRecord, 'capUsd'> {
  return {
    id,
    callerKey,
    workflow,
    simulated,
    status: 'pending',
    output: null,
    error: null,
    artifacts: [],
    openGates: [],
    spent: NOTHING_SPENT,
  }
}

function emptyTransition(run: ClaimedRun): Unnumbered {
  return { runId: run.id, fence: run.fence, checkpoints: [], calls: [], artifacts: [], gates: [], events: [] }
}

function isEmpty({ checkpoints, calls, artifacts, gates, events, end }: Unnumbered): boolean {
  return end === undefined && checkpoints.length + calls.length + artifacts.length + gates.length + events.length === 0
}

/** An artifact as a step's output holds it, and as later steps refer to it. */
export function artifactReference(record: ArtifactRecord) {
  return {
    id: record.id,
    mime_type: record.mimeType,
    bytes: record.bytes,
    sha256: record.sha256,
    width: record.width,
    height: record.height,
  }
}

/** An artifact as events hold it. */
export function artifactSummary(record: ArtifactRecord): ArtifactSummary {
  return {
    ...artifactReference(record),
    role: record.role,
    status: record.status,
    storage_key: record.storageKey,
    simulated: record.simulated,
  }
}
