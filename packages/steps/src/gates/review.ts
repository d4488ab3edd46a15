// `HITL review`: a person approves or rejects what was made. The run waits without a worker meanwhile.
import type { GateKind } from '@fabrique/engine'

/** The seeds' name for it. */
export const hitlReview: GateKind = { type: 'hitl-review', name: 'HITL review', stands: 'review' }

/** The object spelling, `{type: "review", after?}`. */
export const review: GateKind = { type: 'review', name: 'review', stands: 'review' }
