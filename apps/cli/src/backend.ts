// Where runs live, as commands see it: this process over a local record, or a server over HTTP.
// Hides the difference: the same spec, the same events and the same resource come from both.
import { type JsonObject, type RunEvent, type RunResource, textOf } from '@fabrique/schema'

/** What a dry run tells; the same shape from both backends. */
export type DryRun = {
  workflow: string
  workflow_version: string
  input: JsonObject
  estimate: { currency: string; expected: number; pricing_version: string }
  warnings: string[]
}

export interface FoundArtifact {
  role: string
  /** A path of this machine, or an address. */
  place: string
}

export interface Backend {
  /** The schema that a workflow's input is checked with; null where there is no such workflow. */
  intakeSchema(workflow: string): Promise<JsonObject | null>
  dryRun(spec: JsonObject): Promise<DryRun>
  /** Puts the run on record and answers its id; throws `FabriqueError` with pointers into the spec. */
  submit(spec: JsonObject): Promise<string>
  /**
   * Sees the run through until it has ended or waits for a person; local runs are executed by this. Hears the events
   * after seq `after`, each once and in order.
   */
  follow(runId: string, after: number, onEvent: (event: RunEvent) => void): Promise<RunResource>
  /** Throws `not-found` for an unknown run. */
  get(runId: string): Promise<RunResource>
  /**
   * Decides the open review; throws `no-open-gate` where there is none. The run still has to be
   * followed, from the seq that this answers: the last one before the decision.
   */
  decide(runId: string, decision: 'approve' | 'reject', comment: string | undefined): Promise<number>
  /** Cancels the run and answers how it stands; throws `already-finished`. */
  cancel(runId: string): Promise<RunResource>
  /** Newest first. */
  list(limit: number): Promise<RunResource[]>
  workflows(): Promise<JsonObject[]>
  /** The run's files: those that the workflow promises first, in its order, then what was made on the way. */
  artifacts(run: RunResource): Promise<FoundArtifact[]>
  close(): Promise<void>
}

/** Final files by the order of the roles that the workflow promises, then the rest; the same file once. */
export function orderArtifacts(
  artifacts: readonly JsonObject[],
  roles: readonly string[],
  placeOf: (artifact: JsonObject) => string,
): FoundArtifact[] {
  const rank = (artifact: JsonObject) => {
    const index = artifact.status === 'draft' ? -1 : roles.indexOf(textOf(artifact.role))
    return index < 0 ? roles.length : index
  }
  const found = new Map<string, FoundArtifact>()
  for (const artifact of artifacts.toSorted((a, b) => rank(a) - rank(b))) {
    const place = placeOf(artifact)
    if (!found.has(place)) found.set(place, { role: textOf(artifact.role), place })
  }
  return [...found.values()]
}
