// What a transition asks of the record: the questions that every run store answers before it applies one.
import type { CallRecord, Transition } from './ports.ts'

/** The calls whose intent is recorded with this transition; what is known of the others already is only brought up to date. */
export function begunCalls({ calls }: Pick<Transition, 'calls'>): CallRecord[] {
  return calls.filter(({ outcome, requestId }) => outcome === 'pending' && requestId === null)
}

/** True where a requested cancel refuses the transition: it spends, suspends, calls runs or ends the run otherwise. */
export function isRefusedByCancel(transition: Transition): boolean {
  const { end, children } = transition
  const movesOtherwise = end !== undefined && end.status !== 'cancelled'
  return movesOtherwise || begunCalls(transition).length > 0 || children !== undefined
}
