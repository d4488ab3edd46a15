// What the routes are made of; each names the parts that it uses.
import type { AccountStore, ArtifactReader, PricingStore, RunReader, TemplateStore } from '@fabrique/db'
import type { ArtifactStore, Authoring, BacktestRun, Catalog, Log, RunStore, Submitter } from '@fabrique/engine'
import type { IntakeSchemas } from '@fabrique/intake'
import type { BullRunQueue, News } from '@fabrique/queue'

export interface AppDeps {
  accounts: AccountStore
  artifacts: ArtifactReader
  artifactStore: ArtifactStore
  authoring: Authoring
  backtestRuns(organizationId: string, workflow: string, limit: number): Promise<BacktestRun[]>
  catalog: Catalog
  intake: IntakeSchemas
  log: Log
  news: News
  pricing: PricingStore
  queue: BullRunQueue
  reader: RunReader
  runs: RunStore
  submitter: Submitter
  templates: TemplateStore
  /** True while PostgreSQL answers. */
  databaseReachable(): Promise<boolean>
  stopping: AbortSignal
}
