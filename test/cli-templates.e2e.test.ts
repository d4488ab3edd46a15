// What is shipped, as a user of the command line meets it: every template from its scaffold to its files, every example.
// Real processes over a database of their own; providers are simulated.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createDb } from '@fabrique/db'
import { type JsonObject, textOf } from '@fabrique/schema'
import { inspect } from '@fabrique/steps'
import { readShippedDocuments } from '@fabrique/templates'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const LIMIT_MS = 120_000
const HELP_LIMIT_MS = 1_000
const SCAFFOLD_LIMIT_MS = 6_000
const RUN_ID = /\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b/

const checkout = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'fabrique-cli-templates-'))
const artifacts = join(folder, 'home/artifacts')
const database = `cli_templates_${process.pid}`
const serverUrl = process.env.TEST_DATABASE_URL ?? ''
const { templates } = await readShippedDocuments()

async function query<Row>(url: string, statement: string, values: unknown[] = []): Promise<Row[]> {
  const db = createDb({ databaseUrl: url, connectionsMax: 1, limitMs: 60_000 })
  try {
    return (await db.query('test', statement, values)) as Row[]
  } finally {
    await db.close()
  }
}

function databaseUrl(): string {
  const url = new URL(serverUrl)
  url.pathname = `/${database}`
  return url.href
}

interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

function fab(...args: string[]): Promise<Outcome> {
  const child = spawn(process.execPath, [join(checkout, 'apps/cli/bin.mjs'), ...args], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      FABRIQUE_HOME: join(folder, 'home'),
      DATABASE_URL: databaseUrl(),
      FABRIQUE_PROVIDERS: 'simulated',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, stdout, stderr }))
  })
}

/** What a command prints, where it has to end well. */
async function printed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await fab(...args)
  expect(code, `${args.join(' ')}\n${stderr}`).toBe(0)
  return stdout
}

/** Runs a spec to its end, through its review; answers what it prints at last, and the run's id. */
async function runThrough(...args: string[]): Promise<{ stdout: string; id: string }> {
  const first = await fab(...args)
  const id = RUN_ID.exec(first.stderr)?.[0] ?? ''
  if (first.code === 6) return { stdout: await printed('approve', id), id }
  expect(first.code, first.stderr).toBe(0)
  return { stdout: first.stdout, id }
}

/** Every printed path is a file of the run, or of one that it called, and is what the record says; answers the types. */
async function typesOf(id: string, stdout: string): Promise<string[]> {
  const rows = await query<{ storage_key: string; mime_type: string; bytes: string }>(
    databaseUrl(),
    `select storage_key, mime_type, bytes from artifacts
      where run_id in (select id from runs where id = $1 or root_run_id = $1)`,
    [id],
  )
  const types = stdout
    .split('\n')
    .filter(Boolean)
    .map(async (path) => {
      const row = rows.find((one) => relative(artifacts, path) === one.storage_key)
      expect(row, `${path} is no file of run ${id}`).toBeDefined()
      const bytes = readFileSync(path)
      expect(bytes.byteLength).toBe(Number(row?.bytes))
      expect(await inspect(bytes, row?.mime_type ?? ''), path).toMatchObject({ mimeType: row?.mime_type })
      return row?.mime_type ?? ''
    })
  return await Promise.all(types)
}

/** The types of the files that a template promises, those left out that it may leave out. */
function promisedTypes({ artifactSchema }: JsonObject): string[] {
  const { files } = artifactSchema as { files: { mimeType: string; from?: string }[] }
  return files.filter(({ from = '' }) => !from.endsWith('?')).map(({ mimeType }) => mimeType)
}

beforeAll(async () => {
  await query(serverUrl, `create database ${database}`)
})

afterAll(async () => {
  await query(serverUrl, `drop database ${database} with (force)`)
  rmSync(folder, { recursive: true, force: true })
})

describe.each(templates.map((template) => [textOf(template.id), template] as const))('%s', (id, template) => {
  const spec = (format: string) => `${id.replaceAll('/', '-')}.${format}`

  it(
    'runs as its scaffold stands, and prints files that are what it promises',
    async () => {
      await printed('--scaffold', id, '-o', spec('yaml'))
      const { stdout, id: runId } = await runThrough('--from-file', spec('yaml'))
      const promised = promisedTypes(template)
      if (promised.length === 0) expect(JSON.parse(stdout)).not.toEqual({})
      else expect(await typesOf(runId, stdout)).toEqual(expect.arrayContaining(promised))
    },
    LIMIT_MS,
  )

  it(
    'has the same scaffold in TOML and JSON: the same input at the same estimate',
    async () => {
      const plan = async (format: string) => {
        if (format !== 'yaml') await printed('--scaffold', id, '-o', spec(format))
        return JSON.parse(await printed('--from-file', spec(format), '--dry-run', '--json')) as object
      }
      const [yaml, toml, json] = await Promise.all(['yaml', 'toml', 'json'].map(plan))
      expect(yaml).toMatchObject({ workflow: id, input: expect.any(Object), estimate: expect.any(Object) })
      expect(toml).toEqual(yaml)
      expect(json).toEqual(yaml)
    },
    LIMIT_MS,
  )
})

describe('the examples', { timeout: LIMIT_MS }, () => {
  const inFolder = (name: string) => readdirSync(join(checkout, 'examples', name)).map((file) => [name, file] as const)

  it.each(inFolder('run-inputs'))('%s/%s can be run at a known price', async (name, file) => {
    const plan = JSON.parse(
      await printed('--from-file', join(checkout, 'examples', name, file), '--dry-run', '--json'),
    ) as { estimate: { expected: number } }
    expect(plan.estimate.expected).toBeGreaterThan(0)
  })

  it.each(inFolder('workflow-sets'))('%s/%s can be run at a known price', async (name, file) => {
    const plan = JSON.parse(
      await printed('--run-set', join(checkout, 'examples', name, file), '--dry-run', '--json'),
    ) as { runs: object[]; estimate: { expected: number } }
    expect(plan.runs.length).toBeGreaterThan(1)
    expect(plan.estimate.expected).toBeGreaterThan(0)
  })

  it('the chained set makes both of its films, and keeps them', async () => {
    const set = join(checkout, 'examples/workflow-sets/chained.yaml')
    const files = (await printed('--run-set', set, '-o', 'chained', '--parallel')).split('\n').filter(Boolean)
    expect(files.filter((file) => file.endsWith('.mp4'))).toHaveLength(2)
    for (const file of files) expect(existsSync(join(folder, file)), file).toBe(true)
  })
})

describe('the program', () => {
  // About ten times what a quiet machine takes; the best of three, so that a busy one does not fail it.
  it.each([
    [['--help'], HELP_LIMIT_MS],
    [['--scaffold', 'generate-clip-art-asset'], SCAFFOLD_LIMIT_MS],
  ] as const)('answers %s at once', { timeout: LIMIT_MS }, async (args, limitMs) => {
    await printed(...args)
    const times: number[] = []
    for (let round = 0; round < 3; round += 1) {
      const startedAt = performance.now()
      await printed(...args)
      times.push(performance.now() - startedAt)
    }
    expect(Math.min(...times)).toBeLessThan(limitMs)
  })
})
