// One thread that can be cut off in the middle of its work, and is then replaced. Hides worker_threads: start on first
// use, one job at a time in order, a time limit for each, and no hold on a process that wants to end.

import { Worker } from 'node:worker_threads'
import type { CleanSchema } from './schema-shape.ts'

export type Job =
  /** Without `clean` only the schema's own rules are checked: it has other problems already. */
  | { kind: 'check'; schema: object; clean: CleanSchema | undefined }
  | { kind: 'validate'; hash: string; clean: CleanSchema; value: unknown; showsValues: boolean }

export interface Answer {
  problems: { pointer: string; detail: string }[]
  /** The validated value with its defaults; for `validate` only. */
  value?: unknown
}

/** What became of a job: its answer, or why there is none. */
export type Outcome = { answer: Answer } | { failure: 'too-slow' | 'crashed' }

export interface Thread {
  /**
   * Runs a job when those before it are done. The time limit counts from then on, not while it waits or the thread
   * starts. Rejects when the thread cannot start, or is closed.
   */
  run(job: Job): Promise<Outcome>
  /** Ends the thread; jobs still open and later ones reject. Idempotent. */
  close(): Promise<void>
}

const START_LIMIT_MS = 20_000

/** The thread starts with the first job. A job over `timeoutMs` or out of memory costs the thread, not the process. */
export function createThread(options: { timeoutMs: number }): Thread {
  let worker: Promise<Worker> | undefined
  let queue: Promise<unknown> = Promise.resolve()
  const open = new Set<PromiseWithResolvers<Outcome>>()
  let closed = false

  const execute = async (job: Job): Promise<Outcome> => {
    if (closed) throw closedError()
    worker ??= start(() => {
      worker = undefined
    })
    const mine = await worker
    // While somebody waits for the answer the process may not end; idle, the thread never keeps it.
    mine.ref()
    const answered = nextMessage(mine, options.timeoutMs)
    mine.postMessage(job)
    const outcome = await answered
    mine.unref()
    if ('failure' in outcome) await mine.terminate()
    return outcome
  }

  return {
    run(job) {
      const mine = Promise.withResolvers<Outcome>()
      open.add(mine)
      queue = queue
        .then(() => execute(job))
        .then(mine.resolve, mine.reject)
        .finally(() => open.delete(mine))
      return mine.promise
    },
    async close() {
      if (closed) return
      closed = true
      for (const waiting of open) waiting.reject(closedError())
      const running = await worker?.catch(() => undefined)
      await running?.terminate()
      await queue
    },
  }
}

/** Resolves when the thread has loaded its code. `onExit` is called once, however it ends. */
async function start(onExit: () => void): Promise<Worker> {
  const worker = new Worker(new URL('./thread-entry.ts', import.meta.url), {
    name: 'intake-schemas',
    // Nothing of the process's environment, which holds keys, is of use to a schema.
    env: {},
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 32 },
  })
  // Without a listener, the error of a thread that dies between two jobs would end the process.
  worker.on('error', () => undefined)
  worker.once('exit', onExit)
  const started = await nextMessage(worker, START_LIMIT_MS)
  if ('failure' in started) {
    await worker.terminate()
    throw new Error('the thread for schemas did not start')
  }
  return worker
}

function nextMessage(worker: Worker, limitMs: number): Promise<Outcome> {
  return new Promise((resolve) => {
    const settle = (outcome: Outcome): void => {
      clearTimeout(timer)
      worker.off('message', onMessage).off('error', onError).off('exit', onError)
      resolve(outcome)
    }
    const onMessage = (answer: Answer): void => settle({ answer })
    const onError = (): void => settle({ failure: 'crashed' })
    const timer = setTimeout(() => settle({ failure: 'too-slow' }), limitMs)
    worker.on('message', onMessage).on('error', onError).on('exit', onError)
  })
}

function closedError(): Error {
  return new Error('the intake schemas were closed')
}
