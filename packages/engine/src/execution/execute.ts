// The one story of a run: claim, advance step by step behind durable checkpoints, finish or park.
// Hides order and concurrency; what a step does is its kind's, what is true is the store's.
import { FabriqueError, isTerminal, type Step } from '@fabrique/schema'
import { conclude, finish, openGate, rest } from './end-run.ts'
import { ExpressionError } from '../template/expression.ts'
import { continuation, lineOf } from '../inheritance.ts'
import { createGraph, type Graph, next } from './plan.ts'
import type { ClaimedRun, RunHistory, RunQueue, RunStore } from '../ports.ts'
import { createRunState, RunTaken, type RunState } from './run-state.ts'
import { runStep, type RunStepDeps } from './run-step.ts'
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
 * How an execution ended. Only `finished` and `waiting` changed what the outside sees of the run; `parked` rests until
 * a run that it called has ended.
 */
export type Execution = 'finished' | 'waiting' | 'parked' | 'released' | 'lost'

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
/** Spread over one lease: afterwards the lease has run out, and the reconciler does it. */
const HAND_BACK_TRIES = 20
/** While other steps are at work, called runs are looked at this often. */
const CHILDREN_POLL_MS = 1_000
const EMPTY: RunHistory = { checkpoints: [], calls: [], artifacts: [], gates: [], children: [] }

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

  /** The run's state; one that stands in an earlier run's place takes over what that has finished, once. */
  async function begin(run: ClaimedRun, definition: Definition, graph: Graph, history: RunHistory): Promise<RunState> {
    const { continues } = run.instance
    if (continues === undefined) return createRunState(deps, run, definition, graph, history)
    const { earlier, status, earlierCalls } = await lineOf(deps.store, continues)
    const instance = { ...run.instance, earlierCalls }
    const state = createRunState(deps, { ...run, instance }, definition, graph, history)
    if (history.checkpoints.length === 0) state.takeOver(continuation({ definition, status }, earlier, deps.ids))
    return state
  }

  return {
    async execute(runId, signal, onClaimed) {
      const run = await deps.store.claim(runId, deps.worker, deps.leaseMs)
      if (run === null) return 'lost'
      onClaimed?.({ runId, rootRunId: run.rootRunId, fence: run.fence })
      deps.killpoint?.('W2')
      try {
        const { definition, graph } = await prepare(run.definitionHash)
        const history = run.resumed || run.instance.inherited === true ? await deps.store.history(runId) : EMPTY
        const state = await begin(run, definition, graph, history)
        const execution = await advance(deps, state, signal)
        if (run.awaitedBy !== null && (execution === 'finished' || execution === 'waiting'))
          await tell(deps, run.awaitedBy)
        return execution
      } catch (error) {
        if (!FabriqueError.is(error, 'unavailable')) throw error
        return await handBack(deps, run, signal, error)
      }
    },
  }
}

/** Has a run look at what it waits for. Where this is lost, it looks by itself a little later. */
async function tell(deps: Pick<EngineDeps, 'store' | 'queue'>, runId: string): Promise<void> {
  const { deliveries, events, cancelled } = await deps.store.tell([runId])
  deps.queue.publish(events)
  for (const rootRunId of cancelled) deps.queue.publishCancel(rootRunId)
  if (deliveries.length > 0) await deps.queue.enqueue(deliveries)
}

/** Gives a run back that the record was away from, as soon as it answers: not its worker's fault, so no lease is lost. */
async function handBack(deps: EngineDeps, run: ClaimedRun, signal: AbortSignal, cause: Error): Promise<Execution> {
  for (let tries = 0; tries < HAND_BACK_TRIES; tries += 1) {
    try {
      const delivery = await deps.store.release(run.id, run.fence)
      if (delivery === null) return 'lost'
      await deps.queue.enqueue([delivery])
      return 'released'
    } catch (error) {
      if (!FabriqueError.is(error, 'unavailable')) throw error
      await deps.clock.sleep(deps.leaseMs / HAND_BACK_TRIES, signal).catch(() => {})
    }
  }
  throw cause
}

/** Advances until the run is finished, parked or interrupted. */
async function advance(deps: EngineDeps, state: RunState, signal: AbortSignal): Promise<Execution> {
  const { run, graph, stop } = state
  const running = new Map<string, Promise<void>>()
  /** What ended a step without an outcome: the loss of the run, or a bug of ours. */
  let interruption: unknown = null
  // By hand: `AbortSignal.any` costs a short run several microseconds and keeps weak references for the collector.
  if (signal.aborted) stop.abort(signal.reason)
  else signal.addEventListener('abort', () => stop.abort(signal.reason), { once: true })
  const aborted = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }))

  function start(step: Step): void {
    const execution = runStep(deps, state, step)
      .catch((error: unknown) => {
        interruption ??= error
      })
      .finally(() => running.delete(step.id))
    running.set(step.id, execution)
  }

  /** Ends an execution that cannot go on: settles the run by the reason, after what was in flight has stopped. */
  async function interrupted(reason: AbortReason): Promise<Execution> {
    stop.abort(reason)
    await Promise.allSettled(running.values())
    if (reason === 'lost') return 'lost'
    if (reason === 'cancel') {
      // They are cancelled with it, the one that was called in the same moment too; what they have under way may be
      // charged, and counts.
      if (state.children.size > 0) await cancelChildren()
      return await finish(state, { status: 'cancelled' })
    }
    await state.save('W8')
    const delivery = await deps.store.release(run.id, run.fence)
    if (delivery !== null) await deps.queue.enqueue([delivery])
    return 'released'
  }

  async function cancelChildren(): Promise<void> {
    const { settled, active } = await deps.store.cancelChildren(run.id)
    deps.queue.publish(settled)
    for (const id of active) deps.queue.publishCancel(id)
    state.noteChildren(await deps.store.children(run.id))
  }

  /** Leaves the run to whoever it waits for; what ended meanwhile wakes it at once. */
  async function comeToRest(resting: Promise<'finished' | 'waiting' | 'parked'>): Promise<Execution> {
    const execution = await resting
    if (execution === 'finished' || state.resting.size === 0) return execution
    const before = new Map([...state.children.values()].map(({ id, status }) => [id, status]))
    const now = await deps.store.children(run.id)
    // Whoever rests for a run that has ended would rest for ever: its end was told while we were still at work.
    const isMissed = now.some(
      ({ id, callerKey, status }) =>
        (isTerminal(status) && state.resting.has(callerKey)) || (status === 'waiting' && status !== before.get(id)),
    )
    if (isMissed) await tell(deps, run.id)
    return execution
  }

  /** Lets units go on whose called run has ended. */
  async function lookAtChildren(): Promise<void> {
    state.noteChildren(await deps.store.children(run.id))
    const hasEnded = (key: string) => isTerminal(state.children.get(key)?.status ?? 'pending')
    const ended = new Set([...state.resting].filter(hasEnded).map(stepIdOf))
    // The others of its step come along: they rest again, and the next of the list takes the place.
    for (const key of state.resting)
      if (ended.has(stepIdOf(key)) && !running.has(stepIdOf(key))) state.resting.delete(key)
  }

  /** Ends a run whose failure ends it all: after what it has called is stopped and what that has spent is known. */
  async function giveUp(): Promise<Execution> {
    stop.abort('cancel')
    await Promise.allSettled(running.values())
    if ([...state.children.values()].some(({ status }) => !isTerminal(status))) {
      await cancelChildren()
      state.resting.clear()
      for (const { callerKey, status } of state.children.values()) if (!isTerminal(status)) state.resting.add(callerKey)
      if (state.resting.size > 0) return await comeToRest(rest(state))
    }
    return await conclude(deps, state)
  }

  /** Starts a step, or settles it where its condition does not hold. */
  function startIf(step: Step): void {
    const when = graph.nodes.get(step.id)?.when ?? null
    try {
      if (when === null || when.holds(state.expressionScope())) return start(step)
      skip(state, step)
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error
      const message = `The condition of step "${step.id}" cannot be evaluated: ${error.message}.`
      const failed = { code: 'condition-failed', message, node_key: step.id }
      state.settle({ step, key: step.id }, untried(state), { status: 'failed', error: failed })
    }
  }

  async function loop(): Promise<Execution> {
    decideExpired(state)
    for (;;) {
      // A step that met the loss may take its time to return: without waiting for it, this would spin.
      if (stop.signal.aborted) await Promise.allSettled(running.values())
      if (interruption !== null) throw interruption
      if (signal.aborted) return await interrupted(signal.reason)
      if (state.failure !== null && run.failFast) return await giveUp()
      // A write that no step waits for has met the loss: going on would be to start what stops at once, for ever.
      if (stop.signal.aborted) return await interrupted(stop.signal.reason)
      for (const { callerKey, status } of state.children.values()) {
        // Its step has failed without it. The run ends after it all the same: its cost is the run's.
        if (!isTerminal(status) && state.checkpoints.has(stepIdOf(callerKey))) state.resting.add(callerKey)
      }
      const resting = [...state.resting].map(stepIdOf)
      const busy = new Set([...running.keys(), ...resting])
      const plan = next(graph, { checkpoints: state.checkpoints, gates: state.gates, busy })
      for (const step of plan.unreachable) skip(state, step)
      if (plan.unreachable.length > 0) continue
      if (plan.ready.length === 0 && running.size === 0) {
        const undecided = plan.reviews.filter((id) => state.gates.get(id)?.status !== 'rejected')
        for (const { gate } of graph.gates) if (undecided.includes(gate.id)) openGate(state, gate)
        return await comeToRest(undecided.length === 0 && resting.length === 0 ? conclude(deps, state) : rest(state))
      }
      await state.save('W8')
      for (const step of plan.ready.slice(0, (deps.parallelSteps ?? PARALLEL_STEPS) - running.size)) startIf(step)
      if (running.size === 0) continue
      if (resting.length === 0) await Promise.race([...running.values(), aborted])
      else {
        await Promise.race([
          ...running.values(),
          aborted,
          deps.clock.sleep(CHILDREN_POLL_MS, stop.signal).catch(() => {}),
        ])
        if (!stop.signal.aborted) await lookAtChildren()
      }
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

/** A gate whose time is over is decided as its template says. */
function decideExpired(state: RunState): void {
  for (const gate of state.gates.values()) {
    if (gate.status !== 'open' || gate.expiry === undefined || gate.expiry.inMs > 0) continue
    const { approve } = gate.expiry
    const detail = `nobody decided in time; ${approve ? 'approved' : 'rejected'} as the template says`
    state.noteGate(gate, approve ? 'approved' : 'rejected', detail)
  }
}

function untried(state: RunState) {
  return { number: 0, startedAt: state.now(), made: [], settled: [] }
}

function skip(state: RunState, step: Step): void {
  state.settle({ step, key: step.id }, untried(state), { status: 'skipped' })
}
