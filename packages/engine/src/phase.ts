// The phases of a run and every move between them: who makes it, from where, and what it sets.
// Both stores, the record in PostgreSQL and the one in memory, build their writes from this table; nothing else moves a run.
import { isTerminal, type RunError, type RunStatus } from '@fabrique/schema'

/** What each phase means. A status is what the outside sees; the phase also says whether a worker holds the run. */
export const PHASES = {
  queued: 'Due to be delivered to a worker.',
  executing: 'A worker holds its lease and runs its steps.',
  waiting: 'A person has to decide. No worker, no lease, no job.',
  suspended: 'A run that it called has not ended. No worker, no lease, no job; to the outside it is `running`.',
  joining: 'It consists of slots and has the status that they make together. No worker ever executes it.',
  ended: 'Completed, failed or cancelled. Nothing of it changes any more.',
} as const

export type Phase = keyof typeof PHASES

/** The phase of a run. The record computes the same in a generated column. */
export function phaseOf(run: { status: RunStatus; hasSlots: boolean; worker: string | null }): Phase {
  if (isTerminal(run.status)) return 'ended'
  if (run.hasSlots) return 'joining'
  if (run.status === 'pending') return 'queued'
  if (run.status === 'waiting') return 'waiting'
  return run.worker === null ? 'suspended' : 'executing'
}

/** What a move sets. `given`: the one who moves says what; `next`: one more than before. What is absent stays. */
export interface Changes {
  status?: RunStatus | 'given'
  worker?: null | 'given'
  /** The holder's number: a newer one makes every write of an earlier holder fail. */
  fence?: 'next'
  /** The number of the delivery that is due: its job has a name of its own. */
  epoch?: 'next'
  lostLeases?: 0 | 'next'
  /** When the reconciler looks at the run unless somebody moves it before: in so many milliseconds, or never. */
  dueInMs?: number | null | 'given'
  /** The same, unless it is due before that anyway. */
  dueWithinMs?: number
  /** So much later than it was due before. */
  dueLaterMs?: 'given'
}

/** Conditions beside the phase, all of which must hold. */
export type Condition =
  /** The mover names the run's present fence: it is the execution that holds the lease. */
  | 'fenced'
  /** No cancel was requested: such a run may only end. */
  | 'not cancelled'
  /** The time at which the reconciler has to look has passed. */
  | 'overdue'
  /** It has lost no lease; or no other run that has is held by a worker, or only for longer than `SUSPECT_APART_MS`. */
  | 'alone'
  /** It may lose one lease more. */
  | 'leases left'
  /** It lost as many leases as it may but for this one, or a cancel was requested. */
  | 'no leases left or cancelled'

export interface Move {
  from: readonly Phase[]
  /** `same`: it stays where it is, and only the time at which it is due changes. */
  to: Phase | 'same'
  by: string
  when: string
  only: readonly Condition[]
  sets: Changes
}

/** Leases that a run may lose in a row without finishing a step; the last one fails it. */
export const LOST_LEASES_MAX = 3

/**
 * Runs that lost a worker are suspects: one of them may have ended it. They begin one after another, the last one first, so
 * that the next death is the fault of few: after the first death with this much time between them, and after the second
 * one only when the other is done.
 */
export const SUSPECT_APART_MS = 5_000

/** Why a run ends that lost its last lease. */
export const CRASHED: RunError = {
  code: 'worker-crash-limit',
  message: `The run lost its worker ${LOST_LEASES_MAX} times in a row without finishing a step.`,
}

/** How long a run that was woken is left to whoever delivers it, before the reconciler does. */
export const WOKEN_GRACE_MS = 5_000

const ENDS = { status: 'given', worker: null, fence: 'next', dueInMs: null } as const

export const MOVES = {
  accept: {
    from: [],
    to: 'queued',
    by: 'submitter, or the worker whose step calls a workflow',
    when: 'A run-spec is accepted. A bundle becomes `joining`, each of its slots `queued`.',
    only: [],
    sets: { status: 'pending', dueInMs: 10_000 },
  },
  claim: {
    from: ['queued'],
    to: 'executing',
    by: 'worker',
    when: 'A job with its id is delivered. The lease is as long as the worker asks for.',
    only: ['not cancelled', 'alone'],
    sets: { status: 'running', worker: 'given', fence: 'next', dueInMs: 'given' },
  },
  renew: {
    from: ['executing'],
    to: 'same',
    by: 'lease keeper of the worker',
    when: 'Three times per lease.',
    only: ['fenced'],
    sets: { dueInMs: 'given' },
  },
  outlast: {
    from: ['executing'],
    to: 'same',
    by: 'reconciler',
    when: 'The record was away: while nobody could renew a lease, none ran out.',
    only: [],
    sets: { dueLaterMs: 'given' },
  },
  release: {
    from: ['executing'],
    to: 'queued',
    by: 'worker',
    when: 'It shuts down, or the artifact store was away: no fault of the run, so no lease counts as lost.',
    only: ['fenced', 'not cancelled'],
    sets: { status: 'pending', worker: null, fence: 'next', epoch: 'next', dueInMs: 1_000 },
  },
  wait: {
    from: ['executing'],
    to: 'waiting',
    by: 'worker',
    when: 'A review gate is open, here or in a called run. Due when a gate decides itself.',
    only: ['fenced', 'not cancelled'],
    sets: { status: 'waiting', worker: null, lostLeases: 0, dueInMs: 'given' },
  },
  suspend: {
    from: ['executing'],
    to: 'suspended',
    by: 'worker',
    when: 'Nothing can go on before a called run has ended. Due in case its notification is lost.',
    only: ['fenced', 'not cancelled'],
    sets: { status: 'running', worker: null, lostLeases: 0, dueInMs: 'given' },
  },
  finish: {
    from: ['executing'],
    to: 'ended',
    by: 'worker',
    when: 'Every step is settled, or a cancel was heard of. Once a cancel was requested it can only end as cancelled.',
    only: ['fenced'],
    sets: { status: 'given', lostLeases: 0, dueInMs: null },
  },
  wake: {
    from: ['waiting', 'suspended'],
    to: 'queued',
    by: 'reviewer, or the end of a called run',
    when: 'A gate was decided, or a called run ended or waits. Due at once where nobody else delivers it, else in 5 s.',
    only: ['not cancelled'],
    sets: { status: 'pending', epoch: 'next', dueInMs: 'given' },
  },
  alarm: {
    from: ['waiting', 'suspended'],
    to: 'queued',
    by: 'reconciler',
    when: 'A gate decides itself now, or it is time to look at the called runs.',
    only: ['not cancelled', 'overdue'],
    sets: { status: 'pending', epoch: 'next', dueInMs: 0 },
  },
  expire: {
    from: ['executing'],
    to: 'queued',
    by: 'reconciler',
    when: `Its lease ran out: the worker is gone. The ${LOST_LEASES_MAX}rd time in a row it is given up instead.`,
    only: ['not cancelled', 'overdue', 'leases left'],
    sets: { status: 'pending', worker: null, fence: 'next', epoch: 'next', lostLeases: 'next', dueInMs: 0 },
  },
  giveUp: {
    from: ['executing'],
    to: 'ended',
    by: 'reconciler',
    when: 'Its lease ran out once too often (`failed`), or after a cancel was requested (`cancelled`).',
    only: ['overdue', 'no leases left or cancelled'],
    sets: ENDS,
  },
  settle: {
    from: ['queued', 'waiting', 'suspended'],
    to: 'ended',
    by: 'whoever cancels it, or the end of what it belongs to',
    when: 'A cancel, a failed sibling under fail_fast, a caller that ended: there is no worker to ask.',
    only: [],
    sets: ENDS,
  },
  follow: {
    from: ['joining'],
    to: 'joining',
    by: 'a slot',
    when: 'One of its slots began, waits or ended.',
    only: [],
    sets: { status: 'given' },
  },
  join: {
    from: ['joining'],
    to: 'ended',
    by: 'the last slot',
    when: 'All of its slots have ended.',
    only: [],
    sets: ENDS,
  },
  recheck: {
    from: ['queued', 'joining'],
    to: 'same',
    by: 'reconciler',
    when: 'Its job, or the notification of a slot, may be lost: deliver it where no job exists, join it, look again later.',
    only: ['overdue'],
    sets: { dueInMs: 30_000 },
  },
  requeue: {
    from: ['queued'],
    to: 'same',
    by: 'reconciler',
    when: 'Redis came back empty: every delivery may be lost.',
    only: [],
    sets: { dueInMs: 0 },
  },
  watch: {
    from: ['waiting'],
    to: 'same',
    by: 'reviewer',
    when: 'A gate below it was decided. Ancestors sleep for an hour while a person decides; look within 30 s in case the notification is lost.',
    only: [],
    sets: { dueWithinMs: 30_000 },
  },
} as const satisfies Record<string, Move>

export type MoveName = keyof typeof MOVES

/** The move that an execution makes by what it ends with. */
export const MOVE_AT_END = {
  waiting: 'wait',
  suspended: 'suspend',
  completed: 'finish',
  failed: 'finish',
  cancelled: 'finish',
} as const satisfies Record<string, MoveName>
