// The files that a template promises, held against what its steps make.
// Hides where a tool, a model or a format decides on the type of a file.
import { canonicalType, isJsonObject, objectOf, type Step, textOf } from '@fabrique/schema'
import { modelNamesOf } from '../../catalog.ts'
import { parsePath } from '../placeholders.ts'
import { providersOf, type Subject } from './report.ts'

/** Every promised file comes from where a file is, and is of the type that is made there. */
export function checkFiles({ document, steps, catalog, shapes, report }: Subject): void {
  const { artifactSchema } = document
  const files = isJsonObject(artifactSchema) && Array.isArray(artifactSchema.files) ? artifactSchema.files : []
  for (const [index, file] of files.entries()) {
    if (!isJsonObject(file)) continue
    const at = `/artifactSchema/files/${index}`
    const source = parsePath(textOf(file.from ?? `steps.${textOf(file.role)}.output.artifact`))
    const step = steps.find((one) => one.step.id === source?.path[0])?.step
    if (source?.root !== 'steps' || step === undefined || source.path[1] !== 'output') continue
    // The file may be in the output as `artifact`, and so may the files of a list.
    const { types } = shapes.at(source)
    const isWhole = types.includes('object') && source.path.length === 2
    const inside = isWhole ? shapes.at({ ...source, path: [...source.path, 'artifact'] }) : undefined
    if (inside?.is === 'never' || (types.length > 0 && !types.includes('object') && !types.includes('array'))) {
      report(`${at}/from`, 'unfit-file', `there is no file in what "${step.id}" gives here; name a step that makes one`)
      continue
    }
    const promised = canonicalType(textOf(file.mimeType))
    for (const made of typesMadeBy(step)) {
      if (fits(promised, made)) continue
      const what = made.endsWith('/*') ? made.slice(0, -2) : made
      report(
        `${at}/mimeType`,
        'unfit-file',
        `"${step.id}" makes ${what} and not ${promised}; promise that, or convert it`,
      )
    }
  }

  function typesMadeBy(step: Step): string[] {
    const kind = catalog.kind(step.kind)
    if (kind === undefined) return []
    const tool = typeof step.tool === 'string' ? catalog.tool(step.tool) : undefined
    const local = tool?.makes?.(objectOf(step.args))
    if (tool !== undefined || kind.capability(step) === null) return local === undefined ? [] : [local]
    const types = modelNamesOf(step, providersOf(document)).names.map((name) => {
      const model = catalog.model(name)
      return model && catalog.provider(model.provider)?.makes?.(model, kind.expects(step))
    })
    return [...new Set(types.filter((type) => type !== undefined))]
  }
}

/** Texts are told apart by what is promised, where their maker says no more. */
function fits(promised: string, made: string): boolean {
  if (!made.endsWith('/*')) return promised === canonicalType(made)
  return promised.startsWith(made.slice(0, -1)) || (made === 'text/*' && promised.startsWith('application/'))
}
