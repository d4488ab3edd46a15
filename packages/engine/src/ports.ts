// All that the engine may ask of the world. Adapters implement these ports and pass their contract suites
// (`@fabrique/engine/testing`); nothing else in this package touches a database, a queue, a disk or a clock.
import type {
  JsonObject,
  JsonValue,
  Lane,
  LedgerStatus,
  RunError,
  RunEvent,
  RunStatus,
  Unit,
  EventKind,
} from '@fabrique/schema'
import type { Definition, Instance } from './specification.ts'

/** A run to be accepted: its row, its specification and its first events are written together or not at all. */
export interface NewRun {
  id: string
  organizationId: string
  workflow: string
  workflowVersion: string
  definitionHash: string
  definition: Definition
  instance: Instance
  input: JsonObject
  metadata: JsonObject
  state: JsonObject | null
  priority: number
  lane: Lane
  failFast: boolean
  parentRunId: string | null
  parentVariantIndex: number | null
  retryOf: string | null
  simulated: boolean
  estimatedUsd: number
  warnings: string[]
  /** Set when the caller sent an Idempotency-Key; the digest is of the spec, to tell a repeat from a misuse. */
  idempotency: { key: string; digest: string } | null
}

export type AcceptOutcome =
  | { outcome: 'accepted'; runId: string; events: RunEvent[] }
  | { outcome: 'replayed'; runId: string }
  | { outcome: 'mismatch' }

/** What a worker holds while it executes a run. `fence` goes with every write and makes late ones fail. */
export interface ClaimedRun {
  id: string
  rootRunId: string
  organizationId: string
  workflow: string
  fence: number
  failFast: boolean
  definitionHash: string
  instance: Instance
  metadata: JsonObject
  state: JsonObject | null
  createdAt: string
  /** True when an earlier execution left checkpoints, calls or gates behind: read `history`. */
  resumed: boolean
}

export interface Checkpoint {
  key: string
  stepId: string
  status: 'completed' | 'failed' | 'skipped'
  attempt: number
  output: JsonValue
  error: RunError | null
  simulated: boolean
  startedAt: string
  finishedAt: string
}

/** One provider call: its intent is durable before it is sent, its outcome together with the step's checkpoint. */
export interface CallRecord {
  id: string
  stepKey: string
  stepId: string
  attempt: number
  provider: string
  operation: string
  model: string
  outcome: 'pending' | 'succeeded' | 'failed' | 'unknown' | 'cancelled'
  status: LedgerStatus
  /** The provider's own name for the request, once known: fal's queue can be asked again by it. */
  requestId: string | null
  quantity: number | null
  unit: Unit
  unitPriceUsd: number | null
  estimatedUsd: number
  actualUsd: number | null
  simulated: boolean
}

export interface ArtifactRecord {
  id: string
  stepKey: string
  role: string
  status: 'draft' | 'review' | 'approved' | 'rejected'
  mimeType: string
  bytes: number
  sha256: string
  width: number | null
  height: number | null
  durationMs: number | null
  storageKey: string
  simulated: boolean
}

export interface GateRecord {
  id: string
  name: string
  type: string
  status: 'passed' | 'failed' | 'open' | 'approved' | 'rejected'
  detail: string | null
}

export interface NewEvent {
  kind: EventKind
  nodeKey?: string
  payload: { [key: string]: JsonValue }
}

/** Everything an execution wants to be true at once; applied whole, only while its fence is the run's. */
export interface Transition {
  runId: string
  fence: number
  checkpoints: Checkpoint[]
  calls: CallRecord[]
  artifacts: ArtifactRecord[]
  gates: GateRecord[]
  events: NewEvent[]
  /** Absent: the run goes on. `waiting` parks it: no lease, no job, until somebody decides. */
  end?:
    | { status: 'completed'; output: JsonObject; simulated: boolean }
    | { status: 'failed'; error: RunError; simulated: boolean }
    | { status: 'cancelled' }
    | { status: 'waiting' }
}

/** `lost`: another holder or a terminal status; stop at once. `cancelled`: a cancel stands and this was not its finish. */
export type CommitOutcome =
  | { outcome: 'committed'; events: RunEvent[] }
  | { outcome: 'lost' }
  | { outcome: 'cancelled' }

export interface RunHistory {
  checkpoints: Checkpoint[]
  calls: CallRecord[]
  artifacts: ArtifactRecord[]
  gates: GateRecord[]
}

/** A delivery that is owed: the job's name is `<runId>-<epoch>`, so a second one never hides behind the first. */
export interface Delivery {
  runId: string
  epoch: number
  workflow: string
  priority: number
  lane: Lane
}

/** The record of runs. Every method is safe to call from many processes at once. */
export interface RunStore {
  /** Concurrent calls may share a statement; each call's outcome is its own. */
  accept(run: NewRun): Promise<AcceptOutcome>
  /** The run that an Idempotency-Key of the last 24 hours stands for, and the digest of its spec. */
  acceptedUnder(organizationId: string, key: string): Promise<{ runId: string; digest: string } | null>
  /** Takes the lease of a pending run, or answers null: somebody else has it, or it is over. */
  claim(runId: string, worker: string, leaseMs: number): Promise<ClaimedRun | null>
  definition(hash: string): Promise<Definition | null>
  history(runId: string): Promise<RunHistory>
  commit(transition: Transition): Promise<CommitOutcome>
  /** Prolongs leases; names those that are no longer held and those that should be cancelled. */
  renew(held: { runId: string; fence: number }[], leaseMs: number): Promise<{ lost: string[]; cancelled: string[] }>
  /** Gives a run back unfinished, without charging it a lost lease: used at shutdown. */
  release(runId: string, fence: number): Promise<Delivery | null>
  /** Settles what nobody executes at once, and marks what somebody does. */
  requestCancel(rootRunId: string): Promise<{ settled: RunEvent[]; active: string[] }>
  /** Decides the open gate. The run becomes pending again; deliver it. */
  decide(
    runId: string,
    decision: { approve: boolean; gateId?: string; comment?: string; by: string },
  ): Promise<Delivery | null>
  /**
   * One pass of what time alone makes due: expired leases become pending again (the third loss without progress
   * fails the run), cancelled ones without a holder are settled, and pending ones that are overdue are returned.
   */
  recover(limit: number): Promise<{ overdue: Delivery[]; events: RunEvent[] }>
  /** Makes every pending run due at once: for when the queue has come back without its jobs. */
  recheckPending(): Promise<void>
}

/** Delivery of run ids to workers, and of news to whoever watches. May lose, repeat, reorder and delay anything. */
export interface RunQueue {
  /** Resolves when handed over or given up on; never rejects and never waits longer than its own short limit. */
  enqueue(deliveries: Delivery[]): Promise<void>
  /** True once after the queue has come back without what it held; null while it cannot be reached. */
  cameBackEmpty(): Promise<boolean | null>
  /** Of these, the ones that no unfinished job stands for, free to be handed over again; an unreachable queue answers none. */
  missing(deliveries: Delivery[]): Promise<Delivery[]>
  publish(events: RunEvent[]): void
  publishCancel(rootRunId: string): void
}

/** Bytes by content. Keys are made here, never taken from a caller. */
export interface ArtifactStore {
  /** Stores bytes under their own hash; storing the same bytes again is the same key and no second copy. */
  put(organizationId: string, bytes: Uint8Array, mimeType: string): Promise<{ storageKey: string; sha256: string }>
  get(storageKey: string): Promise<Uint8Array>
  /** Keeps a paid answer until its step is committed, so that a crash between the two does not pay twice. */
  stage(callId: string, answer: StagedAnswer): Promise<void>
  staged(callId: string): Promise<StagedAnswer | null>
  unstage(callId: string): Promise<void>
}

/** A provider's answer at rest. */
export interface StagedAnswer {
  output: JsonObject
  files: { name: string; mimeType: string; bytes: Uint8Array }[]
  usage: { unit: Unit; quantity: number; facts?: Record<string, string> }[]
}

/** What a produced file turned out to be; rejects with a `bad_output` failure what does not decode. */
export type Inspect = (
  bytes: Uint8Array,
  promisedType: string,
) => Promise<{ mimeType: string; width: number | null; height: number | null; durationMs: number | null }>

export interface Clock {
  nowMs(): number
  /** Rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export interface Ids {
  /** A new ULID, sortable by time. */
  next(): string
}

export interface Log {
  debug(context: object, message: string): void
  info(context: object, message: string): void
  warn(context: object, message: string): void
  error(context: object, message: string): void
}

export type { RunStatus }
