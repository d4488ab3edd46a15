// The shipped templates and price list, as files. They are bootstrap only: a row that exists is never changed by them.
import { glob, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { isJsonObject, type JsonObject, parseDocument, RateTable } from '@fabrique/schema'

const FOLDER = fileURLToPath(new URL('.', import.meta.url))
const PRICING = 'pricing.yaml'

/**
 * Every shipped template document, by its path here, and the price list; a file lies where its id says
 * (`video/talking-head` in `video/`). Throws, naming the file, on one that is broken.
 */
export async function readShippedDocuments(): Promise<{ templates: JsonObject[]; pricing: RateTable }> {
  const files = await Array.fromAsync(glob(['*.yaml', '*/*.yaml'], { cwd: FOLDER, exclude: ['node_modules'] }))
  const names = files.map((file) => file.replaceAll('\\', '/')).filter((name) => name !== PRICING)
  const templates = await Promise.all(names.sort().map(readDocument))
  return { templates, pricing: RateTable.parse(await readDocument(PRICING)) }
}

async function readDocument(name: string): Promise<JsonObject> {
  const outcome = parseDocument(await readFile(`${FOLDER}${name}`), 'yaml')
  if (!outcome.ok) throw new Error(`templates/${name}: ${outcome.problems[0]?.detail}`)
  if (!isJsonObject(outcome.document.value)) throw new Error(`templates/${name} is not a document with keys`)
  return outcome.document.value
}
