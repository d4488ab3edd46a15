import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { freePort } from './ports.ts'
import { createSupervisor } from './supervisor.ts'

/** A supervisor over one script, with the lines it told. */
function setup(script: string) {
  const folder = mkdtempSync(join(tmpdir(), 'fabrique-supervisor-'))
  const entry = join(folder, 'entry.mjs')
  writeFileSync(entry, script)
  const lines: string[] = []
  const supervisor = createSupervisor({ env: process.env, onLine: (_name, line) => lines.push(line) })
  onTestFinished(async () => {
    await supervisor.stop(1_000)
    rmSync(folder, { recursive: true })
  })
  return { supervisor, entry, lines, folder }
}

const PATIENCE = { timeout: 10_000, interval: 10 }
const LIVES = `console.log('alive ' + process.pid); setInterval(() => {}, 1000);`

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return true
  }
}

it('a killed process is back within one second', async () => {
  const { supervisor, entry, lines } = setup(LIVES)
  const worker = supervisor.start('worker', entry, { restart: true })
  await vi.waitUntil(() => lines.length === 1, PATIENCE)
  const first = worker.pid
  process.kill(first ?? 0, 'SIGKILL')
  const killedAt = performance.now()
  await vi.waitUntil(() => worker.pid !== undefined && worker.pid !== first, PATIENCE)
  expect(performance.now() - killedAt).toBeLessThan(1_000)
  await vi.waitUntil(() => lines.at(-1) === `alive ${worker.pid}`, PATIENCE)
})

it('a process that keeps dying at once is started ever more slowly', async () => {
  const { supervisor, entry, lines } = setup('process.exit(3)')
  supervisor.start('worker', entry, { restart: true })
  await vi.waitUntil(() => lines.length === 3, PATIENCE)
  expect(lines).toEqual([
    'worker ended (exit code 3): starting it again',
    'worker ended (exit code 3): starting it again in 0.25 s',
    'worker ended (exit code 3): starting it again in 0.5 s',
  ])
})

it('a wrong configuration is told with its own message and not tried again', async () => {
  const { supervisor, entry } = setup(`console.error('PORT must be a number'); process.exitCode = 78`)
  supervisor.start('api', entry, { restart: true })
  await expect(supervisor.failed).rejects.toThrow(/^PORT must be a number$/)
  await expect(supervisor.ready('http://127.0.0.1:1/readyz')).rejects.toThrow('PORT must be a number')
})

it('readiness waits for the first 200', async () => {
  const port = await freePort('127.0.0.1')
  let asked = 0
  const server = createServer((_request, response) => response.writeHead(++asked < 3 ? 503 : 200).end())
  onTestFinished(() => void server.close())
  const { supervisor } = setup(LIVES)
  const ready = supervisor.ready(`http://127.0.0.1:${port}/readyz`)
  server.listen(port, '127.0.0.1')
  await ready
  expect(asked).toBe(3)
})

it('stopping ends what ignores SIGTERM after the grace, and starts nothing again', async () => {
  const { supervisor, entry, lines } = setup(`process.on('SIGTERM', () => console.log('asked'));${LIVES}`)
  const worker = supervisor.start('worker', entry, { restart: true })
  await vi.waitUntil(() => lines.length === 1, PATIENCE)
  const pid = worker.pid ?? 0
  await supervisor.stop(300)
  expect(isGone(pid)).toBe(true)
  expect(lines).toEqual([`alive ${pid}`, 'asked'])
  expect(worker.pid).toBeUndefined()
})

it('the processes of a supervisor killed by SIGKILL notice it', async () => {
  const { entry, folder } = setup(
    `import { writeFileSync } from 'node:fs'
     writeFileSync(process.env.FOLDER + '/pid', String(process.pid))
     process.on('disconnect', () => { writeFileSync(process.env.FOLDER + '/noticed', ''); process.exit(0) })`,
  )
  const code = `
    const { createSupervisor } = await import(${JSON.stringify(new URL('supervisor.ts', import.meta.url).href)})
    createSupervisor({ env: process.env, onLine: console.log }).start('worker', ${JSON.stringify(entry)})`
  const owner = spawn(process.execPath, ['--input-type=module', '-e', code], {
    env: { ...process.env, FOLDER: folder },
  })
  await vi.waitUntil(() => existsSync(join(folder, 'pid')), PATIENCE)
  owner.kill('SIGKILL')
  await vi.waitUntil(() => existsSync(join(folder, 'noticed')), PATIENCE)
})
