/**
 * What the operating system knows about processes and ports, on Linux and macOS.
 * Hides that a process id alone means nothing: ids are reused, and a dead child lingers as a zombie.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

const POLL_MS = 20

/**
 * A token that stays the same as long as this very process lives; undefined when it is gone or a zombie.
 * Two processes that had the same id at different times have different tokens, also across a reboot.
 */
export function startTokenOf(pid: number): string | undefined {
  if (process.platform !== 'linux') return startTokenFromPs(pid)
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in the second field may hold blanks and brackets: count from the last bracket. proc_pid_stat(5)
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state, startTicks] = [fields[0], fields[19]]
    if (state === 'Z' || state === 'X' || startTicks === undefined) return undefined
    return `${startTicks}.${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8)}`
  } catch {
    return undefined
  }
}

/** True when the process lives; a zombie, killed and not collected by its parent, does not. */
export function isProcessAlive(pid: number): boolean {
  return startTokenOf(pid) !== undefined
}

function startTokenFromPs(pid: number): string | undefined {
  const [state, ...started] = ps('stat=,lstart=', '-p', String(pid)).trim().split(/\s+/)
  return !state || state.startsWith('Z') ? undefined : started.join('').replaceAll(/\W/g, '')
}

/** The ids of all live processes whose command line matches. A zombie has no command line and never matches. */
export function findProcesses(pattern: RegExp): number[] {
  if (process.platform === 'linux') {
    return readdirSync('/proc')
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && pid !== process.pid && pattern.test(commandLineOf(pid)))
  }
  return ps('pid=,command=', '-ax')
    .split('\n')
    .filter((line) => pattern.test(line))
    .map((line) => Number.parseInt(line, 10))
    .filter((pid) => pid !== process.pid)
}

/** The command line of a process with blanks between the words; empty when it is gone or a zombie. */
export function commandLineOf(pid: number): string {
  if (process.platform !== 'linux') return ps('command=', '-p', String(pid)).trim()
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
  } catch {
    return ''
  }
}

function ps(columns: string, ...args: string[]): string {
  return spawnSync('ps', [...args, '-o', columns], { encoding: 'utf8', env: { PATH: process.env.PATH, LC_ALL: 'C' } })
    .stdout
}

/**
 * Sends the signals one after the other until the process is gone, each with its own grace.
 * Returns false when it outlived them all. A process that is gone already is a success.
 */
export async function endProcess(pid: number, signals: [NodeJS.Signals, graceMs: number][]): Promise<boolean> {
  const token = startTokenOf(pid)
  if (token === undefined) return true
  for (const [signal, graceMs] of signals) {
    try {
      process.kill(pid, signal)
    } catch {
      return startTokenOf(pid) !== token
    }
    if (await until(() => startTokenOf(pid) !== token, graceMs)) return true
  }
  return false
}

/** Polls until the condition holds; false when it did not within `timeoutMs`. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs
  while (!(await condition())) {
    if (Date.now() >= deadline) return false
    await delay(POLL_MS)
  }
  return true
}

/** A TCP port of 127.0.0.1 that nobody listens on now: `preferred` if it is one, else one that the system picks. */
export async function freePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && (await tryPort(preferred)) !== undefined) return preferred
  const port = await tryPort(0)
  if (port === undefined) throw new Error('the system has no free TCP port on 127.0.0.1')
  return port
}

function tryPort(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(undefined))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' ? address?.port : undefined))
    })
  })
}
