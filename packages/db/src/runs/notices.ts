// Notices to runs that one which they wait for has changed: what many slots and called runs say at once, in one transaction.
// Hides which of several that notify the same run hears what follows: one notice that nobody has read yet stands for all.
import { type Delivery, type FollowUp, type Ids, WOKEN_GRACE_MS } from '@fabrique/engine'
import type { RunEvent } from '@fabrique/schema'
import { createBatcher } from '../batcher.ts'
import { type Db, inTransaction } from '../client.ts'
import { changesOf, DELIVERY, mayMove } from './phase.ts'
import { notifyIn } from './settle.ts'

const WAKE = `
update runs set ${changesOf('wake', { dueInMs: '$2::int' })} where id = any($1::text[]) and ${mayMove('wake')}
returning ${DELIVERY}`

const NOTHING: FollowUp = { deliveries: [], events: [], cancelled: [] }

interface Notice {
  runId: string
  /** A slot has begun, nothing more: nobody waits for the answer who could reach the workers. */
  onlyBegun: boolean
}

/** What notices are given to. */
export interface Notices {
  /** One that the run waits for has ended or waits: callers are woken, bundles joined. */
  changed(runId: string): Promise<FollowUp>
  /** A slot of this bundle has begun; answers what that added to logs. */
  begun(rootRunId: string): Promise<RunEvent[]>
}

/** Notices over the record. */
export function createNotices(db: Db, ids: Ids): Notices {
  const unread = new Map<string, { notice: Notice; heard: Promise<FollowUp> }>()

  async function flush(notices: Notice[]): Promise<FollowUp[]> {
    // Whoever notifies from here on may have changed what is read now, and needs a reading of its own.
    for (const notice of notices) if (unread.get(notice.runId)?.notice === notice) unread.delete(notice.runId)
    const idsOf = (begun: boolean) => notices.filter(({ onlyBegun }) => onlyBegun === begun).map(({ runId }) => runId)
    const changed = idsOf(false)
    const deliveries =
      changed.length === 0 ? [] : await db.query<Delivery>('runs.wake', WAKE, [changed, WOKEN_GRACE_MS])
    const news = await inTransaction(db, (trx) => notifyIn(trx, ids, changed, idsOf(true)))
    // Told once: to the first who can act on it.
    const first = Math.max(
      0,
      notices.findIndex(({ onlyBegun }) => !onlyBegun),
    )
    return notices.map((_, index) => (index === first ? { deliveries, ...news } : NOTHING))
  }

  const batcher = createBatcher(flush, ({ runId }: Notice) => runId)

  function write(notice: Notice): Promise<FollowUp> {
    const heard = batcher.write(notice)
    unread.set(notice.runId, { notice, heard })
    return heard
  }

  return {
    async changed(runId) {
      const waiting = unread.get(runId)
      if (waiting === undefined) return await write({ runId, onlyBegun: false })
      const isFirst = waiting.notice.onlyBegun
      waiting.notice.onlyBegun = false
      const heard = await waiting.heard
      return isFirst ? heard : NOTHING
    },
    async begun(rootRunId) {
      if (unread.has(rootRunId)) return []
      const notice = { runId: rootRunId, onlyBegun: true }
      const { events } = await write(notice)
      return notice.onlyBegun ? events : []
    },
  }
}
