// A worker's own way in: what a schedule submits passes the same rules as what a client sends.
import { createPricingStore, createTemplateStore, type Db, earlierRuns } from '@fabrique/db'
import {
  type Catalog,
  createAuthoring,
  createSubmitter,
  type Ids,
  type ProviderMode,
  type Providers,
  type RunQueue,
  type RunStore,
  type Submitter,
} from '@fabrique/engine'
import type { IntakeSchemas } from '@fabrique/intake'

/** A submitter over the record. */
export function createWorkerSubmitter(deps: {
  db: Db
  store: RunStore
  queue: RunQueue
  intake: IntakeSchemas
  catalog: Catalog
  mode: ProviderMode
  missing: Providers['missing']
  ids: Ids
}): Submitter {
  const { db, catalog, intake } = deps
  const pricing = createPricingStore(db)
  const authoring = createAuthoring({ catalog, intake, pricing, templates: createTemplateStore(db) })
  return createSubmitter({
    ...deps,
    sources: { findRunnable: authoring.runnable, pricing: pricing.current, earlierRun: earlierRuns(db) },
  })
}
