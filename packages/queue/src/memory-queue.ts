// The queue's in-memory twin, for a process that executes its own runs: no Redis, no other process.
import type { Delivery, RunQueue } from '@fabrique/engine'
import type { RunEvent } from '@fabrique/schema'

export interface MemoryRunQueue extends RunQueue {
  /** The next delivery: highest priority first, then oldest. */
  take(): Delivery | undefined
}

/** An empty queue; `onEvents` and `onCancel` hear everything that is published. */
export function createMemoryRunQueue(
  onEvents: (events: RunEvent[]) => void = () => {},
  onCancel: (rootRunId: string) => void = () => {},
): MemoryRunQueue {
  const waiting: Delivery[] = []
  return {
    async enqueue(deliveries) {
      waiting.push(...deliveries)
      waiting.sort((a, b) => b.priority - a.priority)
    },
    async missing(deliveries) {
      return deliveries.filter(({ runId }) => !waiting.some((other) => other.runId === runId))
    },
    cameBackEmpty: async () => false,
    publish: onEvents,
    publishCancel: onCancel,
    take: () => waiting.shift(),
  }
}
