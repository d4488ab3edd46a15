// A thread for one piece of work over what strangers wrote, cut off when its time or memory is spent.
// Hides worker_threads; the entry reads its `workerData` and posts one message.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

const HEAP_MB_MAX = 256

/** What the entry makes of the data; null where it took longer than `limitMs`, ran out of memory or failed. Never rejects. */
export async function runInThread<Answer>(entry: URL, data: unknown, limitMs: number): Promise<Answer | null> {
  const thread = new Worker(entry, {
    workerData: data,
    // Nothing of the process's environment, which holds keys, is of use there.
    env: {},
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB_MAX },
    // Libraries warn of what they do not know.
    stdout: true,
    stderr: true,
  })
  // An error after the deadline would have no listener, and end the process.
  thread.on('error', () => undefined)
  try {
    const [answer] = (await once(thread, 'message', { signal: AbortSignal.timeout(limitMs) })) as [Answer]
    return answer
  } catch {
    return null
  } finally {
    await thread.terminate()
  }
}
