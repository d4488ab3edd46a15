// Where runs live, as commands see it: this process over a local record, or a server over HTTP.
// Hides the difference: the same spec, the same events and the same resource come from both.
import {
  type Artifact,
  DECISION_GATE,
  type DryRun,
  type JsonObject,
  type ListedRun,
  type RunEvent,
  type RunGate,
  type RunResource,
  type WorkflowResource,
} from '@fabrique/schema'

/** A file of a run. */
export interface FoundArtifact extends Artifact {
  /** A path of this machine, or an address. */
  place: string
}

/** A review that is open for a decision. */
export interface OpenReview {
  /** The run that it holds up: the one asked for, one of its slots, or one that it called. */
  runId: string
  id: string
  name: string
  /** Of a gate at which a person decides whether a lost call is paid for again: what that may cost, in words. */
  price?: string
}

export type Hear = (event: RunEvent) => void

export interface Backend {
  /** The largest file that may stand in a run-spec, as bytes before they are encoded. */
  readonly inlineLimitBytes: number
  /** A workflow as it is now, drafts where they may be seen; null where there is none. Operators see outlines of steps. */
  workflow(id: string): Promise<WorkflowResource | null>
  /** The SHA-256 of the definition of that version; null where it was never listed. */
  definitionHash(workflow: string, version: string): Promise<string | null>
  /** Throws `FabriqueError` with pointers into the spec, as `submit` does. */
  dryRun(spec: JsonObject, version?: string): Promise<DryRun>
  /** Puts the run on record and answers its id; throws `FabriqueError` with pointers into the spec. */
  submit(spec: JsonObject, version?: string): Promise<string>
  /**
   * Sees the run through until it has ended or waits for a person; local runs are executed by this, and cancelled when
   * the signal of the context is aborted. Hears the events after seq `after`, each once and in order.
   */
  follow(runId: string, after: number, hear: Hear): Promise<RunResource>
  /** Only listens, past every wait, until the run has ended. */
  watch(runId: string, after: number, hear: Hear): Promise<RunResource>
  /** The log as it is now, behind seq `after`. */
  events(runId: string, after: number): Promise<RunEvent[]>
  /** Throws `not-found` for an unknown run. */
  get(runId: string): Promise<RunResource>
  /** In template order. */
  steps(runId: string): Promise<{ id: string; name?: string | undefined }[]>
  /** Decides a review; false where it cannot be decided now. The run still has to be followed. */
  decide(review: OpenReview, decision: 'approve' | 'reject', comment: string | undefined): Promise<boolean>
  /** Resolves when the run waits for a decision, or has ended; local runs are executed by this. */
  comeToRest(runId: string): Promise<void>
  /** Cancels the run and answers how it stands; throws `already-finished`. */
  cancel(runId: string): Promise<RunResource>
  /** A new run with what a failed or cancelled one had finished; answers its id. It still has to be followed. */
  retry(runId: string): Promise<string>
  /** Newest first. */
  list(limit: number): Promise<ListedRun[]>
  workflows(): Promise<WorkflowResource[]>
  /** The run's files: those that the workflow promises first, in its order, then what was made on the way. */
  artifacts(run: RunResource): Promise<FoundArtifact[]>
  /** The bytes of an artifact, by its id. */
  read(artifactId: string): Promise<Uint8Array>
  close(): Promise<void>
}

/** The id of the run that waits for this one: its caller, or the root whose slot it is; undefined for a root. */
export function holderOf(run: Pick<RunResource, 'id' | 'caller_run_id' | 'root_run_id'>): string | undefined {
  return run.caller_run_id ?? (run.root_run_id === run.id ? undefined : run.root_run_id)
}

/** The open reviews of a run: its own first, then those of its slots and of what they called. */
export function openReviewsOf({ id: own, gates }: Pick<RunResource, 'id' | 'gates'>): OpenReview[] {
  const open = gates.filter(({ status }) => status === 'open')
  // Ids of slots grow with their index.
  const rank = ({ run_id: runId = '' }: RunGate) => runId
  return open
    .toSorted((a, b) => (rank(a) < rank(b) ? -1 : rank(a) > rank(b) ? 1 : 0))
    .map(({ id, name, type, detail, run_id: runId = own }) => ({
      runId,
      id,
      name,
      ...(type === DECISION_GATE ? { price: detail ?? '' } : {}),
    }))
}

/** Whether a review of the run itself is open. */
export function isHeldBy(run: Pick<RunResource, 'id' | 'gates'>, gateId: string): boolean {
  return openReviewsOf(run).some(({ id, runId }) => id === gateId && runId === run.id)
}

/** Final files by the order of the roles that the workflow promises, then the rest; the same file of a run once. */
export function orderArtifacts(
  artifacts: readonly Artifact[],
  roles: readonly string[],
  placeOf: (artifact: Artifact) => string,
): FoundArtifact[] {
  const rank = ({ role, status }: Artifact) => {
    const index = status === 'draft' ? -1 : roles.indexOf(role)
    return index < 0 ? roles.length : index
  }
  const found = artifacts.toSorted((a, b) => rank(a) - rank(b)).map((one) => ({ ...one, place: placeOf(one) }))
  // Content has one place: a file that came up twice in a run is one, but each slot has its own.
  const same = Map.groupBy(found, ({ run_id, place }) => `${run_id} ${place}`)
  return [...same.values()].flatMap((files) => files.slice(0, 1))
}
