// Runs on a server, over its HTTP API and event stream.
// Hides HTTP: answers become resources, problem documents become `FabriqueError`s, a lost server is `unavailable`.
import { setTimeout as delay } from 'node:timers/promises'
import {
  Artifact,
  DryRun,
  FabriqueError,
  isTerminal,
  isTerminalKind,
  Json,
  type JsonObject,
  list,
  onOneLine,
  parseDocument,
  pointerTo,
  ProblemDocument,
  PROBLEMS_MAX,
  PublishedVersion,
  RunEvent,
  ListedRun,
  RunResource,
  Specification,
  WorkflowResource,
} from '@fabrique/schema'
import { createParser } from 'eventsource-parser'
import type { z } from 'zod'
import { type Backend, type Hear, openReviewsOf, orderArtifacts } from './backend.ts'
import { InvalidRequest } from './failure.ts'

const RECONNECT_MS = 500
/** How often a run is looked at until it rests; that it does so again after a decision is no event. */
const REST_LOOK_MS = 300
/** Attempts in a row without an event, about ten seconds, before the server counts as gone. */
const RECONNECTS_MAX = 20
/** As base64 it must fit into what one text of a request body may have (64 KiB). */
const INLINE_LIMIT_BYTES = 48_000

/** Characters of a server's sentence that are shown. */
const SAID_MAX = 1_000

/** A server's API with the key in FABRIQUE_API_KEY. Sends nothing yet. */
export function createRemote({ apiUrl, signal }: { apiUrl: string; signal: AbortSignal }): Backend {
  if (!URL.canParse(apiUrl) || !/^https?:$/.test(new URL(apiUrl).protocol)) {
    throw new InvalidRequest(`--api-url ${apiUrl}: this is not an address such as http://127.0.0.1:3000`)
  }
  const key = process.env.FABRIQUE_API_KEY
  if (!key) throw new FabriqueError('unauthenticated', 'Set FABRIQUE_API_KEY to a key of this server (fab_…).')
  const base = apiUrl.replace(/(?<!\/)\/+$/, '')

  async function send(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { ...(init.headers as Record<string, string> | undefined), authorization: `Bearer ${key}` }
    const response = await fetch(`${base}${path}`, { signal, ...init, headers }).catch((cause: unknown) => {
      signal.throwIfAborted()
      throw new FabriqueError('unavailable', `There is no answer from ${base}.`, { cause })
    })
    if (!response.ok) throw await problemOf(response)
    return response
  }

  /** The answer by its schema. What a newer server says besides is left out; what this program needs must be there. */
  async function json<Schema extends z.ZodType>(
    schema: Schema,
    path: string,
    body?: JsonObject,
  ): Promise<z.infer<Schema>> {
    const accept = { accept: 'application/json' }
    const init =
      body === undefined
        ? { headers: accept }
        : { method: 'POST', headers: { ...accept, 'content-type': 'application/json' }, body: JSON.stringify(body) }
    const parsed = schema.safeParse(await (await send(path, init)).json())
    if (parsed.success) return parsed.data
    const problems = parsed.error.issues.map((issue) => ({ pointer: pointerTo(...issue.path), detail: issue.message }))
    throw new FabriqueError('internal', `${base} does not answer ${path} in the way of this version.`, { problems })
  }

  const workflowPath = (id: string) => `/v1/workflows/${id.split('/').map(encodeURIComponent).join('/')}`
  const pin = (version: string | undefined) => (version === undefined ? '' : `version=${encodeURIComponent(version)}`)
  const get = (runId: string) => json(RunResource, runPath(runId))
  const runPath = (runId: string) => `/v1/workflows/runs/${encodeURIComponent(runId)}`

  /** As much of it as is needed here. */
  const specification = (runId: string) =>
    json(Specification.pick({ stepInstructions: true, artifactSchema: true }), `${runPath(runId)}/specification`)

  /** What one connection brings: events, and null for a sign of life. Ends when it breaks, or nothing is left to come. */
  async function* connect(runId: string, after: number): AsyncGenerator<RunEvent | null> {
    const response = await send(`${runPath(runId)}/events?after=${after}`, { headers: { accept: 'text/event-stream' } })
    if (response.body === null) return
    let heard: (RunEvent | null)[] = []
    const parser = createParser({
      // An event of a kind that only a newer server knows is a sign of life.
      onEvent: ({ data }) => heard.push(RunEvent.safeParse(JSON.parse(data)).data ?? null),
      onComment: () => heard.push(null),
    })
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      parser.feed(chunk)
      yield* heard
      heard = []
    }
  }

  /** Hears events, whatever becomes of the connection, until `rests` answers a run: that ends it. */
  async function listen(
    runId: string,
    after: number,
    hear: Hear,
    rests: (event: RunEvent | null) => Promise<RunResource | null>,
  ): Promise<RunResource> {
    let seen = after
    for (let silent = 0; ; silent += 1) {
      try {
        for await (const event of connect(runId, seen)) {
          silent = 0
          if (event !== null) {
            seen = event.seq
            hear(event)
            if (isTerminalKind(event.kind)) return await get(runId)
          }
          const run = await rests(event)
          if (run !== null) return run
        }
        const run = await get(runId)
        if (run.finished_at !== null) return run
      } catch (error) {
        signal.throwIfAborted()
        const isBroken = FabriqueError.is(error) ? error.code === 'unavailable' : error instanceof TypeError
        if (!isBroken || silent >= RECONNECTS_MAX) throw error
      }
      await delay(RECONNECT_MS, undefined, { signal })
    }
  }

  return {
    inlineLimitBytes: INLINE_LIMIT_BYTES,
    workflow: (id) => json(WorkflowResource, workflowPath(id)).catch(nullIfMissing),
    async definitionHash(workflow, version) {
      const path = `/v1/workflows/versions?name=${encodeURIComponent(workflow)}`
      const found = await json(list(PublishedVersion), path).catch(nullIfMissing)
      return found?.data.find((row) => row.version === version)?.definition_sha256 ?? null
    },
    dryRun: (spec, version) => json(DryRun, `/v1/workflows/runs?dry_run=true&${pin(version)}`, spec),
    submit: async (spec, version) => (await json(RunResource, `/v1/workflows/runs?${pin(version)}`, spec)).id,
    async follow(runId, after, hear) {
      return await listen(runId, after, hear, async (event) => {
        if (event !== null && event.kind !== 'workflow.run.waiting') return null
        // The wait may be an earlier one that was decided since; one that goes on after a decision has no event.
        const run = await get(runId)
        return run.status === 'waiting' && openReviewsOf(run).length > 0 ? run : null
      })
    },
    watch: (runId, after, hear) => listen(runId, after, hear, async () => null),
    events: async (runId, after) => (await json(list(RunEvent), `${runPath(runId)}/events?after=${after}`)).data,
    get,
    async steps(runId) {
      return (await specification(runId)).stepInstructions
    },
    async decide({ runId, id, price }, approves, comment) {
      const [yes, no] = price === undefined ? ['approve', 'reject'] : ['call-again', 'give-up']
      const decision = approves === 'approve' ? yes : no
      const body = { decision, gate: id, ...(comment === undefined ? {} : { comment }) }
      const refused = (error: unknown): false => {
        if (FabriqueError.is(error, 'no-open-gate')) return false
        throw error
      }
      return await json(Json, `${runPath(runId)}/review`, body).then(() => true, refused)
    },
    async comeToRest(runId) {
      for (;;) {
        const { status } = await get(runId)
        if (isTerminal(status) || status === 'waiting') return
        await delay(REST_LOOK_MS, undefined, { signal })
      }
    },
    cancel: (runId) => json(RunResource, `${runPath(runId)}/cancel`, {}),
    async retry(runId) {
      await send(runPath(runId))
      const run = await json(RunResource, `${runPath(runId)}/retry`, {}).catch((error: unknown) => {
        // The run is there, so what is not there is the route.
        if (!FabriqueError.is(error, 'not-found') && !FabriqueError.is(error, 'method-not-allowed')) throw error
        const message = `The server at ${base} does not offer to retry runs; submit the run-spec again instead.`
        throw new FabriqueError('method-not-allowed', message, { cause: error })
      })
      return run.id
    },
    list: async (limit) => (await json(list(ListedRun), `/v1/workflows/runs?limit=${limit}`)).data,
    workflows: async () => (await json(list(WorkflowResource), '/v1/workflows')).data,
    async artifacts(run) {
      const [{ data }, { artifactSchema }] = await Promise.all([
        json(list(Artifact), `/v1/artifacts?run_id=${encodeURIComponent(run.id)}`),
        specification(run.id),
      ])
      const roles = artifactSchema.files.map(({ role }) => role)
      return orderArtifacts(data, roles, ({ id }) => `${base}/v1/artifacts/${id}/content`)
    },
    read: async (artifactId) =>
      new Uint8Array(await (await send(`/v1/artifacts/${encodeURIComponent(artifactId)}/content`)).arrayBuffer()),
    async close() {},
  }
}

function nullIfMissing(error: unknown): null {
  if (FabriqueError.is(error, 'not-found')) return null
  throw error
}

/** The server's refusal. Lines and columns are dropped: they are those of the JSON that we sent. */
async function problemOf(response: Response): Promise<FabriqueError> {
  const text = await response.text()
  const outcome = parseDocument(text, 'json')
  const problem = outcome.ok ? Refusal.safeParse(outcome.document.value).data : undefined
  const code = problem?.code ?? (response.status >= 500 ? 'unavailable' : 'internal')
  const detail = onOneLine(problem?.detail ?? `The server answered ${response.status}: ${text.slice(0, 200)}`, SAID_MAX)
  const problems = (problem?.errors ?? []).slice(0, PROBLEMS_MAX).map(({ pointer, detail: what }) => ({
    pointer: onOneLine(pointer, SAID_MAX),
    detail: onOneLine(what, SAID_MAX),
  }))
  return new FabriqueError(code, detail, { problems })
}

const Refusal = ProblemDocument.pick({ code: true, detail: true, errors: true })
