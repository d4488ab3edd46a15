// One step of a run, from its first attempt to its outcome.
// Hides rendering, what a kind may do while it runs, the gates that judge it, and which failures are tried again.
import { FabriqueError, type JsonObject, type JsonValue, ownFields, type Step, textOf } from '@fabrique/schema'
import { callModel } from './call.ts'
import type { Catalog, Providers, StepContext } from './catalog.ts'
import { backoffMs, StepFailure, TRANSIENT } from './failure.ts'
import { renderText, renderValue, runScope, type Scope, valueAt } from './placeholders.ts'
import type { ArtifactRecord, ArtifactStore, CallRecord, Clock, Ids, Inspect, Log, NewEvent } from './ports.ts'
import { artifactReference, type Attempt, RunTaken, type RunState } from './run-state.ts'

export interface RunStepDeps {
  artifacts: ArtifactStore
  catalog: Catalog
  providers: Providers
  inspect: Inspect
  clock: Clock
  ids: Ids
  log: Log
  killpoint?: (name: string) => void
}

/** Attempts a step until it is settled or `state.stop` is aborted. Throws `RunTaken`, or `unavailable` of the record. */
export async function runStep(deps: RunStepDeps, state: RunState, step: Step): Promise<void> {
  const key = step.id
  const { signal } = state.stop
  const startedAt = state.now()
  const { maxAttempts = 3, backoffMs: base = 1000, on = TRANSIENT } = step.retry ?? {}
  state.noteStart(step)
  for (let number = 1; ; number += 1) {
    const attempt: Attempt = { number, startedAt, made: [], settled: [] }
    try {
      const output = await performAttempt(deps, state, step, attempt)
      state.settle(step, attempt, { status: 'completed', output })
      return
    } catch (error) {
      if (error instanceof RunTaken) throw error
      if (signal.aborted) {
        // After a cancel the answers are booked; otherwise they stay staged, for the next holder to adopt.
        if (signal.reason === 'cancel') state.noteCalls(attempt.settled)
        return
      }
      // The record is away, not the step at fault: whoever holds the run next adopts what was staged.
      if (FabriqueError.is(error, 'unavailable')) throw error
      const failed = StepFailure.is(error) ? error : bug(deps, state, key, error)
      const reason = { code: failed.code, message: failed.message }
      if (number >= maxAttempts || !on.some((wanted) => wanted === failed.failureClass)) {
        attempt.settled.push(...abandoned(state.callsOf(key)))
        state.settle(step, attempt, { status: 'failed', error: { ...reason, node_key: key } })
        return
      }
      const delayMs = backoffMs(number, base, failed.retryAfterMs)
      const retrying: NewEvent = {
        kind: 'workflow.node.retrying',
        nodeKey: key,
        payload: { step: key, attempt: number, delay_ms: delayMs, error: reason },
      }
      await state.commitCalls(key, attempt.settled, [retrying])
      for (const { id } of attempt.settled) await deps.artifacts.unstage(id)
      await deps.clock.sleep(delayMs, signal).catch(() => {})
      if (signal.aborted) return
    }
  }
}

/** Calls of a step that is given up while a provider may still be at work: nobody will ask for them again. */
function abandoned(calls: CallRecord[]): CallRecord[] {
  const open = calls.filter(({ outcome }) => outcome === 'pending')
  return open.map((call) => ({ ...call, outcome: 'unknown', actualUsd: call.estimatedUsd }))
}

function bug(deps: Pick<RunStepDeps, 'log'>, state: RunState, key: string, error: unknown): StepFailure {
  deps.log.error({ run_id: state.run.id, step: key, err: error }, 'a step threw something that is not a failure')
  return new StepFailure('internal', 'The step failed for a reason of our own; it is in the log.', { cause: error })
}

async function performAttempt(deps: RunStepDeps, state: RunState, step: Step, attempt: Attempt): Promise<JsonValue> {
  const kind = deps.catalog.kind(step.kind)
  if (kind === undefined) throw new StepFailure('invalid', `This worker does not know the step kind "${step.kind}".`)
  const scope = runScope(state.run, state.outputs(), step.lookups ?? {})
  const { fields, missing } = renderFields(step, kind.renders, scope)
  if (missing.length > 0) throw unresolved(state, step, missing)
  const { signal: stopped } = state.stop
  const deadline = step.timeoutMs === undefined ? null : AbortSignal.timeout(step.timeoutMs)
  const context = createContext(
    deps,
    state,
    step,
    attempt,
    deadline === null ? stopped : AbortSignal.any([stopped, deadline]),
  )
  try {
    const output = await kind.run(fields, context)
    await judge(deps, state, step, attempt, output)
    return output
  } catch (error) {
    if (deadline?.aborted && !stopped.aborted && !StepFailure.is(error)) {
      throw new StepFailure('timeout', `Step "${step.id}" took longer than ${step.timeoutMs} ms.`, { cause: error })
    }
    throw error
  }
}

/** What a kind may do during this attempt; whatever it makes or pays is noted in the attempt. */
function createContext(
  deps: RunStepDeps,
  state: RunState,
  step: Step,
  { number, made, settled }: Attempt,
  signal: AbortSignal,
): StepContext {
  const key = step.id
  const opened: ArtifactRecord[] = []
  const calling = {
    catalog: deps.catalog,
    providers: deps.providers,
    artifacts: deps.artifacts,
    killpoint: deps.killpoint ?? (() => {}),
    record: (call: CallRecord) => state.commitCalls(call.stepKey, [call]),
  }

  // Progress is news, not a fact: it may ride on the next commit, or be lost with the process.
  function progress(payload: JsonObject): void {
    state.noteEvent({ kind: 'workflow.node.progress', nodeKey: key, payload: { step: key, ...payload } })
  }

  return {
    signal,
    progress,
    tool: (name) => deps.catalog.tool(name),

    async call(request, files = {}) {
      const site = {
        runId: state.run.id,
        definition: state.definition,
        step,
        stepKey: key,
        attempt: number,
        signal,
        earlier: state.callsOf(key),
        onProgress: progress,
      }
      const { record, answer } = await callModel(calling, site, request, files)
      settled.push(record)
      return answer
    },

    async open(reference, field) {
      const id = valueAt(reference, ['id'])
      const record = typeof id === 'string' ? (state.artifacts.get(id) ?? made.find((own) => own.id === id)) : undefined
      if (record === undefined)
        throw new StepFailure('invalid', `"${field}" of step "${key}" must be a file that a step of this run made.`)
      opened.push(record)
      return { record, bytes: await deps.artifacts.get(record.storageKey) }
    },

    async store(file) {
      const facts = await deps.inspect(file.bytes, file.mimeType)
      const blob = await deps.artifacts.put(state.run.organizationId, file.bytes, facts.mimeType)
      const record: ArtifactRecord = {
        id: deps.ids.next(),
        stepKey: key,
        role: file.name,
        status: 'draft',
        bytes: file.bytes.byteLength,
        // A file made from a simulated one is no more real than that.
        simulated: [...settled, ...opened].some(({ simulated }) => simulated),
        ...facts,
        ...blob,
      }
      made.push(record)
      deps.killpoint?.('W7')
      return artifactReference(record)
    },
  }
}

/** The gates that stand behind a step: the first that fails fails the step. */
async function judge(
  deps: Pick<RunStepDeps, 'artifacts' | 'catalog'>,
  state: RunState,
  step: Step,
  { made }: Attempt,
  output: JsonValue,
): Promise<void> {
  const bound = state.definition.providerBindings[step.id]?.models[0]?.model
  const model = bound === undefined ? null : (deps.catalog.model(bound) ?? null)
  for (const { gate, kind } of state.graph.gates) {
    if (kind.stands !== 'after-step' || (gate.after !== undefined && gate.after !== step.id)) continue
    if (!kind.applies(step, model)) continue
    const artifacts = await Promise.all(
      made.map(async (record) => ({ record, bytes: await deps.artifacts.get(record.storageKey) })),
    )
    const complaint = state.noteVerdict(gate, await kind.judge({ step, model, artifacts, output }))
    if (complaint !== null) throw new StepFailure('gate', complaint, { billed: 'yes', code: 'gate-failed' })
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

/** The kind's own fields with their placeholders filled, and what had no value. */
function renderFields(step: Step, renders: { field: string; as: 'text' | 'value' }[], scope: Scope) {
  const fields = ownFields(step)
  const missing: string[] = []
  for (const { field, as } of renders) {
    const template = fields[field]
    if (template === undefined) continue
    if (as === 'value') {
      const rendered = renderValue(template, scope)
      fields[field] = rendered.value ?? null
      missing.push(...rendered.missing)
      continue
    }
    const rendered = renderText(textOf(template), scope)
    fields[field] = rendered.text
    missing.push(...rendered.missing)
    if (rendered.text.trim() === '' && rendered.missing.length === 0) missing.push(`its whole ${field}`)
  }
  return { fields, missing }
}
