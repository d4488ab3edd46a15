// Submit: POSTs through the real API process against raw queue adds, both with the same number in flight.
// Hides that nothing is executed meanwhile: the lanes are closed, and drained after the clock has stopped.
import { allEnded } from './drain.ts'
import { postAll } from './http-load.ts'
import { FLOOR_JOB } from './jobs.ts'
import type { Stage } from './stage.ts'
import { FAST } from './templates.ts'

const IN_FLIGHT = 50

/** Accepted and enqueued runs per second, over HTTP. */
export async function submitOurs(stage: Stage, count: number): Promise<number> {
  await stage.hold()
  const from = stage.nextId()
  const seconds = await postAll({
    port: stage.port,
    path: '/v1/workflows/runs',
    key: stage.key,
    count,
    inFlight: IN_FLIGHT,
    status: 202,
    body: (n) => JSON.stringify({ workflow: FAST, input: { n } }),
  })
  await stage.open()
  await new Promise((resolve) => setTimeout(resolve, 2)) // ids of the API share our milliseconds
  await allEnded(stage, from, stage.nextId(), count)
  return count / seconds
}

/** Added jobs per second, from this process. */
export async function submitFloor(stage: Stage, count: number): Promise<number> {
  const { queue } = stage.floor.bullmq
  await queue.pause()
  const startedMs = performance.now()
  let added = 0
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (added < count) {
        added += 1
        await queue.add('run', { run_id: 'x' }, FLOOR_JOB)
      }
    }),
  )
  const seconds = (performance.now() - startedMs) / 1_000
  await queue.obliterate({ force: true })
  await queue.resume()
  return count / seconds
}
