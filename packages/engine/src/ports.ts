// All that the engine may ask of the world. Adapters implement these ports and pass their contract suites
// (`@fabrique/engine/testing`); the engine touches no database, queue, disk or clock but through them.
import type {
  JsonObject,
  JsonValue,
  Lane,
  LedgerLine,
  LedgerStatus,
  Problem,
  ProviderError,
  RunError,
  RunEvent,
  RunStatus,
  Spending,
  Unit,
  Usage,
  EventKind,
} from '@fabrique/schema'
import type { DayCap, Definition, Instance } from './specification.ts'

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
  /** What the run takes over from an earlier one: steps that are neither run nor paid again. */
  inherited: Inheritance | null
  /** The runs that this one consists of, by index; it is then not executed itself. Empty for a plain run. */
  slots: NewSlot[]
  /** Set when the caller sent an Idempotency-Key; the digest is of the spec, to tell a repeat from a misuse. */
  idempotency: { key: string; digest: string } | null
}

/** A slot of a run: it shares its organization, priority, metadata and fate, and nothing else. */
export type NewSlot = Pick<
  NewRun,
  | 'id'
  | 'workflow'
  | 'workflowVersion'
  | 'definitionHash'
  | 'definition'
  | 'instance'
  | 'input'
  | 'simulated'
  | 'estimatedUsd'
  | 'warnings'
  | 'inherited'
>

/** What follows from a change of a run for others: deliver, publish, and have workers stop what is cancelled. */
export interface FollowUp {
  deliveries: Delivery[]
  events: RunEvent[]
  /** Runs that are cancelled although they, or slots of theirs, are at work. */
  cancelled: string[]
}

/** Finished steps of another run and the files that they made, under ids of the new run's own. */
export interface Inheritance {
  checkpoints: Checkpoint[]
  artifacts: ArtifactRecord[]
  /** Decisions that hold for what is taken over; absent where none do. */
  gates?: GateRecord[]
}

/** A run that a step of another run calls; it is accepted in the transaction that records the call. */
export interface ChildRun
  extends Omit<
    NewRun,
    'state' | 'parentRunId' | 'parentVariantIndex' | 'retryOf' | 'warnings' | 'inherited' | 'slots' | 'idempotency'
  > {
  rootRunId: string
  /** The step, or the item of a step, that waits for it. */
  callerKey: string
}

/** A called run as its caller sees it. */
export interface ChildRecord {
  id: string
  callerKey: string
  workflow: string
  status: RunStatus
  output: JsonObject | null
  error: RunError | null
  simulated: boolean
  /** Everything that its output may refer to. */
  artifacts: ArtifactRecord[]
  /** Its open gates, and those of the runs that it calls itself. */
  openGates: { id: string; name: string; runId: string }[]
  /** What it and its own children cost so far. */
  spent: Spending
  /** What was reserved for it when it was called. */
  capUsd: number
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
  /** When it was claimed, by the record's clock. */
  claimedAt: string
  estimatedUsd: number
  priority: number
  lane: Lane
  /** The run that waits for this one: its caller, or the run that it is a slot of. */
  awaitedBy: string | null
  slotIndex: number | null
  /** True when an earlier execution, or an inheritance, left checkpoints, calls or gates behind: read `history`. */
  resumed: boolean
}

export interface Checkpoint {
  /** The step's id; `id[3]` for an item of a forEach; `id#turn-2` for a part that is done once. */
  key: string
  stepId: string
  status: 'completed' | 'failed' | 'skipped'
  /** 0: taken over from an earlier run. */
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
  /** The provider's own name for the request, once known. While the call is pending it can be asked for by it. */
  requestId: string | null
  quantity: number | null
  unit: Unit
  unitPriceUsd: number | null
  estimatedUsd: number
  actualUsd: number | null
  simulated: boolean
  pricingVersion: string
  /** How the amount came about; null until the outcome is known. */
  bill: Bill | null
}

/** How an amount came about, so that anybody can compute it again. */
export interface Bill {
  /** Their sum is the amount. Empty where the estimate is all that is known. */
  lines: LedgerLine[]
  servedModel?: string
  tier?: string
  /** The provider's own usage, as it came. */
  usage?: JsonObject
  error?: ProviderError
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
  /** `closed`: its run ended before anybody had decided. */
  status: 'passed' | 'failed' | 'open' | 'approved' | 'rejected' | 'closed'
  detail: string | null
  /** For a gate that decides itself: in how long, by the record's clock, and which way. Over when it is not above 0. */
  expiry?: { inMs: number; approve: boolean }
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
  /** Counts the commits under a fence, from 1: one that is repeated, since its answer was lost, is applied once. */
  number: number
  checkpoints: Checkpoint[]
  calls: CallRecord[]
  artifacts: ArtifactRecord[]
  gates: GateRecord[]
  events: NewEvent[]
  /** Runs that a step calls; present only where there are some. */
  children?: ChildRun[]
  /** Caps of a day that the calls count against; only while each of them holds are new calls recorded. */
  dayCaps?: DayCap[]
  /**
   * Absent: the run goes on. `waiting`: until a person decides. `suspended`: until a run that it called has ended. It has
   * no lease and no job meanwhile; after `wakeInMs` the reconciler wakes it at the latest.
   */
  end?:
    | { status: 'completed'; output: JsonObject; simulated: boolean }
    | { status: 'failed'; error: RunError; simulated: boolean }
    | { status: 'cancelled' }
    | { status: 'waiting' | 'suspended'; wakeInMs: number | null }
}

/**
 * `lost`: another holder or a terminal status; stop at once. `cancelled`: a cancel stands and this was not its finish.
 * `over-budget`: a day's cap does not allow the calls; nothing was written. `unstorable`: the record cannot hold what is in
 * it, and never will; nothing was written.
 */
export type CommitOutcome =
  | { outcome: 'committed'; events: RunEvent[] }
  | { outcome: 'lost' }
  | { outcome: 'cancelled' }
  | { outcome: 'unstorable' }
  | { outcome: 'over-budget'; cap: DayCap; spentUsd: number }

export interface RunHistory {
  checkpoints: Checkpoint[]
  calls: CallRecord[]
  artifacts: ArtifactRecord[]
  gates: GateRecord[]
  children: ChildRecord[]
}

/** A delivery that is due: the job's name is `<runId>-<epoch>`, so a second one never hides behind the first. */
export interface Delivery {
  runId: string
  /** Whose run it is: organizations take turns among runs of equal priority. */
  organizationId: string
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
  /** Takes the lease of a pending run; null where another worker has it, or the run has ended. */
  claim(runId: string, worker: string, leaseMs: number): Promise<ClaimedRun | null>
  definition(hash: string): Promise<Definition | null>
  history(runId: string): Promise<RunHistory>
  /** A run's status, and what it was given. */
  find(runId: string): Promise<{ status: RunStatus; instance: Instance } | null>
  /** The runs that this run has called. */
  children(runId: string): Promise<ChildRecord[]>
  /**
   * Notifies these runs that one which they wait for has begun, waits or has ended: a suspended caller becomes pending
   * again, a bundle gets the status that its slots make, and ends with the last of them.
   */
  notify(runIds: string[]): Promise<FollowUp>
  /** What the organization's runs of the workflow have spent or reserved today. */
  spentToday(organizationId: string, workflow: string): Promise<number>
  /**
   * Where this rejects as `unavailable`, nobody knows whether the transition was applied: it is to be repeated, before the
   * next one. A repeated one that had been applied is `committed`, without its events.
   */
  commit(transition: Transition): Promise<CommitOutcome>
  /** Prolongs leases; names those that are no longer held and those that should be cancelled. */
  renew(held: { runId: string; fence: number }[], leaseMs: number): Promise<{ lost: string[]; cancelled: string[] }>
  /** Gives an unfinished run back at a shutdown: the lease does not count as lost. */
  release(runId: string, fence: number): Promise<Delivery | null>
  /** Of a run and everything below it, settles at once what no worker executes, and marks what one does. */
  requestCancel(runId: string): Promise<{ settled: RunEvent[]; active: string[] }>
  /** `requestCancel` for everything below the run, without the run itself. */
  cancelChildren(runId: string): Promise<{ settled: RunEvent[]; active: string[] }>
  /**
   * Decides the open gate, of the run itself or of one that it waits for. That run becomes pending again; deliver it.
   * A gate of an unknown outcome is decided only where `gateId` names it.
   */
  decide(
    runId: string,
    decision: { approve: boolean; gateId?: string; comment?: string; by: string },
  ): Promise<Delivery | null>
  /**
   * One pass of what time alone makes due: runs whose lease expired become pending again (the third loss without
   * progress fails them), cancelled ones without a worker are settled, overdue pending ones are returned.
   * Where the last pass was more than `silenceMs` ago (default: never), the record was away, and the time in which nobody
   * could renew a lease is added to all.
   */
  recover(limit: number, silenceMs?: number): Promise<{ overdue: Delivery[]; events: RunEvent[]; cancelled: string[] }>
  /** Makes every pending run due at once, after the queue came back without its jobs. */
  requeueAll(): Promise<void>
}

/** Delivers run ids to workers and events to watchers. May lose, repeat, reorder and delay anything. */
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

/**
 * Bytes by content. Keys are made here, never taken from a caller. Methods reject with `unavailable` while the store is
 * away, full or read-only; only `unstage` and `sweep` never reject, because nobody waits for what they do.
 */
export interface ArtifactStore {
  /**
   * Stores bytes under their own hash; storing the same bytes again is the same key and no second copy, and replaces
   * what was altered or cut.
   */
  put(organizationId: string, bytes: Uint8Array, mimeType: string): Promise<{ storageKey: string; sha256: string }>
  /** The bytes as they were stored. Rejects with `artifact-gone`, or with `artifact-damaged` where they have another hash. */
  get(storageKey: string): Promise<Uint8Array>
  /** The same to be read in parts, for files that are handed out: never all of it in memory. Rejects as `get` does. */
  open(storageKey: string): Promise<OpenedArtifact>
  /** Keeps a paid answer until its step is committed, so that a crash between the two does not pay twice. */
  stage(callId: string, answer: StagedAnswer): Promise<void>
  /** The answer as it was staged; null where there is none, or it is damaged. */
  staged(callId: string): Promise<StagedAnswer | null>
  unstage(callId: string): Promise<void>
  /** Resolves while files can be stored and there is room for some more. */
  ready(): Promise<void>
  /** Removes what was staged, or was left unfinished, so long ago. */
  sweep(ageMs: number): Promise<void>
}

export interface OpenedArtifact {
  /** In bytes. */
  size: number
  /** The bytes from the first to the last of these, both included. */
  read(first: number, last: number): AsyncIterable<Uint8Array>
}

/** What is known of a call's use, also of one that failed. */
export interface CallFacts {
  usage: Usage[]
  /** Absent: the provider reported it. `measured`: by what it made. `expected`: as estimated beforehand. */
  basis?: 'measured' | 'expected'
  servedModel?: string
  tier?: string
  requestId?: string
  /** The provider's own usage, as it came. */
  reported?: JsonObject
}

/** A provider's answer, stored until its step is committed. */
export interface StagedAnswer extends CallFacts {
  output: JsonObject
  files: { name: string; mimeType: string; bytes: Uint8Array }[]
  /** Files that the provider made and still holds, to be put behind `files`. */
  links?: FileLink[]
}

/** A file that a provider made and has not handed over yet. */
export interface FileLink {
  name: string
  url: string
}

/** Limits over all workers on what a provider is asked at once and per time, and a breaker for models that keep failing. */
export interface Limits {
  /**
   * Waits for a place for one live call. While the model pauses or its circuit is open, the `patient` wait, and the
   * others get the failure at once, to ask another model. Absent: patient, for an hour at most. `sinceMs` is when the
   * call asked first, by the clock: one that was limited and comes again goes before those that came after it.
   * The answer gives the place back and says how the call went: null, or its failure.
   */
  enter(
    model: { provider: string; name: string },
    signal: AbortSignal,
    wait?: { patient: boolean; sinceMs?: number },
  ): Promise<(failure: Error | null) => void>
  /** Whether the model's circuit is open. Absent: no model has one. */
  isOut?(model: { provider: string; name: string }): boolean
}

/**
 * What a produced file is by its bytes. Texts are told apart by the type that it came with (`saidType`), and where that
 * says too little by the `promisedType` of the template. Its `problem` is a sentence about what does not
 * decode, or is nothing that is kept. Rejects with a `bad_output` failure where there is nothing to keep.
 */
export type Inspect = (
  bytes: Uint8Array,
  saidType: string,
  promisedType?: string,
) => Promise<{
  mimeType: string
  width: number | null
  height: number | null
  durationMs: number | null
  problem?: string
}>

/** Checks values against a template's own schemas, each compiled once; see the intake package. */
export interface IntakeSchemas {
  /** `showsValues: false` keeps the value itself out of the problems. */
  validate(
    schemaHash: string,
    schema: JsonObject,
    value: JsonValue,
    options?: { showsValues?: boolean },
  ): Promise<{
    failure?: 'unusable-schema' | 'too-slow'
    problems: Problem[]
    value: unknown
    undeclared: string[]
  }>
}

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
