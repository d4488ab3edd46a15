// The record: the only package that imports kysely. One store or reader per noun.
// Hides PostgreSQL; `services` starts and checks the server, by pg alone.
export {
  type AccountStore,
  createAccountStore,
  newSecret,
  type Principal,
  SYSTEM_ORGANIZATION,
} from './account-store.ts'
export { type ArtifactReader, createArtifactReader } from './artifact-reader.ts'
export { askWritable, createDb, type Db, migrate } from './client.ts'
export { createEventLog, type EventLog, isBehind, type LogEntry, type LogPlace, widened } from './event-log.ts'
export { readLedgerTotals } from './ledger-totals.ts'
export { createPricingStore, type PricingStore } from './pricing-store.ts'
export { createReviewReader, type ReviewReader } from './review-reader.ts'
export { earlierRuns } from './runs/earlier-run.ts'
export type { RunFilter } from './runs/filter.ts'
export { acceptedResource, createRunReader, type RunReader } from './runs/run-reader.ts'
export { createRunStore } from './runs/run-store.ts'
export { createRunSteering, type RunSteering } from './runs/steering.ts'
export { createScheduleStore } from './schedule-store.ts'
export { seed } from './seed.ts'
export { createSessionStore, type SessionStore } from './session-store.ts'
export { createTemplateStore, type TemplateStore } from './template-store.ts'
export { readUsage, type Usage } from './usage-reader.ts'
export { createDeliveryStore, createWebhookStore, type WebhookStore } from './webhook-store.ts'
