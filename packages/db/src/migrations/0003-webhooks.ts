// Webhooks: endpoints, the outbox of deliveries, and the log of attempts. Frozen once merged: change it by a new migration.
// The outbox is filled by a trigger, so that no writer of events can forget it, whatever statement it uses.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  // A deleted endpoint stays as a row without secrets: a transaction that still saw it may just be owing it a delivery.
  `create table webhook_endpoints (
    id text primary key collate "C",
    organization_id text not null references organizations(id),
    url text not null,
    -- Empty: the kinds that end a run.
    event_filter text[] not null,
    max_retries smallint not null check (max_retries >= 0),
    secret text not null,
    former_secret text,
    former_until timestamptz,
    -- Since when every attempt has failed.
    failing_since timestamptz,
    disabled_at timestamptz,
    disabled_reason text,
    deleted_at timestamptz,
    created_at timestamptz not null default now()
  )`,
  `create index webhook_endpoints_active on webhook_endpoints (organization_id) where disabled_at is null`,
  `create index webhook_endpoints_listed on webhook_endpoints (organization_id, id) where deleted_at is null`,
  `create table webhook_deliveries (
    endpoint_id text not null collate "C",
    -- The delivery's id within its endpoint, and the message id that receivers see.
    event_id text not null collate "C",
    kind text not null,
    run_id text not null collate "C",
    -- Made once: every attempt sends these bytes.
    body text not null,
    status text not null default 'pending' check (status in ('pending', 'delivered', 'exhausted', 'disabled')),
    attempts integer not null default 0,
    -- Failed attempts since the delivery was made or last asked for again: its place in the schedule.
    failures integer not null default 0,
    -- The number of the last claim, and until when it stands.
    fence integer not null default 0,
    claimed_until timestamptz,
    next_attempt_at timestamptz,
    last_status smallint,
    last_error text,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (endpoint_id, event_id)
  )`,
  // The only order of what is due: beside one by time alone, a planner that misjudges an endpoint's share scans them all.
  `create index webhook_deliveries_queue on webhook_deliveries (endpoint_id, next_attempt_at) where status = 'pending'`,
  `create index webhook_deliveries_claimed on webhook_deliveries (endpoint_id) where claimed_until is not null`,
  `create table webhook_attempts (
    endpoint_id text not null collate "C",
    event_id text not null collate "C",
    number integer not null,
    status smallint,
    error text,
    duration_ms integer not null,
    at timestamptz not null default now(),
    primary key (endpoint_id, event_id, number)
  )`,
  // What an endpoint is told of: by default, how a run ends.
  `create function webhook_kinds(event_filter text[]) returns text[] language sql immutable
    return case when cardinality(event_filter) > 0 then event_filter
      else array['workflow.run.completed', 'workflow.run.failed', 'workflow.run.cancelled'] end`,
  // Only what belongs to a root run is told. A payload's own key of the same name gives way to the envelope's.
  // A connection keeps the plan that it made first, when the tables may have been empty: it must consist of look-ups by key.
  `create function fill_webhook_outbox() returns trigger language plpgsql set enable_seqscan = off as $$
  declare
    wanted text[];
  begin
    -- Most events are of kinds that nobody asked for, and most deployments have no webhook: those go no further.
    select array_agg(distinct kind) into wanted from webhook_endpoints, unnest(webhook_kinds(event_filter)) as kind
      where disabled_at is null;
    if wanted is null then return null; end if;
    insert into webhook_deliveries (endpoint_id, event_id, kind, run_id, body, next_attempt_at)
    select w.id, e.id, e.kind, e.run_id,
      '{"type":' || to_json(e.kind)::text
        || ',"timestamp":"' || to_char(e.timestamp at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
        || '","data":{' || concat_ws(',',
          '"id":' || to_json(e.id)::text,
          '"seq":' || e.seq,
          '"run_id":' || to_json(e.run_id)::text,
          '"root_run_id":' || to_json(r.root_run_id)::text,
          '"node_key":' || to_json(e.node_key)::text,
          '"workflow":' || to_json(r.workflow)::text,
          (select string_agg(to_json(p.key)::text || ':' || p.value::text, ',' order by p.ord)
             from json_each(e.payload) with ordinality as p(key, value, ord)
             where p.key not in ('id', 'seq', 'run_id', 'root_run_id', 'node_key', 'workflow'))
        ) || '}}',
      now()
    from inserted e
    cross join lateral (
      select organization_id, root_run_id, workflow from runs
      where id = e.run_id and root_run_id = id and caller_run_id is null and slot_index is null offset 0
    ) r
    cross join lateral (
      select id from webhook_endpoints where organization_id = r.organization_id and disabled_at is null
        and e.kind = any(webhook_kinds(event_filter)) offset 0
    ) w
    where e.kind = any(wanted);
    return null;
  end $$`,
  `create trigger webhook_outbox after insert on events referencing new table as inserted
    for each statement execute function fill_webhook_outbox()`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
