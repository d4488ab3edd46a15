// Cancelling a run from outside an execution, for a user, a filter or a schedule.
// Hides who has to hear of it: watchers of what ended at once, workers of what is in flight.
import { announce } from '../follow-up.ts'
import type { RunQueue, RunStore } from '../ports.ts'

export interface CancelDeps {
  runs: Pick<RunStore, 'requestCancel'>
  queue: Pick<RunQueue, 'publish' | 'publishCancel'>
}

/** Cancels a run and its slots; false where all of it had finished already. What is in flight ends a moment later. */
export async function cancelRun({ runs, queue }: CancelDeps, runId: string): Promise<boolean> {
  const { settled, active } = await runs.requestCancel(runId)
  announce(queue, { events: settled, cancelled: active })
  return active.length + settled.length > 0
}
