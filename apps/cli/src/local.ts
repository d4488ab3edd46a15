// Runs in this process: the embedded PostgreSQL is the record, the engine executes, nothing else has to be up.
// Hides that other processes may share the record: what another one holds is followed instead of executed.
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { artifactLocation, createArtifactStore } from '@fabrique/artifacts'
import {
  createArtifactReader,
  createDb,
  createPricingStore,
  createRunReader,
  createRunStore,
  createTemplateStore,
  migrate,
  readEarlierRun,
  seed,
  SYSTEM_ORGANIZATION,
} from '@fabrique/db'
import {
  createAuthoring,
  createEngine,
  createHost,
  createSubmitter,
  estimateResource,
  type SubmitOutcome,
} from '@fabrique/engine'
import { createIntakeSchemas } from '@fabrique/intake'
import { createLimits, createMemoryRunQueue } from '@fabrique/queue'
import {
  artifactStoreConfig,
  createLog,
  parseEnv,
  providerConfig,
  providerLimits,
  systemClock,
  systemIds,
} from '@fabrique/runtime'
import { FabriqueError, isTerminal, type JsonObject, type RunEvent, type RunResource, textOf } from '@fabrique/schema'
import { openServices } from '@fabrique/services'
import { createProviderMode, createProviders, createStandardCatalog, inspect } from '@fabrique/steps'
import { readShippedDocuments } from '@fabrique/templates'
import { type Backend, type Hear, orderArtifacts } from './backend.ts'
import { CliEnv } from './env.ts'

const ORGANIZATION = SYSTEM_ORGANIZATION
const LEASE_MS = 15_000
const PARALLEL_RUNS = 8
const LOOK_EVERY_MS = 300
const PAGE = 500
/** A spec is kept in the record whole, with the files in it. */
const INLINE_LIMIT_BYTES = 1_048_576
/** A holder that died is given up when its lease runs out; a live one hears of a cancel well before that. */
const CANCEL_WAIT_MS = LEASE_MS + 5_000

/** Opens the record, brings it up to date and seeds what is missing. Ends with a `ServiceError` where it cannot. */
export async function openLocal({ signal, say }: { signal: AbortSignal; say(line: string): void }): Promise<Backend> {
  const env = parseEnv(CliEnv, process.env)
  const home = resolve(env.FABRIQUE_HOME)
  const log = createLog('cli', env.LOG_LEVEL)
  const storeConfig = artifactStoreConfig(env, join(home, 'artifacts'))
  const artifactStore = createArtifactStore(storeConfig, log)
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
  const queue = createMemoryRunQueue(
    (events) => listeners.forEach((hear) => hear(events)),
    (rootRunId) => host.cancel(rootRunId),
  )
  const runs = createRunStore(db, ids, queue.publish)
  const providers = createProviders(providerConfig(env))
  const engine = createEngine({
    store: runs,
    queue,
    artifacts: artifactStore,
    catalog,
    providers,
    intake,
    limits: createLimits({ rules: providerLimits(env), log }),
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
    sources: {
      findRunnable: authoring.runnable,
      pricing: pricing.current,
      earlierRun: (organizationId, runId, variantIndex) => readEarlierRun(db, organizationId, runId, variantIndex),
    },
    intake,
    catalog,
    mode: createProviderMode(providerConfig(env)),
    missing: providers.missing,
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

  async function submit(spec: JsonObject, dryRun: boolean, version?: string): Promise<SubmitOutcome> {
    signal.throwIfAborted()
    const pin = version === undefined ? {} : { version }
    return await submitter.submit({ organizationId: ORGANIZATION, admin: true, document: spec, dryRun, ...pin })
  }

  async function get(runId: string) {
    const run = await reader.get(ORGANIZATION, runId)
    if (run === null) throw new FabriqueError('not-found', `There is no run ${runId} in ${home}.`)
    return run
  }

  /** The log behind `after`, page by page. */
  async function* pages(runId: string, after: number): AsyncGenerator<RunEvent[]> {
    for (let seq = after; ; ) {
      const page = (await reader.events(ORGANIZATION, runId, seq, PAGE))?.events ?? []
      yield page
      seq = page.at(-1)?.seq ?? seq
      if (page.length < PAGE) return
    }
  }

  async function lastSeq(runId: string): Promise<number> {
    let seq = 0
    for await (const page of pages(runId, 0)) seq = page.at(-1)?.seq ?? seq
    return seq
  }

  /** Listens to the record alone, until the run has ended. */
  async function watch(runId: string, after: number, hear: Hear): Promise<RunResource> {
    let seen = after
    for (;;) {
      // Read before the log: what is terminal now has its whole log written.
      const run = await get(runId)
      for await (const page of pages(runId, seen)) {
        for (const event of page) hear(event)
        seen = page.at(-1)?.seq ?? seen
      }
      if (isTerminal(run.status)) return run
      await delay(LOOK_EVERY_MS, undefined, { signal })
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
    inlineLimitBytes: INLINE_LIMIT_BYTES,

    async workflow(id) {
      const found = await templates.get(id)
      return found === null ? null : { ...found.document, visibility: found.visibility, owner: found.owner }
    },

    async definitionHash(workflow, version) {
      const versions = await templates.versions(workflow)
      return versions.find((one) => one.version === version)?.definitionHash ?? null
    },

    async dryRun(spec, version) {
      const outcome = await submit(spec, true, version)
      if (outcome.outcome !== 'dry-run') throw new Error('a dry run was accepted')
      const { workflow, workflowVersion, input, estimate, warnings } = outcome
      return { workflow, workflow_version: workflowVersion, input, estimate: estimateResource(estimate), warnings }
    },

    async submit(spec, version) {
      const outcome = await submit(spec, false, version)
      if (outcome.outcome !== 'accepted') throw new Error('a run without a key was not accepted')
      return outcome.run.id
    },

    watch,

    async events(runId, after) {
      await get(runId)
      const events: RunEvent[] = []
      for await (const page of pages(runId, after)) events.push(...page)
      return events
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

    async steps(runId) {
      const spec = await reader.specification(ORGANIZATION, runId)
      return (spec?.definition.stepInstructions ?? []).map(({ id, name }) => ({ id, name: name ?? '' }))
    },

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

    async retry(runId) {
      await get(runId)
      throw new FabriqueError('not-runnable', `Retrying a run is not offered here yet; run its spec again instead.`)
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
      return orderArtifacts(found, roles, ({ storage_key: key }) => artifactLocation(storeConfig.address, textOf(key)))
    },

    async read(artifactId) {
      const found = await artifactReader.get(ORGANIZATION, artifactId)
      if (found === null) throw new FabriqueError('not-found', `There is no artifact ${artifactId} in ${home}.`)
      return await artifactStore.get(found.storageKey).catch((cause: unknown) => {
        throw new FabriqueError('unavailable', `The file of artifact ${artifactId} cannot be read.`, { cause })
      })
    },

    close,
  }
}
