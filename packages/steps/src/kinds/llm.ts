// `llm`: text from a prompt, plain or structured by a JSON Schema, by a language model.
import type { StepKind } from '@fabrique/engine'
import { isJsonObject, type JsonObject, textOf } from '@fabrique/schema'
import { z } from 'zod'
import { answerReader, ModelChoice, OutputSchema, Params } from './fields.ts'

/** `{text, json?, usage}`; `json` is there when the step has an `outputSchema`, and fits it. */
export const llm: StepKind = {
  kind: 'llm',
  fields: z.strictObject({
    ...ModelChoice,
    promptTemplate: z.string().min(1).max(32_768),
    system: z.string().max(32_768).optional(),
    params: Params,
    outputSchema: OutputSchema,
  }),
  renders: [
    { field: 'promptTemplate', as: 'text' },
    { field: 'system', as: 'text' },
    { field: 'params', as: 'value' },
  ],
  outputKeys: (step) => (step.outputSchema === undefined ? ['text', 'usage'] : ['text', 'json', 'usage']),
  capability: () => ['text'],
  expects: (fields) => ({
    prompt: textOf(fields.promptTemplate),
    system: textOf(fields.system),
    params: (fields.params ?? {}) as JsonObject,
    ...(isJsonObject(fields.outputSchema) && { outputSchema: fields.outputSchema }),
  }),
  async run(fields, context) {
    const schema = fields.outputSchema
    const read = await answerReader(schema, context)
    const answer = await context.call({
      prompt: textOf(fields.promptTemplate),
      system: fields.system ?? null,
      params: fields.params ?? {},
      ...(schema === undefined ? {} : { outputSchema: schema }),
    })
    const text = textOf(answer.output.text)
    const usage = Object.fromEntries(answer.usage.map(({ unit, quantity }) => [unit, quantity]))
    return { text, ...(read === undefined ? {} : { json: await read(text) }), usage }
  },
}
