// `assert`: a CEL condition that must hold behind its step, or at the end of the run.
import type { GateKind } from '@fabrique/engine'
import { textOf } from '@fabrique/schema'
import { z } from 'zod'

/** `{assert, message?}`: `message` is what people read where it does not hold. */
export const assertion: GateKind = {
  type: 'assert',
  name: 'assert',
  stands: 'condition',
  fields: z.strictObject({ assert: z.string().min(1).max(2000), message: z.string().max(500).optional() }),
  expression: (gate) => textOf(gate.assert),
}
