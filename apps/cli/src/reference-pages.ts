// Writes docs/reference/workflows/<id>.md for every shipped template when it is run; with --check it only names what is stale.
// Hides which files of the checkout are templates, and where their pages lie.
import { glob, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isJsonObject, type JsonObject, normalizeTemplate, parseDocument, textOf, workflowPage } from '@fabrique/schema'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const PAGES = 'docs/reference/workflows'
const ESTIMATES = 'docs/reference/estimates.md'

/** The pages as they should be, by path from the checkout. */
export async function referencePages(): Promise<Map<string, string>> {
  const pages = new Map<string, string>()
  const costs = await readCosts()
  for (const path of await filesBelow('templates', '.yaml')) {
    const document = parseTemplate(await readFile(join(root, path)))
    if (document === undefined) continue
    const page = workflowPage(normalizeTemplate(document), path, costs.get(textOf(document.id)))
    pages.set(join(PAGES, `${textOf(document.id)}.md`), page)
  }
  return pages
}

/** The paths of pages that differ from what they should be, with those that should not be there. */
export async function stalePages(): Promise<string[]> {
  const pages = await referencePages()
  const paths = new Set([...pages.keys(), ...(await filesBelow(PAGES, '.md'))])
  const stale = await Promise.all(
    [...paths].map(async (path) => {
      const text = await readFile(join(root, path), 'utf8').catch(() => '')
      return text === pages.get(path) ? [] : [path]
    }),
  )
  return stale.flat().sort()
}

/** What runs were estimated at and cost, by template: the rows of the page that a test makes of it. */
async function readCosts(): Promise<Map<string, string[][]>> {
  const rows = (await readFile(join(root, ESTIMATES), 'utf8')).split('\n').filter((line) => line.startsWith('| `'))
  const cells = rows.map((row) => row.split('|').map((cell) => cell.trim()))
  const byTemplate = Map.groupBy(cells, ([, id = '']) => id.replaceAll('`', ''))
  return new Map([...byTemplate].map(([id, found]) => [id, found.map((row) => row.slice(2, -1))]))
}

/** Undefined for a document that is no template, such as the price list. */
function parseTemplate(bytes: Uint8Array): JsonObject | undefined {
  const outcome = parseDocument(bytes, 'yaml')
  const value = outcome.ok ? outcome.document.value : undefined
  return isJsonObject(value) && 'runtimeSteps' in value ? value : undefined
}

/** Paths from the checkout. */
async function filesBelow(folder: string, ending: string): Promise<string[]> {
  const exclude = ['**/node_modules/**']
  return (await Array.fromAsync(glob(`${folder}/**/*${ending}`, { cwd: root, exclude }))).sort()
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
