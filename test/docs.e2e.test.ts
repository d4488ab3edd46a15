// The pages' commands, run as a reader would type them against a running Fabrique, page by page and in order.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { blocksOf, pages, root } from './documents.ts'
import { type Fabrique, startFabrique } from './harness.ts'

const ADDRESS = 'http://127.0.0.1:3000'
/** Where the pages let a webhook lead. */
const RECEIVER_PORT = '8787'
const REVIEW_PENDING = 6

let fabrique: Fabrique
let folder: string
let receiverPort: string

// A folder that looks like the checkout to a reader: the key and the examples are where the pages say.
beforeAll(async () => {
  fabrique = await startFabrique({ env: { FABRIQUE_ALLOW_PRIVATE_WEBHOOKS: '1' } })
  receiverPort = await freePort()
  folder = await mkdtemp(join(tmpdir(), 'fabrique-docs-'))
  await mkdir(join(folder, '.fabrique'))
  await writeFile(join(folder, '.fabrique/admin-key'), `${fabrique.adminKey}\n`)
  await symlink(join(root, 'examples'), join(folder, 'examples'))
})

afterAll(async () => {
  await fabrique?.stop()
  await rm(folder, { recursive: true, force: true })
})

async function freePort(): Promise<string> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return String(port)
}

function shell(script: string, env: NodeJS.ProcessEnv = {}): Promise<{ code: number; stdout: string; stderr: string }> {
  const path = [dirname(process.execPath), join(root, 'node_modules/.bin'), process.env.PATH].join(delimiter)
  return new Promise((resolve) => {
    execFile(
      'bash',
      [
        '--norc',
        '-euo',
        'pipefail',
        '-c',
        script.replaceAll(ADDRESS, fabrique.url).replaceAll(RECEIVER_PORT, receiverPort),
      ],
      { cwd: folder, env: { PATH: path, HOME: folder, ...env }, timeout: 90_000, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    )
  })
}

/** A line of the demo without what differs from run to run: id, time, and the file's hash and size. */
function withoutChance(line: string): string {
  return line
    .replace(/^Run [0-9A-Z]{26}$/, 'Run …')
    .replace(/^ +\d+\.\d s/, '… s')
    .replace(/^ {2}\S+(\/\.fabrique\/artifacts\/system)\/(..)\/\2[0-9a-f]{62}\./, '  …$1/….')
    .replace(/ \d+ bytes/, ' … bytes')
}

const executed = pages()
  .map((page) => ({ page, blocks: blocksOf(page).filter(({ info }) => info[0] === 'bash') }))
  .filter(({ blocks }) => blocks.length > 0)

describe('the commands of a page', () => {
  const outputs = new Map<string, string>()

  test.each(executed)('$page: run one after the other', { timeout: 120_000 }, async ({ page, blocks }) => {
    const { code, stdout, stderr } = await shell(blocks.map(({ text }) => text).join('\n'))
    expect(`${stderr}exit code ${code}`).toBe('exit code 0')
    outputs.set(page, stdout)
  })

  test('README.md: the stream ends with the terminal event, which carries the state back', () => {
    const last = outputs.get('README.md')?.trim().split('\n\n').at(-1) ?? ''
    expect(last).toContain('event: workflow.run.completed\n')
    expect(last).toContain('"state":{"request_id":"fox-1"}')
  })

  test('README.md: the demo says what is shown of it, its cost to the last digit', { timeout: 120_000 }, async () => {
    const shown =
      blocksOf('README.md')
        .find(({ text }) => text.startsWith('Submitting '))
        ?.text.split('\n') ?? []
    const { code, stdout, stderr } = await shell(`cd '${root}' && node scripts/demo.ts`, {
      DATABASE_URL: fabrique.databaseUrl,
      REDIS_URL: process.env.TEST_REDIS_URL,
      FABRIQUE_HOME: join(folder, '.fabrique'),
    })
    expect(`${stderr}exit code ${code}`).toBe('exit code 0')
    const said = stdout.split('\n').map(withoutChance)
    expect(shown.length).toBeGreaterThan(10)
    let from = 0
    for (const line of shown.map(withoutChance)) {
      from = said.indexOf(line, from) + 1
      expect(from, `after what was shown before, the demo says: ${line}\n${stdout}`).toBeGreaterThan(0)
    }
  })

  test('README.md: what was fetched is the picture', async () => {
    const { format, width, height } = await sharp(await readFile(join(folder, 'fox.webp'))).metadata()
    expect({ format, width, height }).toEqual({ format: 'webp', width: 1024, height: 1024 })
  })

  test('README.md: the command line runs the same file to its review, and to the same bytes', {
    timeout: 120_000,
  }, async () => {
    const lines = blocksOf('README.md')
      .filter(({ info }) => info[0] === 'sh')
      .flatMap(({ text }) => text.split('\n').filter((line) => line.startsWith('npx fab-workflow ')))
    expect(lines).toHaveLength(1)
    // As it is written, in the checkout: npx must find the command there and install nothing.
    const { code, stdout, stderr } = await shell(`cd '${root}' && ${lines[0]}`, {
      npm_config_offline: 'true',
      DATABASE_URL: fabrique.databaseUrl,
      FABRIQUE_HOME: join(folder, '.fabrique'),
    })
    // Artifacts are named by their hash.
    const fetched = createHash('sha256')
      .update(await readFile(join(folder, 'fox.webp')))
      .digest('hex')
    expect({ code, stdout }, stderr).toEqual({
      code: REVIEW_PENDING,
      stdout: expect.stringContaining(`${fetched}.webp`),
    })
  })
})

describe('the statements of a page', () => {
  const statements = pages().flatMap((page) => blocksOf(page).filter(({ info }) => info[0] === 'sql'))

  test.each(statements)('$page:$line can be asked of the record', async ({ text }) => {
    expect(await fabrique.query(text)).toEqual(expect.any(Array))
  })
})

describe('an event stream that broke off', () => {
  test('goes on behind the last event that its reader saw, to the end, without gap or repeat', async () => {
    const { id } = await fabrique.submit()
    const upTo = await fabrique.waitFor(id, ({ kind }) => kind === 'workflow.node.completed')
    const after = upTo.at(-1)?.seq ?? 0
    const resumed: number[] = []
    for await (const { data } of fabrique.events(id, { after })) {
      resumed.push(data.seq)
      if (data.kind === 'workflow.run.waiting') expect((await fabrique.review(id, 'approve')).status).toBe(200)
    }
    const log = await fabrique.log(id)
    expect(log.filter(({ kind }) => /^workflow\.run\.(completed|failed|cancelled)$/.test(kind))).toHaveLength(1)
    expect([...upTo.map(({ seq }) => seq), ...resumed]).toEqual(log.map((_, index) => index + 1))
  })
})

describe("another organization's run", () => {
  test('is read, changed and cancelled by no key but its own: word for word as if there were none', async () => {
    const { id } = await fabrique.submit()
    await fabrique.waitFor(id, ({ kind }) => kind === 'workflow.run.waiting')
    const [artifact] = await fabrique.artifacts(id)
    const { key } = await fabrique.createOperator('Strangers')
    const unknown = '01ARZ3NDEKTSV4RRFFQ69G5FAV'
    const requests: [string, string, object?][] = [
      ['GET', `/v1/workflows/runs/${id}`],
      ['GET', `/v1/workflows/runs/${id}/specification`],
      ['GET', `/v1/workflows/runs/${id}/steps`],
      ['GET', `/v1/workflows/runs/${id}/ledger`],
      ['GET', `/v1/workflows/runs/${id}/events`],
      ['POST', `/v1/workflows/runs/${id}/cancel`],
      ['POST', `/v1/workflows/runs/${id}/review`, { decision: 'approve' }],
      ['GET', `/v1/artifacts/${artifact?.id}`],
      ['GET', `/v1/artifacts/${artifact?.id}/content`],
    ]
    for (const [method, path, body] of requests) {
      const ask = async (id: string) => {
        const answer = await fabrique.request(id, { method, key, body })
        const { request_id: _, instance: __, ...problem } = answer.body
        return { status: answer.status, ...problem }
      }
      const answered = await ask(path)
      expect(answered, `${method} ${path}`).toMatchObject({ status: 404, code: 'not-found' })
      expect(answered).toEqual(await ask(path.replace(id, unknown).replace(artifact?.id ?? '', unknown)))
    }
    for (const path of ['/v1/workflows/runs', `/v1/workflows/runs?root_run_id=${id}`, `/v1/artifacts?run_id=${id}`]) {
      expect((await fabrique.request(path, { key })).body.data, path).toEqual([])
    }
    expect((await fabrique.run(id)).status).toBe('waiting')
  })
})
