/**
 * Keeps the processes of one Fabrique running: starts them, starts them again when they die, stops them in order.
 * Hides restarts and their backoff, the link by which children notice a killed parent, and how readiness is seen.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** The checkout that this script lies in. */
export const checkout = dirname(dirname(fileURLToPath(import.meta.url)))

/** EX_CONFIG of sysexits.h: the configuration is wrong, and starting again would not help. */
const CONFIGURATION_ERROR = 78
const GRACE_MS = 30_000
const READY_TIMEOUT_MS = 60_000
const READY_POLL_MS = 50
const LAST_LINES = 5
const LAST_OUTPUT_MS = 200
/** A process that lived this long did start: its next death is a new one, and it is started again at once. */
const SETTLED_MS = 5_000
const BACKOFF_MS = [0, 250, 500, 1_000, 2_000, 5_000, 10_000]

/** A process under supervision; its pid changes with every start. */
export interface SupervisedProcess {
  readonly name: string
  /** Of the process that runs now; undefined between two. */
  readonly pid: number | undefined
}

export interface Supervisor {
  /**
   * Starts `entry` (relative to the checkout) on this very Node. With `restart`, whenever it ends it is started again:
   * at once, then after 0.25, 0.5, 1, 2, 5, 10 s as long as it keeps dying within five seconds.
   */
  start(name: string, entry: string, options?: { restart?: boolean; env?: NodeJS.ProcessEnv }): SupervisedProcess
  /** Resolves when `GET url` answers 200; rejects when a process failed for good, or after 60 s. */
  ready(url: string): Promise<void>
  /** Rejects when a process failed for good: wrong configuration, or an end without `restart`. Never resolves. */
  readonly failed: Promise<never>
  /** Stops everything: SIGTERM to all, SIGKILL after the grace. Safe to call twice. */
  stop(graceMs?: number): Promise<void>
}

/** A supervisor whose processes get `env`. `onLine` is told every line they print, and what happens to them. */
export function createSupervisor(options: {
  env: NodeJS.ProcessEnv
  onLine: (name: string, line: string) => void
}): Supervisor {
  const { env, onLine } = options
  const running = new Map<string, ChildProcess>()
  let isStopping = false
  let stopped: Promise<void> | undefined
  const { promise: failed, reject: fail } = Promise.withResolvers<never>()
  failed.catch(() => {}) // it is also told to whoever waits; nobody waiting is no error

  function launch(
    name: string,
    entry: string,
    childEnv: NodeJS.ProcessEnv,
  ): { child: ChildProcess; lastLines: string[] } {
    // Detached: Ctrl-C in the terminal reaches us alone, and we decide on the order. The channel ends when we do.
    const child = spawn(process.execPath, [entry], {
      cwd: checkout,
      env: childEnv,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    const lastLines: string[] = []
    for (const stream of [child.stdout, child.stderr]) {
      if (!stream) continue
      createInterface({ input: stream }).on('line', (line) => {
        if (lastLines.push(line) > LAST_LINES) lastLines.shift()
        onLine(name, line)
      })
    }
    running.set(name, child)
    return { child, lastLines }
  }

  async function supervise(name: string, entry: string, childEnv: NodeJS.ProcessEnv, restart: boolean): Promise<void> {
    let quickDeaths = 0
    while (!isStopping) {
      const startedAt = performance.now()
      const { child, lastLines } = launch(name, entry, childEnv)
      const end = await endOf(child)
      running.delete(name)
      if (isStopping) return
      if (end.code === CONFIGURATION_ERROR)
        return fail(new Error(lastLines.join('\n') || `${name}: wrong configuration`))
      if (!restart) return fail(new Error([`${name} ended (${end.text})`, ...lastLines].join('\n')))
      quickDeaths = performance.now() - startedAt < SETTLED_MS ? quickDeaths + 1 : 0
      const waitMs = BACKOFF_MS[Math.min(Math.max(quickDeaths - 1, 0), BACKOFF_MS.length - 1)] ?? 0
      onLine(name, `${name} ended (${end.text}): starting it again${waitMs ? ` in ${waitMs / 1_000} s` : ''}`)
      await delay(waitMs)
    }
  }

  return {
    failed,
    start(name, entry, { restart = false, env: extra = {} } = {}) {
      void supervise(name, entry, { ...env, ...extra }, restart)
      return {
        name,
        get pid() {
          return running.get(name)?.pid
        },
      }
    },
    async ready(url) {
      const deadline = AbortSignal.timeout(READY_TIMEOUT_MS)
      const answers = async () => {
        let reason = 'no answer'
        while (!isStopping) {
          if (deadline.aborted) throw new Error(`${url} was not ready within ${READY_TIMEOUT_MS / 1_000} s: ${reason}`)
          try {
            const response = await fetch(url, { signal: AbortSignal.any([deadline, AbortSignal.timeout(5_000)]) })
            if (response.status === 200) return
            reason = (await response.text()).slice(0, 200) || `status ${response.status}`
          } catch (error) {
            reason = error instanceof Error ? error.message : String(error)
          }
          await delay(READY_POLL_MS)
        }
        throw new Error('stopped before it was ready')
      }
      await Promise.race([answers(), failed])
    },
    stop(graceMs = GRACE_MS) {
      isStopping = true
      stopped ??= (async () => {
        const children = [...running.values()]
        for (const child of children) child.kill('SIGTERM')
        const killer = setTimeout(() => {
          for (const child of children) child.kill('SIGKILL')
        }, graceMs)
        await Promise.all(children.map(endOf))
        clearTimeout(killer)
      })()
      return stopped
    },
  }
}

/** Waits for the end, and a moment for the last output; whoever inherited the child's output may hold it open. */
async function endOf(child: ChildProcess): Promise<{ code: number | null; text: string }> {
  if (child.exitCode === null && child.signalCode === null) {
    const problem = await new Promise<Error | undefined>((resolve) => {
      child.once('error', resolve)
      child.once('exit', () => resolve(undefined))
    })
    if (problem) return { code: null, text: problem.message }
    await Promise.race([once(child, 'close'), delay(LAST_OUTPUT_MS)])
  }
  return { code: child.exitCode, text: child.signalCode ?? `exit code ${child.exitCode}` }
}

/**
 * Resolves when this process is asked to stop: Ctrl-C, SIGTERM, or the launcher that started it is gone.
 * A terminal and npm may both pass on the same Ctrl-C, so repeats within a second count once; a later one kills us.
 */
export function stopRequested(onRequest: () => void = () => {}): Promise<void> {
  return new Promise((resolve) => {
    let requestedAt = 0
    const request = () => {
      const now = performance.now()
      if (requestedAt === 0) {
        requestedAt = now
        onRequest()
        resolve()
      } else if (now - requestedAt > 1_000) {
        process.exit(130)
      }
    }
    process.on('SIGINT', request)
    process.on('SIGTERM', request)
    process.on('SIGHUP', request)
    process.once('disconnect', request)
  })
}
