// What compressed sound and film files say of themselves, read without decoding them.
// Hides the thread that reads them: a crafted file can keep the reader busy for minutes, and must not keep the process.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

export interface ContainerFacts {
  /** The media type without its family. */
  subtype: 'ogg' | 'flac' | 'mpeg' | 'mp4' | 'webm'
  /** Null where the file does not say, as streams that were written while they were made. */
  durationMs: number | null
  /** The size of the first picture track; null without one. */
  picture: { width: number; height: number } | null
  hasSound: boolean
}

/** A file of 256 MiB takes a second; the rest is for the thread's start on a busy machine. */
const READ_LIMIT_MS = 20_000
const READER_HEAP_MB = 256

/** The facts of a file; null for an unknown kind, for one that is damaged, and for one not read within `limitMs`. */
export async function readContainer(bytes: Uint8Array, limitMs = READ_LIMIT_MS): Promise<ContainerFacts | null> {
  const reader = new Worker(new URL('./container-reader.ts', import.meta.url), {
    workerData: bytes,
    // Nothing of the process's environment, which holds keys, is of use to a file.
    env: {},
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: READER_HEAP_MB },
  })
  // An error after the deadline would have no listener, and end the process.
  reader.on('error', () => undefined)
  try {
    const [facts] = (await once(reader, 'message', { signal: AbortSignal.timeout(limitMs) })) as [ContainerFacts | null]
    return facts
  } catch {
    return null
  } finally {
    await reader.terminate()
  }
}
