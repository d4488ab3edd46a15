// The one story of a run: claim, advance step by step behind durable checkpoints, finish or park.
// Hides order and concurrency; what a step does is its kind's, what is true is the store's.
import {
  type EventKind,
  type JsonObject,
  type JsonValue,
  type RunError,
  roundUsd,
  type Step,
  StepCommon,
  textOf,
} from '@fabrique/schema'
import { type CallDeps, callModel } from './call.ts'
import type { Catalog, InputFile, Model, ProducedFile, ProviderAnswer, Providers, StepContext } from './catalog.ts'
import { backoffMs, StepFailure, TRANSIENT } from './failure.ts'
import { createGraph, type Graph, next } from './plan.ts'
import { parsePath, renderText, renderValue, runScope, type Scope, valueAt } from './placeholders.ts'
import type {
  ArtifactRecord,
  ArtifactStore,
  CallRecord,
  Checkpoint,
  ClaimedRun,
  Clock,
  CommitOutcome,
  GateRecord,
  Ids,
  Log,
  NewEvent,
  RunHistory,
  RunQueue,
  RunStore,
  Transition,
} from './ports.ts'
import type { Definition } from './specification.ts'

/** What a produced file turned out to be; rejects with a `bad_output` failure what does not decode. */
export type Inspect = (
  bytes: Uint8Array,
  promisedType: string,
) => Promise<{ mimeType: string; width: number | null; height: number | null; durationMs: number | null }>

export interface EngineDeps {
  store: RunStore
  queue: Pick<RunQueue, 'enqueue' | 'publish'>
  artifacts: ArtifactStore
  catalog: Catalog
  providers: Providers
  inspect: Inspect
  clock: Clock
  ids: Ids
  log: Log
  /** Names this process in the record. */
  worker: string
  leaseMs: number
  /** Steps of one run that may be in flight at once. */
  parallelSteps?: number
  killpoint?: (name: string) => void
}

/** How an execution ended. Only `finished` and `waiting` changed what the outside sees of the run. */
export type Execution = 'finished' | 'waiting' | 'released' | 'lost'

/** Why a worker aborts an execution; also the reason of its signal. */
export type AbortReason = 'cancel' | 'lost' | 'shutdown'

export interface Engine {
  /**
   * Executes a run as far as it goes. Losing the claim or the fence is a normal return, not an error.
   * `onClaimed` hears the fence that has to be renewed while this is under way.
   */
  execute(
    runId: string,
    signal: AbortSignal,
    onClaimed?: (held: { runId: string; rootRunId: string; fence: number }) => void,
  ): Promise<Execution>
}

const DEFINITIONS_CACHED_MAX = 500
const PARALLEL_STEPS = 8
const EMPTY: RunHistory = { checkpoints: [], calls: [], artifacts: [], gates: [] }

/** Thrown inside an execution whose run is no longer its own. */
class RunTaken extends Error {
  readonly outcome: 'lost' | 'cancelled'
  constructor(outcome: 'lost' | 'cancelled') {
    super(`the run was ${outcome}`)
    this.outcome = outcome
  }
}

/** An engine over these ports. Holds nothing but a cache of definitions; any number of runs may be executed at once. */
export function createEngine(deps: EngineDeps): Engine {
  const prepared = new Map<string, { definition: Definition; graph: Graph }>()

  async function prepare(hash: string) {
    const known = prepared.get(hash)
    if (known !== undefined) return known
    const definition = await deps.store.definition(hash)
    if (definition === null) throw new Error(`the specification ${hash} is not in the record`)
    if (prepared.size >= DEFINITIONS_CACHED_MAX) prepared.delete(prepared.keys().next().value as string)
    const entry = { definition, graph: createGraph(definition, deps.catalog) }
    prepared.set(hash, entry)
    return entry
  }

  return {
    async execute(runId, signal, onClaimed) {
      const run = await deps.store.claim(runId, deps.worker, deps.leaseMs)
      if (run === null) return 'lost'
      onClaimed?.({ runId, rootRunId: run.rootRunId, fence: run.fence })
      deps.killpoint?.('W2')
      const { definition, graph } = await prepare(run.definitionHash)
      const history = run.resumed ? await deps.store.history(runId) : EMPTY
      return await advance(deps, run, definition, graph, history, signal)
    },
  }
}

async function advance(
  deps: EngineDeps,
  run: ClaimedRun,
  definition: Definition,
  graph: Graph,
  history: RunHistory,
  signal: AbortSignal,
): Promise<Execution> {
  const checkpoints = new Map(history.checkpoints.map((checkpoint) => [checkpoint.key, checkpoint]))
  const gates = new Map(history.gates.map((gate) => [gate.id, gate]))
  const artifacts = new Map(history.artifacts.map((artifact) => [artifact.id, artifact]))
  const calls = Map.groupBy(history.calls, (call) => call.stepKey)
  const running = new Map<string, Promise<void>>()
  const stop = new AbortController()
  // By hand: `AbortSignal.any` costs a short run several microseconds and keeps weak references for the collector.
  const stepSignal = stop.signal
  if (signal.aborted) stop.abort(signal.reason)
  else signal.addEventListener('abort', () => stop.abort(signal.reason), { once: true })
  const aborted = new Promise<void>((resolve) => stepSignal.addEventListener('abort', () => resolve(), { once: true }))
  const afterCommit: (() => Promise<void>)[] = []
  const unannounced = new Map<string, NewEvent>()
  let draft = emptyTransition(run)
  let failure: RunError | null = null
  /** What ended a step without an outcome: the loss of the run, or a bug of ours. */
  let interruption: unknown = null

  /** Writes a transition and tells those who watch; a run that is no longer ours ends the execution here. */
  async function commit(transition: Transition): Promise<void> {
    const outcome: CommitOutcome = await deps.store.commit(transition)
    if (outcome.outcome === 'committed') {
      deps.queue.publish(outcome.events)
      return
    }
    stop.abort(outcome.outcome === 'lost' ? 'lost' : 'cancel')
    // What happened before the cancel was heard of is true all the same: it is booked with the run's end.
    if (outcome.outcome === 'cancelled') {
      const { checkpoints, calls, artifacts, events } = transition
      draft.checkpoints.unshift(...checkpoints)
      draft.calls.unshift(...calls.filter((call) => call.outcome !== 'pending'))
      draft.artifacts.unshift(...artifacts)
      draft.events.unshift(...events.filter(({ nodeKey }) => nodeKey !== undefined))
    }
    throw new RunTaken(outcome.outcome)
  }

  function takeDraft(): Transition {
    const taken = draft
    draft = emptyTransition(run)
    return taken
  }

  /** A step's start becomes visible with the first write that it causes: one statement less for a short step. */
  function takeStarted(key: string): NewEvent[] {
    const started = unannounced.get(key)
    unannounced.delete(key)
    return started === undefined ? [] : [started]
  }

  const callDeps: CallDeps = {
    catalog: deps.catalog,
    providers: deps.providers,
    artifacts: deps.artifacts,
    killpoint: deps.killpoint ?? (() => {}),
    record: (call) => commit({ ...emptyTransition(run), calls: [call], events: takeStarted(call.stepKey) }),
  }

  async function runStep(step: Step): Promise<void> {
    const startedAt = new Date(deps.clock.nowMs()).toISOString()
    const key = step.id
    const { maxAttempts = 3, backoffMs: base = 1000, on = TRANSIENT } = step.retry ?? {}
    unannounced.set(key, { kind: 'workflow.node.started', nodeKey: key, payload: { step: key, kind: step.kind } })
    for (let attempt = 1; ; attempt += 1) {
      const made: ArtifactRecord[] = []
      const settled: CallRecord[] = []
      try {
        const output = await performStep(step, key, attempt, made, settled)
        const simulated = settled.some((call) => call.simulated)
        settle(
          {
            key,
            stepId: step.id,
            status: 'completed',
            attempt,
            output,
            error: null,
            simulated,
            startedAt,
            finishedAt: now(),
          },
          made,
          settled,
        )
        return
      } catch (error) {
        if (error instanceof RunTaken) throw error
        if (stepSignal.aborted) {
          // After a cancel the answers are booked; otherwise they stay staged, for the next holder to adopt.
          if (stepSignal.reason === 'cancel') draft.calls.push(...settled)
          return
        }
        const failed = StepFailure.is(error) ? error : bug(error, key)
        const retriable = on.some((wanted) => wanted === failed.failureClass) && attempt < maxAttempts
        if (!retriable) {
          const runError = { code: failed.code, message: failed.message, node_key: key }
          failure ??= runError
          settled.push(...abandoned(key))
          settle(
            {
              key,
              stepId: step.id,
              status: 'failed',
              attempt,
              output: null,
              error: runError,
              simulated: false,
              startedAt,
              finishedAt: now(),
            },
            made,
            settled,
          )
          return
        }
        const delayMs = backoffMs(attempt, base, failed.retryAfterMs)
        const retrying: NewEvent = {
          kind: 'workflow.node.retrying',
          nodeKey: key,
          payload: { step: key, attempt, delay_ms: delayMs, error: { code: failed.code, message: failed.message } },
        }
        await commit({ ...emptyTransition(run), calls: settled, events: [...takeStarted(key), retrying] })
        for (const { id } of settled) await deps.artifacts.unstage(id)
        await deps.clock.sleep(delayMs, stepSignal).catch(() => {})
        if (stepSignal.aborted) return
      }
    }
  }

  /** Calls of a step that is given up while a provider may still be at work: nobody will ask for them again. */
  function abandoned(key: string): CallRecord[] {
    const open = (calls.get(key) ?? []).filter(({ outcome }) => outcome === 'pending')
    return open.map((call) => ({ ...call, outcome: 'unknown', actualUsd: call.estimatedUsd }))
  }

  function bug(error: unknown, key: string): StepFailure {
    deps.log.error({ run_id: run.id, step: key, err: error }, 'a step threw something that is not a failure')
    return new StepFailure('internal', 'The step failed for a reason of our own; it is in the log.', { cause: error })
  }

  function now(): string {
    return new Date(deps.clock.nowMs()).toISOString()
  }

  /** Notes an outcome for the next commit, and for planning. */
  function settle(checkpoint: Checkpoint, made: ArtifactRecord[], settled: CallRecord[]): void {
    checkpoints.set(checkpoint.key, checkpoint)
    draft.checkpoints.push(checkpoint)
    draft.calls.push(...settled)
    for (const { id } of settled) afterCommit.push(() => deps.artifacts.unstage(id))
    draft.artifacts.push(...made)
    draft.events.push(...takeStarted(checkpoint.key))
    for (const artifact of made) {
      artifacts.set(artifact.id, artifact)
      draft.events.push({
        kind: 'workflow.artifact.created',
        nodeKey: checkpoint.key,
        payload: artifactSummary(artifact),
      })
    }
    const kind: EventKind = `workflow.node.${checkpoint.status}`
    draft.events.push({
      kind,
      nodeKey: checkpoint.key,
      payload: {
        step: checkpoint.stepId,
        attempt: checkpoint.attempt,
        simulated: checkpoint.simulated,
        ...(checkpoint.error === null ? {} : { error: { ...checkpoint.error } }),
      },
    })
  }

  function finishedOutputs(): Scope['steps'] {
    const completed = [...checkpoints.values()].filter(({ status }) => status === 'completed')
    return Object.fromEntries(completed.map(({ stepId, output }) => [stepId, { output }]))
  }

  async function performStep(
    step: Step,
    key: string,
    attempt: number,
    made: ArtifactRecord[],
    settled: CallRecord[],
  ): Promise<JsonValue> {
    const kind = deps.catalog.kind(step.kind)
    if (kind === undefined) throw new StepFailure('invalid', `This worker does not know the step kind "${step.kind}".`)
    const { fields, missing } = renderFields(step, kind.renders, runScope(run, finishedOutputs(), step.lookups ?? {}))
    if (missing.length > 0) throw unresolved(step, missing)
    const deadline = step.timeoutMs === undefined ? null : AbortSignal.timeout(step.timeoutMs)
    const callSignal = deadline === null ? stepSignal : AbortSignal.any([stepSignal, deadline])
    const opened: ArtifactRecord[] = []
    const context: StepContext = {
      signal: callSignal,
      tool: (name) => deps.catalog.tool(name),
      async call(request: JsonObject, files: Record<string, InputFile> = {}): Promise<ProviderAnswer> {
        const earlier = calls.get(key) ?? []
        calls.set(key, earlier)
        const site = {
          runId: run.id,
          definition,
          step,
          stepKey: key,
          attempt,
          signal: callSignal,
          earlier,
          onProgress: context.progress,
        }
        const { record, answer } = await callModel(callDeps, site, request, files)
        settled.push(record)
        return answer
      },
      async open(reference, field) {
        const id = valueAt(reference, ['id'])
        const record = typeof id === 'string' ? (artifacts.get(id) ?? made.find((own) => own.id === id)) : undefined
        if (record === undefined)
          throw new StepFailure('invalid', `"${field}" of step "${key}" must be a file that a step of this run made.`)
        opened.push(record)
        return { record, bytes: await deps.artifacts.get(record.storageKey) }
      },
      async store(file: ProducedFile) {
        const facts = await deps.inspect(file.bytes, file.mimeType)
        const blob = await deps.artifacts.put(run.organizationId, file.bytes, facts.mimeType)
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
      progress(payload) {
        // Progress is news, not a fact: it may ride on the next commit, or be lost with the process.
        draft.events.push({ kind: 'workflow.node.progress', nodeKey: key, payload: { step: key, ...payload } })
      },
    }
    let output: JsonValue
    try {
      output = await kind.run(fields, context)
      await judgeStep(step, made, output)
    } catch (error) {
      if (deadline?.aborted && !stepSignal.aborted && !StepFailure.is(error)) {
        throw new StepFailure('timeout', `Step "${key}" took longer than ${step.timeoutMs} ms.`, { cause: error })
      }
      throw error
    }
    return output
  }

  async function flush(): Promise<void> {
    const transition = takeDraft()
    if (isEmpty(transition)) return
    const done = afterCommit.splice(0)
    await commit(transition)
    deps.killpoint?.('W8')
    for (const clean of done) await clean()
  }

  /** The gates that stand behind a step: the first that fails fails the step. */
  async function judgeStep(step: Step, made: ArtifactRecord[], output: JsonValue): Promise<void> {
    const bound = definition.providerBindings[step.id]?.models[0]?.model
    const model: Model | null = bound === undefined ? null : (deps.catalog.model(bound) ?? null)
    for (const { gate, kind } of graph.gates) {
      if (kind.stands !== 'after-step' || (gate.after !== undefined && gate.after !== step.id)) continue
      if (!kind.applies(step, model)) continue
      const opened = await Promise.all(
        made.map(async (record) => ({ record, bytes: await deps.artifacts.get(record.storageKey) })),
      )
      const verdict = await kind.judge({ step, model, artifacts: opened, output })
      recordGate(gate, verdict.passed ? 'passed' : 'failed', verdict.passed ? null : verdict.detail)
      if (!verdict.passed) {
        throw new StepFailure('gate', `The gate "${gate.name}" did not pass: ${verdict.detail}`, {
          billed: 'yes',
          code: 'gate-failed',
        })
      }
    }
  }

  function unresolved(step: Step, missing: string[]): StepFailure {
    const gate = graph.gates.find(({ kind }) => kind.stands === 'before-call')?.gate
    const detail = `step "${step.id}" needs a value for ${[...new Set(missing)].join(', ')}.`
    if (gate !== undefined) recordGate(gate, 'failed', detail)
    return new StepFailure('gate', `The gate "${gate?.name ?? 'prompt resolution'}" did not pass: ${detail}`, {
      code: 'prompt-unresolved',
    })
  }

  function recordGate(
    gate: { id: string; name: string; type: string },
    status: GateRecord['status'],
    detail: string | null,
  ) {
    const record: GateRecord = { id: gate.id, name: gate.name, type: gate.type, status, detail }
    gates.set(gate.id, record)
    draft.gates = [...draft.gates.filter((other) => other.id !== gate.id), record]
  }

  function skip(step: Step): void {
    const at = now()
    settle(
      {
        key: step.id,
        stepId: step.id,
        status: 'skipped',
        attempt: 0,
        output: null,
        error: null,
        simulated: false,
        startedAt: at,
        finishedAt: at,
      },
      [],
      [],
    )
  }

  /** Every step is settled: judges the end gates, opens the review, or finishes. */
  async function conclude(): Promise<Execution> {
    const files = finalFiles(definition, checkpoints, artifacts)
    if (failure === null) {
      for (const { gate, kind } of graph.gates) {
        if (kind.stands === 'before-call') recordGate(gate, 'passed', null)
        if (kind.stands !== 'end' || gates.get(gate.id)?.status === 'passed') continue
        const verdict = await kind.judge({
          artifactSchema: definition.artifactSchema,
          files,
          read: (record) => deps.artifacts.get(record.storageKey),
        })
        recordGate(gate, verdict.passed ? 'passed' : 'failed', verdict.passed ? null : verdict.detail)
        if (verdict.passed) continue
        failure = { code: 'gate-failed', message: `The gate "${gate.name}" did not pass: ${verdict.detail}` }
        break
      }
    }
    const reviews = graph.gates.filter(({ gate, kind }) => kind.stands === 'review' && gate.after === undefined)
    const rejected = graph.gates.find(({ gate }) => gates.get(gate.id)?.status === 'rejected')
    if (rejected !== undefined) {
      failure ??= { code: 'review-rejected', message: `The review "${rejected.gate.name}" was rejected.` }
    }
    const open = failure === null ? reviews.filter(({ gate }) => gates.get(gate.id)?.status !== 'approved') : []
    // A run that failed for another reason than a person's no leaves its files as drafts.
    const status =
      rejected !== undefined ? 'rejected' : failure !== null ? 'draft' : open.length > 0 ? 'review' : 'approved'
    for (const { role, found } of files) {
      if (found === null) continue
      artifacts.set(found.id, { ...found, role, status })
      draft.artifacts = [...draft.artifacts.filter(({ id }) => id !== found.id), { ...found, role, status }]
    }
    if (open.length > 0) return await park(open.map(({ gate }) => gate))
    const simulated = [...checkpoints.values()].some((checkpoint) => checkpoint.simulated)
    deps.killpoint?.('W9')
    if (failure === null) {
      const output = outputOf(definition, graph, checkpoints)
      return await finish({ status: 'completed', output, simulated }, output)
    }
    return await finish({ status: 'failed', error: failure, simulated }, null)
  }

  async function park(open: { id: string; name: string; type: string }[]): Promise<Execution> {
    for (const gate of open) if (gates.get(gate.id)?.status !== 'open') recordGate(gate, 'open', null)
    const names = open.map(({ name }) => name)
    draft.events.push({
      kind: 'workflow.run.waiting',
      payload: {
        status: 'waiting',
        gates: open.map(({ id, name }) => ({ id, name })),
        detail: `Waiting for a decision: ${names.join(', ')}.`,
      },
    })
    draft.end = { status: 'waiting' }
    await commit(takeDraft())
    for (const clean of afterCommit.splice(0)) await clean()
    deps.killpoint?.('W11')
    return 'waiting'
  }

  async function finish(end: NonNullable<Transition['end']>, output: JsonObject | null): Promise<Execution> {
    const error = end.status === 'failed' ? end.error : null
    const booked = new Map([...calls.values()].flat().map((call) => [call.id, call]))
    for (const call of draft.calls) booked.set(call.id, call)
    const all = [...booked.values()]
    const slot: JsonObject = {
      index: 0,
      workflow: run.workflow,
      variant_index: run.instance.variantIndex,
      run_id: run.id,
      status: end.status,
      output,
      artifacts: [...artifacts.values()].filter((a) => a.status !== 'draft').map(artifactSummary),
      error: error === null ? null : { ...error },
    }
    draft.events.push({
      kind: `workflow.run.${end.status}` as EventKind,
      payload: {
        status: end.status,
        partial: false,
        state: run.state,
        metadata: run.metadata,
        outputs: [slot],
        cost: {
          currency: 'USD',
          estimated: roundUsd(all.reduce((sum, call) => sum + call.estimatedUsd, 0)),
          actual: roundUsd(all.reduce((sum, call) => sum + (call.actualUsd ?? 0), 0)),
          pricing_version: definition.pricingVersion,
        },
        error: error === null ? null : { ...error },
      },
    })
    draft.end = end
    const done = afterCommit.splice(0)
    await commit(takeDraft())
    deps.killpoint?.('W10')
    for (const clean of done) await clean()
    return 'finished'
  }

  /** Ends an execution that cannot go on: settles the run by the reason, after what was in flight has stopped. */
  async function interrupted(reason: AbortReason): Promise<Execution> {
    stop.abort(reason)
    await Promise.allSettled(running.values())
    if (reason === 'lost') return 'lost'
    if (reason === 'cancel') return await finish({ status: 'cancelled' }, null)
    await flush()
    const delivery = await deps.store.release(run.id, run.fence)
    if (delivery !== null) await deps.queue.enqueue([delivery])
    return 'released'
  }

  function start(step: Step): void {
    const execution = runStep(step)
      .catch((error: unknown) => {
        interruption ??= error
      })
      .finally(() => running.delete(step.id))
    running.set(step.id, execution)
  }

  /** Advances until the run is finished, parked or interrupted. */
  async function loop(): Promise<Execution> {
    for (;;) {
      // A step that met the loss may take its time to return: without waiting for it, this would spin.
      if (stop.signal.aborted) await Promise.allSettled(running.values())
      if (interruption !== null) throw interruption
      if (signal.aborted) return await interrupted(signal.reason)
      if (failure !== null && run.failFast) {
        stop.abort('cancel')
        await Promise.allSettled(running.values())
        return await conclude()
      }
      const plan = next(graph, { checkpoints, gates, running: new Set(running.keys()) })
      for (const step of plan.unreachable) skip(step)
      if (plan.unreachable.length > 0) continue
      if (plan.ready.length === 0 && running.size === 0) {
        const undecided = plan.reviews.filter(({ gate }) => gates.get(gate.id)?.status !== 'rejected')
        return undecided.length === 0 ? await conclude() : await park(undecided.map(({ gate }) => gate))
      }
      await flush()
      for (const step of plan.ready.slice(0, (deps.parallelSteps ?? PARALLEL_STEPS) - running.size)) start(step)
      await Promise.race([...running.values(), aborted])
    }
  }

  try {
    return await loop()
  } catch (error) {
    if (!(error instanceof RunTaken)) {
      await interrupted('lost')
      throw error
    }
    // A cancel that reached the record before it reached us is settled here; a second loss is only a loss.
    return await interrupted(error.outcome === 'lost' ? 'lost' : 'cancel').catch((late: unknown) => {
      if (late instanceof RunTaken) return 'lost' as const
      throw late
    })
  }
}

function emptyTransition(run: ClaimedRun): Transition {
  return { runId: run.id, fence: run.fence, checkpoints: [], calls: [], artifacts: [], gates: [], events: [] }
}

function isEmpty(transition: Transition): boolean {
  const { checkpoints, calls, artifacts, gates, events } = transition
  return checkpoints.length + calls.length + artifacts.length + gates.length + events.length === 0
}

/** The kind's own fields with their placeholders filled, and what had no value. */
function renderFields(step: Step, renders: { field: string; as: 'text' | 'value' }[], scope: Scope) {
  const fields = Object.fromEntries(
    Object.entries(step).filter(([key]) => !Object.hasOwn(StepCommon.shape, key)),
  ) as JsonObject
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

/** What a step's output holds of an artifact; later steps refer to the file by it. */
function artifactReference(record: ArtifactRecord): JsonObject {
  return {
    id: record.id,
    mime_type: record.mimeType,
    bytes: record.bytes,
    sha256: record.sha256,
    width: record.width,
    height: record.height,
  }
}

function artifactSummary(record: ArtifactRecord): JsonObject {
  return {
    ...artifactReference(record),
    role: record.role,
    status: record.status,
    storage_key: record.storageKey,
    simulated: record.simulated,
  }
}

/** The artifact behind each file that the template promises. */
function finalFiles(
  definition: Definition,
  checkpoints: ReadonlyMap<string, Checkpoint>,
  artifacts: ReadonlyMap<string, ArtifactRecord>,
): { role: string; mimeType: string; found: ArtifactRecord | null }[] {
  const outputs = outputsById(checkpoints)
  return definition.artifactSchema.files.map(({ role, mimeType, from }) => {
    const path = parsePath(from ?? `steps.${role}.output.artifact`)
    const id = path === undefined ? undefined : valueAt(outputs, [...path.path, 'id'])
    return { role, mimeType, found: (typeof id === 'string' ? artifacts.get(id) : undefined) ?? null }
  })
}

function outputsById(checkpoints: ReadonlyMap<string, Checkpoint>): Record<string, { output: JsonValue }> {
  return Object.fromEntries(
    [...checkpoints.values()].map((checkpoint) => [checkpoint.stepId, { output: checkpoint.output }]),
  )
}

/** The run's output: its declared aliases, else the outputs of the steps that no other step references. */
function outputOf(definition: Definition, graph: Graph, checkpoints: ReadonlyMap<string, Checkpoint>): JsonObject {
  const outputs = outputsById(checkpoints)
  const aliases = Object.entries(definition.outputAliases)
  if (aliases.length > 0) {
    return Object.fromEntries(
      aliases.map(([alias, path]) => [alias, valueAt(outputs, parsePath(path)?.path ?? []) ?? null]),
    )
  }
  const referenced = new Set(graph.steps.flatMap(({ needs }) => needs))
  return Object.fromEntries(
    [...checkpoints.values()]
      .filter((c) => !referenced.has(c.stepId) && c.status === 'completed')
      .map((c) => [c.stepId, c.output]),
  )
}
