// The record of version 1. Frozen once merged: change it by a new migration.
// Documents are "json", not "jsonb": they come back as they were written, in the order of their keys.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  `create table organizations (
    id text primary key,
    name text not null,
    created_at timestamptz not null default now()
  )`,
  // The bootstrap admin's, and the owner of what admins publish.
  `insert into organizations (id, name) values ('system', 'System')`,
  `create table api_keys (
    id text primary key,
    organization_id text not null references organizations(id),
    role text not null check (role in ('admin', 'operator')),
    name text,
    prefix text not null,
    digest text not null unique,
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null default now()
  )`,
  `create table pricing_versions (
    version text primary key,
    document json not null,
    created_at timestamptz not null default now()
  )`,
  // The current state of a template, draft or listed. "revision" is its ETag.
  `create table templates (
    id text primary key collate "C",
    document json not null,
    visibility text not null check (visibility in ('draft', 'internal', 'public')),
    owner text not null references organizations(id),
    revision integer not null default 1,
    ever_listed boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
  )`,
  // Frozen the first time that it is listed.
  `create table template_versions (
    template_id text not null references templates(id) on update cascade,
    version text not null,
    document json not null,
    definition_hash text not null,
    published_at timestamptz not null default now(),
    primary key (template_id, version)
  )`,
  `create table specifications (
    hash text primary key,
    definition json not null,
    created_at timestamptz not null default now()
  )`,
  `create table runs (
    id text primary key collate "C",
    organization_id text not null references organizations(id),
    root_run_id text not null collate "C",
    slot_index integer,
    workflow text not null collate "C",
    workflow_version text not null,
    definition_hash text not null references specifications(hash),
    instance json not null,
    input json not null,
    metadata jsonb not null,
    state json,
    status text not null default 'pending'
      check (status in ('pending', 'running', 'waiting', 'completed', 'failed', 'cancelled')),
    partial boolean not null default false,
    priority smallint not null check (priority between 0 and 100),
    lane text not null check (lane in ('interactive', 'batch')),
    fail_fast boolean not null,
    parent_run_id text collate "C",
    parent_variant_index smallint,
    caller_run_id text collate "C",
    caller_step_id text,
    retry_of text collate "C",
    simulated boolean not null,
    estimated_usd numeric not null,
    warnings json not null,
    output json,
    error json,
    -- The holder's number: every write of an execution names it, and a newer holder makes it stale.
    fence integer not null default 0,
    -- Counts deliveries that are owed, so that each has a job id of its own.
    epoch integer not null default 0,
    lost_leases smallint not null default 0,
    worker text,
    -- When somebody has to look if nobody has: the end of the lease of a running run, a second delivery of a pending one.
    due_at timestamptz,
    cancel_requested_at timestamptz,
    last_seq integer not null,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz
  )`,
  `create index runs_listed on runs (organization_id, id desc) where slot_index is null and caller_run_id is null`,
  `create index runs_tree on runs (root_run_id) where slot_index is not null or caller_run_id is not null`,
  `create index runs_lineage on runs (parent_run_id) where parent_run_id is not null`,
  `create index runs_due on runs (due_at) where due_at is not null`,
  `create table idempotency_keys (
    organization_id text not null,
    key text not null,
    digest text not null,
    run_id text not null collate "C",
    created_at timestamptz not null default now(),
    primary key (organization_id, key)
  )`,
  `create table events (
    run_id text not null collate "C",
    seq integer not null,
    id text not null,
    kind text not null,
    node_key text,
    payload json not null,
    timestamp timestamptz not null,
    primary key (run_id, seq)
  )`,
  `create table checkpoints (
    run_id text not null collate "C",
    key text not null,
    step_id text not null,
    status text not null check (status in ('completed', 'failed', 'skipped')),
    attempt integer not null,
    output json not null,
    error json,
    simulated boolean not null,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    primary key (run_id, key)
  )`,
  `create table provider_calls (
    id text primary key collate "C",
    run_id text not null collate "C",
    step_key text not null,
    step_id text not null,
    attempt integer not null,
    provider text not null,
    operation text not null,
    model text not null,
    outcome text not null check (outcome in ('pending', 'succeeded', 'failed', 'unknown', 'cancelled')),
    status text not null check (status in ('estimated', 'provider_reported')),
    request_id text,
    quantity numeric,
    unit text not null,
    unit_price_usd numeric,
    estimated_usd numeric not null,
    actual_usd numeric,
    simulated boolean not null,
    pricing_version text not null,
    created_at timestamptz not null default now()
  )`,
  `create index provider_calls_run on provider_calls (run_id)`,
  `create table artifacts (
    id text primary key collate "C",
    organization_id text not null,
    run_id text not null collate "C",
    step_key text not null,
    role text not null,
    status text not null check (status in ('draft', 'review', 'approved', 'rejected')),
    mime_type text not null,
    bytes bigint not null,
    sha256 text not null,
    width integer,
    height integer,
    duration_ms integer,
    storage_key text not null,
    simulated boolean not null,
    created_at timestamptz not null default now()
  )`,
  `create index artifacts_run on artifacts (run_id)`,
  `create table gates (
    run_id text not null collate "C",
    id text not null,
    name text not null,
    type text not null,
    status text not null check (status in ('passed', 'failed', 'open', 'approved', 'rejected')),
    detail text,
    decided_by text,
    changed_at timestamptz not null default now(),
    primary key (run_id, id)
  )`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
