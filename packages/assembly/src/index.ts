// How the parts of Fabrique are put together, once for API, worker and command line.
// Hides who needs whom: an app says where its record and queue are, and adds what only it has.
import {
  createPricingStore,
  createRunStore,
  createTemplateStore,
  type Db,
  earlierRuns,
  type PricingStore,
  type TemplateStore,
} from '@fabrique/db'
import {
  type ArtifactStore,
  type Authoring,
  type Catalog,
  createAuthoring,
  createEngine,
  createHost,
  createSubmitter,
  type Host,
  type Ids,
  type Limits,
  type Log,
  type Providers,
  type RunQueue,
  type RunStore,
  type Submitter,
} from '@fabrique/engine'
import { createIntakeSchemas, type IntakeSchemas } from '@fabrique/intake'
import { providerConfig, systemClock } from '@fabrique/runtime'
import * as simulators from '@fabrique/simulators'
import { createProviderMode, createProviders, createStandardCatalog, inspect } from '@fabrique/steps'

export interface AssemblyDeps<Queue extends RunQueue = RunQueue> {
  env: Parameters<typeof providerConfig>[0]
  db: Db
  queue: Queue
  ids: Ids
  killpoint?: (name: string) => void
}

/** What accepts runs. The intake's thread is the only part that has to be closed. */
export interface Assembly<Queue extends RunQueue = RunQueue> extends AssemblyDeps<Queue> {
  catalog: Catalog
  providers: Providers
  intake: IntakeSchemas
  pricing: PricingStore
  templates: TemplateStore
  authoring: Authoring
  runs: RunStore
  submitter: Submitter
}

/** Puts together what accepts runs, over a record and a queue. Starts nothing. */
export function assemble<Queue extends RunQueue>(deps: AssemblyDeps<Queue>): Assembly<Queue> {
  const { env, db, queue } = deps
  const catalog = createStandardCatalog()
  const providers = createProviders(providerConfig(env), simulators)
  const intake = createIntakeSchemas()
  const pricing = createPricingStore(db)
  const templates = createTemplateStore(db)
  const authoring = createAuthoring({ catalog, intake, pricing, templates, clock: systemClock })
  const runs = createRunStore(db, deps.ids, (events) => queue.publish(events))
  const submitter = createSubmitter({
    ...deps,
    store: runs,
    sources: { findRunnable: authoring.runnable, pricing: pricing.current, earlierRun: earlierRuns(db) },
    intake,
    catalog,
    clock: systemClock,
    mode: createProviderMode(providerConfig(env)),
    missing: providers.missing,
  })
  return { ...deps, catalog, providers, intake, pricing, templates, authoring, runs, submitter }
}

/** Adds what executes runs; it renews the leases of what it executes until `stopped`. */
export function assembleHost(
  { runs, ...assembly }: Assembly,
  deps: { artifacts: ArtifactStore; limits: Limits; log: Log; worker: string; leaseMs: number; stopped: AbortSignal },
): Host {
  const engine = createEngine({ ...assembly, ...deps, store: runs, inspect, clock: systemClock })
  return createHost({ ...deps, engine, store: runs, clock: systemClock })
}
