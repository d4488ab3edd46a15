// One execution of a run: claim it, advance it step by step behind durable checkpoints, finish or suspend it.
// Hides order and concurrency; what a step does is its kind's, what is true is the store's.
import { FabriqueError, isTerminal, type Step } from '@fabrique/schema'
import { LRUCache } from 'lru-cache'
import { conclude, finish, openGate, suspend } from './end-run.ts'
import { ExpressionError } from '../template/expression.ts'
import { backoffMs, StepFailure } from '../failure.ts'
import { announce } from '../follow-up.ts'
import { continuation, retriedHistory } from '../inheritance.ts'
import { outlasting, outlastingArtifacts } from './outage.ts'
import { createGraph, type Graph, type Next, next } from './plan.ts'
import type { ChildRecord, ClaimedRun, Clock, RunHistory, RunQueue, RunStore } from '../ports.ts'
import { createRunState, RunTaken, type RunState } from './run-state.ts'
import { newAttempt, runStep, type RunStepDeps } from './run-step.ts'
import type { Definition } from '../specification.ts'
import { stepIdOf } from '../unit-key.ts'

export interface EngineDeps extends RunStepDeps {
  store: RunStore
  queue: Pick<RunQueue, 'enqueue' | 'publish' | 'publishCancel'>
  /** Names this process in the record. */
  worker: string
  leaseMs: number
  /** Steps of one run that may be in flight at once. */
  parallelSteps?: number
}

/**
 * How an execution ended. Only `finished` and `waiting` change what the outside sees of the run: a `suspended` one is
 * suspended until a run that it called has ended.
 */
export type ExecutionOutcome = 'finished' | 'waiting' | 'suspended' | 'released' | 'lost'

/** Why a worker aborts an execution; also the reason of its signal. */
export type AbortReason = 'cancel' | 'lost' | 'shutdown'

export interface Engine {
  /**
   * Executes a run as far as it goes. Losing the claim or the fence is a normal return, not an error.
   * `onClaimed` gets the lease that the caller has to renew until this returns.
   */
  execute(
    runId: string,
    signal: AbortSignal,
    onClaimed?: (lease: { runId: string; rootRunId: string; fence: number }) => void,
  ): Promise<ExecutionOutcome>
}

const DEFINITIONS_CACHED_MAX = 500
const PARALLEL_STEPS = 8
/** How often an execution checks its called runs while other steps are running. */
const CHILDREN_POLL_MS = 1_000
/** The first pause before a cancelled execution looks whether its called runs have ended; the worker of one may be dead. */
const CHILDREN_ENDED_MS = 50
const CHILDREN_ENDED_LEASES = 2
const EMPTY: RunHistory = { checkpoints: [], calls: [], artifacts: [], gates: [], children: [] }

/** An engine over these ports. Keeps nothing but a cache of definitions; any number of runs may be executed at once. */
export function createEngine(deps: EngineDeps): Engine {
  const cache = new LRUCache<string, { definition: Definition; graph: Graph }>({ max: DEFINITIONS_CACHED_MAX })

  async function prepare(store: RunStore, hash: string) {
    const known = cache.get(hash)
    if (known !== undefined) return known
    const definition = await store.definition(hash)
    if (definition === null) throw new Error(`the specification ${hash} is not in the record`)
    const prepared = { definition, graph: createGraph(definition, deps.catalog) }
    cache.set(hash, prepared)
    return prepared
  }

  /** The state of a run; a retried child, when it first executes, inherits what its earlier run has finished. */
  async function restore(own: EngineDeps, run: ClaimedRun, definition: Definition, graph: Graph): Promise<RunState> {
    const history = run.resumed || run.instance.inherited === true ? await own.store.history(run.id) : EMPTY
    const { continues } = run.instance
    if (continues === undefined) return createRunState(own, run, definition, graph, history)
    const { earlier, status, earlierCalls } = await retriedHistory(own.store, continues)
    const instance = { ...run.instance, earlierCalls }
    const state = createRunState(own, { ...run, instance }, definition, graph, history)
    if (history.checkpoints.length === 0) state.inherit(continuation({ definition, status }, earlier, deps.ids))
    return state
  }

  return {
    async execute(runId, signal, onClaimed) {
      const store = outlasting(deps.store, deps.clock, signal)
      const run = await store.claim(runId, deps.worker, deps.leaseMs)
      if (run === null) return 'lost'
      const own = {
        ...deps,
        store,
        artifacts: outlastingArtifacts(deps.artifacts, deps, runId, signal),
        clock: recordClock(deps.clock, run),
      }
      onClaimed?.({ runId, rootRunId: run.rootRunId, fence: run.fence })
      deps.killpoint?.('W2')
      try {
        const { definition, graph } = await prepare(own.store, run.definitionHash)
        const state = await restore(own, run, definition, graph)
        const outcome = await advance(own, state, signal)
        // An earlier execution may have died between a commit and the removal of what it had staged.
        if (outcome === 'finished' && run.resumed) {
          for (const { id } of state.calls()) await own.artifacts.unstage(id)
        }
        if (run.awaitedBy !== null && (outcome === 'finished' || outcome === 'waiting'))
          await notify(own, run.awaitedBy)
        return outcome
      } catch (error) {
        // The artifact store is away; or the record, at a shutdown.
        if (!FabriqueError.is(error, 'unavailable')) throw error
        return await handBack(own, run)
      }
    },
  }
}

/** The record's time, which is that of the runs and events beside it, whatever the clock of this machine says. */
function recordClock({ nowMs, sleep }: Clock, { claimedAt }: ClaimedRun): Clock {
  const aheadMs = Date.parse(claimedAt) - nowMs()
  return { nowMs: () => nowMs() + aheadMs, sleep }
}

/** Wakes a run to check what it waits for. A lost notification only delays it: it wakes by itself in the end. */
async function notify({ store, queue }: EngineDeps, runId: string): Promise<void> {
  const { deliveries, ...news } = await store.notify([runId])
  announce(queue, news)
  if (deliveries.length > 0) await queue.enqueue(deliveries)
}

/** An execution under way. */
interface Execution {
  deps: EngineDeps
  state: RunState
  signal: AbortSignal
  /** The steps that are running, by id. */
  running: Map<string, Promise<void>>
  /** What a step threw instead of settling: the loss of the run, or a bug of ours. */
  thrown: unknown
  /** Resolves once `state.stop` is aborted. */
  stopped: Promise<void>
}

/** Advances a claimed run until it is finished, suspended or interrupted. */
async function advance(deps: EngineDeps, state: RunState, signal: AbortSignal): Promise<ExecutionOutcome> {
  const { stop } = state
  // By hand: `AbortSignal.any` costs a short run several microseconds and keeps weak references for the collector.
  if (signal.aborted) stop.abort(signal.reason)
  else signal.addEventListener('abort', () => stop.abort(signal.reason), { once: true })
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }))
  const execution: Execution = { deps, state, signal, running: new Map(), thrown: null, stopped }
  try {
    return await loop(execution)
  } catch (error) {
    // What a run has made breaks its commit, and would break it for every other worker too.
    const isBroken = StepFailure.is(error)
    if (!isBroken && !(error instanceof RunTaken)) {
      await stopSteps(execution, 'lost')
      throw error
    }
    // A cancel may reach the record before it reaches this worker: it ends the run here. A second refusal is a loss.
    const ending = isBroken
      ? endAsBroken(execution, error)
      : interrupt(execution, error.outcome === 'lost' ? 'lost' : 'cancel')
    return await ending.catch((late: unknown) => {
      if (late instanceof RunTaken) return 'lost' as const
      throw late
    })
  }
}

async function loop(execution: Execution): Promise<ExecutionOutcome> {
  const { deps, state, running } = execution
  decideExpired(state)
  for (;;) {
    // A stopped step may take its time to return: without waiting for it, this loop would spin.
    if (state.stop.signal.aborted) await Promise.allSettled(running.values())
    if (execution.thrown !== null) throw execution.thrown
    const reason = interruption(execution)
    if (reason === 'failure') return await endByFailure(execution)
    if (reason !== null) return await interrupt(execution, reason)
    const { ready, unreachable, reviews } = planNext(execution)
    for (const step of unreachable) skip(state, step)
    if (unreachable.length > 0) continue
    if (ready.length === 0 && running.size === 0) return await suspendOrConclude(execution, reviews)
    await state.save('W8')
    const free = (deps.parallelSteps ?? PARALLEL_STEPS) - running.size
    for (const step of ready.slice(0, free)) startOrSettle(execution, step)
    if (running.size > 0) await waitForChange(execution)
  }
}

/** Why the execution must not go on; null while it may. */
function interruption({ state, signal }: Execution): AbortReason | 'failure' | null {
  if (signal.aborted) return signal.reason
  if (state.failure !== null && state.run.failFast) return 'failure'
  // A refused commit that no step waits for, such as one of progress, stops the steps without throwing here.
  return state.stop.signal.aborted ? state.stop.signal.reason : null
}

/** What can start beside the steps that are running or suspended. */
function planNext({ state, running }: Execution): Next {
  const { graph, checkpoints, gates, suspended } = state
  for (const { callerKey } of activeChildren(state)) {
    // Its step has failed without waiting for it. The run waits all the same: it pays for it.
    if (checkpoints.has(stepIdOf(callerKey))) suspended.add(callerKey)
  }
  return next(graph, { checkpoints, gates, busy: new Set([...running.keys(), ...[...suspended].map(stepIdOf)]) })
}

/** Starts a step, or settles it where its condition does not hold. */
function startOrSettle(execution: Execution, step: Step): void {
  const { state } = execution
  const when = state.graph.nodes.get(step.id)?.when ?? null
  try {
    if (when === null || when.holds(state.expressionScope())) start(execution, step)
    else skip(state, step)
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error
    const message = `The condition of step "${step.id}" cannot be evaluated: ${error.message}.`
    const failed = { code: 'condition-failed', message, node_key: step.id }
    state.settle({ step, key: step.id }, newAttempt(state, 0), { status: 'failed', error: failed })
  }
}

function start(execution: Execution, step: Step): void {
  const { deps, state, running } = execution
  const work = runStep(deps, state, step)
    .catch((error: unknown) => {
      execution.thrown ??= error
    })
    .finally(() => running.delete(step.id))
  running.set(step.id, work)
}

function skip(state: RunState, step: Step): void {
  state.settle({ step, key: step.id }, newAttempt(state, 0), { status: 'skipped' })
}

/** Waits until a step returns or the execution is stopped; where units are suspended, until one of them may go on. */
async function waitForChange({ deps, state, running, stopped }: Execution): Promise<void> {
  const { suspended, stop } = state
  if (suspended.size === 0) return await Promise.race([...running.values(), stopped])
  const poll = deps.clock.sleep(CHILDREN_POLL_MS, stop.signal).catch(() => {})
  await Promise.race([...running.values(), stopped, poll])
  if (stop.signal.aborted) return
  state.noteChildren(await deps.store.children(state.run.id))
  const hasEnded = (key: string) => isTerminal(state.children.get(key)?.status ?? 'pending')
  const resumed = new Set([...suspended].filter(hasEnded).map(stepIdOf))
  // A step resumes with all its items: those whose run goes on suspend again, and the next of the list takes the place.
  for (const key of suspended) if (resumed.has(stepIdOf(key)) && !running.has(stepIdOf(key))) suspended.delete(key)
}

/** Nothing can start and nothing is running: the run waits for a person or a called run, or it is over. */
async function suspendOrConclude({ deps, state }: Execution, reviews: string[]): Promise<ExecutionOutcome> {
  const undecided = reviews.filter((id) => state.gates.get(id)?.status !== 'rejected')
  for (const { gate } of state.graph.gates) if (undecided.includes(gate.id)) openGate(state, gate)
  if (undecided.length === 0 && state.suspended.size === 0) return await conclude(deps, state)
  return await suspendAndCheck(deps, state)
}

/** Suspends the run, and wakes it at once if a called run has changed before the suspension was on record. */
async function suspendAndCheck(deps: EngineDeps, state: RunState): Promise<ExecutionOutcome> {
  const { run, suspended, children } = state
  const outcome = await suspend(state)
  if (suspended.size === 0) return outcome
  const isMissed = ({ callerKey, status }: ChildRecord) =>
    (isTerminal(status) && suspended.has(callerKey)) ||
    (status === 'waiting' && children.get(callerKey)?.status !== 'waiting')
  if ((await deps.store.children(run.id)).some(isMissed)) await notify(deps, run.id)
  return outcome
}

/** Ends an execution that cannot go on, after its steps have stopped. */
async function interrupt(execution: Execution, reason: AbortReason): Promise<ExecutionOutcome> {
  const { deps, state } = execution
  await stopSteps(execution, reason)
  if (reason === 'lost') return 'lost'
  if (reason === 'cancel') {
    if (state.children.size > 0) await endChildren(deps, state)
    return await finish(state, { status: 'cancelled' })
  }
  await state.save('W8')
  return await handBack(deps, state.run)
}

/** Gives an unfinished run back for another worker, or this one, to continue it. */
async function handBack({ store, queue }: EngineDeps, run: ClaimedRun): Promise<ExecutionOutcome> {
  const delivery = await store.release(run.id, run.fence)
  if (delivery === null) return 'lost'
  await queue.enqueue([delivery])
  return 'released'
}

/** Ends a run by a step's failure, after all that it has called has stopped and what that has spent is known. */
async function endByFailure(execution: Execution): Promise<ExecutionOutcome> {
  const { deps, state } = execution
  await stopSteps(execution, 'cancel')
  if (activeChildren(state).length > 0) {
    await cancelChildren(deps, state)
    state.suspended.clear()
    for (const { callerKey } of activeChildren(state)) state.suspended.add(callerKey)
    if (state.suspended.size > 0) return await suspendAndCheck(deps, state)
  }
  return await conclude(deps, state)
}

async function endAsBroken(execution: Execution, { code, message }: StepFailure): Promise<ExecutionOutcome> {
  const { deps, state } = execution
  await stopSteps(execution, 'cancel')
  if (state.children.size > 0) await endChildren(deps, state)
  const simulated = [...state.checkpoints.values()].some((checkpoint) => checkpoint.simulated)
  return await finish(state, { status: 'failed', error: { code, message }, simulated })
}

async function stopSteps({ state, running }: Execution, reason: AbortReason): Promise<void> {
  state.stop.abort(reason)
  await Promise.allSettled(running.values())
}

async function cancelChildren({ store, queue }: EngineDeps, state: RunState): Promise<void> {
  const { settled, active } = await store.cancelChildren(state.run.id)
  announce(queue, { events: settled, cancelled: active })
  state.noteChildren(await store.children(state.run.id))
}

/** Cancels what the run has called, also in this very moment, and waits for its end: what it still books is the run's cost. */
async function endChildren(deps: EngineDeps, state: RunState): Promise<void> {
  await cancelChildren(deps, state)
  const untilMs = deps.clock.nowMs() + CHILDREN_ENDED_LEASES * deps.leaseMs
  for (let looks = 1; activeChildren(state).length > 0 && deps.clock.nowMs() < untilMs; looks += 1) {
    // Not the run's signal: it is aborted already.
    await deps.clock.sleep(
      Math.min(backoffMs(looks, CHILDREN_ENDED_MS), CHILDREN_POLL_MS),
      new AbortController().signal,
    )
    state.noteChildren(await deps.store.children(state.run.id))
  }
}

function activeChildren({ children }: RunState): ChildRecord[] {
  return [...children.values()].filter(({ status }) => !isTerminal(status))
}

/** Decides the gates whose time is over as the template says. */
function decideExpired(state: RunState): void {
  for (const gate of state.gates.values()) {
    if (gate.status !== 'open' || gate.expiry === undefined || gate.expiry.inMs > 0) continue
    const { approve } = gate.expiry
    const detail = `nobody decided in time; ${approve ? 'approved' : 'rejected'} as the template says`
    state.noteGate(gate, approve ? 'approved' : 'rejected', detail)
  }
}
