// Accepting runs: what many concurrent submits bring, slots and inherited steps included, in one statement.
// Hides idempotency: a key decides inside the statement which of its spellings becomes a run.
import type { Ids, NewRun, RunStore } from '@fabrique/engine'
import { firstEvents, type RunEvent } from '@fabrique/schema'
import { LRUCache } from 'lru-cache'
import { createBatcher } from '../batcher.ts'
import type { Db } from '../client.ts'
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

/** Hashes of definitions that this process knows to be in the record; a definition beyond them travels once more. */
const STORED_MAX = 10_000

const ACCEPTED_UNDER = `select digest, run_id as "runId" from idempotency_keys
where organization_id = $1 and key = $2 and created_at >= now() - interval '24 hours'`

const INSERT_RUNS = insertInto('runs', 'u x')

interface Item {
  run: NewRun
  /** The run and its slots, each with the ids of its first events. */
  members: { run: NewRun; slot: number | null; eventIds: string[] }[]
}

/** The accepting half of the run store. */
export function createAccept(db: Db, ids: Ids): Pick<RunStore, 'accept' | 'acceptedUnder'> {
  const stored = new LRUCache<string, true>({ max: STORED_MAX })

  function membersOf(run: NewRun): Item['members'] {
    const slots = run.slots.map((slot): NewRun => ({ ...run, ...slot, slots: [], idempotency: null }))
    return [run, ...slots].map((member, index) => ({
      run: member,
      slot: member === run ? null : index - 1,
      eventIds: [ids.next(), ids.next()],
    }))
  }

  async function flush(items: Item[]): Promise<(Date | null)[]> {
    const members = items.flatMap(({ run: root, members: own }) => own.map((member) => ({ ...member, root })))
    // In one order, so that two statements with the same keys cannot deadlock.
    const keyed = items
      .flatMap(({ run: { id, organizationId, idempotency } }) =>
        idempotency === null ? [] : [{ id, organizationId, ...idempotency }],
      )
      .toSorted((a, b) => (`${a.organizationId} ${a.key}` < `${b.organizationId} ${b.key}` ? -1 : 1))
    const fresh = members.map(({ run }) => run).filter(({ definitionHash }) => !stored.has(definitionHash))
    const statement: Statement = {
      name: 'runs.accept',
      text: '',
      values: [
        keyed.map(({ organizationId }) => organizationId),
        keyed.map(({ key }) => key),
        keyed.map(({ digest }) => digest),
        keyed.map(({ id }) => id),
      ],
    }
    const rows = members.map(({ run, root, slot }) =>
      runFields(run, slot === null ? undefined : { rootRunId: root.id, awaitedBy: root.id, slotIndex: slot }),
    )
    statement.text = `
with k as (
  insert into idempotency_keys (organization_id, key, digest, run_id)
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[])
  on conflict (organization_id, key) do update
    set digest = excluded.digest, run_id = excluded.run_id, created_at = now()
    where idempotency_keys.created_at < now() - interval '24 hours'
  returning run_id
), s as (${insertDefinitions(statement, fresh)}
), u as (
  select x.*, 0 as base from ${unnest(statement, 'runs', rows)}
  where x.root_run_id <> all($4::text[]) or x.root_run_id in (select run_id from k)
), r as (${INSERT_RUNS})`
    withRows(statement, {
      events: members.flatMap(({ run, slot, eventIds }) => eventFields(run.id, eventsFor(run, slot), eventIds)),
      checkpoints: members.flatMap(({ run }) => within(run, run.inherited?.checkpoints)),
      artifacts: members.flatMap(({ run }) => within(run, run.inherited?.artifacts)),
      gates: members.flatMap(({ run }) => (run.inherited?.gates ?? []).map((gate) => gateFields(run.id, gate))),
    })
    statement.text += '\nselect id, now() as at from u where id = root_run_id'
    const accepted = await db.query<{ id: string; at: Date }>(statement.name, statement.text, statement.values)
    for (const { definitionHash } of fresh) stored.set(definitionHash, true)
    const times = new Map(accepted.map(({ id, at }) => [id, at]))
    return items.map(({ run }) => times.get(run.id) ?? null)
  }

  // One key of one organization is never twice in a statement: ON CONFLICT DO UPDATE may not touch a row twice.
  const batcher = createBatcher(flush, ({ run }: Item) =>
    run.idempotency === null ? run.id : `${run.organizationId} ${run.idempotency.key}`,
  )

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
      const members = membersOf(run)
      const at = await batcher.write({ run, members })
      if (at !== null) {
        const events: RunEvent[] = eventsOf({ id: run.id, rootRunId: run.id }, eventsFor(run, null), {
          ids: members[0]?.eventIds ?? [],
          base: 0,
          at,
        })
        return { outcome: 'accepted', runId: run.id, events }
      }
      const first = await acceptedUnder(run.organizationId, run.idempotency?.key ?? '')
      if (first === null || first.digest !== run.idempotency?.digest) return { outcome: 'mismatch' }
      return { outcome: 'replayed', runId: first.runId }
    },
  }
}

function eventsFor(run: NewRun, slot: number | null) {
  return firstEvents(run, slot === null ? {} : { slot })
}

function within<Part extends object>({ id }: NewRun, parts: Part[] = []): (Part & { runId: string })[] {
  return parts.map((part) => ({ ...part, runId: id }))
}
