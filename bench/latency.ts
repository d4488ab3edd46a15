// Latency: one run at a time through an idle system.
// Hides the client's side of a run, from the POST to the terminal frame of its event stream.
import { Agent, type IncomingMessage, request } from 'node:http'
import { QueueEvents } from 'bullmq'
import { FLOOR_JOB } from './jobs.ts'
import { FLOOR_PREFIX, type Stage } from './stage.ts'
import { FAST } from './templates.ts'

/** Milliseconds from before the POST to the terminal event on the stream, one sample after the other. */
export async function latencyOurs(stage: Stage, samples: number): Promise<number[]> {
  const agent = new Agent({ keepAlive: true })
  const measured: number[] = []
  for (let n = 0; n < samples; n += 1) {
    const startedMs = performance.now()
    const run = await submit(stage, agent, FAST, 50, n)
    const events = await send(stage, agent, 'GET', `/v1/workflows/runs/${run}/events`, 'text/event-stream')
    let text = ''
    for await (const chunk of events) {
      text += String(chunk)
      if (text.includes('event: workflow.run.completed')) break
    }
    if (!text.includes('event: workflow.run.completed')) throw new Error(`the stream of ${run} ended early`)
    measured.push(performance.now() - startedMs)
  }
  agent.destroy()
  return measured
}

/** Milliseconds from before the add to BullMQ's own completed event. */
export async function latencyFloor(stage: Stage, samples: number): Promise<number[]> {
  const { queue } = stage.floor.bullmq
  const { host, port, password } = stage.redis.options
  const connection = { ...(host && { host }), ...(port && { port }), ...(password && { password }) }
  // From the start of the stream: one that begins at its end can miss a job that completes before its first read.
  const events = new QueueEvents(queue.name, { connection, prefix: FLOOR_PREFIX, lastEventId: '0-0' })
  await events.waitUntilReady()
  const measured: number[] = []
  // The first one also waits for what the stream holds already, and is not counted.
  for (let n = -1; n < samples; n += 1) {
    const jobId = stage.nextId()
    // BullMQ's own waitUntilFinished looks the job up as well, and fails when it is removed already.
    const { promise: completed, resolve } = Promise.withResolvers<void>()
    const listener = (event: { jobId: string }) => event.jobId === jobId && resolve()
    events.on('completed', listener)
    const startedMs = performance.now()
    await queue.add('run', { run_id: jobId }, { ...FLOOR_JOB, jobId })
    await completed
    events.off('completed', listener)
    if (n >= 0) measured.push(performance.now() - startedMs)
  }
  await events.close()
  return measured
}

/** Submits one run over HTTP; answers its id. */
export async function submit(
  stage: Stage,
  agent: Agent,
  workflow: string,
  priority: number,
  n: number,
): Promise<string> {
  const body = JSON.stringify({ workflow, priority, input: { n } })
  const response = await send(stage, agent, 'POST', '/v1/workflows/runs', 'application/json', body)
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return (JSON.parse(text) as { id: string }).id
}

function send(
  { port, key }: Stage,
  agent: Agent,
  method: string,
  path: string,
  accept: string,
  body?: string,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: '127.0.0.1',
        port,
        method,
        path,
        agent,
        headers: {
          authorization: `Bearer ${key}`,
          accept,
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
        },
      },
      (response) => {
        const { statusCode = 0 } = response
        if (statusCode < 300) resolve(response)
        else reject(new Error(`${method} ${path} answered ${statusCode}`))
      },
    )
    outgoing.once('error', reject)
    outgoing.end(body)
  })
}
