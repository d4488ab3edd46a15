// What compressed sound and film files say of themselves, read without decoding them.
// Hides the thread that reads them: a crafted file can keep the reader busy for minutes, and must not keep the process.
import { runInThread } from './one-job-thread.ts'

export interface ContainerFacts {
  /** Null for a kind that is not known. */
  mimeType: string | null
  /** Of what is there, whatever the header says. */
  durationMs: number | null
  /** Of the film as it is seen: turned, and with its pixels square. */
  width: number | null
  height: number | null
  /** Whether every packet that it announces is there. */
  isWhole: boolean
}

/** A file of 256 MiB takes two seconds; the rest is for the thread's start on a busy machine. */
const READ_LIMIT_MS = 20_000

const UNKNOWN: ContainerFacts = { mimeType: null, durationMs: null, width: null, height: null, isWhole: false }

/** The facts of a file; of an unknown kind also what is not read within `limitMs`. Never rejects. */
export async function readContainer(bytes: Uint8Array, limitMs = READ_LIMIT_MS): Promise<ContainerFacts> {
  const reader = new URL('./container-reader.ts', import.meta.url)
  return (await runInThread<ContainerFacts>(reader, bytes, limitMs)) ?? UNKNOWN
}
