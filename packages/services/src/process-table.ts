/**
 * What the operating system knows about processes, on Linux and macOS.
 * Hides that a process id alone means nothing: ids are reused, and a dead child lingers as a zombie.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { textIn } from './home-file.ts'

const POLL_MS = 20

/**
 * A token that stays the same as long as this very process lives; undefined when it is gone or a zombie.
 * Two processes that had the same id at different times have different tokens, also across a reboot.
 */
export function startTokenOf(pid: number): string | undefined {
  if (process.platform !== 'linux') return startTokenFromPs(pid)
  const stat = textIn(`/proc/${pid}/stat`)
  // The name in the second field may hold blanks and brackets: count from the last bracket. proc_pid_stat(5)
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, startTicks] = [fields[0], fields[19]]
  if (state === 'Z' || state === 'X' || startTicks === undefined) return undefined
  return `${startTicks}.${textIn('/proc/sys/kernel/random/boot_id').slice(0, 8)}`
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
  return textIn(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()
}

function ps(columns: string, ...args: string[]): string {
  return spawnSync('ps', [...args, '-o', columns], { encoding: 'utf8', env: { PATH: process.env.PATH, LC_ALL: 'C' } })
    .stdout
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
