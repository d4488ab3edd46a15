// The rows of the record as kysely sees them; kept beside the migrations by hand.
// JSON columns are read as values and written as JSON text.
import type {
  DeliveryStatus,
  EventKind,
  Role,
  JsonObject,
  JsonValue,
  Lane,
  RateTable,
  RunError,
  RunStatus,
  Visibility,
  ScheduleFault,
} from '@fabrique/schema'
import type {
  ArtifactRecord,
  CallRecord,
  Checkpoint,
  Definition,
  GateRecord,
  Instance,
  NewSchedule,
  Phase,
} from '@fabrique/engine'
import type { ColumnType, Generated, GeneratedAlways } from 'kysely'
import type { SnakeCased as Columns } from './row-shape.ts'

/** Read as a value, written as JSON text. */
type Json<T> = ColumnType<T, string, string>
type NullableJson<T> = ColumnType<T | null, string | null | undefined, string | null>
/** Read as text, since a double could not hold it; written as a number. */
type Numeric = ColumnType<string, number, number>
type Time = ColumnType<Date, Date | string | undefined, Date | string>
type NullableTime = ColumnType<Date | null, Date | string | null | undefined, Date | string | null>

export interface Tables {
  organizations: { id: string; name: string; created_at: Time }
  api_keys: {
    id: string
    organization_id: string
    role: Role
    name: string | null
    prefix: string
    digest: string
    expires_at: NullableTime
    revoked_at: NullableTime
    created_at: Time
  }
  access_tokens: {
    id: string
    key_id: string
    run_id: string | null
    digest: string
    expires_at: Time
    created_at: Time
  }
  web_sessions: { id: string; key_id: string; digest: string; created_at: Time; seen_at: Time }
  sign_in_links: { digest: string; key_id: string; expires_at: Time }
  pricing_versions: { version: string; document: Json<RateTable>; created_at: Time }
  templates: {
    id: string
    document: Json<JsonObject>
    visibility: Visibility
    owner: string
    revision: Generated<number>
    ever_listed: Generated<boolean>
    created_at: Time
    updated_at: Time
  }
  template_versions: {
    template_id: string
    version: string
    document: Json<JsonObject>
    definition_hash: string
    published_at: Time
  }
  specifications: { hash: string; definition: Json<Definition>; created_at: Time }
  runs: {
    id: string
    organization_id: string
    root_run_id: string
    slot_index: number | null
    workflow: string
    workflow_version: string
    definition_hash: string
    instance: Json<Instance>
    input: Json<JsonObject>
    metadata: Json<JsonObject>
    state: NullableJson<JsonObject>
    status: Generated<RunStatus>
    phase: GeneratedAlways<Phase>
    partial: Generated<boolean>
    priority: number
    lane: Lane
    fail_fast: boolean
    parent_run_id: string | null
    parent_variant_index: number | null
    caller_run_id: string | null
    caller_step_id: string | null
    awaited_by: string | null
    slots: number | null
    retry_of: string | null
    simulated: boolean
    estimated_usd: Numeric
    warnings: Json<string[]>
    output: NullableJson<JsonObject>
    error: NullableJson<RunError>
    fence: Generated<number>
    commits: Generated<number>
    claimed_at: NullableTime
    epoch: Generated<number>
    lost_leases: Generated<number>
    worker: string | null
    due_at: NullableTime
    cancel_requested_at: NullableTime
    last_seq: number
    created_at: Time
    started_at: NullableTime
    finished_at: NullableTime
  }
  schedules: Columns<Omit<NewSchedule, 'runSpec'>> & {
    run_spec: Json<JsonObject>
    done_until: Time
    firing_at: NullableTime
    due_at: NullableTime
    fence: Generated<number>
    last_fired_at: NullableTime
    last_run_id: string | null
    last_skipped_at: NullableTime
    last_error: Json<ScheduleFault | null>
    created_at: Time
  }
  last_pass: { one: Generated<boolean>; at: Time }
  idempotency_keys: { organization_id: string; key: string; digest: string; run_id: string; created_at: Time }
  events: {
    run_id: string
    seq: number
    id: string
    kind: string
    node_key: string | null
    payload: Json<JsonObject>
    timestamp: Time
    xact: Generated<string | null>
  }
  checkpoints: Columns<Omit<Checkpoint, 'output' | 'error' | 'startedAt' | 'finishedAt'>> & {
    run_id: string
    output: Json<JsonValue>
    error: Json<RunError | null>
    started_at: Time
    finished_at: Time
  }
  provider_calls: Columns<Omit<CallRecord, 'quantity' | 'unitPriceUsd' | 'estimatedUsd' | 'actualUsd'>> & {
    run_id: string
    quantity: Numeric | null
    unit_price_usd: Numeric | null
    estimated_usd: Numeric
    actual_usd: Numeric | null
    created_at: Time
  }
  artifacts: Columns<Omit<ArtifactRecord, 'bytes'>> & {
    organization_id: string
    run_id: string
    bytes: Numeric
    created_at: Time
  }
  gates: Columns<Omit<GateRecord, 'expiry'>> & {
    run_id: string
    decided_by: string | null
    changed_at: Time
    expires_at: NullableTime
    on_expiry: 'approve' | 'reject' | null
  }
  capped_calls: { organization_id: string; workflow: string; day: Time; call_id: string; usd: Numeric }
  webhook_endpoints: {
    id: string
    organization_id: string
    url: string
    event_filter: EventKind[]
    max_retries: number
    secret: string
    former_secret: string | null
    former_until: NullableTime
    failing_since: NullableTime
    disabled_at: NullableTime
    disabled_reason: string | null
    deleted_at: NullableTime
    created_at: Time
  }
  webhook_deliveries: {
    endpoint_id: string
    event_id: string
    kind: EventKind
    run_id: string
    body: string
    status: DeliveryStatus
    attempts: Generated<number>
    failures: Generated<number>
    fence: Generated<number>
    claimed_until: NullableTime
    next_attempt_at: NullableTime
    last_status: number | null
    last_error: string | null
    created_at: Time
    finished_at: NullableTime
  }
  webhook_attempts: {
    endpoint_id: string
    event_id: string
    number: number
    status: number | null
    error: string | null
    duration_ms: number
    at: Time
  }
}
