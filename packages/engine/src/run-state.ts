// What one execution knows of its run, and what of that is not on the record yet.
// Hides how facts gather in a draft, who hears of them once they are durable, and what a refused commit leaves behind.
import {
  type ArtifactSummary,
  type EventKind,
  type JsonObject,
  type JsonValue,
  roundUsd,
  type RunError,
  type Step,
} from '@fabrique/schema'
import type { Verdict } from './catalog.ts'
import type { ExpressionScope } from './expression.ts'
import { StepFailure } from './failure.ts'
import { runScope, type Scope } from './placeholders.ts'
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
} from './ports.ts'
import { capsOf, dayCapsOf, reservedFor } from './run-caps.ts'
import type { Definition } from './specification.ts'

/** How long progress waits for others of its kind, so that a chatty step costs one write a second. */
const PROGRESS_MS = 1_000

export interface RunStateDeps {
  store: Pick<RunStore, 'commit'>
  queue: Pick<RunQueue, 'publish'>
  artifacts: Pick<ArtifactStore, 'unstage'>
  clock: Pick<Clock, 'nowMs' | 'sleep'>
  killpoint?: (name: string) => void
}

/** What is attempted, settled and remembered by itself: a step, or one item of a step with forEach. */
export interface Unit {
  step: Step
  /** The step's id; `id[3]` for an item. */
  key: string
  item?: { value: JsonValue; index: number }
}

/** One attempt of a unit and what it has brought about so far, which is true whether or not it succeeds. */
export interface Attempt {
  number: number
  /** When the first attempt of the unit began. */
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
  /** Runs that this one has called, by the key of the unit that waits for them. */
  readonly children: ReadonlyMap<string, ChildRecord>
  /** Units that rest until a run that they called has ended. */
  readonly resting: Set<string>
  /** Ids of the gates that stood open before this execution: who watches has heard of them. */
  readonly announced: ReadonlySet<string>
  /** Of the first step that failed. */
  readonly failure: RunError | null
  /** Stops what is in flight. Aborted by whoever ends the execution, and by a commit that is refused. */
  readonly stop: AbortController
  now(): string
  /** The outputs of the completed steps, by step id. */
  outputs(): Scope['steps']
  /** What a unit that calls nobody is made from, and how real each of it is. */
  sourcesOf(unit: Pick<Unit, 'step' | 'key'>): { simulated: boolean }[]
  /** What conditions may see: as `outputs`, but with an empty output for a step that was skipped. */
  expressionScope(): ExpressionScope
  /** Throws a `budget` failure where the run may not spend this much more. */
  admit(estimatedUsd: number): void
  /** What is left under the tightest cap of the run; infinite where it has none. */
  leftUsd(): number
  /** Booked, reserved for calls under way, and spent by or reserved for the runs that it has called. */
  spentUsd(): number
  /** A step's calls, of earlier executions too. The array itself: who makes a call keeps it current. */
  callsOf(stepKey: string): CallRecord[]
  /** Every call of the run as it stands, or will stand after the next commit. */
  calls(): CallRecord[]

  noteStart(unit: Unit): void
  noteEvent(event: NewEvent): void
  /**
   * Notes how far a unit is, in place of what was noted for it and not written yet: it rides on the next commit, or is
   * written by itself a moment later. Progress is news, not a fact: it may be lost with the process.
   */
  noteProgress(unit: Pick<Unit, 'key' | 'step'>, payload: JsonObject): void
  noteCalls(calls: CallRecord[]): void
  /** `expiry` goes with a gate that is opened and decides itself if nobody does. */
  noteGate(gate: GateName, status: GateRecord['status'], detail: string | null, expiry?: GateRecord['expiry']): void
  /** Notes what a gate found; answers what to say where it did not pass. */
  noteVerdict(gate: GateName, verdict: Verdict): string | null
  /** Notes an artifact that has changed. */
  noteArtifact(artifact: ArtifactRecord): void
  /** Notes how a unit came out, for planning too. */
  settle(unit: Unit, attempt: Attempt, outcome: Outcome): void
  /** Notes the result of a part of a unit, under a key of its own, with what the part paid and made. */
  remember(unit: Unit, key: string, attempt: Attempt, output: JsonValue): void
  /** Notes what an earlier run has finished as this one's own. */
  takeOver(inheritance: Inheritance): void
  /** Renews what is known of the runs that this one has called. */
  noteChildren(children: ChildRecord[]): void

  /** Commits calls of a step ahead of its outcome, and nothing else of the draft. Throws `RunTaken`, or a `budget` failure. */
  commitCalls(stepKey: string, calls: CallRecord[], events?: NewEvent[]): Promise<void>
  /** Commits a called run, with everything noted so far. Throws `RunTaken`. */
  commitChild(child: ChildRun, capUsd: number): Promise<void>
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
  const children = new Map(history.children.map((child) => [child.callerKey, child]))
  const caps = capsOf(run, definition, graph)
  const dayCaps = dayCapsOf(run, definition)
  const stop = new AbortController()
  const unannounced = new Map<string, NewEvent>()
  let failure = history.checkpoints.find(({ key, stepId, error }) => key === stepId && error !== null)?.error ?? null
  let draft = emptyTransition(run)
  let progressDue = false

  function now(): string {
    return new Date(deps.clock.nowMs()).toISOString()
  }

  /** A step's start becomes visible with the first write that it causes: one statement less for a short step. */
  function takeStarted(stepKey: string): NewEvent[] {
    // A list begins with its first item.
    const keys = [...new Set([stepKey.split('[')[0] as string, stepKey])]
    const started = keys.flatMap((key) => unannounced.get(key) ?? [])
    for (const key of keys) unannounced.delete(key)
    return started
  }

  /** Writes a transition and tells those who watch; a run that is no longer ours ends the execution here. */
  async function commit(transition: Transition): Promise<void> {
    const outcome = await deps.store.commit(transition)
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

  function allCalls(): CallRecord[] {
    const known = [...calls.values()].flat()
    return [...new Map([...known, ...draft.calls].map((call) => [call.id, call])).values()]
  }

  function spentUsd(): number {
    const own = allCalls().reduce((sum, call) => sum + (call.actualUsd ?? call.estimatedUsd), 0)
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

  /** What a unit was made from that called nobody itself: it is no more real than that. */
  function sourcesOf({ step, key }: Pick<Unit, 'step' | 'key'>): { simulated: boolean }[] {
    const isOwn = (other: string) => other === key || other.startsWith(`${key}[`)
    if ([...calls].some(([other, made]) => made.length > 0 && isOwn(other))) return []
    return (graph.nodes.get(step.id)?.needs ?? []).flatMap(({ id }) => checkpoints.get(id) ?? [])
  }

  /** A unit is as real as the least real of what it paid for, made, called or remembered. */
  function isSimulated(unit: Unit, attempt: Attempt): boolean {
    const parts = [...checkpoints.values()].filter(
      ({ key }) => key.startsWith(`${unit.key}#`) || key.startsWith(`${unit.key}[`),
    )
    const called = children.get(unit.key)
    return [
      ...attempt.settled,
      ...attempt.made,
      ...parts,
      ...sourcesOf(unit),
      ...(called === undefined ? [] : [called]),
    ].some(({ simulated }) => simulated)
  }

  /** Writes what was noted of progress, and nothing else of the draft. */
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
    resting: new Set(),
    announced: new Set(history.gates.filter(({ status }) => status === 'open').map(({ id }) => id)),
    stop,
    get failure() {
      return failure
    },
    now,

    outputs() {
      const completed = [...checkpoints.values()].filter(
        ({ key, stepId, status }) => key === stepId && status === 'completed',
      )
      return Object.fromEntries(completed.map(({ stepId, output }) => [stepId, { output }]))
    },

    expressionScope() {
      const { intake, steps, run: facts } = runScope(run, this.outputs(), {})
      const skipped = [...checkpoints.values()].filter(({ status }) => status === 'skipped')
      return {
        intake,
        steps: { ...Object.fromEntries(skipped.map(({ stepId }) => [stepId, { output: {} }])), ...steps },
        run: facts,
      }
    },

    spentUsd,
    leftUsd: () => Math.min(...caps.map(({ maxUsd }) => maxUsd - spentUsd())),
    admit(estimatedUsd) {
      const wanted = roundUsd(spentUsd() + estimatedUsd)
      const broken = caps.find(({ maxUsd }) => wanted > maxUsd)
      if (broken === undefined) return
      const detail = `the next call would bring the run to $${wanted}, over its limit of $${broken.maxUsd}.`
      if (broken.gate !== null) noteGate(broken.gate, 'failed', detail)
      throw new StepFailure(
        'budget',
        broken.gate === null
          ? `Stopped before a call: ${detail}`
          : `The gate "${broken.gate.name}" did not pass: ${detail}`,
        {
          code: 'budget-exceeded',
        },
      )
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
        // The commit has told who must know, and an aborted execution has nothing more to say.
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
      // It judges many steps and items: that one passes does not undo that another did not.
      if (verdict.passed && gates.get(gate.id)?.status === 'failed') return null
      noteGate(gate, verdict.passed ? 'passed' : 'failed', detail)
      return detail === null ? null : `The gate "${gate.name}" did not pass: ${detail}`
    },

    settle(unit, attempt, outcome) {
      draft.events.push(...takeStarted(unit.key))
      const checkpoint = addCheckpoint(unit, unit.key, attempt, outcome)
      const { key, stepId, error } = checkpoint
      if (key === stepId) failure ??= error
      const kind: EventKind = `workflow.node.${checkpoint.status}`
      draft.events.push({
        kind,
        nodeKey: key,
        payload: {
          step: stepId,
          attempt: checkpoint.attempt,
          simulated: checkpoint.simulated,
          ...(error === null ? {} : { error: { ...error } }),
        },
      })
    },

    remember(unit, key, attempt, output) {
      draft.events.push(...takeStarted(unit.key))
      addCheckpoint(unit, key, attempt, { status: 'completed', output })
    },

    takeOver({ checkpoints: finished, artifacts: files, gates: decided = [] }) {
      for (const checkpoint of finished) checkpoints.set(checkpoint.key, checkpoint)
      draft.checkpoints.push(...finished)
      for (const file of files) noteArtifact(file)
      for (const gate of decided) noteGate(gate, gate.status, gate.detail)
    },

    noteChildren(known) {
      for (const child of known) children.set(child.callerKey, child)
    },

    async commitCalls(stepKey, noted, events = []) {
      const caps = dayCaps.length > 0 ? { dayCaps } : {}
      await commit({ ...emptyTransition(run), ...caps, calls: noted, events: [...takeStarted(stepKey), ...events] })
    },

    async commitChild(child, capUsd) {
      const caps = dayCaps.length > 0 ? { dayCaps } : {}
      const events = [...draft.events, ...takeStarted(child.callerKey)]
      const transition = { ...draft, ...caps, children: [child], events }
      draft = emptyTransition(run)
      // Reserved from here on, so that what is called beside it gets what is left.
      children.set(child.callerKey, { ...newChild(child), capUsd })
      try {
        await commit(transition)
      } catch (error) {
        children.delete(child.callerKey)
        throw error
      }
      deps.killpoint?.('W12')
      for (const { id } of transition.calls) await deps.artifacts.unstage(id)
    },

    async save(killpoint, end) {
      const transition = { ...draft, ...(end === undefined ? {} : { end }), ...(dayCaps.length > 0 ? { dayCaps } : {}) }
      if (isEmpty(transition)) return
      draft = emptyTransition(run)
      await commit(transition)
      deps.killpoint?.(killpoint)
      // Answers that are booked need no safekeeping any more.
      for (const { id } of transition.calls) await deps.artifacts.unstage(id)
    },
  }
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
    spentUsd: 0,
  }
}

function emptyTransition(run: ClaimedRun): Transition {
  return { runId: run.id, fence: run.fence, checkpoints: [], calls: [], artifacts: [], gates: [], events: [] }
}

function isEmpty({ checkpoints, calls, artifacts, gates, events, end }: Transition): boolean {
  return end === undefined && checkpoints.length + calls.length + artifacts.length + gates.length + events.length === 0
}

/** What a step's output holds of an artifact; later steps refer to the file by it. */
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

/** What events hold of an artifact. */
export function artifactSummary(record: ArtifactRecord): ArtifactSummary {
  return {
    ...artifactReference(record),
    role: record.role,
    status: record.status,
    storage_key: record.storageKey,
    simulated: record.simulated,
  }
}
