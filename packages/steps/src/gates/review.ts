// `HITL review`: a person approves or rejects what was made. The run waits without a worker meanwhile.
import { durationMs, type GateKind } from '@fabrique/engine'
import { z } from 'zod'

/** Who does not decide in time leaves it to `onExpiry`. */
const Fields = z.strictObject({
  expiresIn: z
    .string()
    .refine((text) => durationMs(text) !== undefined, 'must be a time such as 90s, 30m, 12h or 7d')
    .optional(),
  onExpiry: z.enum(['approve', 'reject']).optional(),
})

/** The seeds' name for it. */
export const hitlReview: GateKind = { type: 'hitl-review', name: 'HITL review', stands: 'review', fields: Fields }

/** The object spelling, `{type: "review", after?, expiresIn?, onExpiry?}`. */
export const review: GateKind = { type: 'review', name: 'review', stands: 'review', fields: Fields }
