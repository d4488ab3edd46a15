import { runQueueContract } from '@fabrique/engine/testing'
import type { RunEvent } from '@fabrique/schema'
import { createMemoryRunQueue } from './memory-queue.ts'

runQueueContract('the queue in memory', async () => {
  const watchers: ((events: RunEvent[]) => void)[] = []
  const queue = createMemoryRunQueue((events) => {
    for (const watch of watchers) watch(events)
  })
  return {
    queue,
    take: async () => queue.take()?.runId ?? null,
    watch: async () => ({ first: new Promise((resolve) => watchers.push(resolve)) }),
    dispose: async () => {},
  }
})
