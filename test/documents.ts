// The repository's documents as data: which files there are, a page's code blocks, tables, links and headings.
// Hides git and Markdown; it knows just as much Markdown as our own pages use.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder that all paths here are relative to. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** A fenced block. `info` is what follows the fence, split at spaces: the language, then what the block claims to be. */
export interface Block {
  page: string
  line: number
  info: string[]
  text: string
}

/** Every file that is, or is about to be, in the repository. */
export function trackedFiles(): string[] {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  return listed.split('\n').filter((file) => file !== '' && existsSync(join(root, file)))
}

/** Every page written in Markdown. */
export function pages(): string[] {
  return trackedFiles().filter((file) => file.endsWith('.md'))
}

export function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

/** The fenced blocks of a page in their order. Throws on a fence that is never closed. */
export function blocksOf(page: string): Block[] {
  const blocks: Block[] = []
  let open: { line: number; info: string[]; lines: string[] } | undefined
  for (const [index, line] of read(page).split('\n').entries()) {
    const fence = /^```(.*)$/.exec(line)?.[1]
    if (open === undefined) {
      if (fence !== undefined) open = { line: index + 1, info: fence.trim().split(/\s+/), lines: [] }
    } else if (fence === undefined) open.lines.push(line)
    else {
      blocks.push({ page, line: open.line, info: open.info, text: open.lines.join('\n') })
      open = undefined
    }
  }
  if (open !== undefined) throw new Error(`${page}:${open.line}: the block is never closed`)
  return blocks
}

/** A page without its fenced blocks. */
export function proseOf(page: string): string {
  return read(page).replace(/^```[^]*?^```$/gm, '')
}

/** The rows of every table of a page whose head is `columns`, as objects by column. */
export function tableOf(page: string, columns: readonly string[]): Record<string, string>[] {
  const head = `| ${columns.join(' | ')} |`
  const rows: Record<string, string>[] = []
  let inside = false
  for (const line of read(page).split('\n')) {
    if (line === head) inside = true
    else if (!line.startsWith('|')) inside = false
    else if (inside && !/^\|[-|: ]+\|$/.test(line)) {
      const cells = line.slice(1, -1).split('|')
      rows.push(Object.fromEntries(columns.map((column, index) => [column, (cells[index] ?? '').trim()])))
    }
  }
  return rows
}

/** The targets of links and images that lead into the repository: a path relative to the page, with or without anchor. */
export function relativeLinks(page: string): string[] {
  const prose = proseOf(page).replace(/`[^`\n]*`/g, '')
  const targets = [
    ...[...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? ''),
    ...[...prose.matchAll(/<(?:img|a)\b[^>]*\b(?:src|href)="([^"]+)"/g)].map(([, target]) => target ?? ''),
  ]
  return targets.filter((target) => !/^[a-z][a-z0-9+.-]*:/i.test(target))
}

/** The anchors that a page's headings get. */
export function anchorsOf(page: string): Set<string> {
  const headings = proseOf(page)
    .split('\n')
    .flatMap((line) => /^#{1,6} (.+)$/.exec(line)?.[1] ?? [])
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replaceAll(' ', '-'),
    ),
  )
}

/** The text between backticks, or the cell as it is. */
export function plain(cell: string): string {
  return /^`([^`]*)`$/.exec(cell)?.[1] ?? cell
}
