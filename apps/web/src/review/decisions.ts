// Decisions on their way: each waits five seconds in which it can be taken back, and is then sent.
// Hides the timers, that a page that is left sends what waits, and what is said where somebody else was faster.
import type { Review } from '@fabrique/schema'
import { useSyncExternalStore } from 'react'
import { ApiError, api, withQuery } from '../api/http.ts'
import { queryClient } from '../api/queries.ts'
import { askedFor } from '../words.ts'
import { hideToast, showToast } from '../ui/toasts.tsx'

const UNDO_MS = 5_000

interface Decision {
  review: Review
  decision: 'approve' | 'reject'
  comment: string
  timer: ReturnType<typeof setTimeout>
}

let waiting: ReadonlyMap<string, Decision> = new Map()
/** Sent, or decided by somebody else: hidden until the list no longer has them. */
let gone: ReadonlySet<string> = new Set()
let hidden: ReadonlySet<string> = new Set()
const listeners = new Set<() => void>()

function update(change: () => void): void {
  change()
  hidden = new Set([...waiting.keys(), ...gone])
  for (const listener of listeners) listener()
}

/** The ids of reviews that need nobody any more. */
export function useDecided(): ReadonlySet<string> {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => hidden,
  )
}

/** Decides, in five seconds from now. */
export function decide(review: Review, decision: Decision['decision'], comment = ''): void {
  const timer = setTimeout(() => void send(review.id, false), UNDO_MS)
  update(() => {
    waiting = new Map(waiting).set(review.id, { review, decision, comment, timer })
  })
  showToast({
    id: review.id,
    text: `${decision === 'approve' ? 'Approved' : 'Rejected'}: ${askedFor(review.input) || review.gate.name}`,
    lastsMs: UNDO_MS,
    action: { label: 'Undo', run: () => takeBack(review.id) },
  })
}

/** Takes back the decision, or the last one; answers whose it was. */
export function takeBack(id = [...waiting.keys()].at(-1)): Review | undefined {
  const found = id === undefined ? undefined : waiting.get(id)
  if (id === undefined || found === undefined) return undefined
  clearTimeout(found.timer)
  hideToast(id)
  update(() => {
    waiting = new Map([...waiting].filter(([key]) => key !== id))
  })
  return found.review
}

async function send(id: string, isLeaving: boolean): Promise<void> {
  const found = waiting.get(id)
  if (found === undefined) return
  const { review, decision, comment, timer } = found
  clearTimeout(timer)
  hideToast(id)
  update(() => {
    waiting = new Map([...waiting].filter(([key]) => key !== id))
    gone = new Set(gone).add(id)
  })
  try {
    await api(`/v1/workflows/runs/${review.run_id}/review`, {
      body: { decision: wordOf(review, decision), gate: review.gate.id, ...(comment === '' ? {} : { comment }) },
      keepalive: isLeaving,
    })
  } catch (error) {
    const isDecided = error instanceof ApiError && error.code === 'no-open-gate'
    if (!isDecided)
      update(() => {
        gone = new Set([...gone].filter((key) => key !== id))
      })
    const why = isDecided ? await decidedBy(review) : (error as Error).message
    showToast({ id, tone: 'bad', text: why, lastsMs: 12_000 })
  }
  await queryClient.invalidateQueries({ queryKey: ['reviews'] })
}

/** What a person is asked about a call whose outcome nobody knows: to pay for it once more. */
export const isAboutMoney = ({ gate }: Review): boolean => gate.type === 'unknown-outcome'

/** A yes that costs money is said in words of its own. */
function wordOf(review: Review, decision: Decision['decision']): string {
  if (!isAboutMoney(review)) return decision
  return decision === 'approve' ? 'call-again' : 'give-up'
}

async function decidedBy(review: Review): Promise<string> {
  const path = withQuery('/v1/reviews', { status: 'any', run_id: review.run_id })
  const { data } = await api<{ data: Review[] }>(path).catch(() => ({ data: [] }))
  const found = data.find(({ id }) => id === review.id)
  if (found === undefined) return `${review.gate.name}: nobody waits for this decision any more.`
  const who = found.decided_by?.name ?? found.decided_by?.id ?? 'Its deadline'
  return `${who} ${found.gate.status} “${review.gate.name}” first.`
}

// Nobody can take back what was decided on a page that is gone.
addEventListener('pagehide', () => {
  for (const id of waiting.keys()) void send(id, true)
})
