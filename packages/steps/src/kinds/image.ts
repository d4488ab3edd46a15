// `image`: one picture from a prompt, by an image model.
import { type ProducedFile, type StepKind, StepFailure } from '@fabrique/engine'
import { type JsonObject, textOf } from '@fabrique/schema'
import { z } from 'zod'
import { isBlack } from '../pictures.ts'
import { ModelChoice, Params, storeAll } from './fields.ts'

/** `{artifact, artifacts, data}`: the first picture that the model answers with, all of them, and what it says beside. */
export const image: StepKind = {
  kind: 'image',
  fields: z.strictObject({ ...ModelChoice, promptTemplate: z.string().min(1).max(32_768), params: Params }),
  renders: [
    { field: 'promptTemplate', as: 'text' },
    { field: 'params', as: 'value' },
  ],
  outputKeys: () => ['artifact', 'artifacts', 'data'],
  capability: () => ['image'],
  expects: ({ promptTemplate, params = {} }) => ({ prompt: textOf(promptTemplate), params: params as JsonObject }),
  async run(fields, context) {
    const params = (fields.params ?? {}) as JsonObject
    const answer = await context.call({ prompt: textOf(fields.promptTemplate), params })
    const seen: ProducedFile[] = []
    for (const file of answer.files) if (!(await isBlack(file.bytes))) seen.push(file)
    const blackened = answer.files.length - seen.length
    if (blackened > 0 && seen.length === 0) {
      const message = 'The model answered with a black picture, as safety checkers do. Change what is asked for.'
      throw new StepFailure('refused', message, { billed: 'yes', code: 'content-refused' })
    }
    if (blackened > 0) context.progress({ warning: 'content-refused', files_left_out: blackened })
    const artifacts = await storeAll(seen, context)
    return { artifact: artifacts[0] ?? null, artifacts, data: answer.output }
  },
}
