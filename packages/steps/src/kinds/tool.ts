// `tool`: a local tool on values and files, or a model that works on files (`fal/birefnet-light`).
import type { InputFile, StepContext, StepKind } from '@fabrique/engine'
import { StepFailure } from '@fabrique/engine'
import { isJsonObject, objectOf, type JsonObject, type JsonValue, pointerTo, textOf } from '@fabrique/schema'
import { z } from 'zod'
import { artifactIn } from '../tools/reference.ts'
import { storeAll } from './fields.ts'

/** A local tool's own output; a model's is `{artifact, artifacts, data}`. */
export const tool: StepKind = {
  kind: 'tool',
  fields: z.strictObject({
    tool: z.string().min(1).max(200),
    args: z.custom<JsonObject>(isJsonObject, 'must be an object').default({}),
  }),
  renders: [{ field: 'args', as: 'value' }],
  outputKeys: (_, local) => local?.outputKeys ?? ['artifact', 'artifacts', 'data'],
  capability: (step) => (textOf(step.tool).includes('/') ? ['matte', 'media', 'speech', 'video'] : null),
  expects: ({ args = {} }) => ({ args: args as JsonObject }),
  async run(fields, context) {
    const name = textOf(fields.tool)
    const args = objectOf(fields.args)
    const local = context.tool(name)
    if (local === undefined) return await callModelTool(args, context)
    const parsed = local.args.safeParse(args)
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      const at = pointerTo(...((issue?.path ?? []) as (string | number)[]))
      throw new StepFailure('invalid', `The arguments of ${name} are not right at "${at}": ${issue?.message}.`)
    }
    return await local.run(parsed.data as JsonObject, context)
  },
}

async function callModelTool(args: JsonObject, context: StepContext): Promise<JsonValue> {
  const files: Record<string, InputFile> = {}
  const values: JsonObject = {}
  for (const [key, value] of Object.entries(args)) {
    const given = fileIn(value)
    const list = Array.isArray(value) ? value.filter((one) => one !== null).map(fileIn) : []
    if (given !== undefined) files[key] = await context.open(given, `args.${key}`)
    else if (list.length > 0 && list.every((one) => one !== undefined))
      for (const [index, one] of list.entries())
        files[`${key}/${index}`] = await context.open(one, `args.${key}[${index}]`)
    else values[key] = value
  }
  const answer = await context.call({ args: values }, files)
  const artifacts = await storeAll(answer.files, context)
  return { artifact: artifacts[0] ?? null, artifacts, data: answer.output }
}

/** The file that an argument is: one by itself, or the first of a step's output. */
function fileIn(value: JsonValue): JsonObject | undefined {
  const isOutput = isJsonObject(value) && (value.sha256 !== undefined || value.artifact !== undefined)
  return isOutput ? artifactIn(value) : undefined
}
