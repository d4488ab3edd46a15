/**
 * Programs that are run to their end, and servers that go on without us.
 * Hides how they fail: one line for the user with the end of what they complained of, and another port when ours is taken.
 */
import { execFile, type ExecFileOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, statSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { basename } from 'node:path'
import { promisify } from 'node:util'
import { textIn } from './home-file.ts'
import { startTokenOf, until } from './process-table.ts'
import { reasonOf, serviceError } from './service-error.ts'

/** A program with its arguments, as `spawn` takes them. The environment is whole: nothing of ours is added to it. */
export interface ProgramCall {
  file: string
  args: string[]
  options: { cwd: string; env: NodeJS.ProcessEnv; uid?: number; gid?: number }
}

/** A server that was started or found. */
export interface ServerProcess {
  pid: number
  port: number
}

const START_ATTEMPTS = 3
const execute = promisify(execFile)

/** What a program printed on stdout. Throws a line for the user where it cannot run or fails. */
export async function run(file: string, args: string[], options: ExecFileOptions = {}): Promise<string> {
  try {
    return (await execute(file, args, { ...options, encoding: 'utf8' })).stdout
  } catch (error) {
    const { stderr } = error as { stderr?: string }
    throw serviceError(`${basename(file)} failed:`, stderr?.trim() || reasonOf(error))
  }
}

/**
 * Starts a server on its `lastPort` if it is free, so that whoever noted the address can keep it, else on another one.
 * Starts it again where its log says something that `passes`. Throws with the end of its log where it does not get up.
 */
export async function startServer(server: {
  name: string
  log: string
  lastPort: number
  call(port: number): ProgramCall
  /** Resolves when the process is ready for use (true), or has ended or takes too long (false). */
  isUp(process: ServerProcess): Promise<boolean>
  passes: RegExp
}): Promise<ServerProcess> {
  const { name, log } = server
  for (let attempt = 1; ; attempt++) {
    const port = await freePort(attempt === 1 ? server.lastPort : 0)
    const logStart = statSync(log, { throwIfNoEntry: false })?.size
    const pid = launch(server.call(port), log)
    if (pid !== undefined && (await server.isUp({ pid, port }))) return { pid, port }
    const complaint = textIn(log, logStart)
    if (!server.passes.test(complaint) || attempt === START_ATTEMPTS) {
      throw serviceError(`${name} did not start. Its log is ${log}, and ends with:`, complaint)
    }
  }
}

function launch({ file, args, options }: ProgramCall, logFile: string): number | undefined {
  const log = openSync(logFile, 'a', 0o600)
  // Detached: Ctrl-C in the terminal must not reach it, whoever uses it stops it in order.
  const child = spawn(file, args, { ...options, detached: true, stdio: ['ignore', log, log] })
  child.once('error', () => {}) // there is no process then, which the caller reports
  child.unref()
  closeSync(log)
  return child.pid
}

/**
 * Sends the signals one after the other until the process is gone, each with its own grace; throws where it outlives
 * them all. A process that is gone already is a success.
 */
export async function stopServer(
  name: string,
  pid: number,
  signals: [NodeJS.Signals, graceMs: number][],
): Promise<void> {
  const token = startTokenOf(pid)
  const isGone = () => startTokenOf(pid) !== token
  if (token === undefined) return
  for (const [signal, graceMs] of signals) {
    try {
      process.kill(pid, signal)
    } catch {
      if (isGone()) return
      break
    }
    if (await until(isGone, graceMs)) return
  }
  throw serviceError(`${name} (pid ${pid}) does not stop. Stop it with: kill -9 ${pid}`)
}

/** A TCP port of 127.0.0.1 that nobody listens on now: `preferred` if it is one, else one that the system picks. */
export async function freePort(preferred = 0): Promise<number> {
  const server = createServer().listen({ port: preferred, host: '127.0.0.1', exclusive: true })
  try {
    await once(server, 'listening')
  } catch (error) {
    if (preferred === 0) throw error
    return await freePort()
  }
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
