// What a change of some runs means for others, handed to those who act on it.
import type { FollowUp, RunQueue } from './ports.ts'

/** Publishes the events, has workers stop what is cancelled, and delivers what is due. */
export async function handOn(
  queue: Pick<RunQueue, 'publish' | 'publishCancel' | 'enqueue'>,
  { events, cancelled, deliveries }: FollowUp,
): Promise<void> {
  queue.publish(events)
  for (const rootRunId of cancelled) queue.publishCancel(rootRunId)
  if (deliveries.length > 0) await queue.enqueue(deliveries)
}
