// `--scaffold ID`: a run-spec to fill in, on stdout or in a new file.
import { writeFile } from 'node:fs/promises'
import { formatOfPath, scaffoldOf, scaffoldRunSpec } from '@fabrique/schema'
import type { Context } from './context.ts'
import { InvalidRequest } from './failure.ts'
import { findWorkflow } from './find-workflow.ts'

export interface ScaffoldOptions {
  workflow: string
  output?: string
  format?: 'yaml' | 'toml' | 'json'
  showOutput?: boolean
  optional: boolean
}

/** Writes the scaffold; an existing file is never overwritten. */
export async function writeScaffold(context: Context, options: ScaffoldOptions): Promise<void> {
  const { output, workflow } = options
  const ending = output === undefined ? undefined : formatOfPath(output)
  const format = options.format ?? ending ?? 'yaml'
  if (ending !== undefined && ending !== format) {
    throw new InvalidRequest(`-o ${output}: its ending says ${ending}, but --format says ${format}`)
  }
  const document = await findWorkflow(await context.backend(), workflow)
  const text = scaffoldRunSpec(scaffoldOf(document), {
    format,
    optional: options.optional,
    showOutput: options.showOutput === true,
  })
  if (output === undefined) context.print(text.trimEnd())
  else {
    await writeFile(output, text, { flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST')
        throw new InvalidRequest(`${output}: there is such a file already; choose another name`)
      throw new InvalidRequest(`${output}: it cannot be written (${error.code ?? error.message})`)
    })
    context.say(`Wrote ${output}. Fill it in, then: ${context.hint(`--from-file ${output}`)}`)
  }
}
