// The one story of a run: claim, advance step by step behind durable checkpoints, finish or park.
// Hides order and concurrency; what a step does is its kind's, what is true is the store's.
import { FabriqueError, type Step } from '@fabrique/schema'
import { conclude, finish, park } from './end-run.ts'
import { createGraph, type Graph, next } from './plan.ts'
import type { ClaimedRun, RunHistory, RunQueue, RunStore } from './ports.ts'
import { createRunState, RunTaken, type RunState } from './run-state.ts'
import { runStep, type RunStepDeps } from './run-step.ts'
import type { Definition } from './specification.ts'

export interface EngineDeps extends RunStepDeps {
  store: RunStore
  queue: Pick<RunQueue, 'enqueue' | 'publish'>
  /** Names this process in the record. */
  worker: string
  leaseMs: number
  /** Steps of one run that may be in flight at once. */
  parallelSteps?: number
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
/** Spread over one lease: afterwards the lease has run out, and the reconciler does it. */
const HAND_BACK_TRIES = 20
const EMPTY: RunHistory = { checkpoints: [], calls: [], artifacts: [], gates: [] }

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
      try {
        const { definition, graph } = await prepare(run.definitionHash)
        const history = run.resumed ? await deps.store.history(runId) : EMPTY
        return await advance(deps, createRunState(deps, run, definition, graph, history), signal)
      } catch (error) {
        if (!FabriqueError.is(error, 'unavailable')) throw error
        return await handBack(deps, run, signal, error)
      }
    },
  }
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
  const { run, graph, gates, stop } = state
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
    if (reason === 'cancel') return await finish(state, { status: 'cancelled' })
    await state.save('W8')
    const delivery = await deps.store.release(run.id, run.fence)
    if (delivery !== null) await deps.queue.enqueue([delivery])
    return 'released'
  }

  async function loop(): Promise<Execution> {
    for (;;) {
      // A step that met the loss may take its time to return: without waiting for it, this would spin.
      if (stop.signal.aborted) await Promise.allSettled(running.values())
      if (interruption !== null) throw interruption
      if (signal.aborted) return await interrupted(signal.reason)
      if (state.failure !== null && run.failFast) {
        stop.abort('cancel')
        await Promise.allSettled(running.values())
        return await conclude(deps, state)
      }
      const plan = next(graph, { checkpoints: state.checkpoints, gates, running: new Set(running.keys()) })
      for (const step of plan.unreachable) skip(state, step)
      if (plan.unreachable.length > 0) continue
      if (plan.ready.length === 0 && running.size === 0) {
        const undecided = plan.reviews.map(({ gate }) => gate).filter(({ id }) => gates.get(id)?.status !== 'rejected')
        return undecided.length === 0 ? await conclude(deps, state) : await park(state, undecided)
      }
      await state.save('W8')
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

function skip(state: RunState, step: Step): void {
  state.settle(step, { number: 0, startedAt: state.now(), made: [], settled: [] }, { status: 'skipped' })
}
