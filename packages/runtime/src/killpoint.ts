// Places where a test may have the process killed, to prove what survives it.
// Hides how the test names one, and how it learns that the process got there.
import { subscribe } from 'node:diagnostics_channel'
import { appendFileSync } from 'node:fs'
import { z } from 'zod'

/** For tests of recovery only: the point at which this process kills itself, and the file to note it in. */
export const KillpointEnv = {
  FABRIQUE_TEST_KILLPOINT: z.string().optional(),
  FABRIQUE_TEST_KILLPOINT_FILE: z.string().optional(),
}

/** Kills this process with SIGKILL at the point that the environment names; without one, does nothing. */
export function createKillpoint(env: z.infer<z.ZodObject<typeof KillpointEnv>>): (point: string) => void {
  const { FABRIQUE_TEST_KILLPOINT: armed, FABRIQUE_TEST_KILLPOINT_FILE: file } = env
  const killpoint = (point: string) => {
    if (point !== armed) return
    if (file !== undefined) appendFileSync(file, `${point}\n`)
    process.kill(process.pid, 'SIGKILL')
  }
  // Where a request is on its way only undici knows.
  if (armed === 'W4') subscribe('undici:request:bodySent', () => killpoint('W4'))
  return killpoint
}
