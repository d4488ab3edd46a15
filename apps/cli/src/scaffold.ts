// `--scaffold ID`: a run-spec to fill in, on stdout or in a new file.
import { writeFile } from 'node:fs/promises'
import { formatOfPath, scaffoldOf, scaffoldRunSpec } from '@fabrique/schema'
import type { Context } from './context.ts'
import { EXIT } from './exit.ts'
import { InvalidRequest } from './failure.ts'
import { findWorkflow } from './find-workflow.ts'

const FORMATS = ['yaml', 'toml', 'json'] as const

export interface ScaffoldCommand {
  workflow: string
  output?: string
  format?: string
  showOutput?: boolean
  optional: boolean
}

/** Writes the scaffold; an existing file is never overwritten. */
export async function writeScaffold(context: Context, options: ScaffoldCommand): Promise<number> {
  const { output, workflow } = options
  const wanted = options.format ?? (output === undefined ? undefined : formatOfPath(output)) ?? 'yaml'
  const format = FORMATS.find((one) => one === wanted)
  if (format === undefined) throw new InvalidRequest(`--format ${wanted}: choose one of ${FORMATS.join(', ')}`)
  if (output !== undefined && formatOfPath(output) !== undefined && formatOfPath(output) !== format) {
    throw new InvalidRequest(`-o ${output}: its ending says ${formatOfPath(output)}, but --format says ${format}`)
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
  return EXIT.done
}
