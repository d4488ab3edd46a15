// What the routes are made of; each names the parts that it uses.
import type { Assembly } from '@fabrique/assembly'
import type {
  AccountStore,
  ArtifactReader,
  ReviewReader,
  RunReader,
  RunSteering,
  SessionStore,
  WebhookStore,
} from '@fabrique/db'
import type { ArtifactStore, Clock, Log, ScheduleStore } from '@fabrique/engine'
import type { LedgerTotal } from '@fabrique/schema'
import type { BullRunQueue, News } from '@fabrique/queue'
import type { CredentialWatch } from './credential-watch.ts'
import type { Registry } from 'prom-client'
import type { EventStreams } from './event-streams.ts'
import type { Quotas } from './quotas.ts'
import type { OrganizationFeeds } from './organization-feeds.ts'
import type { RunFeeds } from './run-feeds.ts'
import type { Thumbnails } from './thumbnails.ts'
import type { WebApp } from './web-app.ts'

type Assembled = 'authoring' | 'catalog' | 'ids' | 'intake' | 'pricing' | 'queue' | 'runs' | 'submitter' | 'templates'

export interface AppDeps extends Pick<Assembly<BullRunQueue>, Assembled> {
  accounts: AccountStore
  artifacts: ArtifactReader
  artifactStore: ArtifactStore
  credentials: CredentialWatch
  clock: Pick<Clock, 'nowMs'>
  /** What calls of a time came to, of one organization or of all (null). */
  ledgerTotals(organizationId: string | null, time: { from: Date; before: Date }): Promise<LedgerTotal[]>
  log: Log
  news: News
  organizationFeeds: OrganizationFeeds
  quotas: Quotas
  reader: RunReader
  /** What `/metrics` answers from. */
  registry: Registry
  reviews: ReviewReader
  runFeeds: RunFeeds
  schedules: ScheduleStore
  sessions: SessionStore
  steering: RunSteering
  /** Aborted when the process is asked to stop; what waits then answers at once. */
  stopping: AbortSignal
  streams: EventStreams
  thumbnails: Thumbnails
  webhooks: WebhookStore
  /** Why deliveries to this URL cannot be made from here, or null. */
  webhookUrlProblem(url: string): Promise<string | null>
  /** Rejects, or does not resolve, while PostgreSQL does not answer. */
  askDatabase(): Promise<unknown>
  /** Origins whose pages may use the API from browsers; `*` for all. */
  corsOrigins: readonly string[]
  /** The operator app, null where it was not built. */
  webApp: WebApp | null
}
