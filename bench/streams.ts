// Event streams: what one costs in memory, and how soon a run's client hears of its end while others listen.
// Hides the runs that the others follow: copies of an ended one that wait for ever, until the case is over.
import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { SYSTEM_ORGANIZATION } from '@fabrique/db'
import type { RunEvent } from '@fabrique/schema'
import { createParser } from 'eventsource-parser'
import { COPY } from './backlog.ts'
import { allEnded } from './drain.ts'
import type { Stage } from './stage.ts'
import { FAST } from './templates.ts'

const WAITING_RUNS = 200
const SETTLE_MS = 1_000

export interface StreamFigures {
  /** By which the API's resident memory grew for each of the other streams; null where there are too few to tell. */
  kibPerStream: number | null
  /** From the commit of a run's end to its client, one run at a time. */
  delaysMs: number[]
}

/** Opens `others` streams over 200 runs that wait, then follows `samples` runs to their end. */
export async function endDelays(stage: Stage, others: number, samples: number): Promise<StreamFigures> {
  const waiting = await waitingRuns(stage)
  const sockets: Socket[] = []
  try {
    await delay(SETTLE_MS)
    const beforeKib = residentKib(stage.apiPid)
    for (let n = 0; n < others; n += 1) {
      const socket = await follow(stage, waiting[n % waiting.length] ?? '')
      socket.resume()
      sockets.push(socket)
    }
    await delay(SETTLE_MS)
    const grownKib = residentKib(stage.apiPid) - beforeKib
    const delaysMs: number[] = []
    for (let n = 0; n < samples; n += 1) delaysMs.push(await endDelay(stage, n))
    return { kibPerStream: others < WAITING_RUNS ? null : grownKib / others, delaysMs }
  } finally {
    for (const socket of sockets) socket.destroy()
    await stage.db.query('', 'delete from runs where id = any($1::text[])', [waiting])
  }
}

async function endDelay(stage: Stage, n: number): Promise<number> {
  await stage.hold()
  const outcome = await stage.submitter.submit({
    organizationId: SYSTEM_ORGANIZATION,
    admin: true,
    document: { workflow: FAST, input: { n } },
  })
  if (outcome.outcome !== 'accepted') throw new Error('a run was not accepted')
  const socket = await follow(stage, outcome.run.id)
  const heard = Promise.withResolvers<number>()
  const parser = createParser({
    onEvent({ event, data }) {
      const atMs = performance.timeOrigin + performance.now()
      if (event !== 'workflow.run.completed') return
      heard.resolve(atMs - Date.parse((JSON.parse(data) as RunEvent).timestamp))
    },
  })
  // The parser passes over the head and the chunks' sizes: to it they are fields that it does not know.
  socket.on('data', (bytes: Buffer) => parser.feed(bytes.toString()))
  socket.resume()
  socket.once('close', () => heard.reject(new Error(`the stream of ${outcome.run.id} ended early`)))
  await stage.open()
  const tookMs = await heard.promise
  socket.destroy()
  return tookMs
}

/** Ids of runs that wait for a person, copied from one that has ended. */
async function waitingRuns(stage: Stage): Promise<string[]> {
  const from = stage.nextId()
  const outcome = await stage.submitter.submit({
    organizationId: SYSTEM_ORGANIZATION,
    admin: true,
    document: { workflow: FAST, input: { n: 0 } },
  })
  if (outcome.outcome !== 'accepted') throw new Error('a run was not accepted')
  await allEnded(stage, from, stage.nextId(), 1)
  const ids = Array.from({ length: WAITING_RUNS }, () => stage.nextId())
  await stage.db.query('', COPY, [outcome.run.id, ids])
  await stage.db.query('', `update runs set status = 'waiting', due_at = null where id = any($1::text[])`, [ids])
  return ids
}

/** The connection of an open stream. */
async function follow({ port, key }: Stage, runId: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write(`GET /v1/workflows/runs/${runId}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n\r\n`)
  const [head] = (await once(socket, 'data')) as [Buffer]
  if (!head.toString().startsWith('HTTP/1.1 200')) throw new Error(head.toString())
  socket.pause()
  socket.unshift(head)
  return socket
}

function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN)
}
