// Executes runs in this process: engine, queue in memory, providers. Loaded only where a run is submitted or steered.
// Hides that there is no reconciler here: what nobody else delivers is looked for by whoever follows the run.
import { assemble, assembleHost } from '@fabrique/assembly'
import { createRunReader, type Db, SYSTEM_ORGANIZATION } from '@fabrique/db'
import { announce, type ArtifactStore, type Ids, type Log, retryRun, type SubmitOutcome } from '@fabrique/engine'
import { createLimits, createMemoryRunQueue, type MemoryRunQueue } from '@fabrique/queue'
import { type providerConfig, providerLimits } from '@fabrique/runtime'
import { FabriqueError, isTerminal, type JsonObject, laneOf, type ListedRun, type RunEvent } from '@fabrique/schema'
import { holderOf } from './backend.ts'

const ORGANIZATION = SYSTEM_ORGANIZATION
const PARALLEL_RUNS = 8

export type LocalExecution = ReturnType<typeof createLocalExecution>

/** Ready to execute runs of that record; nothing is taken from it but what is submitted or delivered here. */
export function createLocalExecution(deps: {
  env: Parameters<typeof providerConfig>[0] & Parameters<typeof providerLimits>[0]
  db: Db
  artifacts: ArtifactStore
  ids: Ids
  log: Log
  leaseMs: number
}) {
  const { env, db, artifacts, ids, log, leaseMs } = deps
  const closing = new AbortController()
  const listeners = new Set<(events: RunEvent[]) => void>()
  let arrival = Promise.withResolvers<void>()
  const memory = createMemoryRunQueue(
    (events) => listeners.forEach((hear) => hear(events)),
    (rootRunId) => host.cancel(rootRunId),
  )
  const queue: MemoryRunQueue = {
    ...memory,
    async enqueue(deliveries) {
      await memory.enqueue(deliveries)
      arrival.resolve()
      arrival = Promise.withResolvers()
    },
  }
  const assembly = assemble({ env, db, queue, ids })
  const { runs, submitter } = assembly
  const limits = createLimits({ rules: providerLimits(env), log })
  const worker = `cli:${process.pid}`
  const host = assembleHost(assembly, { artifacts, limits, log, worker, leaseMs, stopped: closing.signal })

  return {
    runs,

    async submit(document: JsonObject, dryRun: boolean, version?: string): Promise<SubmitOutcome> {
      const pin = version === undefined ? {} : { version }
      return await submitter.submit({ organizationId: ORGANIZATION, admin: true, document, dryRun, ...pin })
    },

    /** Accepts a new run in the place of one that failed or was cancelled; null where there is no such run. */
    async retry(runId: string): Promise<string | null> {
      const { ended: endedRun } = createRunReader(db)
      const retrying = { store: runs, queue, endedRun, ids, findRunnable: assembly.authoring.runnable }
      const retried = await retryRun(retrying, { organizationId: ORGANIZATION, admin: true, runId })
      return retried.outcome === 'unknown' ? null : retried.runId
    },

    deliver: queue.enqueue,
    publish: queue.publish,

    /** Hears every event that is written from here; answers how to stop that. */
    listen(hear: (events: RunEvent[]) => void): () => void {
      listeners.add(hear)
      return () => listeners.delete(hear)
    },

    /** Executes what was delivered, and what that delivers, until nothing is left to take. */
    async drain(): Promise<void> {
      const executing = new Set<Promise<void>>()
      const broken: string[] = []
      for (;;) {
        while (executing.size < PARALLEL_RUNS) {
          const delivery = queue.take()
          if (delivery === undefined) break
          const { runId } = delivery
          const execution: Promise<void> = host.execute(runId).then((end) => {
            executing.delete(execution)
            if (end === 'crashed') broken.push(runId)
          })
          executing.add(execution)
        }
        if (executing.size === 0) break
        // A run that is called begins beside its caller.
        await Promise.race([...executing, arrival.promise])
      }
      if (broken.length > 0) {
        throw new FabriqueError('unavailable', `The execution of ${broken.join(', ')} broke off; the log says why.`)
      }
    },

    /** Delivers what no one else does: runs of the tree that are pending, or rest though all that they called has ended. */
    async pickUp(tree: readonly ListedRun[]): Promise<void> {
      const pending = tree.filter(({ status }) => status === 'pending')
      const held = Map.groupBy(tree, holderOf)
      const forgotten = tree.filter(({ id, status }) => {
        const below = held.get(id) ?? []
        return !isTerminal(status) && below.length > 0 && below.every((one) => isTerminal(one.status))
      })
      await queue.enqueue(
        pending.map(({ id, workflow, priority }) => ({
          runId: id,
          organizationId: ORGANIZATION,
          epoch: 0,
          workflow,
          priority,
          lane: laneOf(priority),
        })),
      )
      if (forgotten.length === 0) return
      const { deliveries, ...news } = await runs.notify(forgotten.map(({ id }) => id))
      announce(queue, news)
      await queue.enqueue(deliveries)
    },

    /** Marks the run as cancelled and stops what is executed of it here. */
    async stop(runId: string): Promise<void> {
      const { settled } = await runs.requestCancel(runId)
      queue.publish(settled)
      host.cancel(runId)
    },

    async close(): Promise<void> {
      closing.abort()
      await assembly.intake.close()
    },
  }
}
