// Runs in this process: the embedded PostgreSQL is the record, the engine executes, nothing else has to be up.
// Hides that other processes may share the record: what another one holds is followed; and that looking needs no engine.
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { artifactLocation, createArtifactStore } from '@fabrique/artifacts'
import {
  createArtifactReader,
  createDb,
  createPricingStore,
  createRunReader,
  createTemplateStore,
  migrate,
  seed,
  SYSTEM_ORGANIZATION,
} from '@fabrique/db'
import { estimateResource, type StoredTemplate } from '@fabrique/engine'
import { artifactStoreConfig, createLog, parseEnv, systemIds } from '@fabrique/runtime'
import {
  FabriqueError,
  isTerminal,
  type ListedRun,
  type RunEvent,
  type RunResource,
  type WorkflowResource,
} from '@fabrique/schema'
import { openServices } from '@fabrique/services'
import { readShippedDocuments } from '@fabrique/templates'
import { type Backend, type Hear, orderArtifacts } from './backend.ts'
import { CliEnv } from './env.ts'
import type { LocalExecution } from './local-execution.ts'

const ORGANIZATION = SYSTEM_ORGANIZATION
const LEASE_MS = 15_000
const LOOK_EVERY_MS = 300
/** So many looks at a run that goes on without us, and what nobody seems to have is taken. */
const LOOKS_BEFORE_PICK_UP = 10
const PAGE = 500
/** A run has at most a hundred slots; this many runs, called ones included, are looked at. */
const TREE_MAX = 1_000
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
  const artifacts = createArtifactStore(storeConfig, log)

  // Read while PostgreSQL starts; a fault of theirs is told where they are awaited.
  const shipped = readShippedDocuments()
  shipped.catch(() => {})
  const services = await openServices({ home, databaseUrl: env.DATABASE_URL, need: ['postgres'], onProgress: say })
  const db = createDb({ databaseUrl: services.databaseUrl, log })
  let execution: Promise<LocalExecution> | undefined

  async function close(): Promise<void> {
    await (await execution?.catch(() => undefined))?.close()
    await db.close().catch(() => {})
    await services.release()
  }

  const templates = createTemplateStore(db)
  const pricing = createPricingStore(db)
  const reader = createRunReader(db)
  const artifactReader = createArtifactReader(db)
  /** The engine and the providers, which take longer to load than a look at the record takes. */
  const executing = () =>
    (execution ??= import('./local-execution.ts').then(({ createLocalExecution }) =>
      createLocalExecution({ env, db, artifacts, ids: systemIds(), log, leaseMs: LEASE_MS }),
    ))

  try {
    await migrate(services.databaseUrl)
    await seed({ templates, pricing }, await shipped)
    signal.throwIfAborted()
  } catch (error) {
    await close()
    throw error
  }

  async function get(runId: string) {
    const run = await reader.get(ORGANIZATION, runId)
    if (run === null) throw new FabriqueError('not-found', `There is no run ${runId} in ${home}.`)
    return run
  }

  /** The log behind `after`. */
  async function* logOf(runId: string, after: number): AsyncGenerator<RunEvent> {
    for (let seq = after; ; ) {
      const page = (await reader.events(ORGANIZATION, runId, seq, PAGE))?.events ?? []
      yield* page
      seq = page.at(-1)?.seq ?? seq
      if (page.length < PAGE) return
    }
  }

  /** Listens to the record alone, until the run has ended. */
  async function watch(runId: string, after: number, hear: Hear): Promise<RunResource> {
    let seen = after
    for (;;) {
      // Read before the log: what is terminal now has its whole log written.
      const run = await get(runId)
      for await (const event of logOf(runId, seen)) {
        hear(event)
        seen = event.seq
      }
      if (isTerminal(run.status)) return run
      await delay(LOOK_EVERY_MS, undefined, { signal })
    }
  }

  /** The run's own tree: its root, slots and called runs. */
  async function treeOf(runId: string): Promise<ListedRun[]> {
    const { root_run_id: rootRunId } = await get(runId)
    return await reader.list(ORGANIZATION, { root_run_id: rootRunId }, TREE_MAX, null)
  }

  async function follow(runId: string, after: number, onEvent: Hear): Promise<RunResource> {
    const { listen, drain, pickUp, stop } = await executing()
    let seen = after
    const tell = (event: RunEvent) => {
      if (event.run_id !== runId || event.seq <= seen) return
      seen = event.seq
      onEvent(event)
    }
    const hear = (events: RunEvent[]) => events.forEach(tell)
    const catchUp = async () => hear((await reader.events(ORGANIZATION, runId, seen, PAGE))?.events ?? [])
    const onAbort = () => void stop(runId).catch((err: unknown) => log.error({ err }, 'the cancel failed'))
    // What was said before we listened is in the record.
    await catchUp()
    const unlisten = listen(hear)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    try {
      for (let looks = 1; ; looks += 1) {
        await drain()
        const run = await get(runId)
        if (isTerminal(run.status) || run.status === 'waiting') return run
        // Another process holds it: a worker that shares our record. Or one that held it is gone.
        await catchUp()
        if (looks % LOOKS_BEFORE_PICK_UP === 0) await pickUp(await treeOf(runId))
        await delay(LOOK_EVERY_MS)
      }
    } finally {
      unlisten()
      signal.removeEventListener('abort', onAbort)
    }
  }

  return {
    inlineLimitBytes: INLINE_LIMIT_BYTES,

    async workflow(id) {
      const found = await templates.get(id)
      return found === null ? null : shown(found)
    },

    async definitionHash(workflow, version) {
      const versions = await templates.versions(workflow)
      return versions.find((one) => one.version === version)?.definitionHash ?? null
    },

    async dryRun(spec, version) {
      signal.throwIfAborted()
      const outcome = await (await executing()).submit(spec, true, version)
      if (outcome.outcome !== 'dry-run') throw new Error('a dry run was accepted')
      const { workflow, workflowVersion, input, estimate, warnings } = outcome
      return { workflow, workflow_version: workflowVersion, input, estimate: estimateResource(estimate), warnings }
    },

    async submit(spec, version) {
      signal.throwIfAborted()
      const outcome = await (await executing()).submit(spec, false, version)
      if (outcome.outcome !== 'accepted') throw new Error('a run without a key was not accepted')
      return outcome.run.id
    },

    watch,

    async events(runId, after) {
      await get(runId)
      return await Array.fromAsync(logOf(runId, after))
    },

    follow,

    get,

    async steps(runId) {
      const spec = await reader.specification(ORGANIZATION, runId)
      return spec?.definition.stepInstructions ?? []
    },

    async decide({ runId, id }, decision, comment) {
      const { runs, deliver } = await executing()
      const delivery = await runs.decide(runId, {
        approve: decision === 'approve',
        gateId: id,
        by: 'cli',
        ...(comment === undefined ? {} : { comment }),
      })
      if (delivery !== null) await deliver([delivery])
      return delivery !== null
    },

    comeToRest: async (runId) => void (await follow(runId, 0, () => {})),

    async cancel(runId) {
      const before = await get(runId)
      if (isTerminal(before.status)) {
        throw new FabriqueError('already-finished', `Run ${runId} has finished already: it is ${before.status}.`)
      }
      const { runs, publish, stop } = await executing()
      await stop(runId)
      const deadline = Date.now() + CANCEL_WAIT_MS
      for (;;) {
        const run = await get(runId)
        if (isTerminal(run.status) || Date.now() > deadline) return run
        // A holder that died cannot settle it: when its lease has run out, this does.
        publish((await runs.recover(1)).events)
        await delay(LOOK_EVERY_MS)
      }
    },

    async retry(runId) {
      const newId = await (await executing()).retry(runId)
      if (newId === null) throw new FabriqueError('not-found', `There is no run ${runId} in ${home}.`)
      return newId
    },

    list: (limit) => reader.list(ORGANIZATION, {}, limit, null),

    async workflows() {
      return (await templates.list({ drafts: true })).map(shown)
    },

    async artifacts(run) {
      const spec = await reader.specification(ORGANIZATION, run.id)
      const roles = spec?.definition.artifactSchema.files.map(({ role }) => role) ?? []
      const found = await artifactReader.list(ORGANIZATION, run.id)
      return orderArtifacts(found, roles, ({ storage_key: key }) => artifactLocation(storeConfig.address, key))
    },

    async read(artifactId) {
      const found = await artifactReader.get(ORGANIZATION, artifactId)
      if (found === null) throw new FabriqueError('not-found', `There is no artifact ${artifactId} in ${home}.`)
      return await artifacts.get(found.storage_key).catch((cause: unknown) => {
        if (FabriqueError.is(cause)) throw cause
        throw new FabriqueError('unavailable', `The file of artifact ${artifactId} cannot be read.`, { cause })
      })
    },

    close,
  }
}

/** A workflow as a server shows it to admins. */
function shown({ id, document, visibility, owner }: StoredTemplate): WorkflowResource {
  return { ...document, id, visibility, owner }
}
