/**
 * `npm run demo`: one example run through the real HTTP API, followed to its artifacts, then everything stops.
 * Hides the client's side of a run: submit, follow the event stream, decide the review gate, read what came out.
 */
import { createWriteStream } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Artifact, isTerminalKind, list, onOneLine, RunEvent, RunResource } from '@fabrique/schema'
import { openServices } from '@fabrique/services'
import { EventSourceParserStream } from 'eventsource-parser/stream'
import { freePort } from './ports.ts'
import { checkout, createSupervisor, stopRequested } from './supervisor.ts'

const RUN_SPEC = 'examples/run-inputs/clip-art-fox.yaml'
const WORKFLOW = 'generate-clip-art-asset'
const HOST = '127.0.0.1'
const RUN_TIMEOUT_MS = 600_000 // real image models take minutes
const RECONNECT_MS = 500

type Api = ReturnType<typeof createApi>

/** The few calls that the demo makes. Answers other than 2xx become errors that show the problem document's text. */
function createApi(base: string, key: string) {
  async function call(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { authorization: `Bearer ${key}`, ...(init.headers as Record<string, string> | undefined) }
    const response = await fetch(base + path, { ...init, headers })
    if (response.ok) return response
    const problem = await response.text()
    throw new Error(`${init.method ?? 'GET'} ${path} answered ${response.status}: ${problem.slice(0, 500)}`)
  }
  return {
    call,
    async read<Result>(schema: { parse(value: unknown): Result }, path: string, init?: RequestInit): Promise<Result> {
      return schema.parse(await (await call(path, init)).json())
    },
  }
}

/** The run's events in order, each once, until the terminal one. Reconnects behind the last event seen. */
async function* followRun(api: Api, id: string, signal: AbortSignal): AsyncGenerator<RunEvent> {
  let lastSeq = 0
  for (;;) {
    try {
      const headers = { accept: 'text/event-stream', ...(lastSeq ? { 'last-event-id': String(lastSeq) } : {}) }
      const response = await api.call(`/v1/workflows/runs/${id}/events`, { headers, signal })
      if (!response.body) return
      const messages = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
      for await (const message of messages) {
        const event = RunEvent.parse(JSON.parse(message.data))
        lastSeq = event.seq
        yield event
        if (isTerminalKind(event.kind)) return
      }
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (!(error instanceof TypeError)) throw error // a TypeError is fetch's broken connection: the API restarts
    }
    await delay(RECONNECT_MS, undefined, { signal })
  }
}

/** Tells what happens: a line per event, and on a terminal one more line that shows what is going on right now. */
function createDisplay() {
  const startedAt = performance.now()
  const isLive = process.stdout.isTTY === true && !process.env.CI
  const useColour = isLive && !process.env.NO_COLOR
  const active = new Set<string>()
  const frames = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'
  let frame = 0
  const seconds = () => ((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)
  const clear = () => {
    if (isLive) process.stdout.write('\r\u001b[2K')
  }
  const draw = () => {
    if (!isLive) return
    clear()
    const doing = active.size > 0 ? [...active].join(', ') : 'working'
    process.stdout.write(`${frames[frame++ % frames.length]} ${seconds()} s  ${doing} …`)
  }
  const timer = isLive ? setInterval(draw, 120) : undefined
  const dim = (text: string) => (useColour ? `\u001b[2m${text}\u001b[0m` : text)
  return {
    line(text: string) {
      clear()
      console.log(text)
    },
    event(event: RunEvent) {
      const name = event.kind.replace(/^workflow\./, '')
      if (event.node_key && event.kind.endsWith('.started')) active.add(event.node_key)
      else if (event.node_key && event.kind !== 'workflow.node.progress') active.delete(event.node_key)
      clear()
      console.log(`${dim(`${seconds()} s`)}  ${onOneLine(`${name.padEnd(18)} ${event.node_key ?? ''}`).trimEnd()}`)
    },
    close() {
      clearInterval(timer)
      clear()
    },
  }
}

async function watchRun(api: Api, run: RunResource, signal: AbortSignal): Promise<void> {
  const display = createDisplay()
  try {
    for await (const event of followRun(api, run.id, signal)) {
      display.event(event)
      if (event.kind !== 'workflow.run.waiting') continue
      await api.call(`/v1/workflows/runs/${run.id}/review`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ decision: 'approve', comment: 'approved by npm run demo' }),
      })
      display.line('           The run waits for a human review. The demo approves it itself.')
    }
  } finally {
    display.close()
  }
}

function artifactFolder(home: string): string {
  const store = process.env.ARTIFACT_STORE
  if (!store) return join(home, 'artifacts')
  return store.startsWith('file:') ? fileURLToPath(store) : store
}

async function report(api: Api, id: string, home: string): Promise<boolean> {
  const run = await api.read(RunResource, `/v1/workflows/runs/${id}`)
  if (run.status !== 'completed') {
    console.error(`\nThe run ended as ${run.status}: ${onOneLine(run.error?.message ?? 'no reason given')}`)
    return false
  }
  const { data } = await api.read(list(Artifact), `/v1/artifacts?run_id=${id}`)
  const folder = artifactFolder(home)
  console.log('\nArtifacts:')
  for (const artifact of data) {
    const size = artifact.width ? ` ${artifact.width}×${artifact.height}` : ''
    console.log(
      `  ${folder.includes('://') ? `${folder}/${artifact.storage_key}` : join(folder, artifact.storage_key)}`,
    )
    console.log(`    ${artifact.role}, ${artifact.mime_type}${size}, ${artifact.bytes} bytes, ${artifact.status}`)
  }
  const { actual, estimated, currency } = run.cost
  console.log(`Cost: ${actual} ${currency} (estimated ${estimated} ${currency})`)
  if (run.simulated) {
    console.log(
      'Simulated: without provider keys, built-in simulators made this output. No model was called and nothing was billed.',
    )
    console.log('Set OPENAI_API_KEY and FAL_KEY to use the real ones.')
  }
  return true
}

async function demo(): Promise<boolean> {
  const abort = new AbortController()
  const stop = stopRequested(() => {
    console.log('\nStopping …')
    abort.abort(new Error('Interrupted.'))
  })
  const home = resolve(process.env.FABRIQUE_HOME || `${checkout}/.fabrique`)
  const services = await openServices({
    home,
    databaseUrl: process.env.DATABASE_URL,
    redisUrl: process.env.REDIS_URL,
    onProgress: (line) => console.log(line),
  })
  await mkdir(home, { recursive: true, mode: 0o700 })
  const logFile = join(home, 'demo.log')
  const log = createWriteStream(logFile, { mode: 0o600 })
  const port = await freePort(HOST)
  const supervisor = createSupervisor({
    env: {
      ...process.env,
      FABRIQUE_HOME: home,
      DATABASE_URL: services.databaseUrl,
      REDIS_URL: services.redisUrl,
      HOST,
      PORT: String(port),
    },
    onLine: (name, line) => log.write(`${name}: ${line}\n`),
  })
  try {
    const base = `http://${HOST}:${port}`
    console.log(`Starting the API (${base}) and a worker …`)
    supervisor.start('api', 'apps/api/src/main.ts', { restart: true })
    await Promise.race([supervisor.ready(`${base}/readyz`), stop])
    abort.signal.throwIfAborted()
    supervisor.start('worker 1', 'apps/worker/src/main.ts', { restart: true })

    const key = process.env.FABRIQUE_ADMIN_KEY || (await readFile(join(home, 'admin-key'), 'utf8')).trim()
    const api = createApi(base, key)
    console.log(`Submitting ${RUN_SPEC} to ${WORKFLOW} …`)
    const run = await api.read(RunResource, `/v1/workflows/runs?name=${encodeURIComponent(WORKFLOW)}`, {
      method: 'POST',
      headers: { 'content-type': 'application/yaml' },
      body: await readFile(join(checkout, RUN_SPEC)),
    })
    console.log(`Run ${run.id}`)
    await Promise.race([
      watchRun(api, run, AbortSignal.any([abort.signal, AbortSignal.timeout(RUN_TIMEOUT_MS)])),
      supervisor.failed,
    ])
    return await report(api, run.id, home)
  } catch (error) {
    if (!abort.signal.aborted) console.error(`The log of the API and the worker is ${logFile}`)
    throw error
  } finally {
    console.log('Stopping everything …')
    await supervisor.stop()
    await services.release()
    log.end()
  }
}

try {
  process.exitCode = (await demo()) ? 0 : 1
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
process.exit()
