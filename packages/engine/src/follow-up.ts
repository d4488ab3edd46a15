// What a change of some runs means for others, announced to those who act on it.
import type { FollowUp, RunQueue } from './ports.ts'

/** Publishes the events, and has workers stop what is cancelled. What is due is the caller's to deliver. */
export function announce(
  queue: Pick<RunQueue, 'publish' | 'publishCancel'>,
  { events, cancelled }: Omit<FollowUp, 'deliveries'>,
): void {
  queue.publish(events)
  for (const rootRunId of cancelled) queue.publishCancel(rootRunId)
}
