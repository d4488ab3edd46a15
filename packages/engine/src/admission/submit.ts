// Accepting a run-spec: every rule it must satisfy, in the order the contract gives, then one durable write.
// Hides nothing about transport; API and CLI hand in the same plain tree.
import {
  BUNDLE_WORKFLOW,
  type EstimateResource,
  FabriqueError,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  laneOf,
  type Problem,
  problemsOf,
  type RateTable,
  RunSpec,
  type StepEstimate,
} from '@fabrique/schema'
import { contentHash } from '../template/compile.ts'
import { sumOf } from '../template/estimate.ts'
import type { EarlierRun } from '../inheritance.ts'
import type { AcceptOutcome, Ids, NewRun, NewSlot, RunQueue, RunStore } from '../ports.ts'
import {
  checkDay,
  createPreparer,
  firstWarnings,
  type PrepareDeps,
  type PreparedRun,
  type RunRequest,
} from './prepare.ts'
import { slotKey } from '../unit-key.ts'
import type { Definition, Estimate } from '../specification.ts'

/** What submitting has to read. `findRunnable` answers null for unknown, unlisted and foreign alike. */
export interface SubmitSources {
  findRunnable: PrepareDeps['findRunnable']
  pricing(): Promise<RateTable>
  /** A run of the organization with what it has finished, or the slot of it with this index; null where there is none. */
  earlierRun(organizationId: string, runId: string, variantIndex: number | null): Promise<EarlierRun | null>
}

export interface SubmitDeps extends Omit<PrepareDeps, 'findRunnable'> {
  store: Pick<RunStore, 'accept' | 'acceptedUnder' | 'spentToday'>
  queue: Pick<RunQueue, 'enqueue' | 'publish'>
  sources: SubmitSources
  ids: Ids
  killpoint?: (name: string) => void
}

export interface Submission {
  organizationId: string
  /** Drafts are runnable by admins only. */
  admin: boolean
  /** The spec as a plain tree; `name` and `version` come from outside the document. */
  document: JsonValue
  name?: string
  version?: string
  dryRun?: boolean
  idempotencyKey?: string
}

export type SubmitOutcome =
  | { outcome: 'accepted'; run: NewRun; createdAt: string; pricingVersion: string }
  | { outcome: 'replayed'; runId: string }
  | {
      outcome: 'dry-run'
      workflow: string
      workflowVersion: string
      input: JsonObject
      estimate: RunEstimate
      warnings: string[]
    }

/** What a run should cost, in sum and by step; a step of a slot is named `slots/<index>/<step>`. */
export interface RunEstimate extends Estimate {
  pricingVersion: string
  steps: StepEstimate[]
}

/** An estimate's public spelling. */
export function estimateResource({ pricingVersion, steps, ...estimate }: RunEstimate): EstimateResource {
  return { currency: 'USD', ...estimate, pricing_version: pricingVersion, steps }
}

export interface Submitter {
  /** Accepts, replays or only tries a run-spec; throws `FabriqueError` with every problem of the first rule broken. */
  submit(submission: Submission): Promise<SubmitOutcome>
}

type Spec = RunSpec & { workflow: string }
type Input = NonNullable<RunSpec['input']>

/** A submitter over these ports. */
export function createSubmitter(deps: SubmitDeps): Submitter {
  const preparer = createPreparer({ ...deps, findRunnable: deps.sources.findRunnable })

  async function earlierOf(
    organizationId: string,
    parent: Parent | null,
    index: number | null,
  ): Promise<EarlierRun | null> {
    if (parent === null) return null
    const earlier = await deps.sources.earlierRun(organizationId, parent.runId, parent.variantIndex ?? index)
    if (earlier !== null) return earlier
    throw new FabriqueError('validation-failed', 'The parent run does not exist.', {
      problems: [{ pointer: parent.pointer, detail: `there is no run ${parent.runId}`, code: 'unknown-parent' }],
    })
  }

  /** One prepared run for a plain spec, one for each variant, one for each entry of a bundle. */
  async function prepareAll(
    submission: Submission,
    spec: Spec,
    parent: Parent | null,
    pricing: RateTable,
  ): Promise<PreparedRun[]> {
    const { organizationId, admin, version = null } = submission
    const prepareOne = async (workflow: string, given: Input, of: { parent: Parent | null; index: number | null }) => {
      const { variants: _, regenerate = {}, ...input } = given
      const { parent_run_id: __, parent_variant_index: ___, ...wishes } = regenerate
      return await preparer.prepare({
        workflow,
        version: spec.bundle === undefined ? version : null,
        drafts: admin,
        input: input as JsonObject,
        regenerate: wishes as RunRequest['regenerate'],
        earlier: () => earlierOf(organizationId, of.parent, of.index),
        pricing,
      })
    }
    const prepared: PreparedRun[] = []
    if (spec.bundle === undefined) {
      const input = spec.input ?? {}
      const variants = input.variants ?? 1
      for (let index = 0; index < variants; index += 1) {
        const of = { parent, index: variants === 1 ? null : index }
        prepared.push(await prepareOne(spec.workflow, input, of).catch((error: unknown) => below('/input', error)))
      }
      return prepared
    }
    // The problems of all entries are answered at once.
    const problems: Problem[] = []
    for (const [index, { workflow, input }] of spec.bundle.entries()) {
      const at = `/bundle/${index}`
      try {
        const of = { parent: parentIn(input, `${at}/input`) ?? parent, index }
        prepared.push(await prepareOne(workflow, input, of))
      } catch (error) {
        if (FabriqueError.is(error, 'not-found')) {
          problems.push({ pointer: `${at}/workflow`, detail: error.message, code: 'unknown-workflow' })
        } else if (FabriqueError.is(error, 'validation-failed')) {
          problems.push(...error.problems.map((one) => ({ ...one, pointer: placed(`${at}/input`, one) })))
        } else throw error
      }
    }
    if (problems.length > 0) throw invalid(problems)
    return prepared
  }

  return {
    async submit(submission) {
      const spec = parseRunSpec(submission.document, submission.name)
      const digest = contentHash([spec, submission.version ?? null])
      const { organizationId, idempotencyKey, dryRun } = submission
      // A repeated submit answers its run, whatever has become of the workflow, its price or the parent meanwhile.
      const known = dryRun === true ? null : await replayOf(deps.store, organizationId, idempotencyKey, digest)
      if (known !== null) return known
      const pricing = await deps.sources.pricing()
      const parent = parentOf(spec)
      const prepared = await prepareAll(submission, spec, parent, pricing)
      await checkDay(deps.store, organizationId, prepared)
      const [first] = prepared
      if (first === undefined) throw new Error('a spec has at least one run')
      const isPlain = spec.bundle === undefined && prepared.length === 1
      const warnings = firstWarnings(prepared.flatMap((one) => one.warnings))
      const estimate = sumOf(prepared.map((one) => one.estimate))
      if (dryRun === true) {
        const steps = isPlain
          ? first.steps
          : prepared.flatMap(({ steps: own }, index) => own.map((one) => ({ ...one, step: slotKey(index, one.step) })))
        return {
          outcome: 'dry-run',
          workflow: spec.bundle === undefined ? first.workflow : BUNDLE_WORKFLOW,
          workflowVersion: spec.bundle === undefined ? first.workflowVersion : BUNDLE_VERSION,
          input: (spec.input ?? {}) as JsonObject,
          estimate: { ...estimate, pricingVersion: pricing.version, steps },
          warnings,
        }
      }
      const alone = { variantIndex: null, variants: 1 }
      const placeOf = (index: number) =>
        spec.bundle === undefined ? { variantIndex: index, variants: prepared.length } : alone
      const slots = isPlain ? [] : prepared.map((one, index) => one.toSlot(placeOf(index)))
      const root = isPlain ? first.toSlot(alone) : rootOf(deps.ids, spec, slots, pricing)
      const run: NewRun = {
        ...root,
        organizationId,
        input: (spec.input ?? {}) as JsonObject,
        metadata: spec.metadata ?? {},
        state: spec.state ?? null,
        priority: spec.priority,
        lane: laneOf(spec.priority),
        failFast: spec.fail_fast,
        parentRunId: parent?.runId ?? null,
        parentVariantIndex: parent?.variantIndex ?? null,
        retryOf: null,
        estimatedUsd: estimate.expected,
        warnings,
        slots,
        idempotency: idempotencyKey === undefined ? null : { key: idempotencyKey, digest },
      }
      const accepted = await acceptRun(deps, run)
      if (accepted.outcome === 'replayed') return accepted
      const createdAt = accepted.events[0]?.timestamp ?? ''
      return { outcome: 'accepted', run, createdAt, pricingVersion: pricing.version }
    },
  }
}

const BUNDLE_VERSION = '2026.01.01'

/** The run that slots belong to: of their workflow for variants, of the bundle's for entries. It executes nothing. */
function rootOf(ids: Ids, spec: Spec, slots: NewSlot[], pricing: RateTable): NewSlot {
  const [first] = slots
  if (first === undefined) throw new Error('a run of slots has at least one')
  const instance = { intake: {}, regenerate: {}, variantIndex: null, variants: slots.length }
  const simulated = slots.some((slot) => slot.simulated)
  const root = { ...first, id: ids.next(), instance, simulated, inherited: null }
  if (spec.bundle === undefined) return { ...root, instance: { ...instance, intake: first.instance.intake } }
  const definition: Definition = {
    templateId: BUNDLE_WORKFLOW,
    templateVersion: BUNDLE_VERSION,
    schemaVersion: 'workflow-schema-v1',
    artifactClass: 'knowledge',
    providerBindings: {},
    stepInstructions: [],
    gates: [],
    artifactSchema: { artifactType: 'bundle', files: [] },
    fileFormats: [],
    outputAliases: {},
    budgetPolicy: {},
    onUnknownOutcome: 'retry',
    subWorkflows: {},
    pricingVersion: pricing.version,
    rates: [],
  }
  const definitionHash = contentHash(definition)
  return { ...root, workflow: BUNDLE_WORKFLOW, workflowVersion: BUNDLE_VERSION, definition, definitionHash }
}

/** Problems of an input as problems of the document that holds it. */
function below(at: string, error: unknown): never {
  if (!FabriqueError.is(error, 'validation-failed')) throw error
  const problems = error.problems.map((one) => ({ ...one, pointer: placed(at, one) }))
  throw new FabriqueError('validation-failed', error.message, { problems, cause: error })
}

/** An unknown parent is named by where the document names it; everything else lies in the input. */
function placed(at: string, { pointer, code }: Problem): string {
  return code === 'unknown-parent' ? pointer : `${at}${pointer}`
}

/** The run that an Idempotency-Key has begun already, null for a new key; throws where it was for something else. */
export async function replayOf(
  store: Pick<RunStore, 'acceptedUnder'>,
  organizationId: string,
  key: string | undefined,
  digest: string,
): Promise<{ outcome: 'replayed'; runId: string } | null> {
  const known = key === undefined ? null : await store.acceptedUnder(organizationId, key)
  if (known !== null && known.digest !== digest) throw keyMismatch()
  return known && { outcome: 'replayed', runId: known.runId }
}

/** Writes a run, and hands out what of it can be executed: itself, or each of its slots. */
export async function acceptRun(
  { store, queue, killpoint }: Pick<SubmitDeps, 'queue' | 'killpoint'> & { store: Pick<RunStore, 'accept'> },
  run: NewRun,
): Promise<Exclude<AcceptOutcome, { outcome: 'mismatch' }>> {
  killpoint?.('A1')
  const accepted = await store.accept(run)
  if (accepted.outcome === 'mismatch') throw keyMismatch()
  if (accepted.outcome === 'replayed') return accepted
  killpoint?.('A2')
  queue.publish(accepted.events)
  const { organizationId, priority, lane, slots } = run
  const started = slots.length === 0 ? [run] : slots
  await queue.enqueue(
    started.map(({ id, workflow }) => ({ runId: id, organizationId, epoch: 0, workflow, priority, lane })),
  )
  killpoint?.('A3')
  return accepted
}

function keyMismatch(): FabriqueError {
  const message = 'This Idempotency-Key was used for a different request; use a new key.'
  return new FabriqueError('idempotency-mismatch', message)
}

/** The run-spec in a plain tree, with the workflow's name from wherever it was given. Throws every problem at once. */
export function parseRunSpec(document: JsonValue, name: string | undefined): RunSpec & { workflow: string } {
  if (!isJsonObject(document)) {
    const detail = 'A run-spec is an object with the keys "workflow" and "input".'
    throw invalid([{ pointer: '', detail, code: 'not-an-object' }])
  }
  const problems: Problem[] = []
  const merged = document.workflow === undefined && name !== undefined ? { ...document, workflow: name } : document
  const parsed = RunSpec.safeParse(merged)
  if (!parsed.success) problems.push(...problemsOf(parsed.error, RunSpec, 'a key of a run-spec'))
  if (merged.workflow === undefined) {
    const detail = 'is required: name the workflow here or with ?name='
    problems.push({ pointer: '/workflow', detail, code: 'missing' })
  } else if (name !== undefined && merged.workflow !== name) {
    const detail = `is ${JSON.stringify(merged.workflow)} but ?name= is "${name}"; give one of them, or the same`
    problems.push({ pointer: '/workflow', detail, code: 'name-mismatch' })
  }
  if (!parsed.success || problems.length > 0) throw invalid(problems)
  return { ...parsed.data, workflow: parsed.data.workflow as string }
}

interface Parent {
  runId: string
  variantIndex: number | null
  /** Where the document names it. */
  pointer: string
}

/** What an input itself says it regenerates. */
function parentIn({ regenerate }: Input, at: string): Parent | null {
  const { parent_run_id: runId, parent_variant_index: variantIndex = null } = regenerate ?? {}
  return runId === undefined ? null : { runId, variantIndex, pointer: `${at}/regenerate/parent_run_id` }
}

function parentOf(spec: RunSpec): Parent | null {
  const regenerated = spec.input === undefined ? null : parentIn(spec.input, '/input')
  const { parent } = spec
  if (parent === undefined) return regenerated
  const { runId, variantIndex } = regenerated ?? { runId: parent.run_id, variantIndex: null }
  if (parent.run_id !== runId || (variantIndex ?? parent.variant_index) !== parent.variant_index) {
    const detail = 'differs from input.regenerate.parent_*; give one of them, or the same'
    throw invalid([{ pointer: '/parent', detail, code: 'parent-mismatch' }])
  }
  return { runId: parent.run_id, variantIndex: parent.variant_index ?? null, pointer: '/parent/run_id' }
}

function invalid(problems: Problem[]): FabriqueError {
  return new FabriqueError('validation-failed', 'The run-spec is not valid.', { problems })
}
