// Batch: one NDJSON request of many lines to the real API, against raw bulk adds of as many jobs.
// Hides how the API's memory is watched from outside while the request lasts.
import { readFileSync } from 'node:fs'
import { FLOOR_JOB } from './jobs.ts'
import type { Stage } from './stage.ts'
import { FAST } from './templates.ts'

const SAMPLE_EVERY_MS = 10
const KIB = 1_024
const BULK = 500

/** Accepted and enqueued runs per second, and by how many MiB the API's resident memory grew at most. */
export async function batchOurs(stage: Stage, count: number): Promise<{ perSecond: number; grownMib: number }> {
  await stage.hold()
  const body = Array.from({ length: count }, (_, n) => `${JSON.stringify({ workflow: FAST, input: { n } })}\n`).join('')
  const before = residentMib(stage.apiPid)
  let most = before
  const sampling = setInterval(() => {
    most = Math.max(most, residentMib(stage.apiPid))
  }, SAMPLE_EVERY_MS)
  const startedMs = performance.now()
  const response = await fetch(`http://127.0.0.1:${stage.port}/v1/workflows/runs/batch`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stage.key}`, 'content-type': 'application/x-ndjson' },
    body,
  })
  const answers = (await response.text()).trimEnd().split('\n')
  const seconds = (performance.now() - startedMs) / 1_000
  clearInterval(sampling)
  const accepted = answers.filter((line) => 'run_id' in (JSON.parse(line) as object)).length
  if (accepted !== count) throw new Error(`${accepted} of ${count} lines were accepted: ${answers.at(-1)}`)
  await stage.clear()
  return { perSecond: count / seconds, grownMib: most - before }
}

/** Added jobs per second, from this process. */
export async function batchFloor(stage: Stage, count: number): Promise<number> {
  const { queue } = stage.floor.bullmq
  await queue.pause()
  const startedMs = performance.now()
  for (let at = 0; at < count; at += BULK) {
    await queue.addBulk(
      Array.from({ length: Math.min(BULK, count - at) }, () => ({
        name: 'run',
        data: { run_id: 'x' },
        opts: FLOOR_JOB,
      })),
    )
  }
  const seconds = (performance.now() - startedMs) / 1_000
  await queue.obliterate({ force: true })
  await queue.resume()
  return count / seconds
}

function residentMib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / KIB
}
