// Backlogs: how soon a run begins while others wait by the thousand and every slot is busy with a step of two seconds.
// Hides how a hundred thousand waiting runs come to be: one is accepted, its row is copied, and the copies are delivered.
import { once } from 'node:events'
import { Agent, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { SYSTEM_ORGANIZATION } from '@fabrique/db'
import { submit } from './latency.ts'
import { CONCURRENCY, type Stage } from './stage.ts'
import { FAST, SLOW } from './templates.ts'

const STEP_MS = 2_000
const PROBE_EVERY_MS = 100
const LOADED_AT_ONCE = 5_000
/** Keeps every batch slot busy for as long as the probes take. */
const BUSY = CONCURRENCY * 4
const URGENT = 95

/** Accepts copies of run `$1` under the ids `$2`, as if it had just come. */
export const COPY = `
insert into runs (id, organization_id, root_run_id, workflow, workflow_version, definition_hash, instance, input, metadata,
  priority, lane, fail_fast, simulated, estimated_usd, warnings, last_seq, due_at)
select t.id, organization_id, t.id, workflow, workflow_version, definition_hash, instance, input, metadata,
  priority, lane, fail_fast, simulated, estimated_usd, warnings, 0, now() + interval '10 seconds'
from runs cross join unnest($2::text[]) as t(id) where runs.id = $1`

/** Milliseconds between created_at and started_at of each urgent run, behind `waiting` runs beyond those at work. */
export async function startDelays(stage: Stage, waiting: number, probes: number): Promise<number[]> {
  const agent = new Agent({ keepAlive: true })
  await load(stage, { organizationId: SYSTEM_ORGANIZATION, priority: 10, count: BUSY + waiting })
  await stage.open()
  await delay(STEP_MS / 2)
  const ids: string[] = []
  for (let n = 0; n < probes; n += 1) {
    ids.push(await submit(stage, agent, FAST, URGENT, n))
    await delay(PROBE_EVERY_MS)
  }
  agent.destroy()
  const delays = await delaysOf(stage, ids)
  await stage.clear()
  return delays
}

/** The same of a second organization's runs, behind `waiting` of the first with the same priority. */
export async function turnDelays(stage: Stage, waiting: number, runs: number): Promise<number[]> {
  await stage.db.query(
    'bench.organization',
    `insert into organizations (id, name) values ($1, $1) on conflict do nothing`,
    [OTHER],
  )
  await load(stage, { organizationId: SYSTEM_ORGANIZATION, priority: 50, count: waiting })
  await stage.open()
  await delay(STEP_MS / 2)
  const accepted = await Promise.all(
    Array.from({ length: runs }, (_, n) => accept(stage, OTHER, { workflow: SLOW, priority: 50, input: { n } })),
  )
  const delays = await delaysOf(stage, accepted)
  await stage.clear()
  return delays
}

const OTHER = 'bench-other'

async function accept(stage: Stage, organizationId: string, document: object): Promise<string> {
  const outcome = await stage.submitter.submit({ organizationId, admin: true, document: { ...document } })
  if (outcome.outcome !== 'accepted') throw new Error(`a run was not accepted, but ${outcome.outcome}`)
  return outcome.run.id
}

/** Makes so many slow runs wait in a closed lane. */
async function load(
  stage: Stage,
  { organizationId, priority, count }: { organizationId: string; priority: number; count: number },
): Promise<void> {
  await stage.hold()
  const first = await accept(stage, organizationId, { workflow: SLOW, priority, input: { n: 0 } })
  for (let left = count - 1; left > 0; left -= LOADED_AT_ONCE) {
    const ids = Array.from({ length: Math.min(left, LOADED_AT_ONCE) }, () => stage.nextId())
    await stage.db.query('bench.copy', COPY, [first, ids])
    const delivery = { epoch: 0, workflow: SLOW, priority, lane: 'batch', organizationId } as const
    await stage.queue.enqueue(ids.map((runId) => ({ ...delivery, runId })))
  }
  await delay(STEP_MS / 4) // A handing over that took longer than its limit goes on.
}

/** Waits until all of them have started. */
async function delaysOf(stage: Stage, ids: string[]): Promise<number[]> {
  for (;;) {
    const rows = await stage.db.query<{ ms: number | null }>(
      'bench.delays',
      `select extract(epoch from started_at - created_at)::float8 * 1000 as ms from runs where id = any($1::text[])`,
      [ids],
    )
    const known = rows.flatMap(({ ms }) => ms ?? [])
    if (known.length === ids.length) return known
    await delay(PROBE_EVERY_MS)
  }
}

/** A provider that answers every text request after two seconds; stands in for OpenAI. */
export async function openProvider(): Promise<{ url: string; close(): void }> {
  const answer = JSON.stringify({
    id: 'resp_1',
    object: 'response',
    status: 'completed',
    output: [{ type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'done', annotations: [] }] }],
    usage: { input_tokens: 3, output_tokens: 1, input_tokens_details: { cached_tokens: 0 } },
  })
  const server = createServer((incoming, response) => {
    incoming.resume()
    setTimeout(() => response.setHeader('content-type', 'application/json').end(answer), STEP_MS)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
