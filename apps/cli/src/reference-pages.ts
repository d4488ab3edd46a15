// Writes docs/reference/workflows/<id>.md for every shipped template when it is run; with --check it only names what is stale.
// Hides which files of the checkout are templates, and where their pages lie.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isJsonObject, type JsonObject, normalizeTemplate, parseDocument, textOf, workflowPage } from '@fabrique/schema'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const TEMPLATES = join(root, 'templates')
const PAGES = join(root, 'docs/reference/workflows')

/** The pages as they should be, by path from the checkout. */
export async function referencePages(): Promise<Map<string, string>> {
  const pages = new Map<string, string>()
  for (const file of await filesBelow(TEMPLATES, '.yaml')) {
    const document = parseTemplate(await readFile(file))
    if (document === undefined) continue
    const page = workflowPage(normalizeTemplate(document), relative(root, file))
    pages.set(relative(root, join(PAGES, `${textOf(document.id)}.md`)), page)
  }
  return pages
}

/** The paths of pages that differ from what they should be, with those that should not be there. */
export async function stalePages(): Promise<string[]> {
  const pages = await referencePages()
  const found = await filesBelow(PAGES, '.md').catch(() => [])
  const left = found.map((file) => relative(root, file)).filter((path) => !pages.has(path))
  const stale = await Promise.all(
    [...pages].map(async ([path, page]) => {
      const text = await readFile(join(root, path), 'utf8').catch(() => '')
      return text === page ? [] : [path]
    }),
  )
  return [...stale.flat(), ...left].sort()
}

/** Undefined for a document that is no template, such as the price list. */
function parseTemplate(bytes: Uint8Array): JsonObject | undefined {
  const outcome = parseDocument(bytes, 'yaml')
  const value = outcome.ok ? outcome.document.value : undefined
  return isJsonObject(value) && 'runtimeSteps' in value ? value : undefined
}

async function filesBelow(folder: string, ending: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending) && !entry.parentPath.includes('node_modules'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
}

if (import.meta.main) {
  const stale = await stalePages()
  if (process.argv.includes('--check')) {
    for (const path of stale)
      console.error(`${path} is not what its template says; run: node apps/cli/src/reference-pages.ts`)
    process.exitCode = stale.length > 0 ? 1 : 0
  } else {
    const pages = await referencePages()
    for (const path of stale) {
      const page = pages.get(path)
      if (page === undefined) await rm(join(root, path))
      else {
        await mkdir(dirname(join(root, path)), { recursive: true })
        await writeFile(join(root, path), page)
      }
      console.log(page === undefined ? `removed ${path}` : `wrote ${path}`)
    }
  }
}
