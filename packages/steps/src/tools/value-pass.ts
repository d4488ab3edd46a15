// `value.pass`: its arguments as its output; shapes data between steps without a model.
import type { Tool } from '@fabrique/engine'
import { z } from 'zod'

/** `{value}`: whatever was passed in, placeholders filled. */
export const valuePass: Tool = {
  name: 'value.pass',
  description: 'Answers the value that it is given.',
  args: z.strictObject({ value: z.unknown() }),
  outputKeys: ['value'],
  foresees: ({ value = null }) => ({ value }),
  async run(args) {
    return { value: args.value ?? null }
  },
}
