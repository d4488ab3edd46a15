// Waits for a run to end, for `Prefer: wait`.
// Hides that Redis may lose events: every 1.5 s the wait also looks at PostgreSQL.
import { setTimeout as delay } from 'node:timers/promises'
import type { RunReader } from '@fabrique/db'
import type { News } from '@fabrique/queue'
import { isTerminalKind, type RunEvent } from '@fabrique/schema'

/** How long a listener trusts the silence of Redis before it looks at PostgreSQL. */
export const LOOK_EVERY_MS = 1_500

/** Resolves when the run has ended or waits for a review, at the latest after `limitMs` or when the process stops. */
export async function waitForEnd(
  { news, reader, stopping }: { news: News; reader: RunReader; stopping: AbortSignal },
  organizationId: string,
  runId: string,
  limitMs: number,
): Promise<void> {
  const deadline = Date.now() + limitMs
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  const isAtRest = (event: RunEvent) => isTerminalKind(event.kind) || event.kind === 'workflow.run.waiting'
  const unsubscribe = news.subscribe(runId, (events) => {
    if (events.some(isAtRest)) end()
  })
  const stop = () => end()
  stopping.addEventListener('abort', stop)
  try {
    while (Date.now() < deadline && !stopping.aborted) {
      const run = await reader.get(organizationId, runId)
      if (run === null || run.finished_at !== null || run.status === 'waiting') return
      const pause = delay(Math.min(LOOK_EVERY_MS, deadline - Date.now()), undefined, { ref: false })
      await Promise.race([ended, pause])
    }
  } finally {
    stopping.removeEventListener('abort', stop)
    unsubscribe()
  }
}
