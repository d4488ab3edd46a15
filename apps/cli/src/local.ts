// Runs in this process: the embedded PostgreSQL is the record, the engine executes, nothing else has to be up.
// Hides that other processes may share the record: what another one holds is followed instead of executed.
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createArtifactStore } from '@fabrique/artifacts'
import {
  createArtifactReader,
  createDb,
  createPricingStore,
  createRunReader,
  createRunStore,
  createTemplateStore,
  migrate,
  seed,
  SYSTEM_ORGANIZATION,
} from '@fabrique/db'
import { createAuthoring, createEngine, createHost, createSubmitter, type SubmitOutcome } from '@fabrique/engine'
import { createIntakeSchemas } from '@fabrique/intake'
import { createMemoryRunQueue } from '@fabrique/queue'
import { createLog, parseEnv, providerConfig, systemClock, systemIds } from '@fabrique/runtime'
import { FabriqueError, isJsonObject, isTerminal, type JsonObject, type RunEvent, textOf } from '@fabrique/schema'
import { openServices } from '@fabrique/services'
import { createProviderMode, createProviders, createStandardCatalog, inspect } from '@fabrique/steps'
import { readShippedDocuments } from '@fabrique/templates'
import { type Backend, orderArtifacts } from './backend.ts'
import { CliEnv } from './env.ts'

const ORGANIZATION = SYSTEM_ORGANIZATION
const LEASE_MS = 15_000
const PARALLEL_RUNS = 8
const LOOK_EVERY_MS = 300
const PAGE = 500
/** A holder that died is given up when its lease runs out; a live one hears of a cancel well before that. */
const CANCEL_WAIT_MS = LEASE_MS + 5_000

/** Opens the record, brings it up to date and seeds what is missing. Ends with a `ServiceError` where it cannot. */
export async function openLocal({ signal, say }: { signal: AbortSignal; say(line: string): void }): Promise<Backend> {
  const env = parseEnv(CliEnv, process.env)
  const home = resolve(env.FABRIQUE_HOME)
  const store = env.ARTIFACT_STORE ?? join(home, 'artifacts')
  const artifactStore = createArtifactStore(store)
  const folder = store.startsWith('file://') ? fileURLToPath(store) : resolve(store)
  const log = createLog('cli', env.LOG_LEVEL)
  const ids = systemIds()
  const catalog = createStandardCatalog()

  const services = await openServices({ home, databaseUrl: env.DATABASE_URL, need: ['postgres'], onProgress: say })
  const db = createDb({ databaseUrl: services.databaseUrl, log })
  const intake = createIntakeSchemas()
  const renewing = new AbortController()

  async function close(): Promise<void> {
    renewing.abort()
    await intake.close()
    await db.close().catch(() => {})
    await services.release()
  }

  const templates = createTemplateStore(db)
  const pricing = createPricingStore(db)
  const reader = createRunReader(db)
  const artifactReader = createArtifactReader(db)
  const listeners = new Set<(events: RunEvent[]) => void>()
  const queue = createMemoryRunQueue((events) => listeners.forEach((hear) => hear(events)))
  const runs = createRunStore(db, ids, queue.publish)
  const engine = createEngine({
    store: runs,
    queue,
    artifacts: artifactStore,
    catalog,
    providers: createProviders(providerConfig(env)),
    inspect,
    clock: systemClock,
    ids,
    log,
    worker: `cli:${process.pid}`,
    leaseMs: LEASE_MS,
  })
  const host = createHost({
    engine,
    store: runs,
    clock: systemClock,
    log,
    leaseMs: LEASE_MS,
    stopped: renewing.signal,
  })
  const authoring = createAuthoring({ catalog, intake, pricing, templates })
  const submitter = createSubmitter({
    store: runs,
    queue,
    sources: { findRunnable: authoring.runnable, pricing: pricing.current, ownsRun: reader.exists },
    intake,
    catalog,
    mode: createProviderMode(providerConfig(env)),
    ids,
  })

  try {
    await migrate(db)
    await seed({ templates, pricing }, await readShippedDocuments())
    signal.throwIfAborted()
  } catch (error) {
    await close()
    throw error
  }

  async function submit(spec: JsonObject, dryRun: boolean): Promise<SubmitOutcome> {
    signal.throwIfAborted()
    return await submitter.submit({ organizationId: ORGANIZATION, admin: true, document: spec, dryRun })
  }

  async function get(runId: string) {
    const run = await reader.get(ORGANIZATION, runId)
    if (run === null) throw new FabriqueError('not-found', `There is no run ${runId} in ${home}.`)
    return run
  }

  async function lastSeq(runId: string): Promise<number> {
    for (let seq = 0; ; ) {
      const page = (await reader.events(ORGANIZATION, runId, seq, PAGE))?.events ?? []
      seq = page.at(-1)?.seq ?? seq
      if (page.length < PAGE) return seq
    }
  }

  /** Executes what the queue holds, and what that puts into it, until nothing is left to take. */
  async function drain(): Promise<void> {
    const executing = new Set<Promise<void>>()
    const broken: string[] = []
    for (;;) {
      while (executing.size < PARALLEL_RUNS) {
        const delivery = queue.take()
        if (delivery === undefined) break
        const { runId } = delivery
        const execution: Promise<void> = host.execute(runId).then((end) => {
          executing.delete(execution)
          if (end === 'crashed') broken.push(runId)
        })
        executing.add(execution)
      }
      if (executing.size === 0) break
      await Promise.race(executing)
    }
    if (broken.length > 0) {
      throw new FabriqueError('unavailable', `The execution of ${broken.join(', ')} broke off; the log says why.`)
    }
  }

  /** Marks the run as cancelled and stops what we execute of it. */
  async function stop(runId: string): Promise<void> {
    const { settled } = await runs.requestCancel(runId)
    queue.publish(settled)
    host.cancel(runId)
  }

  return {
    async intakeSchema(workflow) {
      const schema = (await templates.get(workflow))?.document.intakeSchema
      return isJsonObject(schema) ? schema : null
    },

    async dryRun(spec) {
      const outcome = await submit(spec, true)
      if (outcome.outcome !== 'dry-run') throw new Error('a dry run was accepted')
      const { workflow, workflowVersion, input, estimatedUsd, pricingVersion, warnings } = outcome
      const estimate = { currency: 'USD', expected: estimatedUsd, pricing_version: pricingVersion }
      return { workflow, workflow_version: workflowVersion, input, estimate, warnings }
    },

    async submit(spec) {
      const outcome = await submit(spec, false)
      if (outcome.outcome !== 'accepted') throw new Error('a run without a key was not accepted')
      return outcome.run.id
    },

    async follow(runId, after, onEvent) {
      let seen = after
      const tell = (event: RunEvent) => {
        if (event.run_id !== runId || event.seq <= seen) return
        seen = event.seq
        onEvent(event)
      }
      const hear = (events: RunEvent[]) => events.forEach(tell)
      const onAbort = () => void stop(runId).catch((err: unknown) => log.error({ err }, 'the cancel failed'))
      // What was said before we listened is in the record.
      hear((await reader.events(ORGANIZATION, runId, seen, PAGE))?.events ?? [])
      listeners.add(hear)
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
      try {
        await drain()
        for (;;) {
          const run = await get(runId)
          if (isTerminal(run.status) || run.status === 'waiting') return run
          // Another process holds it: a worker that shares our record.
          hear((await reader.events(ORGANIZATION, runId, seen, PAGE))?.events ?? [])
          await delay(LOOK_EVERY_MS)
        }
      } finally {
        listeners.delete(hear)
        signal.removeEventListener('abort', onAbort)
      }
    },

    get,

    async decide(runId, decision, comment) {
      await get(runId)
      const before = await lastSeq(runId)
      const delivery = await runs.decide(runId, {
        approve: decision === 'approve',
        by: 'cli',
        ...(comment === undefined ? {} : { comment }),
      })
      if (delivery === null)
        throw new FabriqueError(
          'no-open-gate',
          `Run ${runId} has no review open for a decision, or it was decided already.`,
        )
      await queue.enqueue([delivery])
      return before
    },

    async cancel(runId) {
      const before = await get(runId)
      if (isTerminal(before.status)) {
        throw new FabriqueError('already-finished', `Run ${runId} has finished already: it is ${before.status}.`)
      }
      await stop(runId)
      const deadline = Date.now() + CANCEL_WAIT_MS
      for (;;) {
        const run = await get(runId)
        if (isTerminal(run.status) || Date.now() > deadline) return run
        // A holder that died cannot settle it: when its lease has run out, this does.
        queue.publish((await runs.recover(1)).events)
        await delay(LOOK_EVERY_MS)
      }
    },

    list: (limit) => reader.list(ORGANIZATION, {}, limit, null),

    async workflows() {
      const found = await templates.list({ drafts: true })
      return found.map(({ document, visibility, owner }) => ({ ...document, visibility, owner }))
    },

    async artifacts(run) {
      const spec = await reader.specification(ORGANIZATION, run.id)
      const roles = spec?.definition.artifactSchema.files.map(({ role }) => role) ?? []
      const found = await artifactReader.list(ORGANIZATION, run.id)
      return orderArtifacts(found, roles, ({ storage_key: key }) => join(folder, textOf(key)))
    },

    close,
  }
}
