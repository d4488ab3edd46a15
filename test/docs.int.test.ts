// What the pages promise that takes processes to see: the worked example of CONTRIBUTING.md, and refused settings.
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { blocksOf, plain, root, tableOf } from './documents.ts'

const PACKAGE = 'packages/steps'

interface Outcome {
  code: number
  output: string
}

function run(args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: root, ...options }, (error, stdout, stderr) =>
      resolve({
        code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1,
        output: stdout + stderr,
      }),
    )
  })
}

/** `source` with each hunk of a diff without line numbers applied where its old lines stand; they must stand once. */
function patched(source: string, diff: string): string {
  return diff.split(/^@@.*\n/m).reduce((text, hunk) => {
    const lines = hunk.split('\n').filter((line) => line !== '')
    const side = (sign: string) =>
      lines
        .filter((line) => line.startsWith(' ') || line.startsWith(sign))
        .map((line) => line.slice(1))
        .join('\n')
    expect(text.split(side('-')), `the old lines of a hunk, once:\n${hunk}`).toHaveLength(2)
    return text.replace(side('-'), () => side('+'))
  }, source)
}

describe('adding a tool as CONTRIBUTING.md shows it', () => {
  const blocks = blocksOf('CONTRIBUTING.md')
  const files = blocks.filter(({ info }) => info[1] === 'file')
  const diffs = blocks.filter(({ info }) => info[0] === 'diff')
  let copy: string

  // Below the checkout, so that libraries are found; outside node_modules, where types are not stripped.
  beforeAll(async () => {
    const place = join(root, '.cache')
    await mkdir(place, { recursive: true })
    copy = await mkdtemp(join(place, 'docs-'))
    await cp(join(root, PACKAGE, 'src'), join(copy, 'src'), { recursive: true })
    await cp(join(root, PACKAGE, 'package.json'), join(copy, 'package.json'))
    await symlink(join(root, PACKAGE, 'node_modules'), join(copy, 'node_modules'))
    const own = (path = '') => join(copy, relative(PACKAGE, path))
    for (const { info, text } of files) {
      await mkdir(dirname(own(info[2])), { recursive: true })
      await writeFile(own(info[2]), `${text}\n`, { flag: 'wx' })
    }
    for (const { info, text } of diffs) {
      await writeFile(own(info[1]), patched(await readFile(own(info[1]), 'utf8'), text))
    }
    await writeFile(
      join(copy, 'tsconfig.json'),
      JSON.stringify({ extends: join(root, 'tsconfig.json'), include: ['src'], exclude: ['node_modules'] }),
    )
    const include = files.flatMap(({ info: [, , path = ''] }) =>
      path.endsWith('.test.ts') ? [relative(PACKAGE, path)] : [],
    )
    await writeFile(
      join(copy, 'vitest.config.ts'),
      `export default { test: { include: ${JSON.stringify(include)} } }\n`,
    )
  })

  afterAll(() => rm(copy, { recursive: true, force: true }))

  test('takes one file, its test, and one place in the list', () => {
    expect(files.map(({ info }) => info[2]).filter((path) => !path?.endsWith('.test.ts'))).toHaveLength(1)
    expect(diffs).toHaveLength(1)
  })

  test('compiles', async () => {
    expect(await run(['node_modules/typescript/bin/tsc', '--noEmit', '-p', copy])).toEqual({ code: 0, output: '' })
  })

  test('passes its own test', async () => {
    const { code, output } = await run(['node_modules/vitest/vitest.mjs', 'run', '--root', copy])
    expect(output).toMatch(/Tests .*3 passed/)
    expect(code).toBe(0)
  })
})

describe('a setting that is not valid', () => {
  const WRONG: Record<string, string> = {
    PORT: 'many',
    FABRIQUE_ADMIN_KEY: 'fab_short',
    CONCURRENCY: '0',
    INTERACTIVE_RESERVED: '-1',
    REDIS_PREFIX: 'a b',
    FABRIQUE_PROVIDERS: 'sometimes',
    OPENAI_BASE_URL: 'here',
    FAL_BASE_URL: 'there',
    FABRIQUE_ALLOW_PRIVATE_WEBHOOKS: 'maybe',
    ARTIFACT_STORE: 'ftp://host/folder',
    LOG_LEVEL: 'loud',
    FABRIQUE_LEASE_MS: '1',
    FABRIQUE_RECONCILE_MS: 'soon',
    FABRIQUE_GRACE_MS: '-1',
  }
  const rows = tableOf('docs/reference/configuration.md', ['variable', 'default', 'read by', 'meaning'])
  const readBy = (app: string) =>
    rows.filter((row) => (row['read by'] ?? '').split(', ').includes(app)).map((row) => plain(row.variable ?? ''))
  const services = { DATABASE_URL: 'postgres://127.0.0.1:1/none', REDIS_URL: 'redis://127.0.0.1:1' }

  test.each(['api', 'worker'])(
    'stops the %s with one line per fault, without the value, and exit code 78',
    async (app) => {
      const wrong = readBy(app).filter((name) => name in WRONG)
      expect(wrong.length).toBeGreaterThan(5)
      const env = { ...services, ...Object.fromEntries(wrong.map((name) => [name, WRONG[name]])) }
      const { code, output } = await run([`apps/${app}/src/main.ts`], { env })
      const lines = output.trim().split('\n')
      expect(new Set(lines.map((line) => line.split(':')[0]))).toEqual(new Set(wrong))
      expect(lines).toHaveLength(wrong.length)
      expect(output).not.toContain(WRONG.FABRIQUE_ADMIN_KEY)
      expect(code).toBe(78)
    },
  )

  test('is told apart from an empty one, which counts as absent', async () => {
    const empty = Object.fromEntries(readBy('worker').map((name) => [name, '']))
    const { code, output } = await run(['apps/worker/src/main.ts'], { env: empty })
    expect(output).toBe('DATABASE_URL: is required\nREDIS_URL: is required\n')
    expect(code).toBe(78)
  })
})
