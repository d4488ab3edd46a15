// A workflow by its id, or the words for one that is not there.
// Hides that a misspelt id is compared with the ids that can be run.
import { type JsonObject, nearestKey, textOf } from '@fabrique/schema'
import type { Backend } from './backend.ts'
import { InvalidRequest } from './failure.ts'

/** The workflow's document; throws `InvalidRequest` with the nearest id where there is none. */
export async function findWorkflow(backend: Backend, id: string): Promise<JsonObject> {
  const found = await backend.workflow(id)
  if (found !== null) return found
  throw new InvalidRequest(`There is no workflow "${id}". ${await remedyFor(backend, id)}`)
}

/** What to do about an id that no workflow has. */
export async function remedyFor(backend: Backend, id: string): Promise<string> {
  const ids = (await backend.workflows()).map((one) => textOf(one.id))
  const near = nearestKey(id, ids) ?? ids.find((one) => one.split('/').at(-1) === id)
  return near === undefined ? 'See: fab-workflow workflows' : `Did you mean "${near}"?`
}
