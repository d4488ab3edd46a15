// `workflow`: another workflow as a step. The step rests, without a worker, until the run that it called has ended.
import type { StepKind } from '@fabrique/engine'
import { isJsonObject, objectOf, type JsonObject } from '@fabrique/schema'
import { z } from 'zod'

/** The output of the called run: its aliases, else the outputs of its last steps. Its files become this run's own. */
export const workflow: StepKind = {
  kind: 'workflow',
  fields: z.strictObject({
    workflow: z.string().min(1).max(128),
    version: z.string().max(20).optional(),
    input: z.custom<JsonObject>(isJsonObject, 'must be an object').default({}),
  }),
  renders: [{ field: 'input', as: 'value' }],
  outputKeys: () => null,
  capability: () => null,
  expects: () => ({}),
  run: (fields, context) => context.callWorkflow(objectOf(fields.input)),
}
