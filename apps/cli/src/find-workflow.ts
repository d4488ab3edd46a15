// A workflow by its id, or the words for one that is not there.
// Hides that a misspelt id is compared with the ids that can be run.
import { isJsonObject, type JsonObject, nearestKey, textOf } from '@fabrique/schema'
import type { Backend } from './backend.ts'
import { InvalidRequest } from './failure.ts'

/** The workflow's document; throws `InvalidRequest` with the nearest id where there is none. */
export async function findWorkflow(backend: Backend, id: string): Promise<JsonObject> {
  const found = await backend.workflow(id)
  if (found !== null) return found
  throw new InvalidRequest(`There is no workflow "${id}". ${await remedyFor(backend, id)}`)
}

/** What to do about each workflow that the spec or an entry of its bundle names and that is not there, by its pointer. */
export async function remediesFor(backend: Backend, spec: JsonObject): Promise<Map<string, string>> {
  const entries = Array.isArray(spec.bundle) ? spec.bundle : []
  const named = entries.map((entry, index): [string, unknown] => {
    return [`/bundle/${index}/workflow`, isJsonObject(entry) ? entry.workflow : '']
  })
  // What a bundle belongs to is no workflow of anybody's.
  if (entries.length === 0) named.push(['/workflow', spec.workflow])
  const remedies = new Map<string, string>()
  for (const [pointer, value] of named) {
    const id = textOf(value)
    if (id !== '' && (await backend.workflow(id)) === null) remedies.set(pointer, await remedyFor(backend, id))
  }
  return remedies
}

/** What to do about an id that no workflow has. */
export async function remedyFor(backend: Backend, id: string): Promise<string> {
  const ids = (await backend.workflows()).map((one) => textOf(one.id))
  const near = nearestKey(id, ids) ?? ids.find((one) => one.split('/').at(-1) === id)
  return near === undefined ? 'See: fab-workflow workflows' : `Did you mean "${near}"?`
}
