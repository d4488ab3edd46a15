// What the pages say against what is there: links, blocks, tables of codes and variables, and what no file may name.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { parseRunSpec } from '@fabrique/engine'
import {
  type ErrorCode,
  errorRow,
  isJsonObject,
  normalizeTemplate,
  parseDocument,
  StepCommon,
  Template,
} from '@fabrique/schema'
import { createStandardCatalog } from '@fabrique/steps'
import { describe, expect, test } from 'vitest'
import {
  anchorsOf,
  type Block,
  blocksOf,
  pages,
  plain,
  proseOf,
  read,
  relativeLinks,
  root,
  tableOf,
  trackedFiles,
} from './documents.ts'

const CONFIGURATION = 'docs/reference/configuration.md'
const ERRORS = 'docs/reference/errors.md'
const FORMATS = ['json', 'yaml', 'toml'] as const
/** Languages that a test executes, parses or compares, and `text`, which only shows something. */
const LANGUAGES = ['bash', 'sh', 'ts', 'diff', 'text', ...FORMATS, 'sql']

const files = trackedFiles()
const markdown = pages()
const blocks = markdown.flatMap(blocksOf)
const scripts = (JSON.parse(read('package.json')) as { scripts: Record<string, string> }).scripts

/** What is wrong with each of these, with the place; empty when all is well. */
function faults<T>(items: readonly T[], fault: (item: T) => string | undefined | false): string[] {
  return items.flatMap((item) => fault(item) || [])
}

const at = ({ page, line }: Block) => `${page}:${line}`

describe('the pages', () => {
  test('the README is shorter than 150 lines', () => {
    expect(read('README.md').split('\n').length).toBeLessThan(150)
  })

  test('a decision record is at most 30 lines long', () => {
    const records = markdown.filter((page) => page.startsWith('docs/adr/'))
    expect(records.length).toBeGreaterThan(0)
    expect(faults(records, (page) => read(page).trimEnd().split('\n').length > 30 && page)).toEqual([])
  })

  test('every relative link leads to something that is in the repository', () => {
    const links = markdown.flatMap((page) => relativeLinks(page).map((target) => ({ page, target })))
    expect(links.length).toBeGreaterThan(0)
    expect(
      faults(links, ({ page, target }) => {
        const [path = '', anchor] = target.split('#')
        const file = path === '' ? page : relative(root, join(root, dirname(page), path))
        const isThere = existsSync(join(root, file)) && files.some((one) => one === file || one.startsWith(`${file}/`))
        if (!isThere) return `${page}: there is no ${target}`
        return anchor !== undefined && !anchorsOf(file).has(anchor) && `${page}: ${file} has no heading #${anchor}`
      }),
    ).toEqual([])
  })

  test('every command of npm that is named exists', () => {
    const named = markdown.flatMap((page) =>
      [...read(page).matchAll(/npm run ([a-z][a-z:-]*)/g)].map(([, script = '']) => ({ page, script })),
    )
    expect(named.length).toBeGreaterThan(0)
    expect(faults(named, ({ page, script }) => !(script in scripts) && `${page}: npm run ${script}`)).toEqual([])
  })

  test('every source file named in backticks exists', () => {
    const named = markdown.flatMap((page) =>
      [...proseOf(page).matchAll(/`((?:apps|packages|scripts|templates|examples|test|bench)\/[\w./-]+)`/g)].map(
        ([, path = '']) => ({ page, path }),
      ),
    )
    expect(named.length).toBeGreaterThan(0)
    expect(faults(named, ({ page, path }) => !existsSync(join(root, path)) && `${page}: ${path}`)).toEqual([])
  })
})

describe('the code blocks', () => {
  test('each says what it is, so that it is run, parsed or marked as text', () => {
    expect(
      faults(blocks, (block) => !LANGUAGES.includes(block.info[0] ?? '') && `${at(block)}: ${block.info.join(' ')}`),
    ).toEqual([])
  })

  test('JSON, YAML and TOML pass the front door, and are what they look like', () => {
    const documents = blocks.filter(({ info }) => (FORMATS as readonly string[]).includes(info[0] ?? ''))
    expect(documents.length).toBeGreaterThan(0)
    expect(faults(documents, (block) => reasonOf(() => checkDocument(block), block))).toEqual([])
  })

  test('a quotation stands in its file, word for word', () => {
    const quotations = blocks.filter(({ info }) => info[0] === 'ts' && info[1] === 'in')
    expect(quotations.length).toBeGreaterThan(0)
    expect(faults(quotations, (block) => !read(block.info[2] ?? '').includes(block.text) && at(block))).toEqual([])
  })

  test('TypeScript is a quotation, or a file that is compiled and run', () => {
    const typescript = blocks.filter(({ info }) => info[0] === 'ts')
    expect(faults(typescript, (block) => !['in', 'file'].includes(block.info[1] ?? '') && at(block))).toEqual([])
  })

  test('shell commands that are not run name files that exist', () => {
    const commands = blocks.filter(({ info }) => info[0] === 'sh')
    expect(
      faults(commands, (block) => {
        const paths = block.text.match(/(?<=^|\s)(?:apps|packages|examples|templates|test|docs)\/[\w./-]+/g) ?? []
        const missing = paths.filter((path) => !existsSync(join(root, path)))
        return missing.length > 0 && `${at(block)}: ${missing.join(', ')}`
      }),
    ).toEqual([])
  })
})

/** Throws where a document is not what its tag or its keys say. */
function checkDocument({ info: [format, tag], text }: Block): void {
  const outcome = parseDocument(Buffer.from(text), format as (typeof FORMATS)[number])
  if (!outcome.ok) throw new Error(outcome.problems[0]?.detail)
  const { value } = outcome.document
  if (tag === 'step') {
    const catalog = createStandardCatalog()
    for (const item of Array.isArray(value) ? value : [value]) {
      const step = StepCommon.parse(item)
      if (catalog.kind(step.kind) === undefined) throw new Error(`there is no step kind "${step.kind}"`)
    }
  } else if (tag === 'problem') {
    if (!isJsonObject(value)) throw new Error('a problem is an object')
    const code = value.code as ErrorCode
    const { status, title } = errorRow(code)
    expect(value).toMatchObject({ status, title, type: `urn:fabrique:problem:${code}` })
  } else if (isJsonObject(value) && 'runtimeSteps' in value) Template.parse(normalizeTemplate(value))
  else if (isJsonObject(value) && ('workflow' in value || 'input' in value)) parseRunSpec(value, undefined)
}

function reasonOf(check: () => void, block: Block): string | undefined {
  try {
    check()
    return undefined
  } catch (error) {
    return `${at(block)}: ${error instanceof Error ? error.message : String(error)}`
  }
}

describe('the table of problem codes', () => {
  const rows = tableOf(ERRORS, ['code', 'status', 'title', 'again', 'what to do'])

  test('has every code once, with its status, its title and whether to try again', () => {
    const source = read('packages/schema/src/error.ts')
    const codes = [...source.matchAll(/^ {2}'?([a-z-]+)'?: \{ status: \d+/gm)].map(([, code = '']) => code)
    expect(codes.length).toBeGreaterThan(20)
    const expected = codes.map((code) => {
      const { status, title, retry } = errorRow(code as ErrorCode)
      return { code: `\`${code}\``, status: String(status), title, again: retry ? 'yes' : 'no' }
    })
    expect(rows.map(({ code, status, title, again }) => ({ code, status, title, again }))).toEqual(expected)
  })

  test('says for each what to do', () => {
    expect(faults(rows, (row) => (row['what to do'] ?? '').length < 10 && row.code)).toEqual([])
  })
})

describe('the table of causes', () => {
  const rows = tableOf(ERRORS, ['cause', 'class', 'what to do'])
  const documented = rows.map(({ cause }) => plain(cause ?? ''))

  test('has every cause that is told of a provider', () => {
    const source = read('packages/steps/src/providers/causes.ts')
    const told = [...source.matchAll(/^ {4}code: '([a-z-]+)'|code: '([a-z-]+)', says/gm)].map(
      ([, a, b]) => a ?? b ?? '',
    )
    expect(told.length).toBeGreaterThan(7)
    expect(faults(told, (code) => !documented.includes(code) && code)).toEqual([])
  })

  test('names classes only that a step can name', () => {
    const named = rows.flatMap(({ class: of = '' }) => [...of.matchAll(/`([a-z_]+)`/g)].map(([, name = '']) => name))
    const { retry } = StepCommon.shape
    expect(named.length).toBeGreaterThan(2)
    expect(faults(named, (name) => !retry.safeParse({ maxAttempts: 2, on: [name] }).success && name)).toEqual([])
  })
})

interface Variable {
  safeParse(value: unknown): { success: boolean; data?: string | number | undefined }
}

describe('the table of environment variables', async () => {
  const rows = tableOf(CONFIGURATION, ['variable', 'default', 'read by', 'meaning'])
  const documented = new Map(rows.map((row) => [plain(row.variable ?? ''), row]))
  const schemas = await Promise.all(
    ['api', 'worker', 'cli'].map(async (app) => {
      const path = `apps/${app}/src/env.ts`
      const module = (await import(join(root, path))) as Record<string, Record<string, Variable>>
      const [shape = {}] = Object.values(module)
      return { app, shape }
    }),
  )
  const programs = schemas.filter(({ app }) => app !== 'cli')

  test('has every variable of every program, with who reads it', () => {
    const read = schemas.flatMap(({ app, shape }) => Object.keys(shape).map((name) => ({ app, name })))
    expect(read.length).toBeGreaterThan(0)
    expect(
      faults(read, ({ app, name }) => {
        const row = documented.get(name)
        return !(row?.['read by'] ?? '').split(', ').includes(app) && `${name} is read by ${app}`
      }),
    ).toEqual([])
  })

  test('names no program that does not know the variable', () => {
    expect(
      faults(
        schemas.flatMap(({ app, shape }) => rows.map((row) => ({ app, shape, row }))),
        ({ app, shape, row }) =>
          (row['read by'] ?? '').split(', ').includes(app) &&
          !(plain(row.variable ?? '') in shape) &&
          !isReadOutsideSchema(app, plain(row.variable ?? '')) &&
          `${row.variable} is not read by ${app}`,
      ),
    ).toEqual([])
  })

  test('gives the default that the code has', () => {
    const all = programs.flatMap(({ app, shape }) =>
      Object.entries(shape).map(([name, schema]) => ({ app, name, schema })),
    )
    expect(
      faults(all, ({ app, name, schema }) => {
        const parsed = schema.safeParse(undefined)
        const value = parsed.success && parsed.data !== undefined ? String(parsed.data) : '–'
        const said = plain(documented.get(name)?.default ?? '')
        return said !== value && `${app}: the default of ${name} is ${value}, not ${said}`
      }),
    ).toEqual([])
  })

  test('leaves out no variable that the code reads on its own', () => {
    const page = read(CONFIGURATION)
    const sources = files.filter(
      (file) => /^(apps|packages|scripts)\/.*\.(ts|mjs)$/.test(file) && !file.endsWith('.test.ts'),
    )
    const names = new Set(
      sources.flatMap((file) =>
        [...read(file).matchAll(/process\.env\.([A-Z][A-Z0-9_]+)/g)].map(([, name = '']) => name),
      ),
    )
    names.delete('PATH')
    expect(names.size).toBeGreaterThan(0)
    expect(faults([...names], (name) => !page.includes(`\`${name}\``) && name)).toEqual([])
  })
})

function isReadOutsideSchema(app: string, name: string): boolean {
  return files.some((file) => file.startsWith(`apps/${app}/src/`) && new RegExp(`\\b${name}\\b`).test(read(file)))
}

describe('what is said of the code', () => {
  const sources = files.filter((file) => /^(apps|packages)\/.*\.ts$/.test(file) && !file.endsWith('.test.ts'))
  const found = (from: readonly string[], pattern: RegExp) =>
    [...new Set(from.flatMap((file) => [...read(file).matchAll(pattern)].map(([, name = '']) => name)))].toSorted()

  test('every kill point is armed by an end-to-end test, and every one that is armed or named exists', () => {
    const exist = found(sources, /(?:killpoint(?:\?\.)?|\bsave|\bcommitted)\('([A-Z]\d+)'/g)
    const e2e = files.filter((file) => /^test\/.*\.e2e\.test\.ts$/.test(file))
    expect(exist.length).toBeGreaterThan(10)
    expect(found(e2e, /'([ADRW]\d+)'/g)).toEqual(exist)
    expect(exist).toEqual(expect.arrayContaining(found(markdown, /killpoint\('([A-Z]\d+)'/g)))
  })

  test('a package imports the packages that ARCHITECTURE.md says, and no other', () => {
    const rows = tableOf('ARCHITECTURE.md', ['where', 'imports', 'what it hides'])
    const said = rows.flatMap(({ where = '', imports = '' }) =>
      [...where.matchAll(/\]\((packages\/[\w-]+)/g)].map(([, folder]) => `${folder}: ${imports}`),
    )
    const real = files.flatMap((file) => {
      const folder = /^(packages\/[\w-]+)\/package\.json$/.exec(file)?.[1]
      if (folder === undefined) return []
      const { dependencies = {} } = JSON.parse(read(file)) as { dependencies?: Record<string, string> }
      const own = Object.keys(dependencies).flatMap((name) => /^@fabrique\/(.+)$/.exec(name)?.[1] ?? [])
      return `${folder}: ${own.join(', ') || '–'}`
    })
    expect(real.length).toBeGreaterThan(5)
    expect(said.toSorted()).toEqual(real.toSorted())
  })

  test('a library that a file calls its own is imported nowhere else', () => {
    const claims = sources.flatMap((file) =>
      [...read(file).matchAll(/[Oo]nly (package|file|place) that imports ([\w-]+)/g)].map(([, what, library = '']) => ({
        where: what === 'package' ? file.split('/').slice(0, 2).join('/') : file,
        imports: new RegExp(`from '${library}(/[^']*)?'`),
      })),
    )
    expect(claims.length).toBeGreaterThan(1)
    expect(
      faults(claims, ({ where, imports }) => {
        const others = sources.filter((file) => !file.startsWith(where) && imports.test(read(file)))
        return others.length > 0 && `${where}: ${imports.source} is in ${others.join(', ')} too`
      }),
    ).toEqual([])
  })

  test('every option of the command line is on its page', () => {
    const page = read('docs/reference/cli.md')
    const options = sources
      .filter((file) => file.startsWith('apps/cli/src/'))
      .flatMap((file) => [...read(file).matchAll(/\.option\(\s*'(?:(-\w), )?(--[a-z-]+)/g)])
    expect(options.length).toBeGreaterThan(20)
    const isSaid = (name: string | undefined) =>
      name !== undefined && new RegExp(`(^|[\\s\`[])${name}(?![\\w-])`, 'm').test(page)
    expect(faults(options, ([, short, long = '']) => !isSaid(long) && !isSaid(short) && long)).toEqual([])
  })

  test('the engine has no clock, no randomness, no environment and no I/O', () => {
    const engine = sources.filter((file) => /^packages\/engine\/src\/(?!testing\/)/.test(file))
    const outside =
      /\bDate\.now\(|new Date\(\)|Math\.random|performance\.|process\.\w|setTimeout|setInterval|AbortSignal\.timeout|randomUUID|'node:(?!crypto')/
    expect(engine.length).toBeGreaterThan(20)
    expect(faults(engine, (file) => outside.test(read(file)) && file)).toEqual([])
  })
})

describe('no file of the repository', () => {
  // Read as bytes of one width, so that a name inside a binary file is found too.
  const texts = files.map((file) => ({ file, text: readFileSync(join(root, file), 'latin1') }))

  test('names the host of a package registry', () => {
    const configured = execFileSync('npm', ['config', 'get', 'registry'], { cwd: root, encoding: 'utf8' }).trim()
    const hosts = [
      ...['npmjs', 'yarnpkg', 'npmmirror'].map((name) => `registry.${name}.`),
      'npm.pkg.',
      'deb.debian.',
      'archive.ubuntu.',
      'files.pythonhosted.',
      new URL(configured).host,
    ]
    const self = 'test/docs.test.ts'
    expect(
      faults(texts, ({ file, text }) => file !== self && hosts.some((host) => text.includes(host)) && file),
    ).toEqual([])
  })

  test('names a folder of the machine that it was written on', () => {
    const folders = [root, dirname(root), homedir()].filter((folder) => folder.split('/').length > 2)
    const personal = /(?<![\w.@/-])\/(?:home|Users|workspaces)\/[\w.-]+\//
    expect(
      faults(texts, ({ file, text }) => {
        const found = folders.find((folder) => text.includes(`${folder}/`)) ?? personal.exec(text)?.[0]
        return found !== undefined && `${file}: ${found}`
      }),
    ).toEqual([])
  })

  test('is an artifact, a log or a database', () => {
    expect(faults(files, (file) => statSync(join(root, file)).size > 1_000_000 && file)).toEqual([])
  })
})
