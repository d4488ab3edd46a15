// Which of the runs in flight here fail, so that their jobs are failed ones on the board of queues.
import { type RunQueue, valueAt } from '@fabrique/engine'

/** The queue, which notes as it publishes why runs in flight have failed. */
export function notingFailures<Queue extends Pick<RunQueue, 'publish'>>(inner: Queue) {
  const inFlight = new Map<string, string | null>()
  const queue: Queue = {
    ...inner,
    publish(events) {
      for (const { kind, run_id: runId, payload } of events) {
        if (kind !== 'workflow.run.failed' || !inFlight.has(runId)) continue
        const code = valueAt(payload, ['error', 'code'])
        inFlight.set(runId, typeof code === 'string' ? code : 'failed')
      }
      inner.publish(events)
    },
  }
  return {
    queue,
    /** Executes a run; answers the code of its failure where it has failed, and else null. */
    async codeOfFailure(runId: string, execute: () => Promise<unknown>): Promise<string | null> {
      inFlight.set(runId, null)
      try {
        await execute()
        return inFlight.get(runId) ?? null
      } finally {
        inFlight.delete(runId)
      }
    },
  }
}
