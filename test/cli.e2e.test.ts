/**
 * `fab-workflow` as a user starts it: real processes, their exit codes, and what they leave on disk and on record.
 * One database of its own stands for the embedded one, except where the embedded one is the promise.
 */
import { spawn } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createDb } from '@fabrique/db'
import { discardHome } from '@fabrique/services'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const checkout = fileURLToPath(new URL('..', import.meta.url))
const program = join(checkout, 'apps/cli/bin.mjs')
const FOX = join(checkout, 'examples/run-inputs/clip-art-fox.yaml')
const RUN_ID = /\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b/

const folder = mkdtempSync('/tmp/fabrique-cli-')
const home = join(folder, 'home')
const database = `cli_${process.pid}`
const serverUrl = process.env.TEST_DATABASE_URL ?? ''

async function query(url: string, statement: string): Promise<Record<string, unknown>[]> {
  const db = createDb({ databaseUrl: url, connectionsMax: 1, limitMs: 60_000 })
  try {
    return await db.query('test', statement, [])
  } finally {
    await db.close()
  }
}

function databaseUrl(): string {
  const url = new URL(serverUrl)
  url.pathname = `/${database}`
  return url.href
}

beforeAll(async () => {
  // `npm test` discards what is noted here, should this process be killed before it can.
  if (process.env.TEST_HOMES_FILE) appendFileSync(process.env.TEST_HOMES_FILE, `${home}\n`)
  await query(serverUrl, `create database ${database}`)
})

afterAll(async () => {
  await query(serverUrl, `drop database ${database} with (force)`)
  await discardHome(home)
  rmSync(folder, { recursive: true, force: true })
})

interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

interface CallOptions {
  env?: Record<string, string>
  /** Called with everything that stderr has said so far. */
  onTalk?: (said: string, kill: (signal: NodeJS.Signals) => void) => void
}

/** Runs the program from a folder that is not the checkout. */
function fab(args: string[], { env = {}, onTalk }: CallOptions = {}): Promise<Outcome> {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      FABRIQUE_HOME: home,
      DATABASE_URL: databaseUrl(),
      FABRIQUE_PROVIDERS: 'simulated',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    onTalk?.(stderr, (signal) => child.kill(signal))
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, stdout, stderr }))
  })
}

function lines(text: string): string[] {
  return text.split('\n').filter(Boolean)
}

async function runCount(): Promise<number> {
  const [row] = await query(databaseUrl(), 'select count(*)::int as n from runs')
  return Number(row?.n)
}

function specFile(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

describe('fab-workflow --from-file', { timeout: 120_000 }, () => {
  it('runs with the embedded database, stops at the review with 6, and approve ends it with files that decode', async () => {
    const embedded = { DATABASE_URL: '' }
    const first = await fab(['--from-file', FOX], { env: embedded })
    expect(first).toMatchObject({ code: 6 })
    const id = RUN_ID.exec(first.stderr)?.[0] ?? ''
    expect(first.stderr).toContain(`fab-workflow approve ${id}`)
    expect(first.stderr).toMatch(/simulated/i)
    expect(first.stderr).toMatch(/Cost: \$0\.\d+/)

    const second = await fab(['approve', id], { env: embedded })
    expect(second).toMatchObject({ code: 0 })
    expect(second.stderr).toContain('run.completed')
    expect(second.stderr).not.toContain('run.created')
    const [processed = '', raw = '', ...rest] = lines(second.stdout)
    expect(rest).toHaveLength(2)
    expect(lines(first.stdout)).toEqual(lines(second.stdout))
    const cutOut = await sharp(readFileSync(processed)).stats()
    expect(cutOut.isOpaque).toBe(false)
    for (const path of [processed, raw, ...rest]) {
      expect((await sharp(path).metadata()).width, path).toBe(1024)
    }
    expect(await fab(['approve', id], { env: embedded })).toMatchObject({ code: 2, stdout: '' })
  })

  it('merges the layers, prints the run as JSON, and reject ends it as failed', async () => {
    const inputFile = specFile('over.yaml', 'style: kawaii\nextras: in a forest\n')
    const args = ['--from-file', FOX, '--input-file', inputFile, '--input', 'style=outline', '--json']
    const { code, stdout } = await fab(args)
    expect(code).toBe(6)
    const run = JSON.parse(stdout) as { id: string; input: unknown; simulated: boolean }
    expect(run.input).toEqual({ prompt: 'a fox wearing a scarf', style: 'outline', extras: 'in a forest' })

    const rejected = await fab(['reject', run.id, '--comment', 'too foxy', '--json'])
    expect(rejected.code).toBe(1)
    expect(JSON.parse(rejected.stdout)).toMatchObject({ status: 'failed', simulated: true })
  })

  it('dry runs store nothing', async () => {
    expect(await fab(['list'])).toMatchObject({ code: 0 })
    const before = await runCount()
    const { code, stdout } = await fab(['--from-file', FOX, '--dry-run', '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      workflow: 'generate-clip-art-asset',
      input: { style: 'flat' },
      estimate: { currency: 'USD', expected: expect.any(Number) },
      warnings: [],
    })
    expect(await runCount()).toBe(before)
  })

  it('refuses an invalid spec with 2 at file:line:column, and starts nothing', async () => {
    expect(await fab(['list'])).toMatchObject({ code: 0 })
    const before = await runCount()
    const spec = specFile('bad.yaml', 'workflow: generate-clip-art-asset\ninput:\n  prompt: a fox\n  style: 4\n')
    const bad = await fab(['--from-file', spec])
    expect(bad).toMatchObject({ code: 2, stdout: '' })
    expect(bad.stderr).toMatch(new RegExp(`^${spec}:4:3: .*style.*string`, 'm'))

    const misspelt = specFile('misspelt.yaml', 'workflow: generate-clip-art-asset\ninptu: {}\ninput: {prompt: a fox}\n')
    const wrongKey = await fab(['--from-file', misspelt])
    expect(wrongKey.code).toBe(2)
    expect(wrongKey.stderr).toMatch(new RegExp(`^${misspelt}:2:1: .*"input"`, 'm'))
    expect(await runCount()).toBe(before)
  })

  it('answers 2 for a missing file, an unknown option, an unknown command, and no file at all', async () => {
    for (const args of [['--from-file', 'missing.yaml'], ['--from-fiel', 'x'], ['stauts', 'x'], []]) {
      const { code, stdout, stderr } = await fab(args)
      expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: '' })
      expect(stderr).not.toBe('')
    }
  })

  it('Ctrl-C cancels the run on record and exits 130', async () => {
    let isAsked = false
    const { code, stderr } = await fab(['--from-file', FOX], {
      onTalk: (said, kill) => {
        if (isAsked || !said.includes('run.started')) return
        isAsked = true
        kill('SIGINT')
      },
    })
    expect(code).toBe(130)
    const id = RUN_ID.exec(stderr)?.[0] ?? ''
    const [row] = await query(databaseUrl(), `select status from runs where id = '${id}'`)
    expect(row?.status).toBe('cancelled')
  })

  it('answers 8 when the database or the server is not reachable', async () => {
    const nowhere = 'postgres://nobody:nothing@127.0.0.1:1/none'
    expect(await fab(['list'], { env: { DATABASE_URL: nowhere } })).toMatchObject({ code: 8, stdout: '' })
    const env = { FABRIQUE_API_KEY: 'fab_000000000000000000000000' }
    const remote = await fab(['--from-file', FOX, '--api-url', 'http://127.0.0.1:1'], { env })
    expect(remote).toMatchObject({ code: 8, stdout: '' })
  })
})
