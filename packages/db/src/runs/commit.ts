// What executions write: transitions of many runs in one statement, each row only while its fence is the run's.
// Hides the order of sequence numbers: the row lock of the run makes its log gapless.
import {
  begunCalls,
  type CommitOutcome,
  type DayCap,
  type Ids,
  isRefusedByCancel,
  MOVE_AT_END,
  type Transition,
} from '@fabrique/engine'
import { firstEvents, roundUsd } from '@fabrique/schema'
import { sql, type Transaction } from 'kysely'
import { isUnstorable } from '../away.ts'
import { createBatcher } from '../batcher.ts'
import { type Db, queryIn } from '../client.ts'
import type { Tables } from '../tables.ts'
import { CHANGES_BY_ROW, mayMove, rowChanges } from './phase.ts'
import {
  eventFields,
  eventsOf,
  gateFields,
  insertDefinitions,
  insertInto,
  runFields,
  type Statement,
  unnest,
  withRows,
} from './rows.ts'

// A requested cancel lets bookkeeping through, but nothing that spends, suspends or ends the run otherwise ("guarded").
const HEAD = `
with t as (
  select * from unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::bool[], $6::bool[], $7::int8[], $8::json[], $9::json[],
    $10::bool[], $11::bool[], $12::int[])
  as t(id, fence, events, status, unheld, progressed, due_in_ms, output, error, simulated, guarded, number)
), u as (
  update runs r set ${CHANGES_BY_ROW},
    commits = t.number,
    last_seq = r.last_seq + t.events,
    output = coalesce(t.output, r.output),
    error = coalesce(t.error, r.error),
    simulated = r.simulated or t.simulated,
    finished_at = case when t.status in ('completed', 'failed', 'cancelled') then now() end
  from t
  where r.id = t.id and ${mayMove('finish', { fence: 't.fence' }, 'r')}
    and not (t.guarded and r.cancel_requested_at is not null)
    and r.commits < t.number
  returning r.id, r.organization_id, r.root_run_id, r.last_seq - t.events as base
)`
const TAIL = `
select u.id, u.root_run_id, u.base, now() as at from u`

/** What calls cost counts against the caps of the day on which they were begun. */
const SPEND = `, cs as (
  update capped_calls k set usd = coalesce(c.actual_usd, c.estimated_usd) from u_provider_calls c where k.call_id = c.id
)`

/**
 * Of executions whose transition was refused, those whose fence is the run's: it was applied before and its answer was
 * lost, or they still hold the run and its cancel is requested.
 */
const REFUSED = `select r.id, r.commits >= t.number as applied
from unnest($1::text[], $2::int[], $3::int[]) as t(id, fence, number) join runs r using (id)
where r.fence = t.fence and (r.commits >= t.number or (r.phase = 'executing' and r.cancel_requested_at is not null))`

type End = NonNullable<Transition['end']>

interface Item {
  transition: Transition
  eventIds: string[]
}

/** The committing half of the run store. */
export function createCommit(db: Db, ids: Ids): (transition: Transition) => Promise<CommitOutcome> {
  async function flush(items: Item[], run: Db['query'] = db.query): Promise<CommitOutcome[]> {
    const transitions = items.map(({ transition }) => transition)
    const moves = transitions.map(({ end }) => (end === undefined ? null : changesAtEnd(end)))
    const statement: Statement = {
      name: 'runs.commit',
      text: HEAD,
      values: [
        transitions.map(({ runId }) => runId),
        transitions.map(({ fence }) => fence),
        transitions.map(({ events }) => events.length),
        moves.map((move) => move?.status ?? null),
        moves.map((move) => move?.unheld ?? false),
        transitions.map(({ checkpoints }, index) => checkpoints.length > 0 || moves[index]?.progressed === true),
        moves.map((move) => move?.dueInMs ?? null),
        transitions.map(({ end }) => (end?.status === 'completed' ? JSON.stringify(end.output) : null)),
        transitions.map(({ end }) => (end?.status === 'failed' ? JSON.stringify(end.error) : null)),
        transitions.map(({ end }) => (end !== undefined && 'simulated' in end ? end.simulated : false)),
        transitions.map(isRefusedByCancel),
        transitions.map(({ number }) => number),
      ],
    }
    const calls = rowsOf(transitions, 'calls')
    withRows(statement, {
      events: items.flatMap(({ transition: { runId, events }, eventIds }) => eventFields(runId, events, eventIds)),
      checkpoints: rowsOf(transitions, 'checkpoints'),
      provider_calls: calls,
      artifacts: rowsOf(transitions, 'artifacts'),
      gates: transitions.flatMap(({ runId, gates }) => gates.map((gate) => gateFields(runId, gate))),
    })
    if (calls.length > 0 && transitions.some(({ dayCaps }) => dayCaps !== undefined)) {
      statement.name += '.capped'
      statement.text += SPEND
    }
    addChildren(statement, transitions)
    const rows = await run<{ id: string; root_run_id: string; base: number; at: Date }>(
      statement.name,
      statement.text + TAIL,
      statement.values,
    )
    const applied = new Map(rows.map((row) => [row.id, row]))
    const refused = transitions.filter(({ runId }) => !applied.has(runId))
    const parameters = (['runId', 'fence', 'number'] as const).map((field) => refused.map((one) => one[field]))
    const found =
      refused.length === 0 ? [] : await run<{ id: string; applied: boolean }>('runs.refused', REFUSED, parameters)
    const wasApplied = new Map(found.map((one) => [one.id, one.applied]))
    return items.map(({ transition, eventIds }): CommitOutcome => {
      const row = applied.get(transition.runId)
      if (row === undefined) {
        const before = wasApplied.get(transition.runId)
        if (before === true) return { outcome: 'committed', events: [] }
        // A cancelled run must only be ended.
        return { outcome: before === false ? 'cancelled' : 'lost' }
      }
      const { root_run_id: rootRunId, base, at } = row
      const events = eventsOf({ id: transition.runId, rootRunId }, transition.events, { ids: eventIds, base, at })
      return { outcome: 'committed', events }
    })
  }

  /**
   * One transition that begins calls under caps of the day. Others that begin calls under one of these caps wait for the
   * lock, so that each sees all that is reserved. The reservation is the call's own row.
   */
  async function commitUnderCaps(item: Item, caps: DayCap[]): Promise<CommitOutcome> {
    const begun = begunCalls(item.transition)
    const wanted = begun.reduce((sum, { estimatedUsd }) => sum + estimatedUsd, 0)
    return await db.kysely.transaction().execute(async (trx) => {
      const run = queryIn(trx)
      const owner = await trx
        .selectFrom('runs')
        .select('organization_id')
        .where('id', '=', item.transition.runId)
        .executeTakeFirst()
      if (owner === undefined) return { outcome: 'lost' }
      const inOrder = caps.toSorted((a, b) => (a.workflow < b.workflow ? -1 : 1))
      for (const cap of inOrder) {
        await sql`select pg_advisory_xact_lock(hashtextextended(${`${owner.organization_id} ${cap.workflow}`}, 0))`.execute(
          trx,
        )
        const own = begun.map(({ id }) => id)
        const spentUsd = await spentOn(trx, owner.organization_id, cap.workflow, own)
        if (roundUsd(spentUsd + wanted) > cap.maxUsd) return { outcome: 'over-budget', cap, spentUsd }
      }
      const [outcome = { outcome: 'lost' as const }] = await flush([item], run)
      // Nothing is reserved for what was refused; and the row under the call's id is then its new holder's.
      if (outcome.outcome !== 'committed') return outcome
      for (const cap of inOrder) {
        for (const { id, estimatedUsd } of begun) {
          await sql`insert into capped_calls (organization_id, workflow, day, call_id, usd) values
            (${owner.organization_id}, ${cap.workflow}, (now() at time zone 'utc')::date, ${id}, ${estimatedUsd})
            on conflict do nothing`.execute(trx)
        }
      }
      return outcome
    })
  }

  const batcher = createBatcher(
    (items: Item[]) => flush(items),
    ({ transition }) => transition.runId,
  )
  return async (transition) => {
    const item = { transition, eventIds: transition.events.map(() => ids.next()) }
    const { dayCaps } = transition
    try {
      if (dayCaps === undefined || begunCalls(transition).length === 0) return await batcher.write(item)
      return await commitUnderCaps(item, dayCaps)
    } catch (error) {
      if (!isUnstorable(error)) throw error
      return { outcome: 'unstorable' }
    }
  }

  /** Accepts the runs that steps call, each only where its caller's transition is applied. */
  function addChildren(statement: Statement, transitions: Transition[]): void {
    const children = transitions.flatMap(({ runId, children: called = [] }) =>
      called.map((child) => ({ ...child, runId })),
    )
    if (children.length === 0) return
    const rows = children.map(({ callerKey, rootRunId, runId, ...child }) =>
      runFields(
        { ...child, state: null, warnings: [], slots: [], parentRunId: null, parentVariantIndex: null, retryOf: null },
        { rootRunId, awaitedBy: runId, callerRunId: runId, callerStepId: callerKey },
      ),
    )
    statement.name += '.children'
    statement.text += `, ns as (${insertDefinitions(statement, children)}
), n as (${insertInto('runs', `${unnest(statement, 'runs', rows)} join u on u.id = x.caller_run_id`)}
  returning *, 0 as base
)`
    const events = children.flatMap((child) =>
      eventFields(child.id, firstEvents(child, { caller_run_id: child.runId }), [ids.next(), ids.next()]),
    )
    withRows(statement, { events }, 'n')
  }
}

/** What calls of the workflow cost that were begun today (UTC), in the organization, without those of these ids; those under way at their estimate. */
export async function spentOn(
  db: Transaction<Tables> | Db['kysely'],
  organizationId: string,
  workflow: string,
  without: string[] = [],
): Promise<number> {
  const { rows } = await sql<{ usd: string }>`select coalesce(sum(usd), 0) as usd from capped_calls
    where organization_id = ${organizationId} and workflow = ${workflow} and day = (now() at time zone 'utc')::date
    and call_id <> all(${without}::text[])`.execute(db)
  return Number(rows[0]?.usd ?? 0)
}

function changesAtEnd(end: End) {
  return rowChanges(MOVE_AT_END[end.status], { status: end.status, dueInMs: 'wakeInMs' in end ? end.wakeInMs : null })
}

function rowsOf<Part extends 'checkpoints' | 'calls' | 'artifacts'>(transitions: Transition[], part: Part) {
  return transitions.flatMap(({ runId, [part]: rows }) =>
    rows.map((row) => ({ ...(row as Transition[Part][number]), runId })),
  )
}
