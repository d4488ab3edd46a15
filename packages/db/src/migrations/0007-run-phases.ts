// The phase of each run, computed from its row: see `phase.ts` of the engine for what moves a run from one to the next.
import { type Kysely, sql } from 'kysely'

const STATEMENTS = [
  `alter table runs add column phase text not null generated always as (case
    when status in ('completed', 'failed', 'cancelled') then 'ended'
    when slots is not null then 'joining'
    when status = 'pending' then 'queued'
    when status = 'waiting' then 'waiting'
    when worker is null then 'suspended'
    else 'executing' end) stored`,
]

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}
