// A step that calls another workflow: once, with the called run on record before the step is suspended.
// Hides what the called run may spend, and how the caller adopts its files.
import { FabriqueError, isTerminal, type JsonObject, roundUsd } from '@fabrique/schema'
import type { Catalog } from '../catalog.ts'
import { estimateSteps, sumOf } from '../template/estimate.ts'
import { forecast } from '../template/forecast.ts'
import { StepFailure } from '../failure.ts'
import { adoptFiles } from '../inheritance.ts'
import { runScope } from '../template/placeholders.ts'
import { dayCapsOf } from './run-caps.ts'
import type { Attempt, RunState, Unit } from './run-state.ts'
import type { Clock, Ids, IntakeSchemas, RunQueue } from '../ports.ts'
import type { PricedStep, SubWorkflow } from '../specification.ts'
import { isWithin } from '../unit-key.ts'

export interface SubWorkflowDeps {
  catalog: Catalog
  intake: IntakeSchemas
  queue: Pick<RunQueue, 'enqueue' | 'publish'>
  clock: Clock
  ids: Ids
  killpoint?: (name: string) => void
}

/** Thrown out of a step that waits for a run that it called. */
export class Suspended extends Error {
  constructor(runId: string) {
    super(`waiting for the run ${runId}`)
  }
}

/**
 * The output of the run that the unit calls, with its files adopted. Throws `Suspended` until that run has ended, after
 * calling it the first time; a called run that is not completed fails the step.
 */
export async function callWorkflow(
  deps: SubWorkflowDeps,
  state: RunState,
  unit: Unit,
  attempt: Attempt,
  input: JsonObject,
): Promise<JsonObject> {
  const child = state.children.get(unit.key)
  if (child === undefined) throw new Suspended(await call(deps, state, unit, input))
  if (!isTerminal(child.status)) throw new Suspended(child.id)
  if (child.status !== 'completed') {
    const reason = child.error === null ? '' : ` ${child.error.message}`
    throw new StepFailure('sub_workflow', `The run ${child.id} of "${child.workflow}" was not completed.${reason}`, {
      billed: 'yes',
      code: 'sub-workflow-failed',
    })
  }
  const { value, artifacts } = adoptFiles(child.output ?? {}, child.artifacts, deps.ids, unit.key)
  attempt.made.push(...artifacts)
  return value
}

/** What the called run is likely to cost; an input that asks for what it cannot have fails the step. */
function pricedFor(
  { catalog }: SubWorkflowDeps,
  { workflow, definition }: SubWorkflow,
  intake: Parameters<typeof forecast>[2],
): PricedStep[] {
  try {
    return forecast(catalog, definition, intake)
  } catch (error) {
    if (!FabriqueError.is(error, 'validation-failed')) throw error
    const why = error.problems[0]?.detail ?? error.message
    throw new StepFailure('invalid', `The input for "${workflow}" is not valid: it ${why}.`, {
      code: 'sub-workflow-input',
      cause: error,
    })
  }
}

async function call(deps: SubWorkflowDeps, state: RunState, unit: Unit, input: JsonObject): Promise<string> {
  const { run, definition } = state
  const pinned = definition.subWorkflows[unit.step.id]
  if (pinned === undefined) throw new StepFailure('invalid', `Step "${unit.step.id}" has no workflow to call.`)
  const checked = await deps.intake.validate(pinned.hash, pinned.intakeSchema, input)
  if (checked.problems.length > 0) {
    const problems = checked.problems.slice(0, 5).map(({ pointer, detail }) => `${pointer || '/'} ${detail}`)
    throw new StepFailure('invalid', `The input for "${pinned.workflow}" is not valid: ${problems.join('; ')}.`, {
      code: 'sub-workflow-input',
    })
  }
  const intake = { intake: checked.value as JsonObject, regenerate: run.instance.regenerate }
  const priced = pricedFor(deps, pinned, intake)
  const { expected, high } = sumOf(estimateSteps(priced, new Set()))
  const left = state.leftUsd()
  if (left < expected) state.admit(expected)
  // The called run gets what is left, less what the caller's other work is expected to spend.
  const spare = Math.max(left - expectedElsewhereUsd(state, unit), Math.min(left, expected))
  const capUsd = left === Number.POSITIVE_INFINITY ? null : Math.min(spare, Math.max(high, 2 * expected))
  const dayCaps = dayCapsOf(run, definition)
  const continues = run.instance.earlierCalls?.[unit.key]
  const id = deps.ids.next()
  await state.commitChild(
    {
      id,
      callerKey: unit.key,
      workflow: pinned.workflow,
      workflowVersion: pinned.workflowVersion,
      definitionHash: pinned.hash,
      definition: pinned.definition,
      instance: {
        ...intake,
        variantIndex: null,
        variants: 1,
        priced,
        ...(capUsd === null ? {} : { capUsd: roundUsd(capUsd) }),
        ...(dayCaps.length === 0 ? {} : { dayCaps }),
        ...(continues === undefined ? {} : { continues }),
      },
      input,
      simulated: pinned.simulated,
      estimatedUsd: expected,
      organizationId: run.organizationId,
      rootRunId: run.rootRunId,
      metadata: run.metadata,
      priority: run.priority,
      lane: run.lane,
      failFast: run.failFast,
    },
    capUsd ?? 0,
  )
  const { organizationId, priority, lane } = run
  await deps.queue.enqueue([{ runId: id, organizationId, epoch: 0, workflow: pinned.workflow, priority, lane }])
  return id
}

/** What the caller's other work is expected to spend: its other steps, and this step's items that have not called yet. */
function expectedElsewhereUsd(state: RunState, { step, key }: Unit): number {
  const { run, checkpoints, children } = state
  const settled = new Set(checkpoints.keys())
  const { priced = [] } = run.instance
  const steps = estimateSteps(priced, settled, runScope(run, state.outputs(), step.lookups ?? {}))
  return steps.reduce((sum, one) => {
    if (one.step !== step.id) return sum + one.expected
    const once = priced.find(({ stepId }) => stepId === step.id)?.once?.expected ?? 0
    const called = [...children.keys()].filter((other) => other !== key && isWithin(other, step.id))
    return sum + Math.max(0, one.expected - once * (called.length + 1))
  }, 0)
}
