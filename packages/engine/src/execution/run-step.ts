// One step of a run, from its first attempt to its outcome; with forEach, once for each item of a list.
// Hides rendering, what a kind may do while it runs, the gates that judge it, and which failures are tried again.
import {
  FabriqueError,
  type Gate,
  isTerminal,
  type JsonObject,
  type JsonValue,
  roundUsd,
  type Step,
  textOf,
} from '@fabrique/schema'
import pLimit from 'p-limit'
import { type CallDeps, callModel } from './call.ts'
import { asUnknown } from './call-bill.ts'
import { callWorkflow, type SubWorkflowDeps, Suspended } from './call-workflow.ts'
import type { Catalog, InputFile, Model, ProviderAnswer, Providers, StepContext, Verdict } from '../catalog.ts'
import { contentHash } from '../template/compile.ts'
import { ExpressionError } from '../template/expression.ts'
import { backoffMs, StepFailure, TRANSIENT } from '../failure.ts'
import {
  parsePath,
  RENDERED_LENGTH_MAX,
  renderFields,
  renderValue,
  runScope,
  type Scope,
  valueAt,
} from '../template/placeholders.ts'
import type { BoundGate } from './plan.ts'
import { forEachOf } from '../template/data-flow.ts'
import { gateBinding } from '../specification.ts'
import { decisionGate, isWithin, itemKey, judgingKey, partKey, unitKeyOf } from '../unit-key.ts'
import type {
  ArtifactRecord,
  ArtifactStore,
  CallRecord,
  Inspect,
  IntakeSchemas,
  Limits,
  Log,
  NewEvent,
} from '../ports.ts'
import { fitting } from './run-size.ts'
import { artifactReference, type Attempt, RunTaken, type RunState, type Unit } from './run-state.ts'
import { storable } from './storable.ts'

export interface RunStepDeps extends SubWorkflowDeps {
  artifacts: ArtifactStore
  catalog: Catalog
  providers: Providers
  limits: Limits
  inspect: Inspect
  log: Log
}

/** The most items of one step. A longer list is a mistake of the template, refused before anything is paid. */
const ITEMS_MAX = 200
/** Of what is wrong with an answer. */
const PROBLEMS_TOLD = 3
const MESSAGE_LENGTH = 600

/** Attempts a step until it is settled or suspended, or `state.stop` is aborted. Throws `RunTaken`, or `unavailable` of the record. */
export async function runStep(deps: RunStepDeps, state: RunState, step: Step): Promise<void> {
  const each = forEachOf(step)
  if (each === null) await runUnit(deps, state, { step, key: step.id })
  else await runItems(deps, state, step, each)
}

/** Runs the items that have no checkpoint yet; the step's output is the list of theirs. The first failure is the step's. */
async function runItems(
  deps: RunStepDeps,
  state: RunState,
  step: Step,
  { items, concurrency }: { items: JsonValue; concurrency: number },
): Promise<void> {
  const unit: Unit = { step, key: step.id }
  const attempt = newAttempt(state, 1)
  const list = renderValue(items, scopeOf(state, unit))
  if (!Array.isArray(list.value) || list.value.length > ITEMS_MAX) {
    const length = Array.isArray(list.value) ? list.value.length : null
    const what = length === null ? 'no list to go through' : `${length} items, and ${ITEMS_MAX} are the limit`
    const error = { code: 'invalid-items', message: `Step "${step.id}" got ${what}.`, node_key: step.id }
    return state.settle(unit, attempt, { status: 'failed', error })
  }
  const units = list.value.map((value, index): Unit => ({ step, key: itemKey(step.id, index), item: { value, index } }))
  const statusOf = ({ key }: Unit) => state.checkpoints.get(key)?.status
  const hasCalled = ({ key }: Unit) => state.children.has(key)
  const isSettled = (one: Unit) => statusOf(one) !== undefined
  const failed = () => units.map(({ key }) => state.checkpoints.get(key)?.error).find((error) => error)
  if (!units.some(isSettled) && !units.some(hasCalled)) state.noteStart(unit)

  // Items with a called run keep their permits, also while it is written down: `concurrency` bounds the called runs too.
  const isCalling = (one: Unit) =>
    state.suspended.has(one.key) || (!isSettled(one) && !isTerminal(state.children.get(one.key)?.status ?? 'failed'))
  const limit = pLimit(concurrency)
  const order = [...units.filter(hasCalled), ...units.filter((one) => !hasCalled(one))].filter((one) => !isSettled(one))
  // Not `Promise.all`: an item with a call in flight must not outlive its step.
  const outcomes = await Promise.allSettled(
    order.map((one) =>
      limit(async () => {
        const isFull = units.filter((other) => other !== one && isCalling(other)).length >= concurrency
        if (state.stop.signal.aborted || isFull || failed()) return
        await runUnit(deps, state, one)
        if (failed() && state.run.failFast) state.stop.abort('cancel')
        if (!isSettled(one)) return
        const done = units.filter(isSettled).length
        state.noteProgress(unit, { done, total: units.length })
        await state.save('W8')
      }),
    ),
  )
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  const error = failed()
  if (error) return state.settle(unit, attempt, { status: 'failed', error })
  if (state.stop.signal.aborted || !units.every(isSettled)) return
  const output = units.map(({ key }) => state.checkpoints.get(key)?.output ?? null)
  await settleBy(state, unit, attempt, async () => {
    await judge(deps, state, unit, attempt, output, 'whole')
    return kept(state, output)
  })
}

/** Settles a unit by work that is not retried. */
async function settleBy(state: RunState, unit: Unit, attempt: Attempt, work: () => Promise<JsonValue>): Promise<void> {
  try {
    state.settle(unit, attempt, { status: 'completed', output: await work() })
  } catch (error) {
    if (!StepFailure.is(error)) throw error
    const failed = { code: error.code, message: error.message, node_key: unit.key }
    state.settle(unit, attempt, { status: 'failed', error: failed })
  }
}

async function runUnit(deps: RunStepDeps, state: RunState, unit: Unit): Promise<void> {
  const { step, key } = unit
  const { signal } = state.stop
  const { maxAttempts = 3, backoffMs: base = 1000, on = TRANSIENT } = step.retry ?? {}
  const first = newAttempt(state, 1)
  if (!state.suspended.delete(key) && !state.children.has(key)) state.noteStart(unit)
  let retry: NonNullable<Scope['retry']> = { attempt: 1 }
  for (let number = 1; ; number += 1) {
    const attempt: Attempt = { ...first, number, made: [], settled: [] }
    try {
      const output = await performAttempt(deps, state, unit, attempt, retry)
      state.settle(unit, attempt, { status: 'completed', output })
      return
    } catch (error) {
      if (error instanceof RunTaken) throw error
      if (error instanceof Suspended) {
        state.suspended.add(key)
        return
      }
      if (signal.aborted) {
        // A cancelled run books its answers; otherwise they stay staged, for the run's next worker to adopt.
        if (signal.reason === 'cancel') state.noteCalls(attempt.settled)
        return
      }
      // The record or the artifact store cannot be reached, which is not the step's fault: the next worker adopts what is staged.
      if (FabriqueError.is(error, 'unavailable')) throw error
      const failed = StepFailure.is(error) ? error : bug(deps, state, key, error)
      const reason = { code: failed.code, message: failed.message }
      if (failed.provider !== undefined) {
        deps.log.warn(
          { run_id: state.run.id, step: key, code: failed.code, provider: failed.provider },
          'a provider failed',
        )
      }
      if (failed.failureClass === 'unknown_outcome' && asksAPerson(state, unit)) {
        await state.commitCalls(key, attempt.settled)
        state.noteGate(decisionGate(key), 'open', `${failed.message} ${priceOfAnother(state, unit)}`)
        return
      }
      if (number >= maxAttempts || !on.some((wanted) => wanted === failed.failureClass)) {
        attempt.settled.push(...unknownAnswers(state.callsOf(key)))
        state.settle(unit, attempt, { status: 'failed', error: { ...reason, node_key: key } })
        return
      }
      retry = { attempt: number + 1, ...(failed.failureClass === 'bad_output' ? { problem: failed.message } : {}) }
      const delayMs = backoffMs(number, base, failed.retryAfterMs)
      const retrying: NewEvent = {
        kind: 'workflow.node.retrying',
        nodeKey: key,
        payload: { step: step.id, attempt: number, delay_ms: delayMs, error: reason },
      }
      await state.commitCalls(key, attempt.settled, [retrying])
      for (const { id } of attempt.settled) await deps.artifacts.unstage(id)
      await deps.clock.sleep(delayMs, signal).catch(() => {})
      if (signal.aborted) return
    }
  }
}

/** The first attempt that anything is noted in; number 0 for a step that is settled without one. */
export function newAttempt(state: Pick<RunState, 'now'>, number: number): Attempt {
  return { number, startedAt: state.now(), made: [], settled: [] }
}

/** Whether a person decides about a call that may have been charged: once per unit, where the template says so. */
function asksAPerson(state: RunState, { key }: Unit): boolean {
  return state.definition.onUnknownOutcome === 'review' && !state.gates.has(decisionGate(key).id)
}

/** What a person has to know who decides whether a unit's lost call is made once more. */
function priceOfAnother(state: RunState, { key }: Unit): string {
  const isLost = ({ stepKey, outcome }: CallRecord) => outcome === 'unknown' && unitKeyOf(stepKey) === key
  const usd = state.calls().findLast(isLost)?.estimatedUsd ?? 0
  return `It counts as spent; to call again may cost $${roundUsd(usd)} once more.`
}

/** Books the pending calls of a unit that failed: no later attempt will ask the provider for their answers. */
function unknownAnswers(calls: CallRecord[]): CallRecord[] {
  return calls.filter(({ outcome }) => outcome === 'pending').map(asUnknown)
}

function bug(deps: Pick<RunStepDeps, 'log'>, state: RunState, key: string, error: unknown): StepFailure {
  deps.log.error({ run_id: state.run.id, step: key, err: error }, 'a step threw something that is not a failure')
  return new StepFailure('internal', 'The step failed for a reason of our own; it is in the log.', { cause: error })
}

async function performAttempt(
  deps: RunStepDeps,
  state: RunState,
  unit: Unit,
  attempt: Attempt,
  retry: NonNullable<Scope['retry']>,
): Promise<JsonValue> {
  const { step } = unit
  const kind = deps.catalog.kind(step.kind)
  if (kind === undefined) throw new StepFailure('invalid', `This worker does not know the step kind "${step.kind}".`)
  const { fields, missing, isCut } = renderFields(step, kind.renders, { ...scopeOf(state, unit), retry })
  if (missing.length > 0) throw unresolved(state, step, missing)
  if (isCut) {
    const why = `With its placeholders filled in, step "${step.id}" has more than ${RENDERED_LENGTH_MAX} characters of text`
    throw new StepFailure('invalid', `${why}; let it read less.`, { code: 'prompt-too-large' })
  }
  return await withinLimit(deps, step, state.stop.signal, async (signal) => {
    const made = state.checkpoints.get(partKey(unit.key, 'made'))
    const output =
      made === undefined
        ? kept(state, await kind.run(fields, createContext(deps, state, unit, attempt, signal)))
        : made.output
    await judge(deps, state, unit, attempt, output, unit.item === undefined ? 'both' : 'item').catch(
      (error: unknown) => {
        // Only the gate is asked again: what the step has made and paid for is kept.
        const couldNot = StepFailure.is(error) && error.failureClass !== 'gate'
        if (couldNot && made === undefined && !state.stop.signal.aborted)
          rememberPart(state, unit, partKey(unit.key, 'made'), attempt, output)
        throw error
      },
    )
    return output
  })
}

/** What the run keeps of an output. Throws what is not tried again where it is too large, or cannot be stored. */
function kept({ checkpoints }: RunState, output: JsonValue): JsonValue {
  return storable(fitting(output, checkpoints.values()))
}

/** Does a step's work within its time limit. Steps without one, which are most, pay for no controller and no abort. */
async function withinLimit<Result>(
  { clock }: Pick<RunStepDeps, 'clock'>,
  { id, timeoutMs }: Step,
  stopped: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  if (timeoutMs === undefined) return await work(stopped)
  const [deadline, returned] = [new AbortController(), new AbortController()]
  const expire = () => deadline.abort('deadline')
  clock.sleep(timeoutMs, returned.signal).then(expire, () => {})
  try {
    return await work(AbortSignal.any([stopped, deadline.signal]))
  } catch (error) {
    const isOurs = StepFailure.is(error) || FabriqueError.is(error, 'unavailable')
    if (!deadline.signal.aborted || stopped.aborted || isOurs) throw error
    throw new StepFailure('timeout', `Step "${id}" took longer than ${timeoutMs} ms.`, { cause: error })
  } finally {
    returned.abort()
  }
}

function scopeOf(state: RunState, { step, item }: Unit): Scope {
  const scope = runScope(state.run, state.outputs(), step.lookups ?? {})
  return item === undefined ? scope : { ...scope, item: item.value, index: item.index }
}

/** Makes a paid call for a unit, or for a gate that judges it, under a key of its own. */
async function payForCall(
  deps: RunStepDeps,
  state: RunState,
  { step, key }: Unit,
  attempt: Attempt,
  signal: AbortSignal,
  call: { binding: string; request: JsonObject; files: Record<string, InputFile> },
): Promise<ProviderAnswer> {
  const calling: CallDeps = {
    ...deps,
    admit: (estimatedUsd) => state.admit(estimatedUsd),
    record: (record) => state.commitCalls(record.stepKey, [record]),
  }
  const { onUnknownOutcome } = state.definition
  const { record, answer } = await callModel(
    calling,
    {
      runId: state.run.id,
      definition: state.definition,
      binding: state.definition.providerBindings[call.binding],
      stepId: step.id,
      stepKey: key,
      attempt: attempt.number,
      seed: state.run.instance.variantIndex ?? 0,
      signal,
      timeLimitMs: step.timeoutMs,
      asksAgain: onUnknownOutcome === 'retry' || state.gates.get(decisionGate(key).id)?.status === 'approved',
      earlier: state.callsOf(key),
      onProgress: (payload) => state.noteProgress({ step, key }, payload),
    },
    call.request,
    call.files,
  )
  attempt.settled.push(record)
  return answer
}

/** Notes a part of a unit with all that the attempt has made and paid so far, and takes that out of the attempt. */
function rememberPart(state: RunState, unit: Unit, key: string, attempt: Attempt, output: JsonValue): void {
  const { made, settled } = attempt
  state.remember(unit, key, { ...attempt, startedAt: state.now(), made: [...made], settled: [...settled] }, output)
  made.length = 0
  settled.length = 0
}

/** What a step kind may do during an attempt; what it makes and pays is noted in the attempt. */
function createContext(
  deps: RunStepDeps,
  state: RunState,
  unit: Unit,
  attempt: Attempt,
  signal: AbortSignal,
): StepContext {
  const { key } = unit
  const opened: ArtifactRecord[] = []

  return {
    signal,
    progress: (payload) => state.noteProgress(unit, payload),
    tool: (name) => deps.catalog.tool(name),
    call: (request, files = {}) =>
      payForCall(deps, state, unit, attempt, signal, { binding: unit.step.id, request, files }),
    callWorkflow: (input) => callWorkflow(deps, state, unit, attempt, input),
    schema: (schema) => openSchema(deps.intake, schema),

    async once(name, work) {
      const part = partKey(key, name)
      const known = state.checkpoints.get(part)
      if (known !== undefined) return known.output
      const output = kept(state, await work())
      rememberPart(state, unit, part, attempt, output)
      await state.save('W13')
      return output
    },

    async open(reference, field) {
      const id = valueAt(reference, ['id'])
      const record =
        typeof id === 'string' ? (state.artifacts.get(id) ?? attempt.made.find((own) => own.id === id)) : undefined
      if (record === undefined)
        throw new StepFailure('invalid', `"${field}" of step "${key}" must be a file that a step of this run made.`)
      opened.push(record)
      return { record, bytes: await stored(deps, record) }
    },

    async store(file) {
      const { problem, ...facts } = await deps.inspect(file.bytes, file.mimeType, promisedType(state, unit))
      const blob = await deps.artifacts.put(state.run.organizationId, file.bytes, facts.mimeType)
      const record: ArtifactRecord = {
        id: deps.ids.next(),
        stepKey: key,
        role: file.name,
        status: 'draft',
        bytes: file.bytes.byteLength,
        // Simulated like anything that it was made from.
        simulated: [...attempt.settled, ...opened, ...state.sourcesOf(unit)].some(({ simulated }) => simulated),
        ...facts,
        ...blob,
      }
      attempt.made.push(record)
      deps.killpoint?.('W7')
      // Only now: the bytes may have been paid for, and stay as a draft of the run.
      if (problem !== undefined) throw new StepFailure('bad_output', problem, { billed: 'yes' })
      return artifactReference(record)
    },
  }
}

/** The bytes of an artifact; a failure of the step where the store has lost or damaged them. */
export async function stored(
  { artifacts }: { artifacts: Pick<ArtifactStore, 'get'> },
  { role, storageKey }: ArtifactRecord,
): Promise<Uint8Array> {
  return await artifacts.get(storageKey).catch((error: unknown) => {
    if (!FabriqueError.is(error) || error.code === 'unavailable') throw error
    throw new StepFailure('invalid', `The file "${role}" of this run cannot be read: ${error.message}`, {
      code: error.code,
      cause: error,
    })
  })
}

/** The type of the file that the template promises of a step. */
function promisedType({ definition }: RunState, { step }: Unit): string | undefined {
  return definition.artifactSchema.files.find(
    ({ role, from }) => parsePath(from ?? `steps.${role}.output`)?.path[0] === step.id,
  )?.mimeType
}

/** As `StepContext.schema`. A schema that could not be compiled in time is tried again like a server that is busy. */
async function openSchema(
  intake: IntakeSchemas,
  schema: JsonObject,
): Promise<(value: JsonValue) => Promise<JsonValue>> {
  const hash = contentHash(schema)
  const judge = (value: JsonValue) => intake.validate(hash, schema, value, { showsValues: false })
  const { failure, problems } = await judge(null)
  if (failure !== undefined) {
    throw new StepFailure(failure === 'too-slow' ? 'server' : 'invalid', `${problems[0]?.detail ?? failure}.`, {
      code: 'output-schema',
    })
  }
  return async (value) => {
    const checked = await judge(value)
    if (checked.problems.length === 0) return checked.value as JsonValue
    const shown = checked.problems.slice(0, PROBLEMS_TOLD).map(({ detail }) => detail)
    const more = checked.problems.length - shown.length
    const message = `The answer does not fit the schema: ${shown.join('; ')}${more > 0 ? `; and ${more} more` : ''}.`
    throw new StepFailure('bad_output', message.slice(0, MESSAGE_LENGTH), { billed: 'yes' })
  }
}

/**
 * Asks the gates that judge a step's output: the first that does not pass fails it. With forEach, gates that apply to
 * any step judge each `item`, and gates that name the step in `after` judge the `whole` list.
 */
async function judge(
  deps: RunStepDeps,
  state: RunState,
  unit: Unit,
  attempt: Attempt,
  output: JsonValue,
  what: 'item' | 'whole' | 'both',
): Promise<void> {
  const { step } = unit
  const bound = state.definition.providerBindings[step.id]?.models[0]?.model
  const model = bound === undefined ? null : (deps.catalog.model(bound) ?? null)
  for (const one of state.graph.gates) {
    const { after } = one.gate
    if ((after !== undefined && after !== step.id) || what === (after === undefined ? 'whole' : 'item')) continue
    const verdict = await verdictOf(deps, state, unit, attempt, { ...one, model, output })
    const complaint = verdict === null ? null : state.noteVerdict(one.gate, verdict)
    if (complaint !== null) throw new StepFailure('gate', complaint, { billed: 'yes', code: 'gate-failed' })
  }
}

async function verdictOf(
  deps: RunStepDeps,
  state: RunState,
  unit: Unit,
  attempt: Attempt,
  { gate, kind, expression, model, output }: BoundGate & { model: Model | null; output: JsonValue },
): Promise<Verdict | null> {
  const { step, key } = unit
  if (kind.stands === 'condition' && expression !== null && gate.after !== undefined) {
    const scope = state.expressionScope()
    return verdictOn(gate, () => expression.holds({ ...scope, steps: { ...scope.steps, [step.id]: { output } } }))
  }
  if (kind.stands === 'spending' && gate.after !== undefined) {
    const spentUsd = state.spentUsd()
    const limitUsd = kind.limitUsd(gate)
    if (spentUsd <= limitUsd) return { passed: true }
    return { passed: false, detail: `the run has spent $${spentUsd}, over its limit of $${limitUsd}` }
  }
  if (kind.stands !== 'after-step' || !kind.applies(step, model)) return null
  const records = [...[...state.artifacts.values()].filter(({ stepKey }) => isWithin(stepKey, key)), ...attempt.made]
  const files = await Promise.all(records.map(async (record) => ({ record, bytes: await stored(deps, record) })))
  const asking = { step, key: judgingKey(key, gate.id) }
  return await kind.judge({
    gate,
    step,
    model,
    artifacts: files,
    output,
    ask: (request, asked) =>
      payForCall(deps, state, asking, attempt, state.stop.signal, {
        binding: gateBinding(gate),
        request,
        files: asked,
      }),
  })
}

/** A condition's verdict; one that cannot be evaluated does not pass. */
export function verdictOn(gate: Gate, holds: () => boolean): Verdict {
  try {
    return holds() ? { passed: true } : { passed: false, detail: textOf(gate.message ?? 'its condition does not hold') }
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error
    return { passed: false, detail: `its condition cannot be evaluated (${error.message})` }
  }
}

function unresolved(state: RunState, step: Step, missing: string[]): StepFailure {
  const gate = state.graph.gates.find(({ kind }) => kind.stands === 'before-call')?.gate
  const detail = `step "${step.id}" needs a value for ${[...new Set(missing)].join(', ')}.`
  if (gate !== undefined) state.noteGate(gate, 'failed', detail)
  return new StepFailure('gate', `The gate "${gate?.name ?? 'prompt resolution'}" did not pass: ${detail}`, {
    code: 'prompt-unresolved',
  })
}
