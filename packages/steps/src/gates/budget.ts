// `budget`: what the run may spend: before each call, or, with `after`, once its step is done.
import type { GateKind } from '@fabrique/engine'
import { z } from 'zod'

/** `{maxUsd}`. Calls under way and runs that were called count with what is reserved for them. */
export const budget: GateKind = {
  type: 'budget',
  name: 'budget',
  stands: 'spending',
  fields: z.strictObject({ maxUsd: z.number().min(0).max(1_000_000) }),
  limitUsd: (gate) => Number(gate.maxUsd),
}
