// Which runs may execute in this process: concurrency permits for both lanes, and one organization's share of them.
// Hides the order in which jobs that BullMQ has delivered wait for a permit.
import type { Lane } from '@fabrique/schema'

/** The share of a lane that one organization may fill when no number is given. */
const ORGANIZATION_SHARE = 0.9

export interface PermitsOptions {
  /** Permits of both lanes together. */
  concurrency: number
  /** Of these, how many the batch lane never takes. */
  reserved: number
  /** Permits of one organization in one lane; default nine tenths of the lane's. */
  organizationMax?: number | undefined
}

/** A job that asks for a permit. A low priority value comes first, as in BullMQ. */
export interface Candidate {
  lane: Lane
  /** Undefined where the job does not name it: then it counts against no organization's share. */
  organizationId: string | undefined
  priority: number
  id: string
}

/** The permits of a process, all of them free. The interactive lane goes first. */
export function createPermits({ concurrency, reserved, organizationMax }: PermitsOptions) {
  const running: Record<Lane, number> = { interactive: 0, batch: 0 }
  const byOrganization: Record<Lane, Map<string, number>> = { interactive: new Map(), batch: new Map() }
  let queue: { candidate: Candidate; answer: (acquired: boolean) => void }[] = []
  let isClosed = false

  function permitsOf(lane: Lane): number {
    return lane === 'interactive' ? concurrency : Math.max(1, concurrency - Math.max(reserved, running.interactive))
  }

  function laneHasPermit(lane: Lane): boolean {
    return running[lane] < permitsOf(lane) && running.interactive + running.batch < concurrency
  }

  function isAtItsShare({ lane, organizationId }: Candidate): boolean {
    if (organizationId === undefined) return false
    const max = organizationMax ?? Math.max(1, Math.floor(permitsOf(lane) * ORGANIZATION_SHARE))
    return (byOrganization[lane].get(organizationId) ?? 0) >= max
  }

  const mayRun = (candidate: Candidate) => laneHasPermit(candidate.lane) && !isAtItsShare(candidate)

  function count({ lane, organizationId }: Candidate, change: 1 | -1): void {
    running[lane] += change
    if (organizationId === undefined) return
    const own = byOrganization[lane]
    const now = (own.get(organizationId) ?? 0) + change
    if (now === 0) own.delete(organizationId)
    else own.set(organizationId, now)
  }

  function dismiss(dismissed: typeof queue): void {
    queue = queue.filter((one) => !dismissed.includes(one))
    for (const { answer } of dismissed) answer(false)
  }

  return {
    /** True: the job has a permit, call `release` when it is done. False: it was turned away, put it back. */
    acquire(candidate: Candidate): boolean | Promise<boolean> {
      if (isClosed) return false
      // Whatever waits cannot run now, so a job that can overtakes nothing.
      if (mayRun(candidate)) {
        count(candidate, 1)
        return true
      }
      return new Promise((answer) => {
        const next = queue.findIndex((other) => compare(candidate, other.candidate) < 0)
        queue.splice(next < 0 ? queue.length : next, 0, { candidate, answer })
      })
    },
    release(released: Candidate): void {
      count(released, -1)
      queue = queue.filter(({ candidate, answer }) => {
        if (!mayRun(candidate)) return true
        count(candidate, 1)
        answer(true)
        return false
      })
    },
    /** How many jobs of a lane wait for a permit. */
    waiting: (lane: Lane) => queue.filter(({ candidate }) => candidate.lane === lane).length,
    /** Organizations whose jobs wait only because of their share, while the lane has free permits. */
    atTheirShare(lane: Lane): string[] {
      if (!laneHasPermit(lane)) return []
      const own = queue.map(({ candidate }) => candidate).filter((one) => one.lane === lane && isAtItsShare(one))
      return [...new Set(own.flatMap(({ organizationId }) => organizationId ?? []))]
    },
    /** Turns away at most `max` of a lane's waiting jobs, the least urgent first. */
    turnAway(lane: Lane, max: number): void {
      dismiss(queue.filter(({ candidate }) => candidate.lane === lane).slice(-max))
    },
    /** Turns away all jobs that wait, and all that come from now on. */
    close(): void {
      isClosed = true
      dismiss(queue)
    },
  }
}

function compare(a: Candidate, b: Candidate): number {
  if (a.lane !== b.lane) return a.lane === 'interactive' ? -1 : 1
  return a.priority - b.priority || (a.id < b.id ? -1 : 1)
}
