// What must hold of every run that has ended, in the record alone: as queries whose rows say what breaks it.
// Hides nothing: a test that ends runs holds its record against them, and so does the soak.
const ENDED = `status in ('completed', 'failed', 'cancelled')`

/** By promise: the rows that break it, each as `what`. */
export const BROKEN_ENDS = {
  pendingCalls: `select calls.id as what from provider_calls calls join runs on runs.id = calls.run_id
    where calls.outcome = 'pending' and runs.${ENDED}`,
  openGates: `select gates.run_id || ' ' || gates.id as what from gates join runs on runs.id = gates.run_id
    where gates.status = 'open' and runs.${ENDED}`,
  wrongCost: `with recursive below(top, id) as (
      select id, id from runs
      union all
      select below.top, runs.id from runs join below on runs.awaited_by = below.id
    ), spent as (
      select top, coalesce(sum(calls.actual_usd), 0) as usd from below
      left join provider_calls calls on calls.run_id = below.id group by top
    )
    select run_id || ' says ' || (payload -> 'cost' ->> 'actual') || ', ledger ' || usd as what
    from events join spent on spent.top = run_id
    where kind ~ '^workflow.run.(completed|failed|cancelled)$'
      and abs((payload -> 'cost' ->> 'actual')::numeric - usd) > 1e-9`,
} as const
