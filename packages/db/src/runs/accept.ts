// Accepting runs: the row, the specification and the first events of many concurrent submits in one statement.
// Hides idempotency: a key decides inside the statement which of its spellings becomes a run.
import type { Ids, Inheritance, NewRun, RunStore } from '@fabrique/engine'
import type { RunEvent } from '@fabrique/schema'
import { type Batcher, createBatcher } from '../batcher.ts'
import { sql, type Transaction } from 'kysely'
import { type Db, queryIn } from '../client.ts'
import { inTransaction } from './settle.ts'
import type { Tables } from '../tables.ts'

const FIRST_KINDS = ['workflow.run.created', 'workflow.run.queued'] as const
/** How long a delivery may take before the reconciler looks whether it was lost. */
const DELIVERY_GRACE_S = 10

const ACCEPT = `
with t as (
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::json[], $7::json[], $8::jsonb[],
    $9::json[], $10::smallint[], $11::text[], $12::bool[], $13::text[], $14::smallint[], $15::text[], $16::bool[],
    $17::numeric[], $18::json[], $19::text[], $20::text[], $21::text[], $22::text[], $23::smallint[])
  as t(id, organization_id, workflow, workflow_version, definition_hash, instance, input, metadata, state, priority, lane,
    fail_fast, parent_run_id, parent_variant_index, retry_of, simulated, estimated_usd, warnings, idem_key, idem_digest,
    created_event, queued_event, slots)
), s as (
  insert into specifications (hash, definition)
  select * from unnest($24::text[], $25::json[]) on conflict do nothing
), k as (
  insert into idempotency_keys (organization_id, key, digest, run_id)
  select organization_id, idem_key, idem_digest, id from t where idem_key is not null
  on conflict (organization_id, key) do update
    set digest = excluded.digest, run_id = excluded.run_id, created_at = now()
    where idempotency_keys.created_at < now() - interval '24 hours'
  returning run_id
), ok as (
  select * from t where idem_key is null or id in (select run_id from k)
), r as (
  insert into runs (id, organization_id, root_run_id, workflow, workflow_version, definition_hash, instance, input, metadata,
    state, priority, lane, fail_fast, parent_run_id, parent_variant_index, retry_of, simulated, estimated_usd, warnings,
    last_seq, due_at, slots)
  select id, organization_id, id, workflow, workflow_version, definition_hash, instance, input, metadata, state, priority,
    lane, fail_fast, parent_run_id, parent_variant_index, retry_of, simulated, estimated_usd, warnings,
    2, now() + interval '${DELIVERY_GRACE_S} seconds', slots from ok
), e as (
  insert into events (run_id, seq, id, kind, payload, timestamp)
  select ok.id, x.seq, x.event_id, x.kind,
    json_build_object('status', 'pending', 'workflow', ok.workflow, 'priority', ok.priority), now()
  from ok cross join lateral (values
    (1, ok.created_event, '${FIRST_KINDS[0]}'), (2, ok.queued_event, '${FIRST_KINDS[1]}')) as x(seq, event_id, kind)
)
select id, now() as at from ok`

const ACCEPTED_UNDER = `select digest, run_id as "runId" from idempotency_keys
where organization_id = $1 and key = $2 and created_at >= now() - interval '24 hours'`

interface Item {
  run: NewRun
  eventIds: [string, string]
}

/** The accepting half of the run store. */
export function createAccept(db: Db, ids: Ids): Pick<RunStore, 'accept' | 'acceptedUnder'> {
  // Definitions that are in the record already need not travel again.
  const stored = new Set<string>()

  async function flush(items: Item[], query: Db['query'] = db.query): Promise<(Date | null)[]> {
    const column = <T>(of: (run: NewRun) => T) => items.map(({ run }) => of(run))
    const definitions = new Map(
      items.filter(({ run }) => !stored.has(run.definitionHash)).map(({ run }) => [run.definitionHash, run.definition]),
    )
    const rows = await query<{ id: string; at: Date }>('runs.accept', ACCEPT, [
      column((run) => run.id),
      column((run) => run.organizationId),
      column((run) => run.workflow),
      column((run) => run.workflowVersion),
      column((run) => run.definitionHash),
      column((run) => JSON.stringify(run.instance)),
      column((run) => JSON.stringify(run.input)),
      column((run) => JSON.stringify(run.metadata)),
      column((run) => (run.state === null ? null : JSON.stringify(run.state))),
      column((run) => run.priority),
      column((run) => run.lane),
      column((run) => run.failFast),
      column((run) => run.parentRunId),
      column((run) => run.parentVariantIndex),
      column((run) => run.retryOf),
      column((run) => run.simulated),
      column((run) => run.estimatedUsd),
      column((run) => JSON.stringify(run.warnings)),
      column((run) => run.idempotency?.key ?? null),
      column((run) => run.idempotency?.digest ?? null),
      items.map(({ eventIds }) => eventIds[0]),
      items.map(({ eventIds }) => eventIds[1]),
      column(({ slots }) => (slots.length === 0 ? null : slots.length)),
      [...definitions.keys()],
      [...definitions.values()].map((definition) => JSON.stringify(definition)),
    ])
    const accepted = new Map(rows.map((row) => [row.id, row.at]))
    return items.map(({ run }) => accepted.get(run.id) ?? null)
  }

  function noteStored(items: Item[]): void {
    for (const { run } of items) stored.add(run.definitionHash)
  }

  // One key of one organization is never twice in a statement: ON CONFLICT DO UPDATE may not touch a row twice.
  const batcher: Batcher<Item, Date | null> = createBatcher(
    async (items: Item[]) => {
      const accepted = await flush(items)
      noteStored(items)
      return accepted
    },
    ({ run }) => (run.idempotency === null ? run.id : `${run.organizationId} ${run.idempotency.key}`),
  )

  /** A run with slots, or one that takes something over, is on record together with all that. */
  async function acceptWhole(item: Item): Promise<Date | null> {
    const { run } = item
    const accepted = await inTransaction(db, async (trx) => {
      const [at = null] = await flush([item], queryIn(trx))
      if (at === null) return null
      if (run.slots.length > 0) await insertSlots(trx, ids, run)
      for (const { id, inherited } of [run, ...run.slots]) {
        if (inherited !== null) await insertInherited(trx, id, run.organizationId, inherited)
      }
      return at
    })
    // Not before: what is rolled back, or not visible to others yet, has to travel again.
    noteStored([item])
    return accepted
  }

  async function acceptedUnder(organizationId: string, key: string) {
    const [row] = await db.query<{ digest: string; runId: string }>('runs.acceptedUnder', ACCEPTED_UNDER, [
      organizationId,
      key,
    ])
    return row ?? null
  }

  return {
    acceptedUnder,
    async accept(run) {
      const eventIds: [string, string] = [ids.next(), ids.next()]
      const isPlain = run.inherited === null && run.slots.length === 0
      const at = await (isPlain ? batcher.write({ run, eventIds }) : acceptWhole({ run, eventIds }))
      if (at !== null) return { outcome: 'accepted', runId: run.id, events: firstEvents(run, eventIds, at) }
      const first = await acceptedUnder(run.organizationId, run.idempotency?.key ?? '')
      if (first === null || first.digest !== run.idempotency?.digest) return { outcome: 'mismatch' }
      return { outcome: 'replayed', runId: first.runId }
    },
  }
}

async function insertSlots(trx: Transaction<Tables>, ids: Ids, root: NewRun): Promise<void> {
  const { slots } = root
  // In one order, whatever the slots': two runs that bring the same new definitions must not wait for each other.
  const specifications = slots
    .map(({ definitionHash: hash, definition }) => ({ hash, definition: JSON.stringify(definition) }))
    .toSorted((a, b) => (a.hash < b.hash ? -1 : 1))
  await trx
    .insertInto('specifications')
    .values(specifications)
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  await trx
    .insertInto('runs')
    .values(
      slots.map((slot, index) => ({
        id: slot.id,
        organization_id: root.organizationId,
        root_run_id: root.id,
        awaited_by: root.id,
        slot_index: index,
        workflow: slot.workflow,
        workflow_version: slot.workflowVersion,
        definition_hash: slot.definitionHash,
        instance: JSON.stringify(slot.instance),
        input: JSON.stringify(slot.input),
        metadata: JSON.stringify(root.metadata),
        state: root.state === null ? null : JSON.stringify(root.state),
        priority: root.priority,
        lane: root.lane,
        fail_fast: root.failFast,
        simulated: slot.simulated,
        estimated_usd: slot.estimatedUsd,
        warnings: JSON.stringify(slot.warnings),
        last_seq: FIRST_KINDS.length,
        due_at: sql<Date>`now() + ${DELIVERY_GRACE_S} * interval '1 second'`,
      })),
    )
    .execute()
  await trx
    .insertInto('events')
    .values(
      slots.flatMap(({ id, workflow }, index) =>
        FIRST_KINDS.map((kind, place) => ({
          run_id: id,
          seq: place + 1,
          id: ids.next(),
          kind,
          node_key: null,
          payload: JSON.stringify({ status: 'pending', workflow, priority: root.priority, slot: index }),
          timestamp: sql<Date>`now()`,
        })),
      ),
    )
    .execute()
}

async function insertInherited(
  trx: Transaction<Tables>,
  runId: string,
  organizationId: string,
  { checkpoints, artifacts, gates = [] }: Inheritance,
): Promise<void> {
  for (const one of checkpoints) {
    await trx
      .insertInto('checkpoints')
      .values({
        run_id: runId,
        key: one.key,
        step_id: one.stepId,
        status: one.status,
        attempt: one.attempt,
        output: JSON.stringify(one.output),
        error: JSON.stringify(one.error),
        simulated: one.simulated,
        started_at: one.startedAt,
        finished_at: one.finishedAt,
      })
      .execute()
  }
  for (const one of artifacts) {
    await trx
      .insertInto('artifacts')
      .values({
        id: one.id,
        organization_id: organizationId,
        run_id: runId,
        step_key: one.stepKey,
        role: one.role,
        status: one.status,
        mime_type: one.mimeType,
        bytes: one.bytes,
        sha256: one.sha256,
        width: one.width,
        height: one.height,
        duration_ms: one.durationMs,
        storage_key: one.storageKey,
        simulated: one.simulated,
      })
      .execute()
  }
  for (const { id, name, type, status, detail } of gates) {
    await trx.insertInto('gates').values({ run_id: runId, id, name, type, status, detail }).execute()
  }
}

function firstEvents(run: NewRun, ids: [string, string], at: Date): RunEvent[] {
  return FIRST_KINDS.map((kind, index) => ({
    id: ids[index] as string,
    seq: index + 1,
    kind,
    run_id: run.id,
    root_run_id: run.id,
    timestamp: at.toISOString(),
    payload: { status: 'pending', workflow: run.workflow, priority: run.priority },
  }))
}
