// What the soak asks for: one template of each form that runs can have, and the clients that submit and review.
// Hides the language of templates, and that a client repeats a request whose answer it has not seen.
import { setTimeout as delay } from 'node:timers/promises'
import { isTerminal, type JsonObject, type RunResource, textOf } from '@fabrique/schema'
import { noteTemplate } from '../test/note-template.ts'
import type { Chance } from './chance.ts'

const REQUEST_MS_MAX = 15_000
const AGAIN_MS = 500
const REVIEW_EVERY_MS = 1_000
const POLL_MS = 200

const WRITE = { kind: 'llm', model: 'openai/gpt-6-luna' }
const DRAW = { kind: 'image', model: 'openai/gpt-image-2', params: { size: '1024x1024', quality: 'low' } }
const TOPIC = '{intake.topics[0]}'
/** The step whose every turn is a call of its own: the provider asks for one tool, and then answers. */
export const AGENT = { step: 'work', turns: 2 }
const LINE = { ...WRITE, id: 'line', promptTemplate: `A line on ${TOPIC}.` }

/** By id: what differs between the templates. */
const TEMPLATES: Record<string, JsonObject> = {
  'soak/one': { runtimeSteps: [LINE] },
  'soak/three': {
    runtimeSteps: [
      LINE,
      { ...WRITE, id: 'brief', promptTemplate: 'Describe a picture of: {steps.line.output.text}' },
      { ...DRAW, id: 'picture', promptTemplate: '{steps.brief.output.text}' },
    ],
  },
  'soak/queue': {
    runtimeSteps: [{ id: 'picture', kind: 'image', model: 'fal/flux-dev', promptTemplate: `A picture of ${TOPIC}` }],
  },
  'soak/each': {
    runtimeSteps: [
      {
        ...WRITE,
        id: 'each',
        forEach: { items: '{intake.topics}', concurrency: 2 },
        promptTemplate: 'One line on {item}.',
      },
    ],
  },
  'soak/agent': {
    runtimeSteps: [
      {
        ...WRITE,
        id: AGENT.step,
        kind: 'agent',
        promptTemplate: `Look into ${TOPIC}.`,
        tools: ['value.pass'],
        maxTurns: 4,
      },
    ],
  },
  'soak/caller': {
    runtimeSteps: [
      { id: 'sub', kind: 'workflow', workflow: 'soak/one', input: { topics: '{intake.topics}' } },
      { ...WRITE, id: 'after', promptTemplate: 'Shorter: {steps.sub.output.line.text}' },
    ],
  },
  'soak/review': {
    gates: [{ id: 'look', name: 'a look', type: 'review', after: 'line' }],
    runtimeSteps: [LINE, { ...WRITE, id: 'more', promptTemplate: 'More on {steps.line.output.text}.' }],
  },
}

const TOPICS = ['tea', 'rain', 'bread', 'foxes', 'lighthouses', 'octopuses']

/** The forms of runs, as bodies of a submit. */
const FORMS: Record<string, (topics: string[]) => JsonObject> = {
  'one step': (topics) => ({ workflow: 'soak/one', input: { topics } }),
  'three steps': (topics) => ({ workflow: 'soak/three', input: { topics } }),
  'a provider queue': (topics) => ({ workflow: 'soak/queue', input: { topics } }),
  'for each': (topics) => ({ workflow: 'soak/each', input: { topics } }),
  'an agent': (topics) => ({ workflow: 'soak/agent', input: { topics } }),
  'a sub-workflow': (topics) => ({ workflow: 'soak/caller', input: { topics } }),
  'a review': (topics) => ({ workflow: 'soak/review', input: { topics } }),
  'a bundle': (topics) => ({
    workflow: 'bundle/ad-hoc',
    bundle: topics.map((topic) => ({ workflow: 'soak/one', input: { topics: [topic] } })),
  }),
  variants: (topics) => ({ workflow: 'soak/three', input: { topics, variants: 3 } }),
}

export interface Client {
  organizationId: string
  key: string
}

export interface Accepted {
  id: string
  form: string
  client: Client
}

/** One HTTP request; null where there is no answer in time. */
export async function ask<Body = JsonObject>(
  url: string,
  key: string,
  { method, body, headers = {} }: { method?: string; body?: unknown; headers?: Record<string, string> } = {},
): Promise<{ status: number; body: Body } | null> {
  try {
    const response = await fetch(url, {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(REQUEST_MS_MAX),
    })
    const text = await response.text()
    return { status: response.status, body: (text === '' ? {} : JSON.parse(text)) as Body }
  } catch {
    return null
  }
}

/** Publishes the templates, and makes two organizations with a key each. */
export async function prepare(base: string, adminKey: string): Promise<[Client, Client]> {
  for (const [id, over] of Object.entries(TEMPLATES)) {
    await must(`${base}/v1/workflows`, adminKey, noteTemplate(id, over))
  }
  const client = async (name: string): Promise<Client> => {
    const { id } = await must(`${base}/v1/organizations`, adminKey, { name })
    const { key } = await must(`${base}/v1/api-keys`, adminKey, { role: 'operator', organization_id: id })
    return { organizationId: textOf(id), key: textOf(key) }
  }
  return [await client('Ink & Paper'), await client('Paper & Ink')]
}

async function must(url: string, key: string, body: object): Promise<JsonObject> {
  const answer = await ask(url, key, { body })
  if (answer === null || answer.status >= 300) throw new Error(`POST ${url} answered ${JSON.stringify(answer)}`)
  return answer.body
}

/** Submits one run, again with the same key until its answer is seen; null when stopped before. */
async function submit(
  base: string,
  client: Client,
  body: JsonObject,
  idempotencyKey: string,
  stopped: AbortSignal,
): Promise<{ id: string } | { refused: number } | null> {
  while (!stopped.aborted) {
    const headers = { 'idempotency-key': idempotencyKey }
    const answer = await ask<RunResource>(`${base}/v1/workflows/runs`, client.key, { body, headers })
    if (answer?.status === 202) return { id: answer.body.id }
    const isAway = answer === null || answer.status === 429 || answer.status === 503
    if (!isAway) return { refused: answer.status }
    await delay(AGAIN_MS, undefined, { signal: stopped }).catch(() => {})
  }
  return null
}

export interface Workload {
  accepted: Accepted[]
  /** Answers to a submit that were neither 202 nor a request to come again. */
  refused: { form: string; status: number }[]
  /** Resolves when every client has stopped. */
  done: Promise<unknown>
}

/** Starts the clients; each submits a run, waits as long as chance says, and goes on until it is stopped. */
export function startClients(
  base: string,
  clients: readonly Client[],
  { chance, count, pauseMs, stopped }: { chance: Chance; count: number; pauseMs: number; stopped: AbortSignal },
): Workload {
  const accepted: Accepted[] = []
  const refused: Workload['refused'] = []
  let sent = 0
  const loop = async () => {
    while (!stopped.aborted) {
      const form = chance.pick(Object.keys(FORMS))
      const client = chance.pick(clients)
      const topics = Array.from({ length: chance.between(2, 5) }, () => chance.pick(TOPICS))
      const body = { ...FORMS[form]?.(topics), priority: chance.pick([25, 50, 90]) }
      const answer = await submit(base, client, body, `soak-${(sent += 1)}`, stopped)
      if (answer === null) return
      if ('id' in answer) accepted.push({ id: answer.id, form, client })
      else refused.push({ form, status: answer.refused })
      await delay(chance.between(0, 2 * pauseMs), undefined, { signal: stopped }).catch(() => {})
    }
  }
  return { accepted, refused, done: Promise.all(Array.from({ length: count }, loop)) }
}

/** Approves whatever waits for a person, until stopped. */
export async function review(base: string, clients: readonly Client[], stopped: AbortSignal): Promise<void> {
  while (!stopped.aborted) {
    for (const { key } of clients) {
      const waiting = await ask<{ data: RunResource[] }>(`${base}/v1/workflows/runs?status=waiting&limit=100`, key)
      for (const { id } of waiting?.body.data ?? [])
        await ask(`${base}/v1/workflows/runs/${id}/review`, key, { body: { decision: 'approve' } })
    }
    await delay(REVIEW_EVERY_MS, undefined, { signal: stopped }).catch(() => {})
  }
}

/** Submits a run of one step and waits for its end; answers the milliseconds, or null where it takes longer than `limitMs`. */
export async function probe(base: string, client: Client, name: string, limitMs: number): Promise<number | null> {
  const startedMs = performance.now()
  const late = AbortSignal.timeout(limitMs)
  const made = await submit(
    base,
    client,
    { workflow: 'soak/one', input: { topics: ['probe'] }, priority: 95 },
    name,
    late,
  )
  while (made !== null && 'id' in made && !late.aborted) {
    const answer = await ask<RunResource>(`${base}/v1/workflows/runs/${made.id}`, client.key)
    if (answer?.status === 200 && isTerminal(answer.body.status)) return performance.now() - startedMs
    await delay(POLL_MS)
  }
  return null
}
