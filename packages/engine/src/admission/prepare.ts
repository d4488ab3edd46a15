// From a workflow's name and an input to a run that is ready to be accepted: bound, validated, estimated, within budget.
// Hides versions of called workflows, what is compiled already, and what an earlier run spares this one.
import {
  clip,
  FabriqueError,
  type JsonObject,
  type Problem,
  type RateTable,
  roundUsd,
  type Step,
  type StepEstimate,
  type Template,
  textOf,
} from '@fabrique/schema'
import { LRUCache } from 'lru-cache'
import type { Catalog, Providers } from '../catalog.ts'
import {
  type Compiled,
  compile,
  contentHash,
  modelChoices,
  notRunnable,
  type ProviderMode,
} from '../template/compile.ts'
import { estimateSteps, sumOf } from '../template/estimate.ts'
import { forecast } from '../template/forecast.ts'
import { type EarlierRun, inherit, stepsToReuse } from '../inheritance.ts'
import { placeholdersIn } from '../template/placeholders.ts'
import { endsOf, type ModelEnd } from '../template/model-ends.ts'
import type { Clock, Ids, IntakeSchemas, NewSlot, RunStore } from '../ports.ts'
import type { Definition, Estimate, SubWorkflow } from '../specification.ts'

export interface PrepareDeps {
  /** The template that may be run, or null for unknown, unlisted and foreign alike. */
  findRunnable(id: string, version: string | null, drafts: boolean): Promise<Template | null>
  intake: IntakeSchemas
  catalog: Catalog
  mode: ProviderMode
  /** Why a model cannot be called here, for want of a program. */
  missing?: Providers['missing']
  ids: Ids
  clock: Pick<Clock, 'nowMs'>
}

export interface RunRequest {
  workflow: string
  version: string | null
  /** Drafts and what they call are runnable by admins only. */
  drafts: boolean
  /** The workflow's own fields and `regenerate`; `variants` is left to the caller. */
  input: JsonObject
  regenerate: { direction?: string; extra_instructions?: string; keep?: string[] }
  /** What `keep` takes steps from; asked for once the input is known to fit. */
  earlier(): Promise<EarlierRun | null>
  pricing: RateTable
}

/** A run that could be accepted. */
export interface PreparedRun {
  workflow: string
  workflowVersion: string
  estimate: Estimate
  steps: StepEstimate[]
  warnings: string[]
  maxPerDayUsd: number | undefined
  /** The run as a slot of its own, under a new id; what it takes over is copied each time. */
  toSlot(place: { variantIndex: number | null; variants: number }): NewSlot
}

export interface Preparer {
  /**
   * Throws `not-found` for an unknown workflow, `validation-failed` with pointers into the input, `budget-exceeded`
   * for one run that is too dear, `not-runnable` and `tool-unavailable` for what cannot run here.
   */
  prepare(request: RunRequest): Promise<PreparedRun>
}

/** What the limits of a run and of a day are checked against. */
export type Budgeted = Pick<PreparedRun, 'workflow' | 'estimate' | 'maxPerDayUsd'>

type CompiledTemplate = Compiled & { template: Template }

const WARNINGS_MAX = 100

/** Each warning once, and no more of them than anybody reads. */
export function firstWarnings(warnings: readonly string[]): string[] {
  return [...new Set(warnings)].slice(0, WARNINGS_MAX)
}

const COMPILED_CACHED_MAX = 500
/** How deep workflows may call each other; the guards refuse circles, this bounds what was listed before them. */
const CALL_DEPTH_MAX = 8

/** A preparer over these ports. It caches compiled templates by their content, never by name alone. */
export function createPreparer(deps: PrepareDeps): Preparer {
  const compiled = new LRUCache<string, CompiledTemplate>({ max: COMPILED_CACHED_MAX })
  const intakeHashes = new WeakMap<object, string>()

  function intakeHashOf({ intakeSchema }: Template): string {
    const hash = intakeHashes.get(intakeSchema) ?? contentHash(intakeSchema)
    intakeHashes.set(intakeSchema, hash)
    return hash
  }

  function retiredBy({ models }: RateTable): Map<string, ModelEnd> {
    return new Map([...endsOf(models, deps.clock.nowMs())].filter(([, { daysLeft }]) => daysLeft < 0))
  }

  /** The template bound to models, prices and the workflows that it calls, as they are for this intake. */
  async function bind(
    template: Template,
    pricing: RateTable,
    intake: JsonObject,
    drafts: boolean,
    depth = 0,
  ): Promise<CompiledTemplate> {
    const subWorkflows = new Map<string, SubWorkflow>()
    for (const step of template.runtimeSteps) {
      if (step.kind === 'workflow') subWorkflows.set(step.id, await pin(step, pricing, drafts, depth))
    }
    const called = [...subWorkflows.values()].map(({ hash }) => hash).join(' ')
    const retired = retiredBy(pricing)
    const choices = [modelChoices(template, intake), called, ...retired.keys()]
    const key = [template.id, template.version, pricing.version, ...choices].join('#')
    const known = compiled.get(key)
    if (known?.template.runtimeSteps === template.runtimeSteps) return known
    const ready = { ...compile(template, { ...deps, pricing, subWorkflows, intake, retired }), template }
    compiled.set(key, ready)
    return ready
  }

  /** A called workflow in the version that its step names, or the current one. */
  async function pin(step: Step, pricing: RateTable, drafts: boolean, depth: number): Promise<SubWorkflow> {
    const id = textOf(step.workflow)
    if (depth >= CALL_DEPTH_MAX)
      throw notRunnable(`workflows call each other more than ${CALL_DEPTH_MAX} deep at "${id}"`)
    const version = typeof step.version === 'string' ? step.version : null
    const template = await deps.findRunnable(id, version, drafts)
    if (template === null) throw notRunnable(`step "${step.id}" calls "${id}", which cannot be run`)
    const ready = await bind(template, pricing, {}, drafts, depth + 1)
    return {
      workflow: template.id,
      workflowVersion: template.version,
      hash: ready.hash,
      definition: ready.definition,
      intakeSchema: template.intakeSchema,
      simulated: ready.simulated,
    }
  }

  return {
    async prepare({ workflow, version, drafts, input, regenerate, earlier: findEarlier, pricing }) {
      const template = await deps.findRunnable(workflow, version, drafts)
      if (template === null) throw unknownWorkflow(workflow, version)
      const checked = await deps.intake.validate(intakeHashOf(template), template.intakeSchema, input)
      if (checked.problems.length > 0) throw misfit(checked.problems)
      const intake = checked.value as JsonObject
      const earlier = await findEarlier()
      const { definition, hash, simulated } = await bind(template, pricing, intake, drafts)
      const { reused, warnings: unkept } = stepsToReuse(definition, regenerate.keep ?? [], earlier)
      const priced = forecast(deps.catalog, definition, { intake, regenerate })
      const steps = estimateSteps(priced, reused)
      const estimate = sumOf(steps)
      checkRun(definition, estimate)
      const undeclared = checked.undeclared
        .slice(0, WARNINGS_MAX)
        .map((key) => `input.${clip(key, 120)} is not declared by ${template.id}; it is passed through to the steps.`)
      const warnings = firstWarnings([...unkept, ...unheard(definition, regenerate), ...undeclared])
      return {
        workflow: template.id,
        workflowVersion: template.version,
        estimate,
        steps,
        warnings,
        maxPerDayUsd: definition.budgetPolicy.maxPerDayUsd,
        toSlot(place) {
          const isKept = ({ stepId }: { stepId: string }) => reused.has(stepId)
          const inherited = earlier === null || reused.size === 0 ? null : inherit(earlier, isKept, deps.ids)
          return {
            id: deps.ids.next(),
            workflow: template.id,
            workflowVersion: template.version,
            definitionHash: hash,
            definition,
            instance: { intake, regenerate, ...place, priced, ...(inherited && { inherited: true as const }) },
            input,
            simulated,
            estimatedUsd: estimate.expected,
            warnings,
            inherited,
          }
        },
      }
    },
  }
}

/** Throws `budget-exceeded` for one run that may become too dear. */
export function checkRun(
  { templateId, budgetPolicy: { maxPerRunUsd } }: Definition,
  { expected, high }: Estimate,
): void {
  if (maxPerRunUsd === undefined || high <= maxPerRunUsd) return
  throw new FabriqueError(
    'budget-exceeded',
    `A run of "${templateId}" with this input is estimated at $${expected} and may cost $${high}, over the template's limit of $${maxPerRunUsd} per run.`,
  )
}

/** Throws `budget-exceeded` where these runs together are over a workflow's limit of the day. */
export async function checkDay(
  store: Pick<RunStore, 'spentToday'>,
  organizationId: string,
  runs: readonly Budgeted[],
): Promise<void> {
  for (const [workflow, together] of Map.groupBy(runs, (run) => run.workflow)) {
    const maxPerDayUsd = together[0]?.maxPerDayUsd
    if (maxPerDayUsd === undefined) continue
    const { expected } = sumOf(together.map(({ estimate }) => estimate))
    const spent = await store.spentToday(organizationId, workflow)
    if (roundUsd(spent + expected) <= maxPerDayUsd) continue
    throw new FabriqueError(
      'budget-exceeded',
      `The run is estimated at $${expected}; of the limit of $${maxPerDayUsd} that "${workflow}" may spend a day (UTC), $${roundUsd(spent)} is spent or reserved.`,
    )
  }
}

function misfit(problems: Problem[]): FabriqueError {
  return new FabriqueError('validation-failed', 'The input does not fit the workflow.', { problems })
}

/** Wishes of a regeneration that no prompt of the template takes up. */
function unheard({ stepInstructions }: Definition, regenerate: object): string[] {
  const heard = new Set(
    placeholdersIn(stepInstructions).flatMap(({ placeholder: { root, path } }) =>
      root === 'regenerate' ? [String(path[0])] : [],
    ),
  )
  const wishes = ['direction', 'extra_instructions'].filter((key) => Object.hasOwn(regenerate, key) && !heard.has(key))
  return wishes.map((key) => `regenerate.${key} has no effect: no prompt of this workflow asks for it.`)
}

/** The answer to who may not run a workflow, or asks for one that does not exist. */
export function unknownWorkflow(workflow: string, version: string | null): FabriqueError {
  const inVersion = version === null ? '' : ` in version ${version}`
  return new FabriqueError('not-found', `There is no workflow "${workflow}"${inVersion} that this key can run.`)
}
