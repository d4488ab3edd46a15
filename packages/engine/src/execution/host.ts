// The runs that one process executes: their leases are renewed, and a cancel, a loss or a shutdown reaches them.
// Hides which signal belongs to which run.
import type { AbortReason, Engine, ExecutionOutcome } from './execute.ts'
import type { Clock, Log, RunStore } from '../ports.ts'

export interface Host {
  /** Executes a run under a renewed lease. Never rejects: what goes wrong is logged, and the lease runs out. */
  execute(runId: string): Promise<ExecutionOutcome | 'crashed'>
  /** Stops the runs of a tree that this process executes. */
  cancel(rootRunId: string): void
  /** Releases every run, and resolves when all executions have returned. */
  shutdown(): Promise<void>
  inFlight(): number
}

interface Lease {
  rootRunId: string
  fence: number
  abort: AbortController
}

/** Renewals in the time of one lease; and while they fail, so that the first after an outage comes in time. */
const RENEWALS = 3
const RENEWALS_TRIED = 15

/** A host over an engine. Renews all its leases in one statement, three times per lease, until `stopped`. */
export function createHost(deps: {
  engine: Engine
  store: Pick<RunStore, 'renew'>
  clock: Clock
  log: Log
  leaseMs: number
  stopped: AbortSignal
}): Host {
  const held = new Map<string, Lease>()
  const executions = new Map<Promise<unknown>, AbortController>()
  let closing = false

  function abort(runId: string, reason: AbortReason): void {
    held.get(runId)?.abort.abort(reason)
  }

  async function renewAll(): Promise<void> {
    const leases = [...held].map(([runId, { fence }]) => ({ runId, fence }))
    if (leases.length === 0) return
    const { lost, cancelled } = await deps.store.renew(leases, deps.leaseMs)
    for (const runId of lost) {
      // A run may have finished, or been claimed anew, while the statement was under way.
      const lease = leases.find((one) => one.runId === runId)
      if (held.get(runId)?.fence === lease?.fence) abort(runId, 'lost')
    }
    for (const runId of cancelled) abort(runId, 'cancel')
  }

  async function renewForever(): Promise<void> {
    let pauseMs = deps.leaseMs / RENEWALS
    while (!deps.stopped.aborted) {
      await deps.clock.sleep(pauseMs, deps.stopped).catch(() => {})
      try {
        await renewAll()
        pauseMs = deps.leaseMs / RENEWALS
      } catch (error) {
        deps.log.warn({ err: error }, 'leases could not be renewed')
        pauseMs = deps.leaseMs / RENEWALS_TRIED
      }
    }
  }

  void renewForever()

  return {
    async execute(runId) {
      const controller = new AbortController()
      if (closing) controller.abort('shutdown')
      const execution = deps.engine
        .execute(runId, controller.signal, ({ rootRunId, fence }) => {
          held.set(runId, { rootRunId, fence, abort: controller })
        })
        .catch((error: unknown) => {
          deps.log.error({ run_id: runId, err: error }, 'an execution broke off; its lease will run out')
          return 'crashed' as const
        })
        .finally(() => {
          if (held.get(runId)?.abort === controller) held.delete(runId)
        })
      executions.set(execution, controller)
      return await execution.finally(() => executions.delete(execution))
    },
    cancel(rootRunId) {
      for (const [runId, run] of held) if (run.rootRunId === rootRunId || runId === rootRunId) abort(runId, 'cancel')
    },
    async shutdown() {
      closing = true
      // Also those whose claim is under way: they are released like the others.
      for (const controller of executions.values()) controller.abort('shutdown')
      await Promise.allSettled(executions.keys())
    },
    inFlight: () => held.size,
  }
}
