// Who may run in a process: the slots of both lanes, and the share of them that one organization gets.
// Hides nothing of BullMQ: jobs come with what they are, and wait in hand until one of them has room.
import type { Lane } from '@fabrique/schema'

/** What is left free for other organizations when no number is given. */
const SHARE = 0.9

export interface SlotsOptions {
  /** Runs in flight over both lanes. */
  concurrency: number
  /** Of these, what the batch lane never takes. */
  reserved: number
  /** Runs in flight of one organization in one lane; default nine tenths of the lane's slots. */
  organizationMax?: number | undefined
}

/** A job that wants a slot; a low priority value comes first, as in BullMQ. */
export interface Candidate {
  lane: Lane
  /** Undefined: nobody knows, and no share is counted. */
  organizationId: string | undefined
  priority: number
  id: string
}

export interface Slots {
  /** True: it has a slot, call `leave` when it is done. False: it was turned away, hand it back. */
  enter(candidate: Candidate): Promise<boolean>
  leave(candidate: Candidate): void
  /** Jobs of a lane that wait in hand. */
  held(lane: Lane): number
  /** The organizations that have no room left in a lane which has; empty where nobody waits for that reason. */
  full(lane: Lane): string[]
  /** Turns away at most `count` of a lane's waiting jobs, the least urgent first. */
  turnAway(lane: Lane, count: number): void
  /** Turns away all that wait, and all that come from now on. */
  shut(): void
}

/** Free slots; the interactive lane goes first. */
export function createSlots({ concurrency, reserved, organizationMax }: SlotsOptions): Slots {
  const running: Record<Lane, number> = { interactive: 0, batch: 0 }
  const running_by = new Map<string, number>()
  let waiting: { candidate: Candidate; answer: (entered: boolean) => void }[] = []
  let open = true

  const share = ({ lane, organizationId }: Candidate) => `${lane} ${organizationId}`

  function slotsOf(lane: Lane): number {
    return lane === 'interactive' ? concurrency : Math.max(1, concurrency - Math.max(reserved, running.interactive))
  }

  function laneHasRoom(lane: Lane): boolean {
    return running[lane] < slotsOf(lane) && running.interactive + running.batch < concurrency
  }

  function isFull(candidate: Candidate): boolean {
    if (candidate.organizationId === undefined) return false
    const max = organizationMax ?? Math.max(1, Math.floor(slotsOf(candidate.lane) * SHARE))
    return (running_by.get(share(candidate)) ?? 0) >= max
  }

  function count(candidate: Candidate, change: 1 | -1): void {
    running[candidate.lane] += change
    const now = (running_by.get(share(candidate)) ?? 0) + change
    if (now === 0) running_by.delete(share(candidate))
    else running_by.set(share(candidate), now)
  }

  function admit(): void {
    for (const one of [...waiting]) {
      const { candidate, answer } = one
      if (!laneHasRoom(candidate.lane) || isFull(candidate)) continue
      waiting.splice(waiting.indexOf(one), 1)
      count(candidate, 1)
      answer(true)
    }
  }

  function dismiss(gone: typeof waiting): void {
    waiting = waiting.filter((one) => !gone.includes(one))
    for (const { answer } of gone) answer(false)
  }

  return {
    enter(candidate) {
      if (!open) return Promise.resolve(false)
      return new Promise((answer) => {
        waiting.push({ candidate, answer })
        waiting.sort(({ candidate: a }, { candidate: b }) => compare(a, b))
        admit()
      })
    },
    leave(candidate) {
      count(candidate, -1)
      admit()
    },
    held: (lane) => waiting.filter(({ candidate }) => candidate.lane === lane).length,
    full(lane) {
      if (!laneHasRoom(lane)) return []
      const own = waiting.map(({ candidate }) => candidate).filter((one) => one.lane === lane && isFull(one))
      return [...new Set(own.flatMap(({ organizationId }) => organizationId ?? []))]
    },
    turnAway(lane, max) {
      dismiss(waiting.filter(({ candidate }) => candidate.lane === lane).slice(-max))
    },
    shut() {
      open = false
      dismiss(waiting)
    },
  }
}

function compare(a: Candidate, b: Candidate): number {
  if (a.lane !== b.lane) return a.lane === 'interactive' ? -1 : 1
  return a.priority - b.priority || (a.id < b.id ? -1 : 1)
}
