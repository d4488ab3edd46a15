// The shipped templates and price list, as files. They are bootstrap only: a row that exists is never changed by them.
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { isJsonObject, type JsonObject, parseDocument, RateTable } from '@fabrique/schema'

const FOLDER = fileURLToPath(new URL('.', import.meta.url))

/** Every shipped template document, by file name, and the price list. Throws, naming the file, on one that is broken. */
export async function readShippedDocuments(): Promise<{ templates: JsonObject[]; pricing: RateTable }> {
  const names = (await readdir(FOLDER)).filter((name) => name.endsWith('.yaml') && name !== 'pricing.yaml').sort()
  const templates = await Promise.all(names.map(readDocument))
  return { templates, pricing: RateTable.parse(await readDocument('pricing.yaml')) }
}

async function readDocument(name: string): Promise<JsonObject> {
  const outcome = parseDocument(await readFile(`${FOLDER}${name}`), 'yaml')
  if (!outcome.ok) throw new Error(`templates/${name}: ${outcome.problems[0]?.detail}`)
  if (!isJsonObject(outcome.document.value)) throw new Error(`templates/${name} is not a document with keys`)
  return outcome.document.value
}
