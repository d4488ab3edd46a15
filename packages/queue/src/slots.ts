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
  enter(candidate: Candidate): boolean | Promise<boolean>
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
  const byOrganization: Record<Lane, Map<string, number>> = { interactive: new Map(), batch: new Map() }
  let waiting: { candidate: Candidate; answer: (entered: boolean) => void }[] = []
  let open = true

  function slotsOf(lane: Lane): number {
    return lane === 'interactive' ? concurrency : Math.max(1, concurrency - Math.max(reserved, running.interactive))
  }

  function laneHasRoom(lane: Lane): boolean {
    return running[lane] < slotsOf(lane) && running.interactive + running.batch < concurrency
  }

  function isFull({ lane, organizationId }: Candidate): boolean {
    if (organizationId === undefined) return false
    const max = organizationMax ?? Math.max(1, Math.floor(slotsOf(lane) * SHARE))
    return (byOrganization[lane].get(organizationId) ?? 0) >= max
  }

  const hasRoom = (candidate: Candidate) => laneHasRoom(candidate.lane) && !isFull(candidate)

  function count({ lane, organizationId }: Candidate, change: 1 | -1): void {
    running[lane] += change
    if (organizationId === undefined) return
    const own = byOrganization[lane]
    const now = (own.get(organizationId) ?? 0) + change
    if (now === 0) own.delete(organizationId)
    else own.set(organizationId, now)
  }

  function admit(): void {
    for (let at = 0; at < waiting.length; at += 1) {
      const one = waiting[at]
      if (one === undefined || !hasRoom(one.candidate)) continue
      waiting.splice(at, 1)
      at -= 1
      count(one.candidate, 1)
      one.answer(true)
    }
  }

  function dismiss(gone: typeof waiting): void {
    waiting = waiting.filter((one) => !gone.includes(one))
    for (const { answer } of gone) answer(false)
  }

  return {
    enter(candidate) {
      if (!open) return false
      // Who waits has no room, so nobody is overtaken here who could go first.
      if (hasRoom(candidate)) {
        count(candidate, 1)
        return true
      }
      return new Promise((answer) => {
        const behind = waiting.findIndex((other) => compare(candidate, other.candidate) < 0)
        waiting.splice(behind < 0 ? waiting.length : behind, 0, { candidate, answer })
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
