// What time alone makes due: leases that ran out, deliveries that were lost, a queue that came back empty.
// Hides nothing clever: it repeats until the record and the queue agree. Any number may run at once.
import { announce } from '../follow-up.ts'
import type { Clock, Log, RunQueue, RunStore } from '../ports.ts'

const PASS_LIMIT = 1_000
/** After so many passes missed by every reconciler, the record must have been away. */
const PASSES_MISSED = 3

export interface Reconciler {
  /** One pass; answers how many runs were delivered again. `silenceMs` is as for `RunStore.recover`. */
  runOnce(silenceMs?: number): Promise<number>
  /** Passes every `everyMs`, and at once again while there is more to do. */
  run(everyMs: number, stopped: AbortSignal): Promise<void>
}

/** A reconciler over the record and the queue. Rows are taken with SKIP LOCKED, so passes share the work. */
export function createReconciler(deps: {
  store: Pick<RunStore, 'recover' | 'requeueAll'>
  queue: Pick<RunQueue, 'cameBackEmpty' | 'missing' | 'enqueue' | 'publish' | 'publishCancel'>
  clock: Clock
  log: Log
  killpoint?: (name: string) => void
}): Reconciler {
  let blind = false

  async function runOnce(silenceMs?: number): Promise<number> {
    const empty = await deps.queue.cameBackEmpty()
    if (empty === true || (empty === false && blind)) {
      deps.log.debug({}, 'the queue is new or back; every pending run is looked for in it')
      await deps.store.requeueAll()
      blind = false
    }
    const { overdue, events, cancelled } = await deps.store.recover(PASS_LIMIT, silenceMs)
    announce(deps.queue, { events, cancelled })
    deps.killpoint?.('R1')
    // Runs due while Redis was away have been put off; once it is back, recheck them at once.
    blind ||= empty === null
    const lost = overdue.length === 0 ? [] : await deps.queue.missing(overdue)
    if (lost.length > 0) await deps.queue.enqueue(lost)
    return overdue.length
  }

  return {
    runOnce,
    async run(everyMs, stopped) {
      while (!stopped.aborted) {
        const delivered = await runOnce(PASSES_MISSED * everyMs).catch((error: unknown) => {
          deps.log.warn({ err: error }, 'a reconciling pass failed; the next one tries again')
          return 0
        })
        if (delivered < PASS_LIMIT) await deps.clock.sleep(everyMs, stopped).catch(() => {})
      }
    },
  }
}
