// What a step asks of its model beside the prompt, in the words of each model that may serve it.
// Hides the table by which one model understands the parameters of another.
import { isJsonObject, type JsonObject, type ModelRow, textOf } from '@fabrique/schema'
import type { Binding } from '../specification.ts'

type Words = Pick<Binding['models'][number], 'mapped'>

/**
 * The parameters in a model's own words, each with the name that it was given by.
 * What has no other word for it, or would be said twice, is left as it is.
 */
export function inOwnWords(
  params: JsonObject,
  { mapped = {} }: Words,
): { params: JsonObject; names: Map<string, string> } {
  const said: { [name: string]: JsonObject[string] } = {}
  const names = new Map<string, string>()
  for (const [name, value] of Object.entries(params)) {
    const { to = name, values = {} } = (Object.hasOwn(mapped, name) ? mapped[name] : undefined) ?? {}
    const own = to !== name && (Object.hasOwn(params, to) || names.has(to)) ? name : to
    said[own] = own === to && Object.hasOwn(values, textOf(value)) ? (values[textOf(value)] ?? null) : value
    names.set(own, name)
  }
  return { params: said, names }
}

/** A request as this model is asked it. */
export function requestFor(model: Words, request: JsonObject): JsonObject {
  if (model.mapped === undefined || !isJsonObject(request.params)) return request
  return { ...request, params: inOwnWords(request.params, model).params }
}

/** How a model understands the parameters of others, where a step may be served by several. */
export function wordsOf(rows: readonly ModelRow[] | undefined, names: readonly string[], name: string): Words {
  const mapped = names.length > 1 ? rows?.find(({ model }) => model === name)?.mapped : undefined
  return mapped === undefined ? {} : { mapped }
}
