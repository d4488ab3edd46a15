// Accepting a run-spec: every rule it must satisfy, in the order the contract gives, then one durable write.
// Hides nothing about transport; API and CLI hand in the same plain tree.
import {
  BUNDLE_WORKFLOW,
  FabriqueError,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  laneOf,
  type Problem,
  problemsOf,
  type RateTable,
  RUN_SPEC_KEYS,
  RunSpec,
  type Template,
  UNIVERSAL_INPUT_KEYS,
} from '@fabrique/schema'
import type { Catalog } from './catalog.ts'
import { type Compiled, compile, contentHash, type ProviderMode } from './compile.ts'
import type { Ids, NewRun, RunQueue, RunStore } from './ports.ts'

/** Checks intake against a template's own schema; see the intake package. */
export interface IntakeSchemas {
  validate(
    schemaHash: string,
    schema: JsonObject,
    value: JsonObject,
  ): Promise<{ problems: Problem[]; value: unknown; undeclared: string[] }>
}

/** What submitting has to read. `findRunnable` answers null for unknown, unlisted and foreign alike. */
export interface SubmitSources {
  findRunnable(id: string, version: string | null, drafts: boolean): Promise<Template | null>
  pricing(): Promise<RateTable>
  /** True when the run exists in the organization. */
  ownsRun(organizationId: string, runId: string): Promise<boolean>
}

export interface SubmitDeps {
  store: Pick<RunStore, 'accept' | 'acceptedUnder'>
  queue: Pick<RunQueue, 'enqueue' | 'publish'>
  sources: SubmitSources
  intake: IntakeSchemas
  catalog: Catalog
  mode: ProviderMode
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
      estimatedUsd: number
      pricingVersion: string
      warnings: string[]
    }

const COMPILED_CACHED_MAX = 500

export interface Submitter {
  /** Accepts, replays or only tries a run-spec; throws `FabriqueError` with every problem of the first rule broken. */
  submit(submission: Submission): Promise<SubmitOutcome>
}

/** A submitter over these ports. It caches compiled templates by their content, never by name alone. */
export function createSubmitter(deps: SubmitDeps): Submitter {
  const compiled = new Map<string, Compiled & { intakeHash: string }>()

  function compileCached(template: Template, pricing: RateTable) {
    const key = `${template.id}@${template.version}#${pricing.version}`
    const known = compiled.get(key)
    if (known !== undefined && known.definition.stepInstructions === template.runtimeSteps) return known
    if (compiled.size >= COMPILED_CACHED_MAX) compiled.delete(compiled.keys().next().value as string)
    const entry = {
      ...compile(template, deps.catalog, pricing, deps.mode),
      intakeHash: contentHash(template.intakeSchema),
    }
    compiled.set(key, entry)
    return entry
  }

  /** A repeated submit answers its run, whatever has become of the workflow, its price or the parent meanwhile. */
  async function replay({ organizationId, idempotencyKey, dryRun }: Submission, digest: string) {
    if (idempotencyKey === undefined || dryRun === true) return null
    const known = await deps.store.acceptedUnder(organizationId, idempotencyKey)
    if (known === null) return null
    if (known.digest !== digest) throw mismatch()
    return { outcome: 'replayed' as const, runId: known.runId }
  }

  return {
    async submit(submission) {
      const spec = parseRunSpec(submission.document, submission.name)
      if (spec.workflow === BUNDLE_WORKFLOW || spec.input === undefined) {
        throw new FabriqueError(
          'not-runnable',
          'Bundles are not offered by this version yet; submit the entries one by one.',
        )
      }
      if ((spec.input.variants ?? 1) > 1) {
        throw new FabriqueError(
          'not-runnable',
          'Variants are not offered by this version yet; submit the run several times.',
        )
      }
      const digest = contentHash([spec, submission.version ?? null])
      const replayed = await replay(submission, digest)
      if (replayed !== null) return replayed
      const template = await deps.sources.findRunnable(spec.workflow, submission.version ?? null, submission.admin)
      if (template === null) {
        const version = submission.version === undefined ? '' : ` in version ${submission.version}`
        throw new FabriqueError('not-found', `There is no workflow "${spec.workflow}"${version} that this key can run.`)
      }
      const pricing = await deps.sources.pricing()
      const { definition, hash, simulated, estimatedUsd, intakeHash } = compileCached(template, pricing)

      const { variants: _, regenerate = {}, ...own } = spec.input
      const checked = await deps.intake.validate(intakeHash, template.intakeSchema, own as JsonObject)
      if (checked.problems.length > 0) {
        throw new FabriqueError('validation-failed', 'The input does not fit the workflow.', {
          problems: checked.problems.map((problem) => ({ ...problem, pointer: `/input${problem.pointer}` })),
        })
      }
      const parent = parentOf(spec)
      if (parent !== null && !(await deps.sources.ownsRun(submission.organizationId, parent.runId))) {
        throw new FabriqueError('validation-failed', 'The parent run does not exist.', {
          problems: [{ pointer: parent.pointer, detail: `there is no run ${parent.runId}`, code: 'unknown-parent' }],
        })
      }
      const cap = definition.budgetPolicy.maxPerRunUsd
      if (cap !== undefined && estimatedUsd > cap) {
        throw new FabriqueError(
          'budget-exceeded',
          `The run is estimated at $${estimatedUsd}, over the template's limit of $${cap} per run.`,
        )
      }
      const warnings = checked.undeclared.map(
        (key) => `input.${key} is not declared by ${template.id}; it is passed through to the steps.`,
      )
      const input = spec.input as JsonObject
      if (submission.dryRun === true) {
        return {
          outcome: 'dry-run',
          workflow: template.id,
          workflowVersion: template.version,
          input,
          estimatedUsd,
          pricingVersion: pricing.version,
          warnings,
        }
      }
      const run: NewRun = {
        id: deps.ids.next(),
        organizationId: submission.organizationId,
        workflow: template.id,
        workflowVersion: template.version,
        definitionHash: hash,
        definition,
        instance: {
          intake: checked.value as JsonObject,
          regenerate: regenerate as JsonObject,
          variantIndex: null,
          variants: 1,
        },
        input,
        metadata: spec.metadata ?? {},
        state: spec.state ?? null,
        priority: spec.priority,
        lane: laneOf(spec.priority),
        failFast: spec.fail_fast,
        parentRunId: parent?.runId ?? null,
        parentVariantIndex: parent?.variantIndex ?? null,
        retryOf: null,
        simulated,
        estimatedUsd,
        warnings,
        idempotency: submission.idempotencyKey === undefined ? null : { key: submission.idempotencyKey, digest },
      }
      deps.killpoint?.('A1')
      const accepted = await deps.store.accept(run)
      if (accepted.outcome === 'mismatch') throw mismatch()
      if (accepted.outcome === 'replayed') return accepted
      deps.killpoint?.('A2')
      deps.queue.publish(accepted.events)
      await deps.queue.enqueue([
        { runId: run.id, epoch: 0, workflow: run.workflow, priority: run.priority, lane: run.lane },
      ])
      deps.killpoint?.('A3')
      return {
        outcome: 'accepted',
        run,
        createdAt: accepted.events[0]?.timestamp ?? '',
        pricingVersion: pricing.version,
      }
    },
  }
}

function mismatch(): FabriqueError {
  return new FabriqueError(
    'idempotency-mismatch',
    'This Idempotency-Key was used for a different run-spec; use a new key.',
  )
}

/** The run-spec in a plain tree, with the workflow's name from wherever it was given. Throws every problem at once. */
export function parseRunSpec(document: JsonValue, name: string | undefined): RunSpec & { workflow: string } {
  if (!isJsonObject(document)) {
    throw invalid([
      { pointer: '', detail: 'A run-spec is an object with the keys "workflow" and "input".', code: 'not-an-object' },
    ])
  }
  const problems: Problem[] = []
  const merged = document.workflow === undefined && name !== undefined ? { ...document, workflow: name } : document
  const parsed = RunSpec.safeParse(merged)
  if (!parsed.success) problems.push(...problemsOf(parsed.error, keysAt, 'a key of a run-spec'))
  if (merged.workflow === undefined) {
    problems.push({
      pointer: '/workflow',
      detail: 'is required: name the workflow here or with ?name=',
      code: 'missing',
    })
  } else if (name !== undefined && merged.workflow !== name) {
    problems.push({
      pointer: '/workflow',
      detail: `is ${JSON.stringify(merged.workflow)} but ?name= is "${name}"; give one of them, or the same`,
      code: 'name-mismatch',
    })
  }
  if (!parsed.success || problems.length > 0) throw invalid(problems)
  return { ...parsed.data, workflow: parsed.data.workflow as string }
}

function keysAt(path: readonly PropertyKey[]): string[] {
  if (path.length === 0) return RUN_SPEC_KEYS.filter((key) => key !== '$schema')
  switch (path.at(-1)) {
    case 'parent':
      return ['run_id', 'variant_index']
    case 'regenerate':
      return ['direction', 'keep', 'extra_instructions', 'parent_run_id', 'parent_variant_index']
    default:
      return ['workflow', 'input', ...UNIVERSAL_INPUT_KEYS]
  }
}

function parentOf(spec: RunSpec): { runId: string; variantIndex: number | null; pointer: string } | null {
  const { parent_run_id: regenerated, parent_variant_index: regeneratedIndex } = spec.input?.regenerate ?? {}
  const { parent } = spec
  const both = parent !== undefined && regenerated !== undefined
  if (both && (parent.run_id !== regenerated || (regeneratedIndex ?? parent.variant_index) !== parent.variant_index)) {
    throw invalid([
      {
        pointer: '/parent',
        detail: 'differs from input.regenerate.parent_*; give one of them, or the same',
        code: 'parent-mismatch',
      },
    ])
  }
  if (parent !== undefined)
    return { runId: parent.run_id, variantIndex: parent.variant_index ?? null, pointer: '/parent/run_id' }
  if (regenerated === undefined) return null
  return { runId: regenerated, variantIndex: regeneratedIndex ?? null, pointer: '/input/regenerate/parent_run_id' }
}

function invalid(problems: Problem[]): FabriqueError {
  return new FabriqueError('validation-failed', 'The run-spec is not valid.', { problems })
}
