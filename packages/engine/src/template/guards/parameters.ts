// What models are asked for beside the prompt, held against the rows of the price list: names, types and bounds.
// Hides that a value which is only filled in later counts as one that fits.
import {
  createPlaceholders,
  createPlaces,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  type ModelRow,
  ownFields,
  pathOf,
  pointerTo,
  valueAtPointer,
} from '@fabrique/schema'
import { modelNamesOf } from '../../catalog.ts'
import type { IntakeSchemas } from '../../ports.ts'
import { contentHash } from '../compile.ts'
import { inOwnWords, wordsOf } from '../parameters.ts'
import { placeholdersIn } from '../placeholders.ts'
import { choices, providersOf, type Report, type Subject } from './report.ts'

const CODES = {
  params: { unknown: 'unknown-parameter', missing: 'invalid-parameter', wrong: 'invalid-parameter' },
  args: { unknown: 'unknown-tool-argument', missing: 'missing-tool-argument', wrong: 'invalid-tool-argument' },
} as const

/** `params` and a model tool's `args`, for each model that may be asked. A model whose row says nothing takes anything. */
export async function checkParameters(
  { document, steps, catalog, report }: Subject,
  rows: readonly ModelRow[] | undefined,
  intake: Pick<IntakeSchemas, 'validate'>,
): Promise<void> {
  for (const { step, at } of steps) {
    const kind = catalog.kind(step.kind)
    if (kind === undefined || kind.capability(step) === null) continue
    const field = typeof step.tool === 'string' ? 'args' : 'params'
    const given = step[field] ?? {}
    if (!isJsonObject(given)) continue
    const { names } = modelNamesOf(step, providersOf(document))
    for (const name of names) {
      const reportHere: Report = (pointer, code, detail) =>
        report(`${at}/${field}${pointer}`, code, `"${name}" ${detail}`)
      const model = catalog.model(name)
      const request = { ...ownFields(step), ...kind.expects(step) }
      const reserved = (model && catalog.provider(model.provider)?.reserved?.(model, request)) ?? []
      const pointers = reserved.map(({ path }) => pointerTo(...path))
      for (const [index, { path, instead }] of reserved.entries()) {
        const pointer = pointers[index] as string
        if (valueAtPointer(given, pointer) === undefined) continue
        reportHere(pointer, 'reserved-parameter', `would not be asked for "${path.join('.')}": ${instead}`)
      }
      const parameters = rows?.find((row) => row.model === name)?.parameters
      const { params, names: givenAs } = inOwnWords(given, wordsOf(rows, names, name))
      if (parameters !== undefined) {
        const faults = await faultsOf(params, parameters as JsonObject, intake)
        for (const { path, is, detail } of faults) {
          const [first, ...inside] = path
          const pointer = first === undefined ? '' : pointerTo(givenAs.get(first) ?? first, ...inside)
          if (!pointers.includes(pointer)) reportHere(is === 'missing' ? '' : pointer, CODES[field][is], detail)
        }
      } else if (field === 'args' && Object.keys(given).length === 0)
        reportHere('', 'missing-tool-argument', 'is given nothing to work on; name its arguments')
    }
  }
}

interface Misfit {
  path: string[]
  is: 'unknown' | 'missing' | 'wrong'
  detail: string
}

async function faultsOf(
  given: JsonObject,
  parameters: JsonObject,
  intake: Pick<IntakeSchemas, 'validate'>,
): Promise<Misfit[]> {
  const places = createPlaces(parameters)
  const samples = createPlaceholders(parameters)
  const filled = filledIn(given, [], (text, path) => {
    const { is, schemas } = places(path)
    return is === 'named' ? samples.sample({ anyOf: schemas }, path.at(-1) ?? '') : text
  }) as JsonObject
  const { failure, problems } = await intake.validate(contentHash(parameters), parameters, filled)
  if (failure !== undefined) return []
  const misfits = problems.map(({ pointer, detail }): Misfit => {
    const path = pathOf(pointer)
    const { is, missing } = places(path)
    if (is !== 'named' && missing !== undefined)
      return { path, is: 'unknown', detail: `takes no "${missing.key}"; ${choices(missing.key, missing.known)}` }
    if (valueAtPointer(filled, pointer) === undefined)
      return { path, is: 'missing', detail: `needs "${path.join('.')}": it ${detail.replace(`${pointer} `, '')}` }
    const isNothing = pointer === '' && Object.keys(filled).length === 0
    return { path, is: isNothing ? 'missing' : 'wrong', detail: `cannot be asked so: ${detail}` }
  })
  // What is misspelt is not missing as well.
  return misfits.some(({ is }) => is === 'unknown') ? misfits.filter(({ path }) => path.length > 0) : misfits
}

/** A copy in which every text that has placeholders is replaced. */
function filledIn(value: JsonValue, path: string[], replace: (text: string, path: string[]) => JsonValue): JsonValue {
  if (typeof value === 'string') return placeholdersIn(value).length === 0 ? value : replace(value, path)
  if (Array.isArray(value)) return value.map((item, index) => filledIn(item, [...path, String(index)], replace))
  if (!isJsonObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, filledIn(part, [...path, key], replace)]))
}
