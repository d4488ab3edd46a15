// Waiting for a run to end, for `Prefer: wait` and for event streams.
// Hides that news may be lost: whoever waits also looks at the record now and then.
import { setTimeout as delay } from 'node:timers/promises'
import type { RunReader } from '@fabrique/db'
import type { News } from '@fabrique/queue'
import { isTerminalKind, type RunEvent } from '@fabrique/schema'

/** How long a listener trusts silence before it looks at the record. */
export const LOOK_EVERY_MS = 1_500

/** Resolves when the run is terminal, waits for a review, or the time is over. */
export async function waitForEnd(
  { news, reader }: { news: News; reader: RunReader },
  organizationId: string,
  runId: string,
  limitMs: number,
): Promise<void> {
  const deadline = Date.now() + limitMs
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  const rests = (event: RunEvent) => isTerminalKind(event.kind) || event.kind === 'workflow.run.waiting'
  const unsubscribe = news.subscribe(runId, (events) => {
    if (events.some(rests)) end()
  })
  try {
    while (Date.now() < deadline) {
      const run = await reader.get(organizationId, runId)
      if (run === null || run.finished_at !== null || run.status === 'waiting') return
      const pause = delay(Math.min(LOOK_EVERY_MS, deadline - Date.now()), undefined, { ref: false })
      await Promise.race([ended, pause])
    }
  } finally {
    unsubscribe()
  }
}
