// `image`: one picture from a prompt, by an image model.
import type { StepKind } from '@fabrique/engine'
import { type JsonObject, textOf } from '@fabrique/schema'
import { z } from 'zod'
import { ModelChoice, Params, storeAll } from './fields.ts'

/** `{artifact, artifacts}`: the first picture that the model answers with, and all of them. */
export const image: StepKind = {
  kind: 'image',
  fields: z.strictObject({ ...ModelChoice, promptTemplate: z.string().min(1).max(32_768), params: Params }),
  renders: [
    { field: 'promptTemplate', as: 'text' },
    { field: 'params', as: 'value' },
  ],
  outputKeys: () => ['artifact', 'artifacts'],
  capability: () => ['image'],
  expects: (step) => ({ prompt: textOf(step.promptTemplate), params: (step.params ?? {}) as JsonObject }),
  async run(fields, context) {
    const params = (fields.params ?? {}) as JsonObject
    const answer = await context.call({ prompt: textOf(fields.promptTemplate), params })
    const artifacts = await storeAll(answer.files, context)
    return { artifact: artifacts[0] ?? null, artifacts }
  },
}
