// The generic engine: pure behind its ports. What it can do is a catalog, what it runs is a specification.
// Every name that other packages may use stands here, by the room that it comes from.
export { type EndedRun, type EndedSlot, retryRun } from './admission/retry-run.ts'
export {
  createSubmitter,
  estimateResource,
  parseRunSpec,
  type SubmitOutcome,
  type Submitter,
} from './admission/submit.ts'
export {
  type Capability,
  type Catalog,
  createCatalog,
  type GateKind,
  type InputFile,
  type MadeFile,
  type Model,
  type Outlook,
  pricedBy,
  type Provider,
  type ProducedFile,
  type ProviderAnswer,
  type ProviderClient,
  type ProviderRequest,
  type Providers,
  type StepContext,
  type StepEvidence,
  type StepKind,
  type Tool,
  type Verdict,
} from './catalog.ts'
export { durationMs } from './execution/end-run.ts'
export { createEngine, type EngineDeps } from './execution/execute.ts'
export { createHost, type Host } from './execution/host.ts'
export { type FailureClass, isForGood, StepFailure } from './failure.ts'
export { announce } from './follow-up.ts'
export type { EarlierRun } from './inheritance.ts'
export { cancelRun } from './oversight/cancel-run.ts'
export { receiptOf, type RecordedRun } from './oversight/receipt.ts'
export { createReconciler } from './oversight/reconcile.ts'
export {
  changeSchedule,
  createSchedule,
  createScheduler,
  type DueSchedule,
  fireSchedule,
  type NewSchedule,
  scheduleResource,
  type ScheduleStore,
  type StoredSchedule,
} from './oversight/schedules.ts'
export type {
  ArtifactRecord,
  ArtifactStore,
  Bill,
  CallFacts,
  CallRecord,
  Checkpoint,
  ChildRecord,
  ClaimedRun,
  Clock,
  CommitOutcome,
  Delivery,
  FileLink,
  GateRecord,
  Ids,
  Inheritance,
  Inspect,
  Limits,
  Log,
  NewEvent,
  NewRun,
  RunQueue,
  RunStore,
  StagedAnswer,
  FollowUp,
  Transition,
} from './ports.ts'
export { bundleTurns, joinSlots, type SlotState } from './slots.ts'
export type { DayCap, Definition, Instance } from './specification.ts'
export {
  type Authoring,
  createAuthoring,
  mergePatch,
  type Saved,
  type StoredTemplate,
  type TemplateEdit,
  type TemplateRecords,
  type TemplateView,
} from './template/authoring.ts'
export { backtest, type BacktestRun, draftSteps } from './template/backtest.ts'
export { contentHash, type ProviderMode, specificationDocument } from './template/compile.ts'
export { adviseOn, checkTemplate } from './template/guards/guards.ts'
export { TEMPLATE_PROBLEMS, TEMPLATE_WARNINGS } from './template/guards/report.ts'
export { valueAt } from './template/placeholders.ts'
export { resolvedPrompts } from './template/resolved-prompts.ts'
export {
  type Changes,
  type Condition,
  CRASHED,
  LOST_LEASES_MAX,
  SUSPECT_APART_MS,
  type Move,
  MOVE_AT_END,
  type MoveName,
  MOVES,
  type Phase,
  phaseOf,
  PHASES,
  WOKEN_GRACE_MS,
} from './phase.ts'
export { begunCalls, isRefusedByCancel } from './transition.ts'
