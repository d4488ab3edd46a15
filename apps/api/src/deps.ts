// What the routes are made of; each names the parts that it uses.
import type {
  AccountStore,
  ArtifactReader,
  PricingStore,
  RunReader,
  RunSteering,
  TemplateStore,
  WebhookStore,
} from '@fabrique/db'
import type {
  ArtifactStore,
  Authoring,
  BacktestRun,
  Catalog,
  Clock,
  EndedRun,
  Ids,
  Log,
  RecordedRun,
  RunStore,
  ScheduleStore,
  Submitter,
} from '@fabrique/engine'
import type { IntakeSchemas } from '@fabrique/intake'
import type { LedgerTotal } from '@fabrique/schema'
import type { BullRunQueue, News } from '@fabrique/queue'
import type { EventStreams } from './event-streams.ts'
import type { OrganizationFeeds } from './organization-feeds.ts'
import type { RunFeeds } from './run-feeds.ts'

export interface AppDeps {
  accounts: AccountStore
  artifacts: ArtifactReader
  artifactStore: ArtifactStore
  authoring: Authoring
  backtestRuns(organizationId: string, workflow: string, limit: number): Promise<BacktestRun[]>
  catalog: Catalog
  clock: Pick<Clock, 'nowMs'>
  /** A run with its slots as it was accepted, for a retry; null where the organization has none. */
  endedRun(organizationId: string, runId: string): Promise<EndedRun | null>
  ids: Ids
  intake: IntakeSchemas
  /** What calls of a time came to, of one organization or of all (null). */
  ledgerTotals(organizationId: string | null, time: { from: Date; before: Date }): Promise<LedgerTotal[]>
  log: Log
  news: News
  organizationFeeds: OrganizationFeeds
  pricing: PricingStore
  queue: BullRunQueue
  reader: RunReader
  runFeeds: RunFeeds
  /** A run with everything below it, for its receipt; null where the organization has none. */
  recordedRun(organizationId: string, runId: string): Promise<RecordedRun | null>
  runs: RunStore
  schedules: ScheduleStore
  steering: RunSteering
  streams: EventStreams
  submitter: Submitter
  templates: TemplateStore
  webhooks: WebhookStore
  /** Why deliveries to this URL cannot be made from here, or null. */
  webhookUrlProblem(url: string): Promise<string | null>
  /** True while PostgreSQL answers. */
  databaseReachable(): Promise<boolean>
}
